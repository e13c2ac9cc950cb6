//! Scores of 32 points and eight codevectors in AVX-512 registers, and which of them are least.

use super::{BLOCK, GROUP, Groups};
use crate::avx512::load_f32;
use std::arch::x86_64::*;

/// Up to this dimension comparing costs enough to be worth a second look: only the least score of each group is
/// compared, and which of the group it was is found by scoring the winning group again.
const TWICE_DIMENSION_MAX: usize = 16;

#[inline]
#[target_feature(enable = "avx2,fma,avx512f,avx512bw,avx512dq,avx512vl")]
pub(super) fn nearest(coordinates: &[[f32; BLOCK]], groups: &Groups, samples: &[f32]) -> [u32; BLOCK] {
    if coordinates.len() > TWICE_DIMENSION_MAX {
        return store_codes(least(coordinates, groups).1);
    }
    let mut codes = store_codes(least_of_groups(coordinates, groups));
    for (code, point) in codes.iter_mut().zip(samples.chunks_exact(groups.dimension)) {
        let (half_squares, values) = groups.get(*code as usize);
        *code = *code * GROUP as u32 + within_group(point, half_squares, values).0;
    }
    codes
}

#[inline]
#[target_feature(enable = "avx2,fma,avx512f,avx512bw,avx512dq,avx512vl")]
pub(super) fn store_codes(codes: [__m512i; 2]) -> [u32; BLOCK] {
    let mut found = [0; BLOCK];
    for (to, codes) in found.as_chunks_mut::<16>().0.iter_mut().zip(codes) {
        // SAFETY: the array is 64 writable bytes, and the store needs no alignment.
        unsafe { _mm512_storeu_si512(to.as_mut_ptr().cast(), codes) };
    }
    found
}

#[inline]
#[target_feature(enable = "avx2,fma,avx512f,avx512bw,avx512dq,avx512vl")]
fn scores_of_group(
    coordinates: &[[f32; BLOCK]],
    half_squares: &[f32; GROUP],
    values: &[[f32; GROUP]],
) -> [[__m512; 2]; GROUP] {
    let mut scores = [[_mm512_setzero_ps(); 2]; GROUP];
    for j in 0..GROUP {
        scores[j] = [_mm512_set1_ps(half_squares[j]); 2];
    }
    for (x, y) in coordinates.iter().zip(values) {
        let (halves, _) = x.as_chunks::<16>();
        let x = [load_f32(&halves[0]), load_f32(&halves[1])];
        for j in 0..GROUP {
            let y = _mm512_set1_ps(y[j]);
            scores[j] = [_mm512_fnmadd_ps(x[0], y, scores[j][0]), _mm512_fnmadd_ps(x[1], y, scores[j][1])];
        }
    }
    scores
}

/// The least scores and their codes.
#[inline]
#[target_feature(enable = "avx2,fma,avx512f,avx512bw,avx512dq,avx512vl")]
fn least(coordinates: &[[f32; BLOCK]], groups: &Groups) -> ([__m512; 2], [__m512i; 2]) {
    let mut least = [_mm512_set1_ps(f32::INFINITY); 2];
    let mut codes = [_mm512_setzero_si512(); 2];
    let mut code = _mm512_setzero_si512();
    for (half_squares, values) in groups.iter() {
        for scores in scores_of_group(coordinates, half_squares, values) {
            for half in 0..2 {
                let better = _mm512_cmp_ps_mask::<_CMP_LT_OQ>(scores[half], least[half]);
                least[half] = _mm512_min_ps(scores[half], least[half]);
                codes[half] = _mm512_mask_mov_epi32(codes[half], better, code);
            }
            code = _mm512_add_epi32(code, _mm512_set1_epi32(1));
        }
    }
    (least, codes)
}

/// The groups of the least scores.
#[inline]
#[target_feature(enable = "avx2,fma,avx512f,avx512bw,avx512dq,avx512vl")]
fn least_of_groups(coordinates: &[[f32; BLOCK]], groups: &Groups) -> [__m512i; 2] {
    let mut least = [_mm512_set1_ps(f32::INFINITY); 2];
    let mut winners = [_mm512_setzero_si512(); 2];
    let mut group = _mm512_setzero_si512();
    for (half_squares, values) in groups.iter() {
        let scores = scores_of_group(coordinates, half_squares, values);
        for half in 0..2 {
            let pair = |j: usize| _mm512_min_ps(scores[j][half], scores[j + 1][half]);
            let own = _mm512_min_ps(_mm512_min_ps(pair(0), pair(2)), _mm512_min_ps(pair(4), pair(6)));
            let better = _mm512_cmp_ps_mask::<_CMP_LT_OQ>(own, least[half]);
            least[half] = _mm512_min_ps(own, least[half]);
            winners[half] = _mm512_mask_mov_epi32(winners[half], better, group);
        }
        group = _mm512_add_epi32(group, _mm512_set1_epi32(1));
    }
    winners
}

/// Which of a group is the first of least score, and that score: the same operations give the same bits.
#[inline]
#[target_feature(enable = "avx2,fma,avx512f,avx512bw,avx512dq,avx512vl")]
pub(super) fn within_group(point: &[f32], half_squares: &[f32; GROUP], values: &[[f32; GROUP]]) -> (u32, f32) {
    // SAFETY: arrays of eight f32 are 32 readable bytes, and the loads need no alignment.
    let load = |from: &[f32; GROUP]| unsafe { _mm256_loadu_ps(from.as_ptr()) };
    let mut scores = load(half_squares);
    for (x, y) in point.iter().zip(values) {
        scores = _mm256_fnmadd_ps(_mm256_set1_ps(*x), load(y), scores);
    }
    let mut least = _mm256_min_ps(scores, _mm256_permute2f128_ps::<1>(scores, scores));
    least = _mm256_min_ps(least, _mm256_permute_ps::<0b01_00_11_10>(least));
    least = _mm256_min_ps(least, _mm256_permute_ps::<0b10_11_00_01>(least));
    let equal = _mm256_cmp_ps_mask::<_CMP_EQ_OQ>(scores, least);
    (equal.trailing_zeros().min(GROUP as u32 - 1), _mm256_cvtss_f32(least))
}
