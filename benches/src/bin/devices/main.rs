//! Measures the processor and every adapter on the same workloads: `devices ROUNDS ROWS [WORDS]`, rows of 4096 samples.
//!
//! `cargo xtask bench --devices` runs this and shows the figures. Seconds are the host's, from samples in host memory to
//! results in host memory, upload and read-back included; kernel seconds are the device's own, where it can tell.

use anyhow::{Context, Result};
use quant_benches::data;
use quant_benches::rounds::{Contestant, copy, interleave, median};
use quant_core::backend::{Backend, Encoding, SamplesMut};
use quant_core::codebook::Codebooks;
use quant_core::codes::BitWidth;
use quant_core::dense::Dense;
use quant_core::design::vector::Points;
use quant_core::design::{Bins, fraction_bits, normal_float::NF4_LEVELS};
use quant_core::grouping::{GroupLength, Grouping};
use quant_core::quantize::quantize;
use quant_core::recipe::Recipe;
use quant_core::scale::ScaleSearch;
use quant_core::tensor::{Matrix, Samples};
use quant_core::transform::{Blocks, Hadamard};
use quant_cpu::{Cpu, CpuOptions};
use quant_gpu::{Choice, Gpu, GpuOptions, inventory};
use serde_json::{Value, json};
use std::cell::RefCell;
use std::collections::BTreeMap;

const COLUMNS: usize = 4096;
/// Rows of W2: exact k-means reads a row many times.
const FITTED_ROWS_MAX: usize = 4096;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number =
        |index: usize| arguments.get(index).context("ROUNDS ROWS [WORDS]").and_then(|a| Ok(a.parse::<usize>()?));
    let (round_count, rows) = (number(0)?.max(1), number(1)?.max(1));
    let data = Data::new(rows, arguments.get(2..).unwrap_or_default());
    let cpu = Cpu::new(CpuOptions::default())?;
    let mut devices = vec![measure_cpu(&cpu, &data, round_count)?];
    for adapter in inventory() {
        let options = GpuOptions { choice: Choice::Index(adapter.index), timed: true, ..GpuOptions::default() };
        devices.push(measure_gpu(&Gpu::new(options)?, &data, round_count)?);
    }
    println!("{:#}", json!({"round_count": round_count, "rows": rows, "columns": COLUMNS, "devices": devices}));
    Ok(())
}

/// What all devices work on.
struct Data {
    rows: usize,
    samples: Vec<f32>,
    weights: Vec<f32>,
    codebooks: Codebooks,
    words: Vec<String>,
}

impl Data {
    fn new(rows: usize, words: &[String]) -> Self {
        eprintln!("preparing {rows} × {COLUMNS} samples");
        let samples = data::gaussian(rows * COLUMNS, 1.0, 1);
        let weights = data::gaussian(rows.min(FITTED_ROWS_MAX) * COLUMNS, 1.0, 2).iter().map(|w| w * w).collect();
        Self { rows, samples, weights, codebooks: Codebooks::from_levels(16, [NF4_LEVELS]), words: words.into() }
    }

    fn matrix(&self) -> Matrix<'_> {
        Matrix::new(Samples::F32(&self.samples), self.rows, COLUMNS).expect("whole rows")
    }

    fn fitted(&self) -> Matrix<'_> {
        self.matrix().row_range(0..self.rows.min(FITTED_ROWS_MAX))
    }

    fn is_wanted(&self, name: &str) -> bool {
        self.words.is_empty() || self.words.iter().any(|word| name.contains(word.as_str()))
    }
}

/// One workload on one device; the last run's results stay for their quality.
struct Workload<'a> {
    name: &'static str,
    bytes_per_sample: f64,
    sample_count: usize,
    run: Contestant<'a>,
}

/// Results that quality is told from.
#[derive(Default)]
struct Results {
    scales: Vec<f32>,
    packed: Vec<u8>,
    decoded: Vec<f32>,
    fitted: Option<Codebooks>,
    whole_mse: Option<f64>,
    /// By the name of the workload.
    vector_mse: BTreeMap<&'static str, f64>,
}

fn must<T, F: std::error::Error>(result: Result<T, F>) -> T {
    result.unwrap_or_else(|fault| panic!("device fault: {fault}"))
}

/// Groups of 64 samples, at 4 bits.
fn block_format(data: &Data) -> (Grouping, BitWidth) {
    (Grouping::new(data.rows, COLUMNS, GroupLength::Samples(64)), BitWidth::new(4).expect("4 is allowed"))
}

fn workload<'a>(data: &Data, name: &'static str, bytes_per_sample: f64, run: impl FnMut() + 'a) -> Workload<'a> {
    Workload { name, bytes_per_sample, sample_count: data.samples.len(), run: Box::new(run) }
}

/// The verbs that both kinds of device have.
fn verbs<'a, B: Backend>(backend: &'a B, data: &'a Data, results: &'a RefCell<Results>) -> Vec<Workload<'a>> {
    let mut list = block_verbs(backend, data, results);
    list.extend(whole_verbs(backend, data, results));
    list.extend(vector_verbs(backend, data, results));
    list.extend(transform_verbs(backend, data));
    list
}

/// Scales, codes and samples of blocks; buffers are allocated before the clock starts.
fn block_verbs<'a, B: Backend>(backend: &'a B, data: &'a Data, results: &'a RefCell<Results>) -> Vec<Workload<'a>> {
    let (matrix, codebooks) = (data.matrix(), &data.codebooks);
    let (grouping, bit_width) = block_format(data);
    {
        let mut r = results.borrow_mut();
        (r.scales, r.decoded) = (vec![0.0; grouping.group_count()], vec![0.0; data.samples.len()]);
        r.packed = vec![0; data.rows * bit_width.row_len_bytes(COLUMNS)];
        must(backend.absmax_scales(matrix, grouping, 1.0, &mut r.scales));
    }
    let absmax = move || must(backend.absmax_scales(matrix, grouping, 1.0, &mut results.borrow_mut().scales));
    let encode = move || {
        let Results { scales, packed, .. } = &mut *results.borrow_mut();
        must(backend.encode(matrix, &Encoding { bit_width, grouping, scales: Some(scales), codebooks }, packed));
    };
    let decode = move || {
        let Results { scales, packed, decoded, .. } = &mut *results.borrow_mut();
        let encoding = Encoding { bit_width, grouping, scales: Some(scales), codebooks };
        must(backend.decode(packed, &encoding, &mut SamplesMut::F32(decoded)));
    };
    let search = ScaleSearch::new(codebooks, grouping.length(), true);
    let search = move || {
        must(backend.search_scales(matrix, grouping, &search, &mut vec![0.0; grouping.group_count()]));
    };
    vec![
        workload(data, "absmax scales, group 64", 4.0625, absmax),
        workload(data, "encode nf4, group 64", 4.5625, encode),
        workload(data, "decode nf4, group 64", 4.5625, decode),
        workload(data, "signed search, group 64", 4.0625, search),
    ]
}

/// Sums over all samples, and a whole recipe.
fn whole_verbs<'a, B: Backend>(backend: &'a B, data: &'a Data, results: &'a RefCell<Results>) -> Vec<Workload<'a>> {
    let matrix = data.matrix();
    let bins = Bins::covering(-1.0, 1.0, 1 << 16);
    let histogram = move || drop(must(backend.histogram(matrix, None, &bins)));
    let thresholds = data.codebooks.thresholds(0);
    let lloyd = move || drop(must(backend.cell_statistics(matrix.samples(), thresholds, fraction_bits(8.0))));
    let recipe = Recipe::preset("nf4").expect("a preset");
    let whole = move || {
        let quantized = quantize(backend, matrix, &recipe).expect("finite samples on a device that works");
        results.borrow_mut().whole_mse = Some(quantized.distortion.mse());
    };
    vec![
        workload(data, "histogram, 65536 bins", 4.0, histogram),
        workload(data, "Lloyd iteration, 16 levels", 4.0, lloyd),
        workload(data, "quantize nf4, whole", 4.5625, whole),
    ]
}

/// An iteration of Lloyd in ℝᵈ: W3.
fn vector_verbs<'a, B: Backend>(backend: &'a B, data: &'a Data, results: &'a RefCell<Results>) -> Vec<Workload<'a>> {
    let samples = data.fitted().len();
    let iteration = |name: &'static str, d: usize, count: usize| {
        let count = count.min(samples / d);
        let run = move || {
            let points = Points::new(&data.samples[..samples], d).expect("whole points");
            let codevectors = Points::new(&data.samples[..count * d], d).expect("whole points");
            let mut codes = vec![0; points.len()];
            let cells = must(backend.vector_cells(points, None, codevectors, &mut codes));
            let mse = cells.cost(points.energy(), codevectors) / samples as f64;
            results.borrow_mut().vector_mse.insert(name, mse);
        };
        Workload { name, bytes_per_sample: 4.0, sample_count: samples, run: Box::new(run) }
    };
    vec![iteration("vectors, d = 8, k = 256", 8, 256), iteration("vectors, d = 128, k = 1024", 128, 1024)]
}

fn transform_verbs<'a, B: Backend>(backend: &'a B, data: &'a Data) -> Vec<Workload<'a>> {
    let rotation = Hadamard::seeded(COLUMNS, 1);
    let rows = RefCell::new(data.samples.clone());
    let hadamard = move || must(backend.hadamard(&mut rows.borrow_mut(), &rotation));
    let block = || Dense::from_fn(128, 128, |i, j| ((i * 31 + j * 17) as f64).sin() / 8.0);
    let blocks = || (0..COLUMNS / 128).map(|_| block()).collect();
    let blocks = Blocks::new(blocks(), blocks());
    // Anew each time: a map that is not orthogonal lets rows grow.
    let transform = move || must(backend.block_transform(&mut data.samples.clone(), &blocks));
    vec![
        workload(data, "hadamard, 4096 channels", 8.0, hadamard),
        workload(data, "block transform, 128", 8.0, transform),
    ]
}

fn fit<'a>(data: &'a Data, results: &'a RefCell<Results>, fit: impl Fn() -> Codebooks + 'a) -> Workload<'a> {
    let run = Box::new(move || results.borrow_mut().fitted = Some(fit()));
    Workload { name: "W2 rows, 16 levels", bytes_per_sample: 8.0, sample_count: data.fitted().len(), run }
}

fn measure_cpu(cpu: &Cpu, data: &Data, round_count: usize) -> Result<Value> {
    let results = RefCell::new(Results::default());
    let pool = rayon::ThreadPoolBuilder::new().num_threads(cpu.thread_count()).build()?;
    let mut copied = vec![0.0f32; data.samples.len()];
    let mut workloads = vec![Workload {
        name: "memory copy",
        bytes_per_sample: 8.0,
        sample_count: data.samples.len(),
        run: Box::new(|| copy(&pool, &data.samples, &mut copied)),
    }];
    workloads.extend(verbs(cpu, data, &results));
    workloads.push(fit(data, &results, || must(cpu.fit_rows(data.fitted(), None, Some(&data.weights), 16))));
    let mut facts = timed(&mut workloads, data, round_count, &|| None);
    drop(workloads);
    add_quality(&mut facts, cpu, data, &results.borrow());
    Ok(json!({"device": cpu.name(), "workloads": facts}))
}

fn measure_gpu(gpu: &Gpu, data: &Data, round_count: usize) -> Result<Value> {
    let results = RefCell::new(Results::default());
    let mut workloads = verbs(gpu, data, &results);
    let fitted = || must(gpu.fit_rows_batched(data.fitted(), None, Some(&data.weights), 16));
    workloads.push(fit(data, &results, fitted));
    let kernel_seconds = || {
        let times = gpu.take_kernel_times();
        (!times.is_empty()).then(|| times.values().map(|t| t.seconds).sum())
    };
    let mut facts = timed(&mut workloads, data, round_count, &kernel_seconds);
    drop(workloads);
    add_quality(&mut facts, gpu, data, &results.borrow());
    let len = (4 * data.samples.len() as u64).min(gpu.adapters()[0].binding_len_bytes / 2);
    let copies: Vec<f64> = (0..round_count).map(|_| gpu.copy_seconds(len)).collect::<Result<_, _>>()?;
    let copy = json!({
        "name": "memory copy", "sample_count": len / 4, "bytes_per_sample": 8.0, "seconds": copies,
        "kernel_seconds": median(&copies),
    });
    let mut list = vec![copy];
    list.extend(facts);
    Ok(json!({"device": gpu.name(), "workloads": list}))
}

/// Times the workloads in interleaved rounds; what a device's clock says of each comes with `kernel_seconds`.
fn timed(
    workloads: &mut Vec<Workload<'_>>,
    data: &Data,
    round_count: usize,
    kernel_seconds: &dyn Fn() -> Option<f64>,
) -> Vec<Value> {
    workloads.retain(|w| w.name == "memory copy" || data.is_wanted(w.name));
    let on_device: Vec<RefCell<Vec<f64>>> = workloads.iter().map(|_| RefCell::default()).collect();
    let facts: Vec<(&str, f64, usize)> =
        workloads.iter().map(|w| (w.name, w.bytes_per_sample, w.sample_count)).collect();
    let mut contestants: Vec<Contestant<'_>> = Vec::new();
    for (workload, told) in workloads.iter_mut().zip(&on_device) {
        contestants.push(Box::new(move || {
            (workload.run)();
            told.borrow_mut().extend(kernel_seconds());
        }));
    }
    let seconds = interleave(&mut contestants, round_count);
    drop(contestants);
    let mut list = Vec::new();
    for (((name, bytes, count), seconds), told) in facts.into_iter().zip(seconds).zip(&on_device) {
        let told = told.borrow();
        let kernel = (!told.is_empty()).then(|| median(&told));
        list.push(json!({
            "name": name, "bytes_per_sample": bytes, "sample_count": count, "seconds": seconds, "kernel_seconds": kernel,
        }));
    }
    list
}

/// MSE beside the times that have one.
fn add_quality<B: Backend>(facts: &mut [Value], backend: &B, data: &Data, results: &Results) {
    let (grouping, bit_width) = block_format(data);
    let (scales, codebooks) = (Some(&results.scales[..]), &data.codebooks);
    for fact in facts {
        let mse = match fact["name"].as_str().unwrap_or_default() {
            "encode nf4, group 64" => {
                let encoding = Encoding { bit_width, grouping, scales, codebooks };
                Some(must(backend.distortion(data.matrix(), &encoding, &results.packed)).mse())
            }
            "W2 rows, 16 levels" => results.fitted.as_ref().map(|fitted| weighted_mse(data, fitted)),
            "quantize nf4, whole" => results.whole_mse,
            name => results.vector_mse.get(name).copied(),
        };
        fact["mse"] = json!(mse);
    }
}

/// Σ w (x − nearest level)² / Σ w over the fitted rows.
fn weighted_mse(data: &Data, fitted: &Codebooks) -> f64 {
    let (mut error, mut weight) = (0.0, 0.0);
    for row in 0..fitted.count() {
        let (thresholds, levels) = (fitted.thresholds(row), fitted.levels(row));
        for index in row * COLUMNS..(row + 1) * COLUMNS {
            let (x, w) = (data.samples[index], f64::from(data.weights[index]));
            let level = levels[thresholds.partition_point(|&t| t < x)];
            error += w * (f64::from(x) - f64::from(level)).powi(2);
            weight += w;
        }
    }
    error / weight
}
