//! Loads and stores of whole AVX-512 registers, from arrays whose length proves them in bounds.

use std::arch::x86_64::*;

/// Sixteen f32.
#[inline]
#[target_feature(enable = "avx512f")]
pub(crate) fn load_f32(from: &[f32; 16]) -> __m512 {
    // SAFETY: the array is 64 readable bytes, and the load needs no alignment.
    unsafe { _mm512_loadu_ps(from.as_ptr()) }
}

/// Sixteen f32.
#[inline]
#[target_feature(enable = "avx512f")]
pub(crate) fn store_f32(to: &mut [f32; 16], values: __m512) {
    // SAFETY: the array is 64 writable bytes, and the store needs no alignment.
    unsafe { _mm512_storeu_ps(to.as_mut_ptr(), values) }
}

/// Thirty-two 16-bit integers.
#[inline]
#[target_feature(enable = "avx512f")]
pub(crate) fn load_u16(from: &[u16; 32]) -> __m512i {
    // SAFETY: the array is 64 readable bytes, and the load needs no alignment.
    unsafe { _mm512_loadu_si512(from.as_ptr().cast()) }
}

/// Thirty-two 16-bit integers.
#[inline]
#[target_feature(enable = "avx512f")]
pub(crate) fn store_u16(to: &mut [u16; 32], values: __m512i) {
    // SAFETY: the array is 64 writable bytes, and the store needs no alignment.
    unsafe { _mm512_storeu_si512(to.as_mut_ptr().cast(), values) }
}

/// Thirty-two bytes.
#[inline]
#[target_feature(enable = "avx512f")]
pub(crate) fn load_u8_32(from: &[u8; 32]) -> __m256i {
    // SAFETY: the array is 32 readable bytes, and the load needs no alignment.
    unsafe { _mm256_loadu_si256(from.as_ptr().cast()) }
}

/// Thirty-two bytes.
#[inline]
#[target_feature(enable = "avx512f")]
pub(crate) fn store_u8_32(to: &mut [u8; 32], values: __m256i) {
    // SAFETY: the array is 32 writable bytes, and the store needs no alignment.
    unsafe { _mm256_storeu_si256(to.as_mut_ptr().cast(), values) }
}

/// Sixteen bytes.
#[inline]
#[target_feature(enable = "avx512f")]
pub(crate) fn load_u8_16(from: &[u8; 16]) -> __m128i {
    // SAFETY: the array is 16 readable bytes, and the load needs no alignment.
    unsafe { _mm_loadu_si128(from.as_ptr().cast()) }
}

/// Sixteen bytes.
#[inline]
#[target_feature(enable = "avx512f")]
pub(crate) fn store_u8_16(to: &mut [u8; 16], values: __m128i) {
    // SAFETY: the array is 16 writable bytes, and the store needs no alignment.
    unsafe { _mm_storeu_si128(to.as_mut_ptr().cast(), values) }
}

/// Up to 16 values of `from`, then copies of `padding`.
#[inline]
#[target_feature(enable = "avx512f")]
pub(crate) fn load_padded(from: &[f32], padding: f32) -> __m512 {
    let mut padded = [padding; 16];
    padded[..from.len()].copy_from_slice(from);
    load_f32(&padded)
}

/// Thirty-two 16-bit integers.
#[inline]
#[target_feature(enable = "avx512f")]
pub(crate) fn load_i16(from: &[i16; 32]) -> __m512i {
    // SAFETY: the array is 64 readable bytes, and the load needs no alignment.
    unsafe { _mm512_loadu_si512(from.as_ptr().cast()) }
}

/// Sixteen 32-bit integers.
#[inline]
#[target_feature(enable = "avx512f")]
pub(crate) fn load_i32(from: &[i32; 16]) -> __m512i {
    // SAFETY: the array is 64 readable bytes, and the load needs no alignment.
    unsafe { _mm512_loadu_si512(from.as_ptr().cast()) }
}

/// Sixteen 32-bit integers.
#[inline]
#[target_feature(enable = "avx512f")]
pub(crate) fn store_i32(to: &mut [i32; 16], values: __m512i) {
    // SAFETY: the array is 64 writable bytes, and the store needs no alignment.
    unsafe { _mm512_storeu_si512(to.as_mut_ptr().cast(), values) }
}
