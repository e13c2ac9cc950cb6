//! Count and fixed-point sum of the samples of each cell of a codebook.
//!
//! The cells of a tile of samples are found side by side; then each sample is one addition to a small table. Class: exact.

use crate::Cpu;
use crate::samples::load;
use crate::work::{TILE, chunks};
use quant_core::design::{BinSums, fixed_point};
use quant_core::tensor::Samples;
use rayon::prelude::*;

/// Up to this many thresholds are compared one by one, which vectorises.
const COMPARED_MAX: usize = 32;

pub(crate) fn cell_statistics(cpu: &Cpu, samples: Samples<'_>, thresholds: &[f32], fraction_bits: i32) -> BinSums {
    let part = |range: std::ops::Range<usize>| {
        let (mut tile, mut cells, mut fixed) = ([0.0; TILE], [0u32; TILE], [0i64; TILE]);
        let mut sums = BinSums::of(thresholds.len() + 1);
        for range in chunks(range, TILE) {
            let tile = &mut tile[..range.len()];
            let cells = &mut cells[..range.len()];
            cpu.level.vectorize(
                #[inline(always)]
                || {
                    load(cpu.level, samples, range.start, tile);
                    find_cells(thresholds, tile, cells);
                    fixed.iter_mut().zip(&*tile).for_each(|(to, &x)| *to = fixed_point(x, fraction_bits));
                },
            );
            for (&cell, &fixed) in cells.iter().zip(&fixed) {
                sums.counts[cell as usize] += 1;
                sums.sums[cell as usize] += fixed;
            }
        }
        sums
    };
    let ranges: Vec<_> = chunks(0..samples.len(), cpu.chunk_len).collect();
    let parts: Vec<BinSums> = cpu.pool.install(|| ranges.into_par_iter().map(part).collect());
    parts.iter().fold(BinSums::of(thresholds.len() + 1), |mut sums, part| {
        sums.merge(part);
        sums
    })
}

#[inline(always)]
fn find_cells(thresholds: &[f32], tile: &[f32], cells: &mut [u32]) {
    if thresholds.len() > COMPARED_MAX {
        let cell = |x: f32| thresholds.partition_point(|&t| t < x) as u32;
        cells.iter_mut().zip(tile).for_each(|(to, &x)| *to = cell(x));
        return;
    }
    cells.fill(0);
    for &threshold in thresholds {
        cells.iter_mut().zip(tile).for_each(|(to, &x)| *to += u32::from(x > threshold));
    }
}
