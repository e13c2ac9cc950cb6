//! What is measured on each device?

use crate::data::{COLUMNS, Data, Results};
use quant_core::backend::{Backend, Encoding, SamplesMut};
use quant_core::codebook::Codebooks;
use quant_core::dense::Dense;
use quant_core::design::vector::Points;
use quant_core::design::{Bins, fraction_bits};
use quant_core::quantize::quantize;
use quant_core::recipe::Recipe;
use quant_core::scale::ScaleSearch;
use quant_core::transform::{Blocks, Hadamard};

/// One workload on one device, or a peer's.
pub struct Workload<'a> {
    pub name: &'static str,
    /// Who does it, where that is not the device.
    pub peer: Option<String>,
    /// Bytes that must move for each sample.
    pub bytes_per_sample: f64,
    pub sample_count: usize,
    /// Does it once; seconds, where another clock than the host's is meant.
    pub run: Box<dyn FnMut() -> Option<f64> + 'a>,
}

impl<'a> Workload<'a> {
    /// One of the host's clock.
    fn new(name: &'static str, bytes_per_sample: f64, sample_count: usize, mut run: impl FnMut() + 'a) -> Self {
        let run = move || {
            run();
            None
        };
        Self { name, peer: None, bytes_per_sample, sample_count, run: Box::new(run) }
    }

    /// One that brings its own clock.
    pub fn told(name: &'static str, bytes_per_sample: f64, len: usize, mut run: impl FnMut() -> f64 + 'a) -> Self {
        Self { name, peer: None, bytes_per_sample, sample_count: len, run: Box::new(move || Some(run())) }
    }

    /// One over all samples, by the host's clock.
    pub fn over(data: &Data, name: &'static str, bytes_per_sample: f64, run: impl FnMut() + 'a) -> Self {
        Self::new(name, bytes_per_sample, data.samples.len(), run)
    }
}

/// The value of a verb; a device that fails ends the run.
pub fn must<T, F: std::error::Error>(result: Result<T, F>) -> T {
    result.unwrap_or_else(|fault| panic!("device fault: {fault}"))
}

/// The verbs that both kinds of device have.
pub fn verbs<'a, B: Backend>(backend: &'a B, data: &'a Data, results: &'a Results) -> Vec<Workload<'a>> {
    let mut list = block_verbs(backend, data, results);
    list.extend(whole_verbs(backend, data, results));
    list.extend(vector_verbs(backend, data, results));
    list.extend(transform_verbs(backend, data, results));
    list
}

/// Scales, codes and samples of blocks; buffers are allocated before the clock starts.
fn block_verbs<'a, B: Backend>(backend: &'a B, data: &'a Data, results: &'a Results) -> Vec<Workload<'a>> {
    let (matrix, codebooks) = (data.matrix(), &data.codebooks);
    let (grouping, bit_width) = data.block_format();
    let absmax = move || must(backend.absmax_scales(matrix, grouping, 1.0, &mut results.scales.borrow_mut()));
    let encode = move || {
        let scales = results.scales.borrow();
        let encoding = Encoding { bit_width, grouping, scales: Some(&scales), codebooks };
        must(backend.encode(matrix, &encoding, &mut results.packed.borrow_mut()));
    };
    absmax();
    // As bitsandbytes does it: scales, and codes with them. Samples are uploaded once.
    let both = move || {
        backend.hold(matrix);
        absmax();
        encode();
        backend.release();
    };
    let decode = move || {
        let scales = results.scales.borrow();
        let encoding = Encoding { bit_width, grouping, scales: Some(&scales), codebooks };
        must(backend.decode(
            &results.packed.borrow(),
            &encoding,
            &mut SamplesMut::F32(&mut results.scratch.borrow_mut()),
        ));
    };
    let search = ScaleSearch::new(codebooks, grouping.length(), true);
    let search = move || {
        must(backend.search_scales(matrix, grouping, &search, &mut vec![0.0; grouping.group_count()]));
    };
    vec![
        Workload::over(data, "absmax scales, group 64", 4.0625, absmax),
        Workload::over(data, "encode nf4, group 64", 4.5625, encode),
        Workload::over(data, "absmax + encode nf4, 64", 4.5625, both),
        Workload::over(data, "decode nf4, group 64", 4.5625, decode),
        Workload::over(data, "signed search, group 64", 4.0625, search),
    ]
}

/// Sums over all samples, and a whole recipe.
fn whole_verbs<'a, B: Backend>(backend: &'a B, data: &'a Data, results: &'a Results) -> Vec<Workload<'a>> {
    let matrix = data.matrix();
    let bins = Bins::covering(-1.0, 1.0, 1 << 16);
    let histogram = move || drop(must(backend.histogram(matrix, None, &bins)));
    let thresholds = data.codebooks.thresholds(0);
    let lloyd = move || drop(must(backend.cell_statistics(matrix.samples(), thresholds, fraction_bits(8.0))));
    let recipe = Recipe::preset("nf4").expect("a preset");
    let whole = move || {
        let quantized = quantize(backend, matrix, &recipe).expect("finite samples on a device that works");
        *results.whole_mse.borrow_mut() = Some(quantized.distortion.mse());
    };
    vec![
        Workload::over(data, "histogram, 65536 bins", 4.0, histogram),
        Workload::over(data, "Lloyd iteration, 16 levels", 4.0, lloyd),
        Workload::over(data, "quantize nf4, whole", 4.5625, whole),
    ]
}

/// An iteration of Lloyd in ℝᵈ: W3. Nearest codevectors are the device's kernel; their sums are the host's.
fn vector_verbs<'a, B: Backend>(backend: &'a B, data: &'a Data, results: &'a Results) -> Vec<Workload<'a>> {
    let samples = data.fitted().len();
    let iteration = |name: &'static str, d: usize, count: usize| {
        let count = count.min(samples / d);
        let points = Points::new(&data.samples[..samples], d).expect("whole points");
        let codevectors = Points::new(&data.samples[..count * d], d).expect("whole points");
        let (mut codes, energy) = (vec![0; points.len()], points.energy());
        let run = move || {
            let cells = must(backend.vector_cells(points, None, codevectors, &mut codes));
            let mse = cells.cost(energy, codevectors) / samples as f64;
            results.vector_mse.borrow_mut().insert(name, mse);
        };
        Workload::new(name, 4.0, samples, run)
    };
    vec![iteration("vectors, d = 8, k = 256", 8, 256), iteration("vectors, d = 128, k = 1024", 128, 1024)]
}

/// Rows are turned in place, again and again: both maps are orthogonal, so that samples neither grow nor vanish.
fn transform_verbs<'a, B: Backend>(backend: &'a B, data: &'a Data, results: &'a Results) -> Vec<Workload<'a>> {
    let rotation = Hadamard::seeded(COLUMNS, 1);
    let hadamard = move || must(backend.hadamard(&mut results.scratch.borrow_mut(), &rotation));
    let sign = |i: usize, j: usize| if (i & j).count_ones().is_multiple_of(2) { 1.0 } else { -1.0 };
    let block = || Dense::from_fn(128, 128, |i, j| sign(i, j) / 128f64.sqrt());
    let blocks = || (0..COLUMNS / 128).map(|_| block()).collect();
    let blocks = Blocks::new(blocks(), blocks());
    let transform = move || must(backend.block_transform(&mut results.scratch.borrow_mut(), &blocks));
    vec![
        Workload::over(data, "hadamard, 4096 channels", 8.0, hadamard),
        Workload::over(data, "block transform, 128", 8.0, transform),
    ]
}

/// W2: a codebook for each of the first rows.
pub fn fit<'a>(data: &'a Data, results: &'a Results, fit: impl Fn() -> Codebooks + 'a) -> Workload<'a> {
    let run = move || *results.fitted.borrow_mut() = Some(fit());
    Workload::new("W2 rows, 16 levels", 8.0, data.fitted().len(), run)
}
