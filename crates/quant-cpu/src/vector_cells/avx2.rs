//! Scores of 16 points and four codevectors in AVX2 registers, and which of them are least.

use super::{BLOCK, GROUP, Groups};
use std::arch::x86_64::*;

/// Codevectors done at a time: with two registers of points, eight sums of 16 registers.
const PART: usize = 4;

#[inline]
#[target_feature(enable = "avx2,fma")]
pub(super) fn nearest(coordinates: &[[f32; BLOCK]], groups: &Groups) -> [u32; BLOCK] {
    let mut codes = [0; BLOCK];
    for (start, codes) in (0..BLOCK).step_by(16).zip(codes.as_chunks_mut::<16>().0) {
        for (to, codes) in codes.as_chunks_mut::<8>().0.iter_mut().zip(nearest_16(coordinates, start, groups)) {
            // SAFETY: the array is 32 writable bytes, and the store needs no alignment.
            unsafe { _mm256_storeu_si256(to.as_mut_ptr().cast(), codes) };
        }
    }
    codes
}

#[inline]
#[target_feature(enable = "avx2,fma")]
fn nearest_16(coordinates: &[[f32; BLOCK]], start: usize, groups: &Groups) -> [__m256i; 2] {
    let mut least = [_mm256_set1_ps(f32::INFINITY); 2];
    let mut codes = [_mm256_setzero_si256(); 2];
    let mut code = _mm256_setzero_si256();
    for (half_squares, values) in groups.iter() {
        for part in (0..GROUP).step_by(PART) {
            let mut scores = [[_mm256_setzero_ps(); 2]; PART];
            for j in 0..PART {
                scores[j] = [_mm256_set1_ps(half_squares[part + j]); 2];
            }
            for (x, y) in coordinates.iter().zip(values) {
                let (halves, _) = x[start..start + 16].as_chunks::<8>();
                let x = [load(&halves[0]), load(&halves[1])];
                for j in 0..PART {
                    let y = _mm256_set1_ps(y[part + j]);
                    scores[j] = [_mm256_fnmadd_ps(x[0], y, scores[j][0]), _mm256_fnmadd_ps(x[1], y, scores[j][1])];
                }
            }
            for scores in scores {
                for half in 0..2 {
                    let better = _mm256_cmp_ps::<_CMP_LT_OQ>(scores[half], least[half]);
                    least[half] = _mm256_min_ps(scores[half], least[half]);
                    codes[half] = _mm256_blendv_epi8(codes[half], code, _mm256_castps_si256(better));
                }
                code = _mm256_add_epi32(code, _mm256_set1_epi32(1));
            }
        }
    }
    codes
}

#[inline]
#[target_feature(enable = "avx2,fma")]
fn load(from: &[f32; 8]) -> __m256 {
    // SAFETY: the array is 32 readable bytes, and the load needs no alignment.
    unsafe { _mm256_loadu_ps(from.as_ptr()) }
}
