//! The costs of sixteen codebooks in AVX-512 and in AVX2 registers. A sample that is left over at the end meets the levels
//! alone; the sums are those of the portable kernel, operation by operation.

use super::{LANES, Lanes};
use std::arch::x86_64::*;

/// Samples that meet a level while it is in a register.
const DEPTH: usize = 4;

#[target_feature(enable = "avx512f")]
pub(super) fn costs_avx512(levels: &[Lanes], x: &[f32], w: &[f32], most: f32) -> Option<Lanes> {
    let most = _mm512_set1_ps(most);
    let mut sum = _mm512_setzero_ps();
    let ((x, x_rest), (w, w_rest)) = (x.as_chunks::<DEPTH>(), w.as_chunks::<DEPTH>());
    for (x, w) in x.iter().zip(w) {
        sum = add_512(levels, x, w, sum);
        if _mm512_cmp_ps_mask::<_CMP_LE_OQ>(sum, most) == 0 {
            return None;
        }
    }
    for (x, w) in x_rest.iter().zip(w_rest) {
        sum = add_512(levels, &[*x], &[*w], sum);
    }
    let mut costs = [0.0; LANES];
    // SAFETY: the array is 64 writable bytes, and the store needs no alignment.
    unsafe { _mm512_storeu_ps(costs.as_mut_ptr(), sum) };
    Some(costs)
}

#[inline]
#[target_feature(enable = "avx512f")]
fn add_512<const N: usize>(levels: &[Lanes], x: &[f32; N], w: &[f32; N], mut sum: __m512) -> __m512 {
    let x = x.map(|x| _mm512_set1_ps(x));
    let mut least = [_mm512_set1_ps(f32::INFINITY); N];
    for values in levels {
        // SAFETY: the array is 64 readable bytes, and the load needs no alignment.
        let y = unsafe { _mm512_loadu_ps(values.as_ptr()) };
        for i in 0..N {
            least[i] = _mm512_min_ps(_mm512_abs_ps(_mm512_sub_ps(x[i], y)), least[i]);
        }
    }
    for i in 0..N {
        let square = _mm512_mul_ps(least[i], least[i]);
        sum = _mm512_add_ps(sum, _mm512_mul_ps(_mm512_set1_ps(w[i]), square));
    }
    sum
}

#[target_feature(enable = "avx2")]
pub(super) fn costs_avx2(levels: &[Lanes], x: &[f32], w: &[f32], most: f32) -> Option<Lanes> {
    let most = _mm256_set1_ps(most);
    let mut sums = [_mm256_setzero_ps(); 2];
    let ((x, x_rest), (w, w_rest)) = (x.as_chunks::<DEPTH>(), w.as_chunks::<DEPTH>());
    for (x, w) in x.iter().zip(w) {
        add_256(levels, x, w, &mut sums);
        let within = sums.map(|sum| _mm256_movemask_ps(_mm256_cmp_ps::<_CMP_LE_OQ>(sum, most)));
        if within == [0, 0] {
            return None;
        }
    }
    for (x, w) in x_rest.iter().zip(w_rest) {
        add_256(levels, &[*x], &[*w], &mut sums);
    }
    let mut costs = [0.0; LANES];
    for (half, sum) in costs.as_chunks_mut::<8>().0.iter_mut().zip(sums) {
        // SAFETY: the array is 32 writable bytes, and the store needs no alignment.
        unsafe { _mm256_storeu_ps(half.as_mut_ptr(), sum) };
    }
    Some(costs)
}

#[inline]
#[target_feature(enable = "avx2")]
fn add_256<const N: usize>(levels: &[Lanes], x: &[f32; N], w: &[f32; N], sums: &mut [__m256; 2]) {
    let sign = _mm256_set1_ps(-0.0);
    let x = x.map(|x| _mm256_set1_ps(x));
    for (half, sum) in sums.iter_mut().enumerate() {
        let mut least = [_mm256_set1_ps(f32::INFINITY); N];
        for values in levels {
            // SAFETY: a half of the array is 32 readable bytes, and the load needs no alignment.
            let y = unsafe { _mm256_loadu_ps(values.as_chunks::<8>().0[half].as_ptr()) };
            for i in 0..N {
                least[i] = _mm256_min_ps(_mm256_andnot_ps(sign, _mm256_sub_ps(x[i], y)), least[i]);
            }
        }
        for i in 0..N {
            let square = _mm256_mul_ps(least[i], least[i]);
            *sum = _mm256_add_ps(*sum, _mm256_mul_ps(_mm256_set1_ps(w[i]), square));
        }
    }
}
