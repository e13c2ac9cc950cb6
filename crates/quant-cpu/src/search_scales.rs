//! The scale of least squared error of each group, searched in integers; see [`quant_core::scale`] for the definition.
//!
//! A cell between midpoints holds the samples nearest to its level, also in integers with the midpoint rounded down:
//! so the cost of a sample is min_k (x̂ − ŷ_k)², and no threshold is needed. Class: exact.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "x86_64")]
mod bounds;
mod cells;
mod portable;
#[cfg(target_arch = "x86_64")]
mod short;

use crate::absmax_scales::{absmax, absmax_parallel};
use crate::samples::load;
use crate::work::{self, chunks};
use crate::{Cpu, level::Level};
use cells::Cells;
use quant_core::grouping::Grouping;
use quant_core::reference::{power_of_two, sample_shift};
use quant_core::scale::{REFINE_OFFSETS, ScaleSearch, span, storable};
use quant_core::tensor::{Matrix, Samples};
use rayon::prelude::*;
use std::ops::Range;

/// Signs of the scales that are tried with each numerator, in the order of the definition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signs {
    Plus,
    Minus,
    Both,
}

impl Signs {
    fn list(self) -> &'static [i32] {
        match self {
            Self::Plus => &[1],
            Self::Minus => &[-1],
            Self::Both => &[1, -1],
        }
    }

    fn of(sign: i32) -> Self {
        if sign < 0 { Self::Minus } else { Self::Plus }
    }

    /// Numerator and sign of the candidate at `place`.
    fn candidate(self, numerators: &[i32], place: usize) -> (i32, i32) {
        let signs = self.list();
        (numerators[place / signs.len()], signs[place % signs.len()])
    }
}

/// A group, or a part of one, in the integers of the search.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Group<'a> {
    /// x̂.
    scaled: &'a [i16],
    /// The largest magnitude of the whole group, and the same as an integer.
    largest: f32,
    largest_scaled: i32,
}

/// What costs are computed with.
struct Costs<'a> {
    level: Level,
    search: &'a ScaleSearch,
    /// Where the nearest level can be looked up instead of tried.
    cells: Option<Cells>,
    /// What leaves out candidates that cannot win.
    #[cfg(target_arch = "x86_64")]
    bounds: Option<bounds::Bounds>,
}

pub(crate) fn search_scales(
    cpu: &Cpu,
    matrix: Matrix<'_>,
    grouping: Grouping,
    search: &ScaleSearch,
    scales: &mut [f32],
) {
    let samples = matrix.samples();
    let cells = if cpu.level.has_avx512() { Cells::new(search) } else { None };
    #[cfg(target_arch = "x86_64")]
    let bounds = cells.as_ref().and_then(|_| bounds::Bounds::new(search));
    let costs = Costs {
        level: cpu.level,
        search,
        cells,
        #[cfg(target_arch = "x86_64")]
        bounds,
    };
    let short = |first: usize, scales: &mut [f32]| costs.fill(samples, grouping, first, scales);
    let long = |range: Range<usize>| costs.scale_of_long(cpu, samples.slice(range));
    work::fill_groups(&cpu.pool, grouping, cpu.chunk_len, scales, short, long);
}

/// Rows are shared out among threads; groups of a row too, where there are few rows.
pub(crate) fn search_scales_of_rows(
    cpu: &Cpu,
    matrix: Matrix<'_>,
    grouping: Grouping,
    searches: &[Option<ScaleSearch>],
    scales: &mut [f32],
) {
    let of_row = grouping.of_one_row();
    assert_eq!(searches.len(), matrix.rows(), "one search per row");
    scales.fill(0.0);
    let rows = searches.par_iter().enumerate().zip(scales.par_chunks_mut(of_row.group_count().max(1)));
    cpu.pool.install(|| {
        rows.for_each(|((row, search), scales)| {
            if let Some(search) = search {
                search_scales(cpu, matrix.row_range(row..row + 1), of_row, search, scales);
            }
        });
    });
}

impl Costs<'_> {
    /// Scales of short groups from `first` on.
    fn fill(&self, samples: Samples<'_>, grouping: Grouping, first: usize, scales: &mut [f32]) {
        let (mut scaled, mut sums) = (Vec::new(), Vec::new());
        let len = grouping.range(0).len();
        let whole = grouping.columns().is_multiple_of(len.max(1));
        // Without a division wherever every group has the same length.
        let range_of = |group: usize| if whole { group * len..(group + 1) * len } else { grouping.range(group) };
        let mut long = |group: usize| self.scale_of(samples.slice(range_of(group)), &mut scaled, &mut sums);
        #[cfg(target_arch = "x86_64")]
        if let Some((cells, bounds)) = self.cells.as_ref().zip(self.bounds.as_ref()) {
            // SAFETY: cells are only made where AVX-512 was proved available.
            if let Some(mut batch) = unsafe { short::Batch::new(cells, bounds, self.search, len) } {
                for (first, scales) in (first..).step_by(short::BATCH).zip(scales.chunks_mut(short::BATCH)) {
                    let mut groups = [samples.slice(0..0); short::BATCH];
                    let groups = &mut groups[..scales.len()];
                    (first..).zip(&mut *groups).for_each(|(group, to)| *to = samples.slice(range_of(group)));
                    // SAFETY: as above.
                    let left = unsafe { batch.scales_of(self.level, groups, scales) };
                    for (i, scale) in scales.iter_mut().enumerate().filter(|(i, _)| left >> i & 1 != 0) {
                        *scale = long(first + i);
                    }
                }
                return;
            }
        }
        (first..).zip(scales).for_each(|(group, scale)| *scale = long(group));
    }

    fn scale_of(&self, samples: Samples<'_>, scaled: &mut Vec<i16>, sums: &mut Vec<u64>) -> f32 {
        scaled.resize(samples.len(), 0);
        let largest = self.level.vectorize(
            #[inline(always)]
            || {
                let largest = absmax(samples);
                scale_samples(self.level, samples, largest, scaled);
                largest
            },
        );
        self.choose(largest, |numerators, signs, largest_scaled| {
            sums.clear();
            sums.resize(numerators.len() * signs.list().len(), 0);
            self.add(numerators, signs, Group { scaled, largest, largest_scaled }, sums);
            least(sums)
        })
    }

    /// One long group: every cost is a sum over chunks, in integers, so the order is free.
    fn scale_of_long(&self, cpu: &Cpu, samples: Samples<'_>) -> f32 {
        let largest = absmax_parallel(cpu, samples);
        let mut scaled = vec![0; samples.len()];
        let ranges: Vec<_> = chunks(0..samples.len(), cpu.chunk_len).collect();
        ranges.into_par_iter().zip(scaled.par_chunks_mut(cpu.chunk_len)).for_each(|(range, scaled)| {
            let samples = samples.slice(range);
            self.level.vectorize(
                #[inline(always)]
                || scale_samples(self.level, samples, largest, scaled),
            );
        });
        self.choose(largest, |numerators, signs, largest_scaled| {
            let part = |mut sums: Vec<u64>, scaled: &[i16]| {
                self.add(numerators, signs, Group { scaled, largest, largest_scaled }, &mut sums);
                sums
            };
            let zeros = || vec![0; numerators.len() * signs.list().len()];
            let join = |a: Vec<u64>, b: Vec<u64>| a.iter().zip(b).map(|(a, b)| a + b).collect();
            least(&scaled.par_chunks(cpu.chunk_len).fold(zeros, part).reduce(zeros, join))
        })
    }

    /// Adds the costs of all numerators with all signs, the signs of a numerator side by side.
    fn add(&self, numerators: &[i32], signs: Signs, group: Group<'_>, sums: &mut [u64]) {
        #[cfg(target_arch = "x86_64")]
        if let Some(cells) = self.cells.as_ref().filter(|_| cells::holds(group.largest)) {
            // SAFETY: cells are only made where AVX-512 was proved available.
            return unsafe { avx512::add_costs(cells, numerators, signs, group, sums) };
        }
        let candidates = numerators.iter().flat_map(|&n| signs.list().iter().map(move |&sign| (n, sign)));
        for ((numerator, sign), sum) in candidates.zip(sums) {
            *sum += portable::cost(self.level, self.search, group.scaled, sign * span(group.largest_scaled, numerator));
        }
    }

    /// The scale of a group of largest magnitude `largest`; `least` finds the first of the least costs and its place.
    fn choose(&self, largest: f32, mut least: impl FnMut(&[i32], Signs, i32) -> (u64, usize)) -> f32 {
        if largest == 0.0 {
            return 0.0;
        }
        let largest_scaled = (largest * power_of_two(sample_shift(largest))).round_ties_even() as i32;
        let signs = if self.search.signed { Signs::Both } else { Signs::Plus };
        let (cost, place) = least(&self.search.numerators, signs, largest_scaled);
        let (first, sign) = signs.candidate(&self.search.numerators, place);
        let mut refined = REFINE_OFFSETS.map(|offset| first + offset);
        // A numerator that is not positive is not tried; the winner itself in its place changes nothing.
        refined.iter_mut().filter(|n| **n <= 0).for_each(|n| *n = first);
        let (refined_cost, place) = least(&refined, Signs::of(sign), largest_scaled);
        let numerator = if refined_cost < cost { refined[place] } else { first };
        scale_of_candidate(self.search, largest, largest_scaled, numerator, sign)
    }
}

#[inline]
fn scale_of_candidate(search: &ScaleSearch, largest: f32, largest_scaled: i32, numerator: i32, sign: i32) -> f32 {
    let unit = power_of_two(-sample_shift(largest));
    storable((sign * span(largest_scaled, numerator)) as f32 * unit * search.level_max_inverse)
}

fn least(sums: &[u64]) -> (u64, usize) {
    let cost = sums.iter().copied().min().expect("a search has candidates");
    (cost, sums.iter().position(|&sum| sum == cost).expect("the least is one of them"))
}

/// x̂ = round_half_even(x · 2^shift), at most 8192 in magnitude.
#[inline(always)]
fn scale_samples(level: Level, samples: Samples<'_>, largest: f32, scaled: &mut [i16]) {
    let unit = power_of_two(sample_shift(largest.max(f32::MIN_POSITIVE)));
    // Short, because a group is: clearing a longer tile would take longer than filling it.
    let mut tile = [0.0; 64];
    for (range, scaled) in chunks(0..samples.len(), 64).zip(scaled.chunks_mut(64)) {
        let tile = &mut tile[..range.len()];
        load(level, samples, range.start, tile);
        // Within ±8192, so that the cast to i32, which is one instruction, is exact.
        scaled.iter_mut().zip(&*tile).for_each(|(to, x)| *to = (x * unit).round_ties_even() as i32 as i16);
    }
}
