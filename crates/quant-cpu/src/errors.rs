//! Errors of decoded samples, plain and weighted.
//!
//! Σ w·(x − y)² and Σ w·x² in f64, summed like those of [`crate::distortion`]: 16 lanes of a tile, lanes pairwise, tiles in
//! row-major order, so the sums are equal for all levels, chunks and thread counts. Class: bounded.

use crate::Cpu;
use crate::distortion::{LANES, TileSums, fold_lanes, sum_tile};
use crate::samples::load;
use crate::work::{Region, TILE, regions, tiles};
use quant_core::measure::Distortion;
use quant_core::reference::{assert_one_error_per_sample, row_weights};
use quant_core::sensitivity::WeightedError;
use quant_core::tensor::Matrix;
use rayon::prelude::*;

pub(crate) fn errors(
    cpu: &Cpu,
    matrix: Matrix<'_>,
    decoded: &[f32],
    weights: Option<&[f32]>,
) -> (Distortion, WeightedError) {
    assert_one_error_per_sample(matrix, decoded, weights);
    let regions = regions(matrix.rows(), matrix.columns(), cpu.chunk_len, TILE);
    let part = |region: &Region| measure_region(cpu, matrix, decoded, weights, region);
    let parts: Vec<_> = cpu.pool.install(|| regions.par_iter().map(part).collect());
    let (mut sums, mut weighted) = (Distortion::empty(0), WeightedError::default());
    sums.sample_count = matrix.len() as u64;
    for (tile, tile_weighted) in parts.iter().flatten() {
        tile.add_to(&mut sums);
        weighted.merge(tile_weighted);
    }
    (sums, weighted)
}

fn measure_region(
    cpu: &Cpu,
    matrix: Matrix<'_>,
    decoded: &[f32],
    weights: Option<&[f32]>,
    region: &Region,
) -> Vec<(TileSums, WeightedError)> {
    let columns = matrix.columns();
    let mut x = [0.0; TILE];
    let mut sums = Vec::new();
    for row in region.rows.clone() {
        let weights = row_weights(weights, row, columns);
        for tile in tiles(region.columns.clone()) {
            let x = &mut x[..tile.len()];
            let start = row * columns + tile.start;
            let y = &decoded[start..start + tile.len()];
            sums.push(cpu.level.vectorize(
                #[inline(always)]
                || {
                    load(cpu.level, matrix.samples(), start, x);
                    let weighted = weights.map(|w| weighted_tile(x, y, &w[tile]));
                    (sum_tile(x, y), weighted.unwrap_or_default())
                },
            ));
        }
    }
    sums
}

#[inline(always)]
fn weighted_tile(x: &[f32], y: &[f32], weights: &[f32]) -> WeightedError {
    let mut lanes = [[0.0f64; LANES]; 2];
    for ((x, y), w) in x.chunks(LANES).zip(y.chunks(LANES)).zip(weights.chunks(LANES)) {
        match (x.first_chunk(), y.first_chunk(), w.first_chunk()) {
            (Some(x), Some(y), Some(w)) => add_lanes(x, y, w, &mut lanes),
            _ => {
                let (mut x_last, mut y_last, mut w_last) = ([0.0; LANES], [0.0; LANES], [0.0; LANES]);
                x_last[..x.len()].copy_from_slice(x);
                y_last[..y.len()].copy_from_slice(y);
                w_last[..w.len()].copy_from_slice(w);
                add_lanes(&x_last, &y_last, &w_last, &mut lanes);
            }
        }
    }
    let sum = |a, b| a + b;
    WeightedError { squared_error: fold_lanes(lanes[0], sum), energy: fold_lanes(lanes[1], sum) }
}

#[inline(always)]
fn add_lanes(
    x: &[f32; LANES],
    y: &[f32; LANES],
    weights: &[f32; LANES],
    [squared_error, energy]: &mut [[f64; LANES]; 2],
) {
    for i in 0..LANES {
        let (x, y, weight) = (f64::from(x[i]), f64::from(y[i]), f64::from(weights[i]));
        let error = x - y;
        squared_error[i] += weight * (error * error);
        energy[i] += weight * (x * x);
    }
}
