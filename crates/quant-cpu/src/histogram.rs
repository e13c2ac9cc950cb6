//! Counts and fixed-point sums over equal bins.
//!
//! bin = ⌊fl(fl(x − low) · inverse_width)⌋ clamped to the bins; sum += ⌊x · 2^fraction_bits⌉. Class: exact.

use crate::Cpu;
use crate::samples::{load, normalise};
use crate::work::{Region, TILE, regions, tiles};
use quant_core::design::{BinSums, Bins};
use quant_core::grouping::Grouping;
use quant_core::tensor::Matrix;
use rayon::prelude::*;

pub(crate) fn histogram(
    cpu: &Cpu,
    matrix: Matrix<'_>,
    normalisation: Option<(Grouping, &[f32])>,
    bins: &Bins,
) -> BinSums {
    // One table per thread and per few chunks: a table may be larger than a chunk.
    let per_thread = matrix.len().div_ceil(cpu.thread_count());
    let regions = regions(matrix.rows(), matrix.columns(), per_thread.max(cpu.chunk_len), 1);
    let part = |region: Region| {
        let mut sums = BinSums::empty(bins);
        add_region(cpu, matrix, normalisation, bins, region, &mut sums);
        sums
    };
    let parts: Vec<_> = cpu.pool.install(|| regions.into_par_iter().map(part).collect());
    parts.iter().fold(BinSums::empty(bins), |mut sums, part| {
        sums.merge(part);
        sums
    })
}

fn add_region(
    cpu: &Cpu,
    matrix: Matrix<'_>,
    normalisation: Option<(Grouping, &[f32])>,
    bins: &Bins,
    region: Region,
    sums: &mut BinSums,
) {
    let mut tile = [0.0; TILE];
    for row in region.rows {
        for columns in tiles(region.columns.clone()) {
            let tile = &mut tile[..columns.len()];
            let start = row * matrix.columns() + columns.start;
            cpu.level.vectorize(
                #[inline(always)]
                || {
                    load(cpu.level, matrix.samples(), start, tile);
                    normalise(tile, row, columns, normalisation);
                },
            );
            tile.iter().for_each(|&x| sums.add(bins, x));
        }
    }
}
