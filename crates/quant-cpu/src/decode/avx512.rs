//! Decoding in AVX-512 registers.
//!
//! The 16 levels of codes of up to 4 bits are scaled, flushed and rounded to the number format once per group; a code
//! then selects one of them by a permutation. Levels of wider codes are gathered and scaled one by one.

use super::Stored;
use crate::avx512::{load_padded, load_u8_16, load_u8_32, store_f32, store_u16};
use crate::codes::unpack;
use crate::work::runs;
use quant_core::backend::Encoding;
use quant_core::tensor::Dtype;
use std::arch::x86_64::*;
use std::ops::Range;

/// Decodes columns `columns` of `row` to f32; the first is a multiple of 8.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub(crate) fn decode_tile(
    packed: &[u8],
    encoding: &Encoding<'_>,
    row: usize,
    columns: Range<usize>,
    codes: &mut [u8],
    tile: &mut [f32],
) {
    unpack_columns(packed, encoding, row, columns.clone(), codes);
    let levels = encoding.codebooks.levels(encoding.codebooks.index_of_row(row));
    let last = levels[levels.len() - 1];
    let mut table = [last; 256];
    let count = levels.len().min(256);
    table[..count].copy_from_slice(&levels[..count]);
    let first_levels = load_padded(&levels[..levels.len().min(16)], last);
    let left = columns.start;
    for (run, group) in runs(encoding.grouping, row, columns) {
        let run = run.start - left..run.end - left;
        let (codes, tile) = (&codes[run.clone()], &mut tile[run]);
        let scale = encoding.scales.map_or(1.0, |scales| scales[group]);
        if encoding.bit_width.bits() <= 4 {
            decode_permuted(codes, scaled(first_levels, scale), tile);
        } else {
            decode_gathered(codes, &table, scale, tile);
        }
    }
}

/// The same to a 16-bit format, for codes of up to 4 bits.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub(super) fn decode_tile_u16<T: Stored>(
    packed: &[u8],
    encoding: &Encoding<'_>,
    row: usize,
    columns: Range<usize>,
    codes: &mut [u8],
    tile: &mut [T],
) {
    unpack_columns(packed, encoding, row, columns.clone(), codes);
    let levels = encoding.codebooks.levels(encoding.codebooks.index_of_row(row));
    let levels = load_padded(&levels[..levels.len().min(16)], levels[levels.len() - 1]);
    let tile: &mut [u16] = bytemuck::cast_slice_mut(tile);
    let left = columns.start;
    for (run, group) in runs(encoding.grouping, row, columns) {
        let run = run.start - left..run.end - left;
        let levels = scaled(levels, encoding.scales.map_or(1.0, |scales| scales[group]));
        let levels = if T::DTYPE == Dtype::F16 { rounded_f16(levels) } else { rounded_bf16(levels) };
        decode_permuted_u16(&codes[run.clone()], levels, &mut tile[run]);
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn unpack_columns(packed: &[u8], encoding: &Encoding<'_>, row: usize, columns: Range<usize>, codes: &mut [u8]) {
    let row_len = encoding.row_len_bytes();
    unpack(&packed[row * row_len..][..row_len], encoding.bit_width, columns.start, codes);
}

/// flush(level · scale). Levels are never subnormal, so a scale of 1 changes nothing.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn scaled(levels: __m512, scale: f32) -> __m512 {
    let product = _mm512_mul_ps(levels, _mm512_set1_ps(scale));
    let normal = _mm512_cmp_ps_mask::<_CMP_NLT_UQ>(_mm512_abs_ps(product), _mm512_set1_ps(f32::MIN_POSITIVE));
    _mm512_maskz_mov_ps(normal, product)
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn rounded_f16(levels: __m512) -> __m512i {
    _mm512_castsi256_si512(_mm512_cvtps_ph::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(levels))
}

/// To nearest, ties to even, by adding just less than half, and 1 more where the kept part is odd.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn rounded_bf16(levels: __m512) -> __m512i {
    let bits = _mm512_castps_si512(levels);
    let odd = _mm512_and_si512(_mm512_srli_epi32::<16>(bits), _mm512_set1_epi32(1));
    let rounded = _mm512_add_epi32(_mm512_add_epi32(bits, _mm512_set1_epi32(0x7fff)), odd);
    _mm512_castsi256_si512(_mm512_cvtepi32_epi16(_mm512_srli_epi32::<16>(rounded)))
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn decode_permuted(codes: &[u8], levels: __m512, tile: &mut [f32]) {
    let ((codes, code_rest), (tile, tile_rest)) = (codes.as_chunks::<16>(), tile.as_chunks_mut::<16>());
    let decoded = |codes: &[u8; 16]| _mm512_permutexvar_ps(_mm512_cvtepu8_epi32(load_u8_16(codes)), levels);
    for (codes, y) in codes.iter().zip(tile) {
        store_f32(y, decoded(codes));
    }
    if !code_rest.is_empty() {
        let (mut codes, mut y) = ([0; 16], [0.0; 16]);
        codes[..code_rest.len()].copy_from_slice(code_rest);
        store_f32(&mut y, decoded(&codes));
        tile_rest.copy_from_slice(&y[..code_rest.len()]);
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn decode_permuted_u16(codes: &[u8], levels: __m512i, tile: &mut [u16]) {
    let ((codes, code_rest), (tile, tile_rest)) = (codes.as_chunks::<32>(), tile.as_chunks_mut::<32>());
    let decoded = |codes: &[u8; 32]| _mm512_permutexvar_epi16(_mm512_cvtepu8_epi16(load_u8_32(codes)), levels);
    for (codes, y) in codes.iter().zip(tile) {
        store_u16(y, decoded(codes));
    }
    if !code_rest.is_empty() {
        let (mut codes, mut y) = ([0; 32], [0; 32]);
        codes[..code_rest.len()].copy_from_slice(code_rest);
        store_u16(&mut y, decoded(&codes));
        tile_rest.copy_from_slice(&y[..code_rest.len()]);
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn decode_gathered(codes: &[u8], table: &[f32; 256], scale: f32, tile: &mut [f32]) {
    let decoded = |codes: &[u8; 16]| {
        let codes = _mm512_cvtepu8_epi32(load_u8_16(codes));
        // SAFETY: a code is a byte and the table has 256 entries.
        scaled(unsafe { _mm512_i32gather_ps::<4>(codes, table.as_ptr()) }, scale)
    };
    let ((codes, code_rest), (tile, tile_rest)) = (codes.as_chunks::<16>(), tile.as_chunks_mut::<16>());
    for (codes, y) in codes.iter().zip(tile) {
        store_f32(y, decoded(codes));
    }
    if !code_rest.is_empty() {
        let (mut codes, mut y) = ([0; 16], [0.0; 16]);
        codes[..code_rest.len()].copy_from_slice(code_rest);
        store_f32(&mut y, decoded(&codes));
        tile_rest.copy_from_slice(&y[..code_rest.len()]);
    }
}
