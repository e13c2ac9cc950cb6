//! How do the points of a block become pairs of 16-bit integers, pair after pair?

use super::BLOCK;
use crate::avx512::{load_f32, load_i32, store_i32};
use std::arch::x86_64::*;

/// Pairs of 16 points that are taken apart at a time: as many registers.
const PART: usize = 8;

/// The largest magnitude. The number of samples is a multiple of 16.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub(super) fn absmax(samples: &[f32]) -> f32 {
    let mut largest = [_mm512_setzero_ps(); 4];
    for part in samples.chunks(64) {
        for (largest, part) in largest.iter_mut().zip(part.as_chunks::<16>().0) {
            *largest = _mm512_max_ps(*largest, _mm512_abs_ps(load_f32(part)));
        }
    }
    let pair = |a: usize, b: usize| _mm512_max_ps(largest[a], largest[b]);
    _mm512_reduce_max_ps(_mm512_max_ps(pair(0, 1), pair(2, 3)))
}

/// Multiplies the coordinates of `BLOCK` points by `scale` and rounds them; what comes out fits i16.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub(super) fn fill<const PAIRS: usize>(samples: &[f32], scale: f32, pairs: &mut [[i32; BLOCK]; PAIRS]) {
    let (count, stride) = (PAIRS.min(PART), (2 * PAIRS).max(16));
    for half in 0..2 {
        let samples = &samples[half * BLOCK * PAIRS..][..BLOCK * PAIRS];
        for start in (0..PAIRS).step_by(PART) {
            // Two rows of 16 samples each: one point each, or several.
            let row = |index: usize| load_f32(samples[index * stride + 2 * start..].first_chunk().expect("16 samples"));
            let mut registers = [_mm512_setzero_si512(); PART];
            for (index, register) in registers[..count].iter_mut().enumerate() {
                *register = rounded(row(2 * index), row(2 * index + 1), _mm512_set1_ps(scale));
            }
            take_apart(&mut registers, count);
            for (to, register) in pairs[start..].iter_mut().zip(&registers[..count]) {
                store_i32(&mut to.as_chunks_mut::<16>().0[half], *register);
            }
        }
    }
}

/// Thirty-two products in 16 bits.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn rounded(low: __m512, high: __m512, scale: __m512) -> __m512i {
    const EVEN: [i16; 32] = {
        let mut even = [0; 32];
        let mut i = 0;
        while i < 32 {
            even[i] = 2 * i as i16;
            i += 1;
        }
        even
    };
    let integers = |x| _mm512_cvtps_epi32(_mm512_mul_ps(x, scale));
    _mm512_permutex2var_epi16(integers(low), crate::avx512::load_i16(&EVEN), integers(high))
}

/// Brings element i·`count` + j of the first `count` registers, a power of two, to 16·j + i: what was at even places goes
/// before what was at odd ones, which moves the lowest bit of a place to the top, once for each bit of j.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn take_apart(registers: &mut [__m512i; PART], count: usize) {
    const PLACES: [[i32; 16]; 2] = {
        let mut places = [[0; 16]; 2];
        let mut i = 0;
        while i < 16 {
            places[0][i] = 2 * i as i32;
            places[1][i] = 2 * i as i32 + 1;
            i += 1;
        }
        places
    };
    let (even, odd) = (load_i32(&PLACES[0]), load_i32(&PLACES[1]));
    for _ in 0..count.ilog2() {
        let from = *registers;
        for i in 0..count / 2 {
            registers[i] = _mm512_permutex2var_epi32(from[2 * i], even, from[2 * i + 1]);
            registers[count / 2 + i] = _mm512_permutex2var_epi32(from[2 * i], odd, from[2 * i + 1]);
        }
    }
}
