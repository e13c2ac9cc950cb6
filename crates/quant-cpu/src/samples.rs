//! Samples brought into the first-level cache as flushed f32.

use crate::level::Level;
use crate::work::runs;
use half::{bf16, f16, slice::HalfFloatSliceExt};
use quant_core::grouping::Grouping;
use quant_core::tensor::{Samples, flush};
use std::ops::Range;

/// Writes samples from `start` on, as f32 after [`flush`], to all of `tile`.
#[inline(always)]
pub(crate) fn load(level: Level, samples: Samples<'_>, start: usize, tile: &mut [f32]) {
    let end = start + tile.len();
    match samples {
        // Not `for_each`, whose closure is not always compiled for the level.
        Samples::F32(s) => {
            for (to, &x) in tile.iter_mut().zip(&s[start..end]) {
                *to = flush(x);
            }
        }
        Samples::Bf16(s) => load_bf16(&s[start..end], tile),
        Samples::F16(s) => load_f16(level, &s[start..end], tile),
    }
}

#[inline(always)]
fn load_bf16(samples: &[bf16], tile: &mut [f32]) {
    for (to, x) in tile.iter_mut().zip(samples) {
        *to = flush(f32::from_bits(u32::from(x.to_bits()) << 16));
    }
}

// No f16 is a subnormal f32, but −0 is to become 0, which adding 0 does.
#[inline(always)]
fn load_f16(level: Level, samples: &[f16], tile: &mut [f32]) {
    #[cfg(target_arch = "x86_64")]
    if level.has_avx2() {
        // SAFETY: all levels but the scalar one have F16C, and the level was proved available when it was made.
        return unsafe { load_f16c(samples, tile) };
    }
    let _ = level;
    samples.convert_to_f32_slice(tile);
    tile.iter_mut().for_each(|x| *x += 0.0);
}

#[cfg(target_arch = "x86_64")]
#[inline]
#[target_feature(enable = "avx2,f16c")]
fn load_f16c(samples: &[f16], tile: &mut [f32]) {
    use std::arch::x86_64::*;
    let convert = |from: &[f16; 8]| {
        // SAFETY: the array is 16 readable bytes, and the load needs no alignment.
        let x = _mm256_cvtph_ps(unsafe { _mm_loadu_si128(from.as_ptr().cast()) });
        _mm256_add_ps(x, _mm256_setzero_ps())
    };
    let ((samples, x_rest), (tile, rest)) = (samples.as_chunks::<8>(), tile.as_chunks_mut::<8>());
    for (x, to) in samples.iter().zip(tile) {
        // SAFETY: the array is 32 writable bytes, and the store needs no alignment.
        unsafe { _mm256_storeu_ps(to.as_mut_ptr(), convert(x)) };
    }
    if !x_rest.is_empty() {
        let (mut x, mut to) = ([f16::ZERO; 8], [0.0; 8]);
        x[..x_rest.len()].copy_from_slice(x_rest);
        // SAFETY: the array is 32 writable bytes, and the store needs no alignment.
        unsafe { _mm256_storeu_ps(to.as_mut_ptr(), convert(&x)) };
        rest.copy_from_slice(&to[..x_rest.len()]);
    }
}

/// Multiplies the samples of columns `columns` of `row` by the inverse scales of their groups, then flushes.
#[inline(always)]
pub(crate) fn normalise(
    tile: &mut [f32],
    row: usize,
    columns: Range<usize>,
    normalisation: Option<(Grouping, &[f32])>,
) {
    let Some((grouping, inverse_scales)) = normalisation else { return };
    let left = columns.start;
    for (run, group) in runs(grouping, row, columns) {
        let inverse = inverse_scales[group];
        for x in &mut tile[run.start - left..run.end - left] {
            *x = flush(*x * inverse);
        }
    }
}
