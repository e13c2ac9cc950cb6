//! The scale that maps the largest magnitude of a group to the largest level.
//!
//! scale = storable(max|x| · level_max_inverse). Magnitudes compare like the integers of their bits. Class: exact.

use crate::{Cpu, work};
use quant_core::grouping::Grouping;
use quant_core::scale::storable;
use quant_core::tensor::{Matrix, Samples, flush};
use rayon::prelude::*;
use std::ops::Range;

pub(crate) fn absmax_scales(cpu: &Cpu, matrix: Matrix<'_>, grouping: Grouping, inverse: f32, scales: &mut [f32]) {
    let samples = matrix.samples();
    let short = |first: usize, scales: &mut [f32]| {
        cpu.level.vectorize(
            #[inline(always)]
            || {
                for (group, scale) in (first..).zip(scales) {
                    *scale = storable(absmax(samples.slice(grouping.range(group))) * inverse);
                }
            },
        );
    };
    let long = |range: Range<usize>| storable(absmax_parallel(cpu, samples.slice(range)) * inverse);
    work::fill_groups(&cpu.pool, grouping, cpu.chunk_len, scales, short, long);
}

/// The largest magnitude of many samples, by all threads.
pub(crate) fn absmax_parallel(cpu: &Cpu, samples: Samples<'_>) -> f32 {
    let ranges: Vec<_> = work::chunks(0..samples.len(), cpu.chunk_len).collect();
    let part = |range: Range<usize>| {
        cpu.level.vectorize(
            #[inline(always)]
            || absmax(samples.slice(range)),
        )
    };
    ranges.into_par_iter().map(part).reduce(|| 0.0, f32::max)
}

/// The largest magnitude after flushing; 0 for no samples.
#[inline(always)]
pub(crate) fn absmax(samples: Samples<'_>) -> f32 {
    flush(match samples {
        Samples::F32(s) => f32::from_bits(s.iter().fold(0, |max, x| max.max(x.to_bits() & 0x7fff_ffff))),
        Samples::F16(s) => half::f16::from_bits(s.iter().fold(0, |max, x| max.max(x.to_bits() & 0x7fff))).to_f32(),
        Samples::Bf16(s) => half::bf16::from_bits(s.iter().fold(0, |max, x| max.max(x.to_bits() & 0x7fff))).to_f32(),
    })
}
