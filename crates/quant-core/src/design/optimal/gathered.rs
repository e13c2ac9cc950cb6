//! Which samples lie in bins that may hold a border, and what atoms do they make in order?
//!
//! Samples are put bin after bin, and within a bin each goes by as many places as there are others on the wrong side of
//! it, which takes comparisons at fixed distances and no branch; everything between those bins enters by its sums.

use super::binned::{Binnable, Binned, Sums};
use super::bounds;
use super::cells;
use super::layer::{FillLayer, Prefix};
use super::scratch::Tools;
use super::windows::{self, Windows};
use std::ops::Range;

/// Samples moved side by side.
const LANES: usize = 16;

/// Bins of more samples than this are sorted one by one: comparisons at all distances would cost more.
const SIDE_BY_SIDE_MAX: usize = 24;

#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Sample {
    x: f32,
    w: f32,
}

/// The samples of some bins, bin after bin.
pub struct Gathered<'s> {
    samples: &'s mut [Sample],
    /// Samples in each of the bins.
    counts: &'s [usize],
    /// Runs of present bins that are gathered, ascending and apart.
    runs: Vec<Range<usize>>,
}

impl<'s> Gathered<'s> {
    /// Samples of the runs of bins that hold what is before and behind every boundary in `ranges`.
    pub fn new(
        binned: &Binned<'_>,
        sums: &[Sums],
        ranges: &[(usize, usize)],
        samples: Binnable<'_>,
        tools: Tools<'s, impl FillLayer>,
    ) -> Self {
        let mut runs: Vec<Range<usize>> = Vec::with_capacity(ranges.len());
        for &(low, high) in ranges {
            let (low, high) = (low.saturating_sub(1), (high + 1).min(binned.present.len()));
            match runs.last_mut().filter(|last| low <= last.end) {
                Some(last) => last.end = last.end.max(high),
                None => runs.push(low..high),
            }
        }
        let counts = tools.room(runs.iter().map(Range::len).sum());
        let (places, is_wanted) = (tools.room(sums.len()), tools.room(sums.len()));
        let mut place = 0;
        let wanted = runs.iter().flat_map(|run| &binned.present[run.clone()]);
        for (&bin, to) in wanted.zip(&mut *counts) {
            let count = sums[bin as usize].count as usize;
            (places[bin as usize], is_wanted[bin as usize], *to) = (place as u32, true, count);
            place += count;
        }
        let own = tools.fill.vectorize(
            #[inline(always)]
            || gather(samples, (is_wanted, places), place, tools),
        );
        Self { samples: own, counts, runs }
    }

    /// Atoms of the gathered samples, and of all that is between them.
    #[inline(always)]
    pub fn atoms(self, centre: f64, binned: &Binned<'_>, tools: Tools<'s, impl FillLayer>) -> Atoms<'s> {
        let sorted = in_order(self.samples, self.counts, tools);
        let prefix = binned.elements.prefix;
        let mut atoms = Builder::new(sorted.len() + self.runs.len() + 1, tools);
        let starts = tools.room(binned.present.len() + 1);
        // The number of atoms before each sample.
        let before = tools.room(sorted.len() + 1);
        let (mut samples, mut counts, mut done) = (sorted, self.counts, 0);
        for run in &self.runs {
            if done < run.start {
                atoms.end((prefix.weight[run.start], prefix.moment[run.start]));
            }
            let (own_counts, other_counts) = counts.split_at(run.len());
            let (own, others) = samples.split_at(own_counts.iter().sum());
            atoms.extend(own, centre, before);
            let mut place = 0;
            for (start, count) in starts[run.clone()].iter_mut().zip(own_counts) {
                *start = before[place];
                place += count;
            }
            starts[run.end] = atoms.count as u32;
            (samples, counts, done) = (others, other_counts, run.end);
        }
        let n = binned.present.len();
        if done < n {
            atoms.end((prefix.weight[n], prefix.moment[n]));
        }
        Atoms { prefix: atoms.prefix(), starts, centre }
    }
}

/// Samples of bins, of which there are `counts`, by value; equal ones stay in their order.
#[inline(always)]
fn in_order<'s>(samples: &mut [Sample], counts: &[usize], tools: Tools<'s, impl FillLayer>) -> &'s [Sample] {
    let (mut rest, mut most) = (&mut *samples, 1);
    for &count in counts {
        let (own, others) = rest.split_at_mut(count);
        if count > SIDE_BY_SIDE_MAX {
            own.sort_by(|a, b| a.x.total_cmp(&b.x));
        } else {
            most = most.max(count);
        }
        rest = others;
    }
    sorted(samples, most - 1, tools)
}

/// Samples of the bins that are wanted, `count` of them, from the next place of each bin on.
#[inline(always)]
fn gather<'s>(
    Binnable { samples, weights, bins }: Binnable<'_>,
    (is_wanted, places): (&[bool], &mut [u32]),
    count: usize,
    tools: Tools<'s, impl FillLayer>,
) -> &'s mut [Sample] {
    // Which samples, without a branch: it cannot be foreseen.
    let (selected, mut selected_count) = (tools.room(count + 1), 0);
    for (sample, &index) in bins.iter().enumerate() {
        selected[selected_count] = sample as u32;
        selected_count += usize::from(is_wanted[index as usize]);
    }
    let own = tools.room(count);
    for &sample in &selected[..count] {
        let sample = sample as usize;
        let place = &mut places[bins[sample] as usize];
        own[*place as usize] = Sample { x: samples[sample], w: weights.map_or(1.0, |weights| weights[sample]) };
        *place += 1;
    }
    own
}

/// Sorts samples of which none in the wrong order are more than `reach` ≤ [`SIDE_BY_SIDE_MAX`] apart: each goes up by the
/// number of those behind that are less and down by those before that are greater.
#[inline(always)]
fn sorted<'s>(samples: &[Sample], reach: usize, tools: Tools<'s, impl FillLayer>) -> &'s mut [Sample] {
    const ROOM: usize = SIDE_BY_SIDE_MAX;
    let count = ROOM + samples.len().next_multiple_of(LANES) + ROOM;
    let values = tools.scratch.alloc_slice_fill_copy(count, f32::INFINITY);
    values[..ROOM].fill(f32::NEG_INFINITY);
    for (to, sample) in values[ROOM..].iter_mut().zip(samples) {
        *to = sample.x;
    }
    let sorted = tools.room(samples.len());
    for (block, samples) in samples.chunks(LANES).enumerate() {
        let first = block * LANES;
        let at = |place: usize| values[place..].first_chunk::<LANES>().expect("room on both sides");
        let own = at(ROOM + first);
        let mut shift = [0i32; LANES];
        for distance in 1..=reach {
            let (behind, before) = (at(ROOM + first + distance), at(ROOM + first - distance));
            for lane in 0..LANES {
                shift[lane] += i32::from(behind[lane] < own[lane]) - i32::from(before[lane] > own[lane]);
            }
        }
        for (lane, (sample, shift)) in samples.iter().zip(shift).enumerate() {
            sorted[(first + lane).wrapping_add_signed(shift as isize)] = *sample;
        }
    }
    sorted
}

/// Sums at the ends of atoms.
struct Builder<'s> {
    weight: &'s mut [f64],
    moment: &'s mut [f64],
    count: usize,
}

impl<'s> Builder<'s> {
    fn new(count_max: usize, tools: Tools<'s, impl FillLayer>) -> Self {
        Self { weight: tools.room(count_max + 1), moment: tools.room(count_max + 1), count: 0 }
    }

    /// An atom that ends at these sums.
    #[inline(always)]
    fn end(&mut self, (weight, moment): (f64, f64)) {
        self.count += 1;
        (self.weight[self.count], self.moment[self.count]) = (weight, moment);
    }

    /// Atoms of samples in order behind what is there; `before` becomes the number of atoms before each. Equal values are one atom,
    /// and those without weight none.
    #[inline(always)]
    fn extend(&mut self, samples: &[Sample], centre: f64, before: &mut [u32]) {
        let (mut weight, mut moment) = (self.weight[self.count], self.moment[self.count]);
        // In bits, which wait for each other less long than floats; those of a NaN are those of no value.
        let mut last = u32::MAX;
        for (sample, before) in samples.iter().zip(before) {
            let (x, w) = (f64::from(sample.x) - centre, f64::from(sample.w));
            (weight, moment) = (weight + w, moment + w * x);
            *before = self.count as u32;
            let bits = (sample.x + 0.0).to_bits();
            let is_new = (bits != last) & (sample.w.to_bits() << 1 != 0);
            last = if is_new { bits } else { last };
            self.count += usize::from(is_new);
            (self.weight[self.count], self.moment[self.count]) = (weight, moment);
        }
    }

    fn prefix(self) -> Prefix<'s> {
        Prefix { weight: &self.weight[..=self.count], moment: &self.moment[..=self.count] }
    }
}

/// Single values where borders may lie, and one element for each run of bins between.
pub struct Atoms<'s> {
    prefix: Prefix<'s>,
    /// The first element of each present bin that is gathered, and of what is behind it.
    starts: &'s [u32],
    centre: f64,
}

impl Atoms<'_> {
    /// None where rounding has left a border no place, made levels meet, or lost a weight.
    pub fn levels(
        &self,
        ranges: &[(usize, usize)],
        level_count: usize,
        tools: Tools<'_, impl FillLayer>,
    ) -> Option<Vec<f32>> {
        let n = self.prefix.len();
        if n < level_count || !self.prefix.ascends() {
            return None;
        }
        let windows = Windows::within(bounds::refined(ranges, self.starts, tools.scratch), n, tools.scratch);
        if !windows.are_consistent() {
            return None;
        }
        let borders = windows::cheapest(self.prefix, &windows, tools)?;
        let level = |(i, j): (usize, usize)| (self.centre + self.prefix.mean(i, j)) as f32;
        let levels: Vec<f32> = cells(borders, n).map(level).collect();
        levels.windows(2).all(|pair| pair[0] < pair[1]).then_some(levels)
    }
}

#[cfg(test)]
mod tests {
    use super::super::layer::Portable;
    use super::*;
    use crate::design::optimal::Scratch;

    #[test]
    fn samples_that_are_nearly_in_order_are_sorted_and_equal_ones_stay() {
        for (len, reach) in [(0, 0), (1, 0), (16, 3), (17, 1), (100, 7), (333, SIDE_BY_SIDE_MAX - 1)] {
            // Bins of `reach` + 1 samples of few values each, in no order.
            let bin = |i: usize| i / (reach + 1) * 8;
            let samples: Vec<Sample> =
                (0..len).map(|i| Sample { x: (bin(i) + i * 5 % 7 % 4) as f32 - 9.0, w: i as f32 }).collect();
            let mut expected = samples.clone();
            expected.sort_by(|a, b| a.x.total_cmp(&b.x));
            let scratch = Scratch::default();
            let tools = scratch.tools(&Portable);
            assert_eq!(sorted(&samples, reach, tools), expected, "{len}, {reach}");
        }
    }

    #[test]
    fn equal_values_are_one_atom_and_no_weight_is_none() {
        let samples = [(1.0, 0.0), (2.0, 1.0), (2.0, 0.0), (2.0, 3.0), (4.0, 0.0), (5.0, 2.0)];
        let samples: Vec<Sample> = samples.iter().map(|&(x, w)| Sample { x, w }).collect();
        let scratch = Scratch::default();
        let tools = scratch.tools(&Portable);
        let (mut atoms, mut before) = (Builder::new(8, tools), vec![9; 6]);
        atoms.end((10.0, -4.0));
        atoms.extend(&samples, 1.0, &mut before);
        assert_eq!(before, [1, 1, 2, 2, 2, 2]);
        let prefix = atoms.prefix();
        assert_eq!((prefix.weight, prefix.moment), (&[0.0, 10.0, 14.0, 16.0][..], &[0.0, -4.0, 0.0, 8.0][..]));
    }
}
