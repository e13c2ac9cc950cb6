//! The arithmetic of a decoder in f32: products, norms, softmax. Rows are tokens.

use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, Par};
use rayon::prelude::*;

/// Rows of a work item: long enough for the product's kernel, short enough to share among threads.
const ROWS: usize = 64;

/// `rows × inner` times the transpose of `outputs × inner`: x Wᵀ, over all threads.
pub fn product(x: &[f32], w: &[f32], inner: usize) -> Vec<f32> {
    let (rows, outputs) = (x.len() / inner, w.len() / inner);
    let mut out = vec![0.0; rows * outputs];
    let weights = MatRef::from_row_major_slice(w, outputs, inner);
    out.par_chunks_mut(ROWS * outputs).zip(x.par_chunks(ROWS * inner)).for_each(|(out, x)| {
        let rows = x.len() / inner;
        let target = MatMut::from_row_major_slice_mut(out, rows, outputs);
        let x = MatRef::from_row_major_slice(x, rows, inner);
        matmul(target, Accum::Replace, x, weights.transpose(), 1.0, Par::Seq);
    });
    out
}

/// A view of `columns` columns from `start` on of rows of `width` samples.
pub fn columns(rows: &[f32], width: usize, start: usize, columns: usize) -> MatRef<'_, f32> {
    let count = rows.len() / width;
    MatRef::from_row_major_slice(rows, count, width).subcols(start, columns)
}

/// Adds `bias` to every row.
pub fn add_bias(rows: &mut [f32], bias: &[f32]) {
    rows.chunks_exact_mut(bias.len()).for_each(|row| row.iter_mut().zip(bias).for_each(|(x, b)| *x += b));
}

/// Adds `other` to `rows`.
pub fn add(rows: &mut [f32], other: &[f32]) {
    rows.iter_mut().zip(other).for_each(|(x, y)| *x += y);
}

/// RMSNorm (Zhang and Sennrich 2019): x·gain/√(mean x² + ε), for every row.
pub fn rms_norm(rows: &mut [f32], gain: &[f32], epsilon: f32) {
    rows.par_chunks_exact_mut(gain.len()).for_each(|row| {
        let mean = row.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>() / row.len() as f64;
        let scale = (1.0 / (mean + f64::from(epsilon)).sqrt()) as f32;
        row.iter_mut().zip(gain).for_each(|(x, g)| *x *= scale * g);
    });
}

/// SwiGLU: gate → silu(gate)·up, with silu(x) = x/(1 + e^−x).
pub fn gate(gate: &mut [f32], up: &[f32]) {
    gate.par_chunks_mut(1 << 14).zip(up.par_chunks(1 << 14)).for_each(|(gate, up)| {
        gate.iter_mut().zip(up).for_each(|(g, u)| *g = *g / (1.0 + (-*g).exp()) * u);
    });
}

/// Softmax of one row, in place.
pub fn softmax(row: &mut [f32]) {
    let most = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut sum = 0.0;
    for x in row.iter_mut() {
        *x = (*x - most).exp();
        sum += *x;
    }
    let inverse = 1.0 / sum;
    row.iter_mut().for_each(|x| *x *= inverse);
}

/// ln Σ eˣ of one row.
pub fn log_sum_exp(row: &[f32]) -> f64 {
    let most = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    // Partial sums in f32 keep the loop in vectors; 256 terms of at most 1 lose less than 1e-5.
    let part = |part: &[f32]| f64::from(part.iter().map(|x| (x - most).exp()).sum::<f32>());
    f64::from(most) + row.chunks(256).map(part).sum::<f64>().ln()
}
