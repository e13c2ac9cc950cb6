//! level · scale of all codes.
//!
//! y = flush(fl(level · s)), then rounded to the number format, ties to even. A code beyond the last level counts as
//! the last. Class: ≤ 1 ULP, expected 0.

#[cfg(target_arch = "x86_64")]
mod avx512;

use crate::codes::unpack;
use crate::work::{Region, TILE, regions, runs, split_mut, tiles};
use crate::{Cpu, level::Level};
use half::{bf16, f16, slice::HalfFloatSliceExt};
use quant_core::backend::{Encoding, SamplesMut};
use quant_core::tensor::{Dtype, flush};
use rayon::prelude::*;
use std::ops::Range;

pub(crate) fn decode(cpu: &Cpu, packed: &[u8], encoding: &Encoding<'_>, samples: &mut SamplesMut<'_>) {
    encoding.assert_consistent();
    assert_eq!(packed.len(), encoding.codes_len_bytes(), "every row is there");
    match samples {
        SamplesMut::F32(to) => decode_to(cpu, packed, encoding, to),
        SamplesMut::F16(to) => decode_to(cpu, packed, encoding, to),
        SamplesMut::Bf16(to) => decode_to(cpu, packed, encoding, to),
    }
}

/// A number format that f32 values are rounded to.
pub(crate) trait Stored: bytemuck::Pod + Send {
    /// The number format.
    const DTYPE: Dtype;

    /// Rounds to nearest, ties to even.
    fn store(values: &[f32], to: &mut [Self]);
}

impl Stored for f32 {
    const DTYPE: Dtype = Dtype::F32;

    #[inline(always)]
    fn store(values: &[f32], to: &mut [Self]) {
        to.copy_from_slice(values);
    }
}

impl Stored for f16 {
    const DTYPE: Dtype = Dtype::F16;

    #[inline(always)]
    fn store(values: &[f32], to: &mut [Self]) {
        to.convert_from_f32_slice(values);
    }
}

impl Stored for bf16 {
    const DTYPE: Dtype = Dtype::Bf16;

    // No decoded value is NaN, the one case that this rounding does not cover.
    #[inline(always)]
    fn store(values: &[f32], to: &mut [Self]) {
        let round = |x: f32| (x.to_bits() + 0x7fff + (x.to_bits() >> 16 & 1)) >> 16;
        to.iter_mut().zip(values).for_each(|(to, &x)| *to = Self::from_bits(round(x) as u16));
    }
}

fn decode_to<T: Stored>(cpu: &Cpu, packed: &[u8], encoding: &Encoding<'_>, samples: &mut [T]) {
    let grouping = encoding.grouping;
    assert_eq!(samples.len(), grouping.rows() * grouping.columns(), "room for every sample");
    let regions = regions(grouping.rows(), grouping.columns(), cpu.chunk_len, 8);
    let parts = split_mut(samples, regions.iter().map(|r| r.rows.len() * r.columns.len()));
    cpu.pool.install(|| {
        regions
            .par_iter()
            .zip(parts)
            .for_each(|(region, part)| decode_region(cpu.level, packed, encoding, region, part));
    });
}

fn decode_region<T: Stored>(level: Level, packed: &[u8], encoding: &Encoding<'_>, region: &Region, samples: &mut [T]) {
    let (mut codes, mut tile) = ([0; TILE], [0.0; TILE]);
    for (row, samples) in region.rows.clone().zip(samples.chunks_exact_mut(region.columns.len())) {
        for (columns, to) in tiles(region.columns.clone()).zip(samples.chunks_mut(TILE)) {
            let (codes, tile) = (&mut codes[..to.len()], &mut tile[..to.len()]);
            level.vectorize(
                #[inline(always)]
                || {
                    if !decode_directly(level, packed, encoding, row, columns.clone(), codes, to) {
                        decode_tile(level, packed, encoding, row, columns, codes, tile);
                        T::store(tile, to);
                    }
                },
            );
        }
    }
}

/// Decodes without an f32 tile in between, where there is a kernel for it.
#[inline(always)]
fn decode_directly<T: Stored>(
    level: Level,
    packed: &[u8],
    encoding: &Encoding<'_>,
    row: usize,
    columns: Range<usize>,
    codes: &mut [u8],
    to: &mut [T],
) -> bool {
    #[cfg(target_arch = "x86_64")]
    if level.has_avx512() && T::DTYPE == Dtype::F32 {
        // SAFETY: the level was proved available when it was made.
        unsafe { avx512::decode_tile(packed, encoding, row, columns, codes, bytemuck::cast_slice_mut(to)) };
        return true;
    } else if level.has_avx512() && encoding.bit_width.bits() <= 4 {
        // SAFETY: the level was proved available when it was made.
        unsafe { avx512::decode_tile_u16(packed, encoding, row, columns, codes, to) };
        return true;
    }
    let _ = (level, packed, encoding, row, columns, codes, to);
    false
}

/// Unpacks and decodes columns `columns` of `row` to f32; the first is a multiple of 8.
#[inline(always)]
pub(crate) fn decode_tile(
    level: Level,
    packed: &[u8],
    encoding: &Encoding<'_>,
    row: usize,
    columns: Range<usize>,
    codes: &mut [u8],
    tile: &mut [f32],
) {
    #[cfg(target_arch = "x86_64")]
    if level.has_avx512() {
        // SAFETY: the level was proved available when it was made.
        return unsafe { avx512::decode_tile(packed, encoding, row, columns, codes, tile) };
    }
    let _ = level;
    decode_tile_portable(packed, encoding, row, columns, codes, tile);
}

#[inline(always)]
fn decode_tile_portable(
    packed: &[u8],
    encoding: &Encoding<'_>,
    row: usize,
    columns: Range<usize>,
    codes: &mut [u8],
    tile: &mut [f32],
) {
    let levels = encoding.codebooks.levels(encoding.codebooks.index_of_row(row));
    let row_len = encoding.row_len_bytes();
    unpack(&packed[row * row_len..][..row_len], encoding.bit_width, columns.start, codes);
    let last = (levels.len() - 1).min(255) as u8;
    tile.iter_mut().zip(&*codes).for_each(|(y, &code)| *y = levels[usize::from(code.min(last))]);
    if let Some(scales) = encoding.scales {
        let left = columns.start;
        for (run, group) in runs(encoding.grouping, row, columns) {
            let scale = scales[group];
            tile[run.start - left..run.end - left].iter_mut().for_each(|y| *y = flush(*y * scale));
        }
    }
}
