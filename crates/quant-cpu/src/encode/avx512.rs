//! Encoding in AVX-512 registers.
//!
//! Up to 15 thresholds lie in one register; a binary search takes two comparisons with broadcasts and two with
//! permuted thresholds. Samples of 16 bits are compared as integers, 32 at a time: sign and magnitude become
//! two's complement, and a threshold becomes the largest value of the number format that is not above it, so
//! x > t keeps its truth. More thresholds are searched in sixteenths first, then with gathers.
//!
//! Samples need no flush: a scaled threshold that flushes to 0 is replaced by the largest subnormal, and what exceeds
//! that is exactly what exceeds 0 after flushing. Thresholds of other magnitudes separate the same samples either way.

use crate::avx512::{load_f32, load_padded, load_u16, store_u8_16, store_u8_32};
use crate::level::Level;
use crate::samples::load;
use crate::work::{TILE, runs};
use quant_core::backend::Encoding;
use quant_core::tensor::{Matrix, Samples};
use std::arch::x86_64::*;
use std::ops::Range;

const LARGEST_SUBNORMAL: f32 = f32::MIN_POSITIVE.next_down();

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub(super) fn encode_tile(
    level: Level,
    matrix: Matrix<'_>,
    encoding: &Encoding<'_>,
    row: usize,
    columns: Range<usize>,
    codes: &mut [u8],
) {
    let thresholds = encoding.codebooks.thresholds(encoding.codebooks.index_of_row(row));
    let left = columns.start;
    let start = row * matrix.columns() + left;
    let samples = matrix.samples().slice(start..start + columns.len());
    if thresholds.len() > 15 {
        return encode_tile_wide(level, samples, encoding, row, columns, thresholds, codes);
    }
    let thresholds = load_padded(thresholds, f32::INFINITY);
    for (run, group) in runs(encoding.grouping, row, columns) {
        let run = run.start - left..run.end - left;
        let scale = encoding.scales.map_or(1.0, |scales| scales[group]);
        let scaled = scale_thresholds(thresholds, scale);
        let codes = &mut codes[run.clone()];
        match samples {
            Samples::F32(s) => encode_f32(&s[run], scale, scaled, codes),
            Samples::F16(s) => encode_u16(bytemuck::cast_slice(&s[run]), scale, floor_f16(scaled), codes),
            Samples::Bf16(s) => encode_u16(bytemuck::cast_slice(&s[run]), scale, floor_bf16(scaled), codes),
        }
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn scale_thresholds(thresholds: __m512, scale: f32) -> __m512 {
    let magnitude = if scale == 0.0 { 1.0 } else { scale.abs() };
    let scaled = _mm512_mul_ps(thresholds, _mm512_set1_ps(magnitude));
    let flushed = _mm512_cmp_ps_mask::<_CMP_LT_OQ>(_mm512_abs_ps(scaled), _mm512_set1_ps(f32::MIN_POSITIVE));
    _mm512_mask_mov_ps(scaled, flushed, _mm512_set1_ps(LARGEST_SUBNORMAL))
}

/// Fifteen thresholds, ready for a search of 16 samples at a time.
struct SearchF32 {
    fourth: __m512,
    half: __m512,
    three_fourths: __m512,
    odd: __m512,
    all: __m512,
    sign: __m512,
}

impl SearchF32 {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    fn new(all: __m512, scale: f32) -> Self {
        let at = |i: i32| _mm512_permutexvar_ps(_mm512_set1_epi32(i), all);
        let next = _mm512_setr_epi32(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 0);
        let sign = _mm512_set1_ps(if scale < 0.0 { -0.0 } else { 0.0 });
        let odd = _mm512_permutexvar_ps(next, all);
        Self { fourth: at(3), half: at(7), three_fourths: at(11), odd, all, sign }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    fn codes(&self, samples: __m512) -> __m512i {
        let x = _mm512_xor_ps(samples, self.sign);
        let above = |t: __m512| _mm512_cmp_ps_mask::<_CMP_GT_OQ>(x, t);
        let eight = above(self.half);
        let four = above(_mm512_mask_blend_ps(eight, self.fourth, self.three_fourths));
        let code = _mm512_maskz_mov_epi32(eight, _mm512_set1_epi32(8));
        let code = _mm512_mask_or_epi32(code, four, code, _mm512_set1_epi32(4));
        let two = above(_mm512_permutexvar_ps(code, self.odd));
        let code = _mm512_mask_or_epi32(code, two, code, _mm512_set1_epi32(2));
        let one = above(_mm512_permutexvar_ps(code, self.all));
        _mm512_mask_or_epi32(code, one, code, _mm512_set1_epi32(1))
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn encode_f32(samples: &[f32], scale: f32, thresholds: __m512, codes: &mut [u8]) {
    let search = SearchF32::new(thresholds, scale);
    let ((samples, x_rest), (codes, code_rest)) = (samples.as_chunks::<16>(), codes.as_chunks_mut::<16>());
    for (x, code) in samples.iter().zip(codes) {
        store_u8_16(code, _mm512_cvtepi32_epi8(search.codes(load_f32(x))));
    }
    if !x_rest.is_empty() {
        let mut last = [0; 16];
        store_u8_16(&mut last, _mm512_cvtepi32_epi8(search.codes(load_padded(x_rest, 0.0))));
        code_rest.copy_from_slice(&last[..x_rest.len()]);
    }
}

/// The integers of the largest f16 values not above the thresholds, in both halves of the register.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn floor_f16(thresholds: __m512) -> __m512i {
    let floor = _mm512_cvtps_ph::<{ _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC }>(thresholds);
    ordered(_mm512_broadcast_i64x4(floor))
}

/// The integers of the largest bf16 values not above the thresholds, in both halves of the register.
///
/// With K the ordered 32-bit integer of t: K >> 16 where t ≥ 0; (K − 65535) >> 16 where t < 0, because ordering
/// complements the low half as well.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn floor_bf16(thresholds: __m512) -> __m512i {
    let bits = _mm512_castps_si512(thresholds);
    let negative = _mm512_srai_epi32::<31>(bits);
    let key = _mm512_xor_si512(bits, _mm512_srli_epi32::<1>(negative));
    let key = _mm512_sub_epi32(key, _mm512_srli_epi32::<16>(negative));
    _mm512_broadcast_i64x4(_mm512_cvtepi32_epi16(_mm512_srai_epi32::<16>(key)))
}

/// Sign and magnitude to two's complement: −m becomes −1 − m, so that integers order like the values.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn ordered(bits: __m512i) -> __m512i {
    let negative = _mm512_srai_epi16::<15>(bits);
    _mm512_xor_si512(bits, _mm512_srli_epi16::<1>(negative))
}

/// Fifteen thresholds, ready for a search of 32 samples of 16 bits at a time.
struct SearchU16 {
    fourth: __m512i,
    half: __m512i,
    three_fourths: __m512i,
    odd: __m512i,
    all: __m512i,
    sign: __m512i,
}

impl SearchU16 {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    fn new(all: __m512i, scale: f32) -> Self {
        let at = |i: i16| _mm512_permutexvar_epi16(_mm512_set1_epi16(i), all);
        let sign = _mm512_set1_epi16(if scale < 0.0 { i16::MIN } else { 0 });
        // Entry i of the first half is wanted from entry i + 1; the second half is never read.
        let odd = next_entries(all);
        Self { fourth: at(3), half: at(7), three_fourths: at(11), odd, all, sign }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    fn codes(&self, samples: __m512i) -> __m512i {
        let x = ordered(_mm512_xor_si512(samples, self.sign));
        let above = |t: __m512i| _mm512_cmpgt_epi16_mask(x, t);
        let eight = above(self.half);
        let four = above(_mm512_mask_blend_epi16(eight, self.fourth, self.three_fourths));
        let code = _mm512_maskz_mov_epi16(eight, _mm512_set1_epi16(8));
        let code = _mm512_mask_add_epi16(code, four, code, _mm512_set1_epi16(4));
        let two = above(_mm512_permutexvar_epi16(code, self.odd));
        let code = _mm512_mask_add_epi16(code, two, code, _mm512_set1_epi16(2));
        let one = above(_mm512_permutexvar_epi16(code, self.all));
        _mm512_mask_add_epi16(code, one, code, _mm512_set1_epi16(1))
    }
}

/// Entry i + 1 in place of entry i, of 32.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn next_entries(all: __m512i) -> __m512i {
    let high = _mm512_alignr_epi32::<1>(all, all);
    _mm512_or_si512(_mm512_srli_epi32::<16>(all), _mm512_slli_epi32::<16>(high))
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn encode_u16(samples: &[u16], scale: f32, thresholds: __m512i, codes: &mut [u8]) {
    let search = SearchU16::new(thresholds, scale);
    let ((samples, x_rest), (codes, code_rest)) = (samples.as_chunks::<32>(), codes.as_chunks_mut::<32>());
    for (x, code) in samples.iter().zip(codes) {
        store_u8_32(code, _mm512_cvtepi16_epi8(search.codes(load_u16(x))));
    }
    if !x_rest.is_empty() {
        let (mut x, mut last) = ([0; 32], [0; 32]);
        x[..x_rest.len()].copy_from_slice(x_rest);
        store_u8_32(&mut last, _mm512_cvtepi16_epi8(search.codes(load_u16(&x))));
        code_rest.copy_from_slice(&last[..x_rest.len()]);
    }
}

/// Thresholds of codebooks of 17 to 256 levels, scaled for a group and padded to 16 · `stride` − 1.
struct Wide {
    scaled: [f32; 256],
    stride: usize,
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn encode_tile_wide(
    level: Level,
    samples: Samples<'_>,
    encoding: &Encoding<'_>,
    row: usize,
    columns: Range<usize>,
    thresholds: &[f32],
    codes: &mut [u8],
) {
    let mut padded = [f32::INFINITY; 256];
    padded[..thresholds.len()].copy_from_slice(thresholds);
    let mut wide = Wide { scaled: padded, stride: (thresholds.len() + 1).next_power_of_two() / 16 };
    let mut tile = [0.0; TILE];
    let left = columns.start;
    load(level, samples, 0, &mut tile[..columns.len()]);
    for (run, group) in runs(encoding.grouping, row, columns) {
        let run = run.start - left..run.end - left;
        let scale = encoding.scales.map_or(1.0, |scales| scales[group]);
        let used = 16 * wide.stride;
        for (to, from) in wide.scaled[..used].as_chunks_mut::<16>().0.iter_mut().zip(padded.as_chunks::<16>().0) {
            crate::avx512::store_f32(to, scale_thresholds(load_f32(from), scale));
        }
        encode_wide(&tile[run.clone()], scale, &wide, &mut codes[run]);
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn encode_wide(samples: &[f32], scale: f32, wide: &Wide, codes: &mut [u8]) {
    let coarse: [f32; 16] = std::array::from_fn(|i| wide.scaled[(i + 1) * wide.stride - 1]);
    let search = SearchF32::new(load_f32(&coarse), scale);
    let ((samples, x_rest), (codes, code_rest)) = (samples.as_chunks::<16>(), codes.as_chunks_mut::<16>());
    for (x, code) in samples.iter().zip(codes) {
        store_u8_16(code, codes_wide(load_f32(x), &search, wide));
    }
    if !x_rest.is_empty() {
        let mut last = [0; 16];
        store_u8_16(&mut last, codes_wide(load_padded(x_rest, 0.0), &search, wide));
        code_rest.copy_from_slice(&last[..x_rest.len()]);
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn codes_wide(samples: __m512, search: &SearchF32, wide: &Wide) -> __m128i {
    let x = _mm512_xor_ps(samples, search.sign);
    let stride = _mm512_set1_epi32(wide.stride as i32);
    let mut code = _mm512_mullo_epi32(search.codes(samples), stride);
    let mut step = wide.stride / 2;
    while step > 0 {
        let at = _mm512_add_epi32(code, _mm512_set1_epi32(step as i32 - 1));
        // SAFETY: code + step ≤ 16 · stride − 1 ≤ 255 at every step of the search.
        let t = unsafe { _mm512_i32gather_ps::<4>(at, wide.scaled.as_ptr()) };
        let above = _mm512_cmp_ps_mask::<_CMP_GT_OQ>(x, t);
        code = _mm512_mask_add_epi32(code, above, code, _mm512_set1_epi32(step as i32));
        step /= 2;
    }
    _mm512_cvtepi32_epi8(code)
}
