//! Which verbs does a backend have, and what is promised of each?

use quant_core::backend::Backend;
use quant_core::codebook::Codebooks;
use quant_core::conformance::cases::Noise;
use quant_core::conformance::{self, compare};
use quant_core::design::normal_float::NF4_LEVELS;
use quant_core::design::optimal::fit_levels;
use quant_core::grouping::{GroupLength, Grouping};
use quant_core::quantize::{Quantized, quantize};
use quant_core::recipe::Recipe;
use quant_core::reference::Reference;
use quant_core::scale::ScaleSearch;
use quant_core::tensor::{Matrix, Samples};
use quant_gpu::Gpu;

/// A verb of the backend contract.
#[derive(Clone, Copy, Debug)]
pub struct Verb {
    /// Its name, which is the kernel's.
    pub name: &'static str,
    /// Its parity class.
    pub class: &'static str,
    /// Its cases: panics where a backend differs from the reference.
    pub run: fn(&[Gpu]),
}

/// All verbs, and whole recipes last.
pub const VERBS: &[Verb] = &[
    Verb { name: "first_not_finite", class: "exact", run: conformance::first_not_finite },
    Verb { name: "absmax_scales", class: "exact", run: conformance::absmax_scales },
    Verb { name: "search_scales", class: "exact", run: conformance::search_scales },
    Verb { name: "search_long", class: "exact", run: search_long },
    Verb { name: "encode", class: "exact", run: conformance::encode },
    Verb { name: "encode_on_thresholds", class: "exact", run: conformance::encode_on_thresholds },
    Verb { name: "decode", class: "<= 1 ULP", run: conformance::decode },
    Verb { name: "distortion", class: "bounded sum", run: conformance::distortion },
    Verb { name: "value_histogram", class: "exact", run: conformance::value_histogram },
    Verb { name: "histogram", class: "exact", run: conformance::histogram },
    Verb { name: "cell_statistics", class: "exact", run: conformance::cell_statistics },
    Verb { name: "gather", class: "exact", run: conformance::gather },
    Verb { name: "fit_rows", class: "exact", run: conformance::fit_rows },
    Verb { name: "fit_rows_batched", class: "trajectory", run: fit_rows_batched },
    Verb { name: "nearest_codevectors", class: "regret", run: conformance::vector_cells },
    Verb { name: "hadamard", class: "bounded product", run: conformance::hadamard },
    Verb { name: "block_transform", class: "bounded product", run: conformance::block_transform },
    Verb { name: "recipes", class: "exact", run: recipes },
];

/// Scale search over groups longer than a workgroup's memory has room for; outliers make the last candidates the best.
fn search_long(gpus: &[Gpu]) {
    let mut noise = Noise(4);
    let mut samples: Vec<f32> = (0..2 * 6000).map(|_| noise.normal()).collect();
    (samples[77], samples[11_999]) = (40.0, -40.0);
    let matrix = Matrix::new(Samples::F32(&samples), 2, 6000).expect("whole rows");
    let codebooks = Codebooks::from_levels(16, [NF4_LEVELS]);
    for length in [GroupLength::Row, GroupLength::Tensor] {
        let grouping = Grouping::new(2, 6000, length);
        let search = ScaleSearch::new(&codebooks, length, true);
        let mut expected = vec![f32::NAN; grouping.group_count()];
        let Ok(()) = Reference.search_scales(matrix, grouping, &search, &mut expected);
        for gpu in gpus {
            let mut scales = vec![f32::NAN; grouping.group_count()];
            gpu.search_scales(matrix, grouping, &search, &mut scales).expect("the device works");
            compare::exact_values(&scales, &expected, &format!("{length:?}"));
        }
    }
}

/// Distortion within 1e-6 of the optimum, on rows short enough for a check; in half of them the samples are about two
/// places, so that borders jump.
fn fit_rows_batched(gpus: &[Gpu]) {
    const COLUMNS: usize = 600;
    let mut noise = Noise(3);
    let mut samples: Vec<f32> = (0..8 * COLUMNS).map(|_| noise.normal()).collect();
    samples[4 * COLUMNS..].iter_mut().step_by(2).for_each(|x| *x += 50.0);
    let weights: Vec<f32> = samples.iter().map(|_| noise.normal().powi(2)).collect();
    let matrix = Matrix::new(Samples::F32(&samples), 8, COLUMNS).expect("whole rows");
    for gpu in gpus {
        let found = gpu.fit_rows_batched(matrix, None, Some(&weights), 8).expect("the device works");
        for (row, samples) in samples.chunks(COLUMNS).enumerate() {
            let weights = &weights[row * COLUMNS..][..COLUMNS];
            let best = cost(samples, weights, &fit_levels(samples, Some(weights), 8));
            let excess = cost(samples, weights, found.levels(row)) / best - 1.0;
            assert!(excess <= 1e-6, "row {row}: {excess:e} above the optimum");
        }
    }
}

/// Σ w (x − nearest level)².
fn cost(samples: &[f32], weights: &[f32], levels: &[f32]) -> f64 {
    let nearest = |x: f32| levels.iter().map(|&y| (f64::from(x) - f64::from(y)).powi(2)).fold(f64::MAX, f64::min);
    samples.iter().zip(weights).map(|(&x, &w)| f64::from(w) * nearest(x)).sum()
}

/// Codes, scales and levels of whole recipes.
fn recipes(gpus: &[Gpu]) {
    let mut noise = Noise(5);
    let samples: Vec<f32> = (0..24 * 200).map(|_| noise.normal().powi(3)).collect();
    let matrix = Matrix::new(Samples::F32(&samples), 24, 200).expect("whole rows");
    for name in ["nf4", "nf3", "fp4", "int4", "int8", "lloyd4", "lloyd3", "kmeans4-row", "kmeans3-row"] {
        let recipe = Recipe::preset(name).expect("a preset");
        let expected = quantize(&Reference, matrix, &recipe).expect("finite samples");
        for gpu in gpus {
            same(&quantize(gpu, matrix, &recipe).expect("the device works"), &expected, name);
        }
    }
}

fn same(found: &Quantized, expected: &Quantized, place: &str) {
    compare::exact_values(found.codebooks.all_levels(), expected.codebooks.all_levels(), place);
    compare::exact_values(
        found.scales.as_deref().unwrap_or_default(),
        expected.scales.as_deref().unwrap_or_default(),
        place,
    );
    compare::exact(&found.packed, &expected.packed, place);
}
