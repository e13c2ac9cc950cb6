//! Codes of all samples, packed row by row.
//!
//! code = #{k : x > flush(t_k · s)}; for a negative scale both x and s are negated, and a zero scale counts as 1.
//! Thresholds ascend, so counting and searching agree. Class: exact.

#[cfg(target_arch = "x86_64")]
mod avx512;

use crate::level::Level;
use crate::samples::load;
use crate::work::{Region, TILE, regions, runs, split_mut, tiles};
use crate::{Cpu, codes::pack};
use quant_core::backend::Encoding;
use quant_core::tensor::{Matrix, flush};
use rayon::prelude::*;
use std::ops::Range;

/// Up to this many thresholds are counted, which vectorises; beyond it a search takes fewer steps.
const COUNTED_MAX: usize = 15;

pub(crate) fn encode(cpu: &Cpu, matrix: Matrix<'_>, encoding: &Encoding<'_>, packed: &mut [u8]) {
    encoding.assert_consistent();
    assert_eq!(packed.len(), encoding.codes_len_bytes(), "room for every row");
    let regions = regions(matrix.rows(), matrix.columns(), cpu.chunk_len, 8);
    let len_bytes = |region: &Region| region.rows.len() * encoding.bit_width.row_len_bytes(region.columns.len());
    let parts = split_mut(packed, regions.iter().map(len_bytes));
    cpu.pool.install(|| {
        regions
            .par_iter()
            .zip(parts)
            .for_each(|(region, part)| encode_region(cpu.level, matrix, encoding, region, part));
    });
}

fn encode_region(level: Level, matrix: Matrix<'_>, encoding: &Encoding<'_>, region: &Region, packed: &mut [u8]) {
    let row_len = encoding.bit_width.row_len_bytes(region.columns.len());
    let mut codes = [0; TILE];
    for (row, packed) in region.rows.clone().zip(packed.chunks_exact_mut(row_len)) {
        let mut rest = packed;
        for columns in tiles(region.columns.clone()) {
            let (bytes, after) = rest.split_at_mut(encoding.bit_width.row_len_bytes(columns.len()));
            rest = after;
            let codes = &mut codes[..columns.len()];
            level.vectorize(
                #[inline(always)]
                || {
                    encode_tile(level, matrix, encoding, row, columns, codes);
                    pack(codes, encoding.bit_width, bytes);
                },
            );
        }
    }
}

#[inline(always)]
fn encode_tile(
    level: Level,
    matrix: Matrix<'_>,
    encoding: &Encoding<'_>,
    row: usize,
    columns: Range<usize>,
    codes: &mut [u8],
) {
    #[cfg(target_arch = "x86_64")]
    if level.has_avx512() {
        // SAFETY: the level was proved available when it was made.
        return unsafe { avx512::encode_tile(level, matrix, encoding, row, columns, codes) };
    }
    encode_tile_portable(level, matrix, encoding, row, columns, codes);
}

#[inline(always)]
fn encode_tile_portable(
    level: Level,
    matrix: Matrix<'_>,
    encoding: &Encoding<'_>,
    row: usize,
    columns: Range<usize>,
    codes: &mut [u8],
) {
    let thresholds = encoding.codebooks.thresholds(encoding.codebooks.index_of_row(row));
    let (mut tile, mut scaled) = ([0.0; TILE], [0.0; 255]);
    let scaled = &mut scaled[..thresholds.len()];
    let tile = &mut tile[..columns.len()];
    load(level, matrix.samples(), row * matrix.columns() + columns.start, tile);
    let left = columns.start;
    for (run, group) in runs(encoding.grouping, row, columns) {
        let samples = &mut tile[run.start - left..run.end - left];
        match encoding.scales {
            None => scaled.copy_from_slice(thresholds),
            Some(scales) => scale_thresholds(thresholds, scales[group], samples, scaled),
        }
        encode_run(samples, scaled, &mut codes[run.start - left..run.end - left]);
    }
}

#[inline(always)]
fn scale_thresholds(thresholds: &[f32], scale: f32, samples: &mut [f32], scaled: &mut [f32]) {
    if scale < 0.0 {
        samples.iter_mut().for_each(|x| *x = -*x);
    }
    let magnitude = if scale == 0.0 { 1.0 } else { scale.abs() };
    scaled.iter_mut().zip(thresholds).for_each(|(to, t)| *to = flush(t * magnitude));
}

#[inline(always)]
fn encode_run(samples: &[f32], thresholds: &[f32], codes: &mut [u8]) {
    if thresholds.len() > COUNTED_MAX {
        let search = |x: f32| thresholds.partition_point(|&t| t < x) as u8;
        codes.iter_mut().zip(samples).for_each(|(code, &x)| *code = search(x));
        return;
    }
    let ((x16, x_rest), (c16, c_rest)) = (samples.as_chunks::<16>(), codes.as_chunks_mut::<16>());
    for (codes, samples) in c16.iter_mut().zip(x16) {
        let mut counts = [0i32; 16];
        for &t in thresholds {
            counts.iter_mut().zip(samples).for_each(|(n, &x)| *n += i32::from(x > t));
        }
        codes.iter_mut().zip(counts).for_each(|(code, n)| *code = n as u8);
    }
    let count = |x: f32| thresholds.iter().filter(|&&t| x > t).count() as u8;
    c_rest.iter_mut().zip(x_rest).for_each(|(code, &x)| *code = count(x));
}
