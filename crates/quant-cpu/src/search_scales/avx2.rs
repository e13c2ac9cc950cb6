//! The cost of one candidate by trying every level, 16 samples at a time.
//!
//! In intrinsics because compilers vectorise the portable loop over levels instead of samples.

use std::arch::x86_64::*;

/// Σ min_k (x̂ − ŷ_k)² of 64 samples.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn cost_of_block(block: &[i16; 64], levels: &[i16]) -> u64 {
    let (quarters, _) = block.as_chunks::<16>();
    let x = [0, 1, 2, 3].map(|i| load(&quarters[i]));
    let mut errors = [_mm256_set1_epi16(i16::MAX); 4];
    for &level in levels {
        let y = _mm256_set1_epi16(level);
        for (error, x) in errors.iter_mut().zip(x) {
            *error = _mm256_min_epi16(*error, _mm256_abs_epi16(_mm256_sub_epi16(x, y)));
        }
    }
    // Eight squares of at most 8192 + 12480 to a lane, which fits in a u32.
    let squares = errors.map(|error| _mm256_madd_epi16(error, error));
    let lanes = _mm256_add_epi32(_mm256_add_epi32(squares[0], squares[1]), _mm256_add_epi32(squares[2], squares[3]));
    let low = _mm256_cvtepu32_epi64(_mm256_castsi256_si128(lanes));
    let high = _mm256_cvtepu32_epi64(_mm256_extracti128_si256::<1>(lanes));
    let sums = _mm256_add_epi64(low, high);
    let sums = _mm_add_epi64(_mm256_castsi256_si128(sums), _mm256_extracti128_si256::<1>(sums));
    (_mm_extract_epi64::<0>(sums) as u64).wrapping_add(_mm_extract_epi64::<1>(sums) as u64)
}

#[inline]
#[target_feature(enable = "avx2")]
fn load(from: &[i16; 16]) -> __m256i {
    // SAFETY: the array is 32 readable bytes, and the load needs no alignment.
    unsafe { _mm256_loadu_si256(from.as_ptr().cast()) }
}
