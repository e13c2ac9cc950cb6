//! Which samples lie in bins that may hold a border, and what atoms do they make in order?
//!
//! Samples are put bin after bin, and within a bin each goes by as many places as there are others on the wrong side of
//! it, which takes comparisons at fixed distances and no branch; everything between those bins enters by its sums.

use super::binned::{Binned, Sums};
use super::bounds;
use super::cells;
use super::layer::{FillLayer, Prefix};
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
pub struct Gathered {
    samples: Vec<Sample>,
    /// Samples in each of the bins.
    counts: Vec<usize>,
    /// Runs of present bins that are gathered, ascending and apart.
    runs: Vec<Range<usize>>,
}

impl Gathered {
    /// Samples of the runs of bins that hold what is before and behind every boundary in `ranges`; `indices` are the bins
    /// of the samples.
    pub fn new(
        binned: &Binned,
        sums: &[Sums],
        ranges: &[(usize, usize)],
        samples: &[f32],
        weights: Option<&[f32]>,
        indices: &[u32],
        fill: &impl FillLayer,
    ) -> Self {
        let mut runs: Vec<Range<usize>> = Vec::with_capacity(ranges.len());
        for &(low, high) in ranges {
            let (low, high) = (low.saturating_sub(1), (high + 1).min(binned.present.len()));
            match runs.last_mut().filter(|last| low <= last.end) {
                Some(last) => last.end = last.end.max(high),
                None => runs.push(low..high),
            }
        }
        let mut counts = Vec::with_capacity(runs.iter().map(Range::len).sum());
        let (mut places, mut is_wanted) = (vec![0; sums.len()], vec![false; sums.len()]);
        let mut place = 0;
        for run in &runs {
            for &bin in &binned.present[run.clone()] {
                let count = sums[bin as usize].count as usize;
                (places[bin as usize], is_wanted[bin as usize]) = (place as u32, true);
                counts.push(count);
                place += count;
            }
        }
        let own = fill.vectorize(
            #[inline(always)]
            || gather(samples, weights, indices, (&is_wanted, &mut places), place),
        );
        Self { samples: own, counts, runs }
    }

    /// Atoms of the gathered samples, and of all that is between them.
    #[inline(always)]
    pub fn atoms(mut self, centre: f64, binned: &Binned) -> Atoms {
        self.sort();
        let mut atoms = Builder::new(self.samples.len() + self.runs.len() + 1);
        let mut starts = vec![0; binned.present.len() + 1];
        // The number of atoms before each sample.
        let mut before = vec![0; self.samples.len() + 1];
        let (mut samples, mut counts, mut done) = (&self.samples[..], &self.counts[..], 0);
        for run in &self.runs {
            if done < run.start {
                atoms.end((binned.prefix.weight[run.start], binned.prefix.moment[run.start]));
            }
            let (own_counts, other_counts) = counts.split_at(run.len());
            let (own, others) = samples.split_at(own_counts.iter().sum());
            atoms.extend(own, centre, &mut before);
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
            atoms.end((binned.prefix.weight[n], binned.prefix.moment[n]));
        }
        Atoms { prefix: atoms.prefix(), starts, centre }
    }

    /// Sorts by value; equal ones stay in their order.
    #[inline(always)]
    fn sort(&mut self) {
        let (mut rest, mut most) = (&mut self.samples[..], 1);
        for &count in &self.counts {
            let (own, others) = rest.split_at_mut(count);
            if count > SIDE_BY_SIDE_MAX {
                own.sort_by(|a, b| a.x.total_cmp(&b.x));
            } else {
                most = most.max(count);
            }
            rest = others;
        }
        self.samples = sorted(&self.samples, most - 1);
    }
}

/// Samples of the bins that are wanted, `count` of them, from the next place of each bin on.
#[inline(always)]
fn gather(
    samples: &[f32],
    weights: Option<&[f32]>,
    indices: &[u32],
    (is_wanted, places): (&[bool], &mut [u32]),
    count: usize,
) -> Vec<Sample> {
    // Which samples, without a branch: it cannot be foreseen.
    let (mut selected, mut selected_count) = (vec![0; count + 1], 0);
    for (sample, &index) in indices.iter().enumerate() {
        selected[selected_count] = sample as u32;
        selected_count += usize::from(is_wanted[index as usize]);
    }
    let mut own = vec![Sample::default(); count];
    for &sample in &selected[..count] {
        let sample = sample as usize;
        let place = &mut places[indices[sample] as usize];
        own[*place as usize] = Sample { x: samples[sample], w: weights.map_or(1.0, |weights| weights[sample]) };
        *place += 1;
    }
    own
}

/// Sorts samples of which none in the wrong order are more than `reach` ≤ [`SIDE_BY_SIDE_MAX`] apart: each goes up by the
/// number of those behind that are less and down by those before that are greater.
#[inline(always)]
fn sorted(samples: &[Sample], reach: usize) -> Vec<Sample> {
    const ROOM: usize = SIDE_BY_SIDE_MAX;
    let mut values = vec![f32::INFINITY; ROOM + samples.len().next_multiple_of(LANES) + ROOM];
    values[..ROOM].fill(f32::NEG_INFINITY);
    values[ROOM..].iter_mut().zip(samples).for_each(|(to, sample)| *to = sample.x);
    let mut sorted = vec![Sample::default(); samples.len()];
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
struct Builder {
    weight: Vec<f64>,
    moment: Vec<f64>,
    count: usize,
}

impl Builder {
    fn new(count_max: usize) -> Self {
        Self { weight: vec![0.0; count_max + 1], moment: vec![0.0; count_max + 1], count: 0 }
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

    fn prefix(mut self) -> Prefix {
        self.weight.truncate(self.count + 1);
        self.moment.truncate(self.count + 1);
        Prefix { weight: self.weight, moment: self.moment }
    }
}

/// Single values where borders may lie, and one element for each run of bins between.
pub struct Atoms {
    prefix: Prefix,
    /// The first element of each present bin that is gathered, and of what is behind it.
    starts: Vec<u32>,
    centre: f64,
}

impl Atoms {
    /// None where rounding has left a border no place, or made levels meet.
    pub fn levels(&self, ranges: &[(usize, usize)], level_count: usize, fill: &impl FillLayer) -> Option<Vec<f32>> {
        let n = self.prefix.len();
        if n < level_count {
            return None;
        }
        let windows = Windows::within(&bounds::refined(ranges, &self.starts), n);
        if !windows.are_consistent() {
            return None;
        }
        let borders = windows::cheapest(&self.prefix, &windows, fill);
        let level = |(i, j): (usize, usize)| (self.centre + self.prefix.mean(i, j)) as f32;
        let levels: Vec<f32> = cells(&borders, n).map(level).collect();
        levels.windows(2).all(|pair| pair[0] < pair[1]).then_some(levels)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_that_are_nearly_in_order_are_sorted_and_equal_ones_stay() {
        for (len, reach) in [(0, 0), (1, 0), (16, 3), (17, 1), (100, 7), (333, SIDE_BY_SIDE_MAX - 1)] {
            // Bins of `reach` + 1 samples of few values each, in no order.
            let bin = |i: usize| i / (reach + 1) * 8;
            let samples: Vec<Sample> =
                (0..len).map(|i| Sample { x: (bin(i) + i * 5 % 7 % 4) as f32 - 9.0, w: i as f32 }).collect();
            let mut expected = samples.clone();
            expected.sort_by(|a, b| a.x.total_cmp(&b.x));
            assert_eq!(sorted(&samples, reach), expected, "{len}, {reach}");
        }
    }

    #[test]
    fn equal_values_are_one_atom_and_no_weight_is_none() {
        let samples = [(1.0, 0.0), (2.0, 1.0), (2.0, 0.0), (2.0, 3.0), (4.0, 0.0), (5.0, 2.0)];
        let samples: Vec<Sample> = samples.iter().map(|&(x, w)| Sample { x, w }).collect();
        let (mut atoms, mut before) = (Builder::new(8), vec![9; 6]);
        atoms.end((10.0, -4.0));
        atoms.extend(&samples, 1.0, &mut before);
        assert_eq!(before, [1, 1, 2, 2, 2, 2]);
        let prefix = atoms.prefix();
        assert_eq!((prefix.weight, prefix.moment), (vec![0.0, 10.0, 14.0, 16.0], vec![0.0, -4.0, 0.0, 8.0]));
    }
}
