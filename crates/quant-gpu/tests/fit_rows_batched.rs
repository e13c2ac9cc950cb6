//! How far are batched codebooks from the optimum?

use quant_core::codebook::Codebooks;
use quant_core::conformance::cases::{DTYPES, Noise, inputs};
use quant_core::design::optimal::fit_levels;
use quant_core::tensor::{Matrix, Samples};
use quant_gpu::{Gpu, GpuOptions};

/// Σ w (x − nearest level)².
fn cost(samples: &[f32], weights: Option<&[f32]>, levels: &[f32]) -> f64 {
    let nearest = |x: f32| levels.iter().map(|&y| (f64::from(x) - f64::from(y)).powi(2)).fold(f64::MAX, f64::min);
    let weight = |i: usize| weights.map_or(1.0, |w| f64::from(w[i]));
    samples.iter().enumerate().map(|(i, &x)| weight(i) * nearest(x)).sum()
}

fn gpu() -> Gpu {
    Gpu::new(GpuOptions::default()).expect("an adapter, if only a software one")
}

/// The excess over the optimum of each row, relative.
fn excesses(gpu: &Gpu, samples: &[f32], columns: usize, weights: Option<&[f32]>, level_count: usize) -> Vec<f64> {
    let matrix = Matrix::new(Samples::F32(samples), samples.len() / columns, columns).expect("whole rows");
    let found = gpu.fit_rows_batched(matrix, None, weights, level_count).expect("the device works");
    let excess = |(row, samples): (usize, &[f32])| {
        let weights = weights.map(|w| &w[row * columns..][..columns]);
        let best = cost(samples, weights, &fit_levels(samples, weights, level_count));
        (cost(samples, weights, found.levels(row)) - best) / best.max(f64::MIN_POSITIVE)
    };
    samples.chunks(columns).enumerate().map(excess).collect()
}

/// W2 of the standing workloads, on fewer rows: N(0, 1), weights χ² of one degree.
#[test]
fn rows_are_nearly_optimal() {
    const ROWS: usize = if cfg!(debug_assertions) { 32 } else { 256 };
    let gpu = gpu();
    for (columns, weighted, level_count) in
        [(4096, true, 8), (4096, true, 16), (4096, false, 16), (576, false, 16), (1000, false, 8)]
    {
        let mut noise = Noise(columns as u64 + level_count as u64);
        let samples: Vec<f32> = (0..ROWS * columns).map(|_| noise.normal()).collect();
        let weights: Vec<f32> = samples.iter().map(|_| noise.normal().powi(2)).collect();
        let mut excesses = excesses(&gpu, &samples, columns, weighted.then_some(&weights[..]), level_count);
        excesses.sort_by(f64::total_cmp);
        let within = excesses.iter().filter(|&&e| e <= 1e-6).count();
        let worst = excesses[ROWS - 1];
        println!(
            "{columns} columns, weighted {weighted}, {level_count} levels: {within} of {ROWS} rows within 1e-6, worst {worst:e}"
        );
        assert!(within * 100 >= ROWS * 99, "{within} of {ROWS} rows within 1e-6");
        assert!(worst <= 1e-3, "{worst:e}");
    }
}

#[test]
fn hard_rows_are_fitted_too() {
    let gpu = gpu();
    for input in inputs() {
        for dtype in DTYPES {
            let matrix = input.stored(dtype);
            let found = gpu.fit_rows_batched(matrix.matrix(), None, None, 4).expect("the device works");
            for row in 0..matrix.rows() {
                let samples: Vec<f32> =
                    (0..matrix.columns()).map(|i| matrix.samples().get(row * matrix.columns() + i)).collect();
                let exact = Codebooks::from_levels(4, [fit_levels(&samples, None, 4)]);
                let best = cost(&samples, None, exact.levels(0));
                let energy: f64 = samples.iter().map(|&x| f64::from(x).powi(2)).sum();
                let excess = cost(&samples, None, found.levels(row)) - best;
                // Samples are integers of 24 bits: of rows that few levels fit exactly, their rounding is what is left.
                let bound = 1e-3 * best + energy * 2f64.powi(-44);
                assert!(excess <= bound, "{matrix}, row {row}: {excess:e} above {best:e}, {bound:e} allowed");
            }
        }
    }
}
