//! The scale of least squared error of each group, searched in integers; see [`quant_core::scale`] for the definition.
//!
//! A cell between midpoints holds the samples nearest to its level, also in integers with the midpoint rounded down:
//! so the cost of a sample is min_k (x̂ − ŷ_k)², and no threshold is needed. Class: exact.

use crate::Cpu;
use crate::absmax_scales::{absmax, absmax_parallel};
use crate::level::Level;
use crate::samples::load;
use crate::work::{self, TILE, chunks};
use quant_core::grouping::Grouping;
use quant_core::reference::{power_of_two, sample_shift};
use quant_core::scale::{REFINE_OFFSETS, ScaleSearch, span, storable};
use quant_core::tensor::{Matrix, Samples};
use rayon::prelude::*;
use std::ops::Range;

/// A candidate: its numerator and its sign.
pub(crate) type Candidate = (i32, i32);

/// Up to this many levels are tried one by one, which vectorises; beyond it the nearest is searched.
const TRIED_MAX: usize = 16;

pub(crate) fn search_scales(
    cpu: &Cpu,
    matrix: Matrix<'_>,
    grouping: Grouping,
    search: &ScaleSearch,
    scales: &mut [f32],
) {
    let samples = matrix.samples();
    let candidates = first_candidates(search);
    let short = |first: usize, scales: &mut [f32]| {
        let mut scaled = Vec::new();
        for (group, scale) in (first..).zip(scales) {
            let samples = samples.slice(grouping.range(group));
            let largest = cpu.level.vectorize(
                #[inline(always)]
                || absmax(samples),
            );
            scaled.resize(samples.len(), 0);
            cpu.level.vectorize(
                #[inline(always)]
                || scale_samples(samples, largest, &mut scaled),
            );
            *scale = choose(search, &candidates, largest, |c, span| cost(cpu.level, search, &scaled, c.1 * span));
        }
    };
    let long = |range: Range<usize>| search_parallel(cpu, samples.slice(range), search, &candidates);
    work::fill_groups(&cpu.pool, grouping, cpu.chunk_len, scales, short, long);
}

/// All candidates of the first stage in the order of the definition.
fn first_candidates(search: &ScaleSearch) -> Vec<Candidate> {
    let signs: &[i32] = if search.signed { &[1, -1] } else { &[1] };
    search.numerators.iter().flat_map(|&n| signs.iter().map(move |&sign| (n, sign))).collect()
}

/// The scale of a group of largest magnitude `largest` for a way to find the cost of a candidate with its span.
fn choose(
    search: &ScaleSearch,
    candidates: &[Candidate],
    largest: f32,
    mut cost: impl FnMut(Candidate, i32) -> u64,
) -> f32 {
    if largest == 0.0 {
        return 0.0;
    }
    let unit = power_of_two(sample_shift(largest));
    let largest_scaled = (largest * unit).round_ties_even() as i32;
    let mut best = (u64::MAX, (0, 1));
    let mut consider = |candidate: Candidate| {
        let cost = cost(candidate, span(largest_scaled, candidate.0));
        if cost < best.0 {
            best = (cost, candidate);
        }
        best.1
    };
    let winner = candidates.iter().fold((0, 1), |_, &candidate| consider(candidate));
    let refined = REFINE_OFFSETS.iter().map(|offset| (winner.0 + offset, winner.1)).filter(|c| c.0 > 0);
    let (numerator, sign) = refined.fold(winner, |_, candidate| consider(candidate));
    scale_of(search, largest, largest_scaled, numerator, sign)
}

fn scale_of(search: &ScaleSearch, largest: f32, largest_scaled: i32, numerator: i32, sign: i32) -> f32 {
    let unit = power_of_two(-sample_shift(largest));
    storable((sign * span(largest_scaled, numerator)) as f32 * unit * search.level_max_inverse)
}

/// One long group: every candidate's cost is the sum over chunks, in integers, so the order is free.
fn search_parallel(cpu: &Cpu, samples: Samples<'_>, search: &ScaleSearch, candidates: &[Candidate]) -> f32 {
    let largest = absmax_parallel(cpu, samples);
    let mut scaled = vec![0i16; samples.len()];
    let ranges = chunks(0..samples.len(), cpu.chunk_len).collect::<Vec<_>>();
    ranges.par_iter().zip(scaled.par_chunks_mut(cpu.chunk_len)).for_each(|(range, scaled)| {
        let samples = samples.slice(range.clone());
        cpu.level.vectorize(
            #[inline(always)]
            || scale_samples(samples, largest, scaled),
        );
    });
    choose(search, candidates, largest, |candidate, span| {
        let part = |scaled: &[i16]| cost(cpu.level, search, scaled, candidate.1 * span);
        scaled.par_chunks(cpu.chunk_len).map(part).sum()
    })
}

/// x̂ = round_half_even(x · 2^shift), at most 8192 in magnitude.
#[inline(always)]
fn scale_samples(samples: Samples<'_>, largest: f32, scaled: &mut [i16]) {
    let unit = power_of_two(sample_shift(largest.max(f32::MIN_POSITIVE)));
    let mut tile = [0.0; TILE];
    for (range, scaled) in chunks(0..samples.len(), TILE).zip(scaled.chunks_mut(TILE)) {
        let tile = &mut tile[..range.len()];
        load(samples, range.start, tile);
        scaled.iter_mut().zip(&*tile).for_each(|(to, x)| *to = (x * unit).round_ties_even() as i16);
    }
}

/// Σ min_k (x̂ − ŷ_k)² for levels stretched to a span; a negative span stands for −x̂, which is the same as −ŷ.
fn cost(level: Level, search: &ScaleSearch, scaled: &[i16], span: i32) -> u64 {
    let sign = span.signum() as i16;
    let stretched = |&c: &i16| sign * ((i32::from(c) * span.abs() + (1 << 14)) >> 15) as i16;
    let mut levels = [0; 256];
    levels.iter_mut().zip(&search.levels_q15).for_each(|(y, c)| *y = stretched(c));
    let levels = &mut levels[..search.levels_q15.len()];
    if levels.len() <= TRIED_MAX {
        return level.vectorize(
            #[inline(always)]
            || cost_tried(scaled, levels),
        );
    }
    if sign < 0 {
        levels.reverse();
    }
    scaled.iter().map(|&x| squared_error_searched(x, levels)).sum()
}

#[inline(always)]
fn cost_tried(scaled: &[i16], levels: &[i16]) -> u64 {
    let (blocks, rest) = scaled.as_chunks::<64>();
    let tail = rest.iter().map(|&x| {
        let error = levels.iter().map(|&y| (x - y).unsigned_abs()).min().unwrap_or(0);
        u64::from(error) * u64::from(error)
    });
    blocks.iter().map(|block| cost_of_block(block, levels)).sum::<u64>() + tail.sum::<u64>()
}

/// |x̂ − ŷ| ≤ 8192 + 12480, so a lane's four squares stay below 2³¹.
#[inline(always)]
fn cost_of_block(block: &[i16; 64], levels: &[i16]) -> u64 {
    let mut errors = [i16::MAX; 64];
    for &y in levels {
        errors.iter_mut().zip(block).for_each(|(error, &x)| *error = (*error).min((x - y).abs()));
    }
    let mut lanes = [0u32; 16];
    for errors in errors.as_chunks::<16>().0 {
        lanes.iter_mut().zip(errors).for_each(|(sum, &e)| *sum += (i32::from(e) * i32::from(e)) as u32);
    }
    lanes.iter().map(|&sum| u64::from(sum)).sum()
}

fn squared_error_searched(x: i16, levels: &[i16]) -> u64 {
    let above = levels.partition_point(|&y| y < x);
    let beside = &levels[above.saturating_sub(1)..(above + 1).min(levels.len())];
    let error = beside.iter().map(|&y| (x - y).unsigned_abs()).min().unwrap_or(0);
    u64::from(error) * u64::from(error)
}
