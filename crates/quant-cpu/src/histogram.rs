//! Counts and fixed-point sums over bins; samples and sums by segments of bins.
//!
//! The bins of a tile of samples are found side by side, see [`Bins`]; then each sample is one addition to a table that
//! stays in the second-level cache. Class: exact; the f64 sums of [`gather`] bounded, in a fixed order for any threads.

use crate::Cpu;
use crate::samples::{load, normalise};
use crate::work::{Region, TILE, chunks, regions, tiles};
use quant_core::design::{BinSums, Bins, Gathered};
use quant_core::grouping::Grouping;
use quant_core::tensor::Matrix;
use rayon::prelude::*;

/// Tables per thread.
const PARTS_PER_THREAD: usize = 4;

/// Count and sum beside each other: one cache line, and one 128-bit addition, per sample.
type Table = Vec<[i64; 2]>;

pub(crate) fn histogram(
    cpu: &Cpu,
    matrix: Matrix<'_>,
    normalisation: Option<(Grouping, &[f32])>,
    bins: &Bins,
) -> BinSums {
    // A table may be larger than a chunk, so there are few: enough for a thread that is held up to be helped out.
    let few = matrix.len().div_ceil(PARTS_PER_THREAD * cpu.thread_count());
    let regions = regions(matrix.rows(), matrix.columns(), few.max(cpu.chunk_len), 1);
    let part = |region: Region| {
        let mut table = vec![[0; 2]; bins.count];
        add_region(cpu, matrix, normalisation, bins, region, &mut table);
        table
    };
    let parts: Vec<Table> = cpu.pool.install(|| regions.into_par_iter().map(part).collect());
    let mut sums = BinSums::empty(bins);
    for table in parts {
        for ((count, sum), part) in sums.counts.iter_mut().zip(&mut sums.sums).zip(table) {
            *count += part[0] as u64;
            *sum += part[1];
        }
    }
    sums
}

fn add_region(
    cpu: &Cpu,
    matrix: Matrix<'_>,
    normalisation: Option<(Grouping, &[f32])>,
    bins: &Bins,
    region: Region,
    table: &mut [[i64; 2]],
) {
    let (mut tile, mut indices, mut fixed) = ([0.0; TILE], [0u32; TILE], [0i64; TILE]);
    for row in region.rows {
        for columns in tiles(region.columns.clone()) {
            let len = columns.len();
            let tile = &mut tile[..len];
            let start = row * matrix.columns() + columns.start;
            cpu.level.vectorize(
                #[inline(always)]
                || {
                    load(cpu.level, matrix.samples(), start, tile);
                    normalise(tile, row, columns, normalisation);
                    find_bins(bins, tile, &mut indices);
                    fixed.iter_mut().zip(&*tile).for_each(|(to, &x)| *to = bins.fixed(x));
                },
            );
            count_tile(&indices[..len], &fixed, table);
        }
    }
}

fn count_tile(indices: &[u32], fixed: &[i64], table: &mut [[i64; 2]]) {
    for (&index, &fixed) in indices.iter().zip(fixed) {
        let [count, sum] = &mut table[index as usize];
        *count += 1;
        *sum += fixed;
    }
}

/// One loop for each kind of bins, so that each becomes SIMD.
#[inline(always)]
fn find_bins(bins: &Bins, tile: &[f32], indices: &mut [u32]) {
    if bins.mantissa_bits > 0 {
        let bins = Bins { mantissa_bits: bins.mantissa_bits.max(1), ..*bins };
        indices.iter_mut().zip(tile).for_each(|(to, &x)| *to = bins.index(x) as u32);
    } else {
        let bins = Bins { mantissa_bits: 0, ..*bins };
        indices.iter_mut().zip(tile).for_each(|(to, &x)| *to = bins.index(x) as u32);
    }
}

/// Samples of a part whose f64 sums are taken one after the other; parts are added in order.
const PART_LEN: usize = 1 << 16;

pub(crate) fn gather(cpu: &Cpu, matrix: Matrix<'_>, bins: &Bins, segments: &[u16], centre: f64) -> Gathered {
    assert_eq!(segments.len(), bins.count, "a segment for each bin");
    let last = segments[bins.count - 1];
    let part = |range: std::ops::Range<usize>| {
        let (mut tile, mut indices) = ([0.0; TILE], [0u32; TILE]);
        let mut gathered = Gathered::empty(last);
        for range in chunks(range, TILE) {
            let tile = &mut tile[..range.len()];
            cpu.level.vectorize(
                #[inline(always)]
                || {
                    load(cpu.level, matrix.samples(), range.start, tile);
                    find_bins(bins, tile, &mut indices);
                },
            );
            for (&x, &index) in tile.iter().zip(&indices) {
                gathered.add(segments[index as usize], x, centre);
            }
        }
        gathered
    };
    let ranges: Vec<_> = chunks(0..matrix.len(), PART_LEN).collect();
    let parts: Vec<Gathered> = cpu.pool.install(|| ranges.into_par_iter().map(part).collect());
    parts.iter().fold(Gathered::empty(last), |mut sums, part| {
        sums.merge(part);
        sums
    })
}
