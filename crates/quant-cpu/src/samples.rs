//! Samples brought into the first-level cache as flushed f32.

use crate::work::runs;
use half::{bf16, f16, slice::HalfFloatSliceExt};
use quant_core::grouping::Grouping;
use quant_core::tensor::{Samples, flush};
use std::ops::Range;

/// Writes samples from `start` on, as f32 after [`flush`], to all of `tile`.
#[inline(always)]
pub(crate) fn load(samples: Samples<'_>, start: usize, tile: &mut [f32]) {
    let end = start + tile.len();
    match samples {
        Samples::F32(s) => tile.iter_mut().zip(&s[start..end]).for_each(|(to, &x)| *to = flush(x)),
        Samples::Bf16(s) => load_bf16(&s[start..end], tile),
        Samples::F16(s) => load_f16(&s[start..end], tile),
    }
}

#[inline(always)]
fn load_bf16(samples: &[bf16], tile: &mut [f32]) {
    for (to, x) in tile.iter_mut().zip(samples) {
        *to = flush(f32::from_bits(u32::from(x.to_bits()) << 16));
    }
}

// No f16 is a subnormal f32, but −0 is to become 0.
#[inline(always)]
fn load_f16(samples: &[f16], tile: &mut [f32]) {
    samples.convert_to_f32_slice(tile);
    tile.iter_mut().for_each(|x| *x = flush(*x));
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
        tile[run.start - left..run.end - left].iter_mut().for_each(|x| *x = flush(*x * inverse));
    }
}
