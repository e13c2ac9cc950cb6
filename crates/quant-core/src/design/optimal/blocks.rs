//! Runs of neighbouring elements taken together, so that borders can be narrowed coarse to fine.
//!
//! A block stands for its elements by their mean. For any levels c, min_j (x − c_j)² − x² is concave in x, so the error
//! of the means falls short of that of the elements, less a constant, by at most Σ_q (c_{q+1} − c_q)·G, where G is the
//! spread Σ w |x − mean| of the block that threshold q cuts (Jensen; at a kink of slope 2(c_{q+1} − c_q) the shortfall
//! is greatest when the threshold is at the mean). Blocks of about equal weight · width make the largest G small.

use super::layer::Prefix;
use bumpalo::{Bump, collections::Vec};

/// A level of the hierarchy: elements in order, each a run of elements of the level below.
#[derive(Clone, Copy, Debug)]
pub struct Blocks<'a> {
    /// The blocks as elements of the next level.
    pub elements: Elements<'a>,
    /// Where each block starts in the level below, and the number of elements there at the end.
    pub starts: &'a [u32],
}

/// What a level is made from: atoms, bins or blocks.
#[derive(Clone, Copy, Debug)]
pub struct Elements<'a> {
    /// Sums before each element, and over all at the end.
    pub prefix: Prefix<'a>,
    /// Mean of each element, from any origin; of blocks less the centre of the moments.
    pub means: &'a [f64],
    /// Upper bound of each element's own spread Σ w |x − mean|; empty when elements are single values.
    pub spread: &'a [f64],
    /// No sample is below the first or above the second, less the centre of the moments. Means do not tell: what is left
    /// of the outermost element behind a threshold may be all on one side of its mean.
    pub ends: (f64, f64),
}

impl Elements<'_> {
    /// How many elements.
    pub fn len(&self) -> usize {
        self.means.len()
    }

    /// The weight · width at which about `count` blocks come out: (Σ √(w·Δ) / count)², by runs of elements.
    #[inline(always)]
    pub fn limit_guess(&self, count: usize) -> f64 {
        let n = self.len();
        let run = n.div_ceil(512).max(4);
        let root = |start: usize| {
            let end = (start + run).min(n - 1);
            let weight = self.prefix.weight[end] - self.prefix.weight[start];
            (weight * (self.means[end] - self.means[start])).max(0.0).sqrt()
        };
        (0..n - 1).step_by(run).map(root).sum::<f64>().powi(2) / (count * count) as f64
    }

    /// Greedy blocks of weight · width at most `limit`, or of one element.
    #[inline(always)]
    pub fn grouped<'s>(&self, limit: f64, scratch: &'s Bump) -> Blocks<'s> {
        let n = self.len();
        let mut starts = Vec::with_capacity_in(n / 2 + 2, scratch);
        starts.push(0);
        let (mut mean, mut weight) = (self.means[0], self.prefix.weight[0]);
        for e in 1..n {
            if (self.prefix.weight[e + 1] - weight) * (self.means[e] - mean) > limit {
                starts.push(e as u32);
                (mean, weight) = (self.means[e], self.prefix.weight[e]);
            }
        }
        starts.push(n as u32);
        self.blocks(starts.into_bump_slice(), scratch)
    }

    #[inline(always)]
    fn blocks<'s>(&self, starts: &'s [u32], scratch: &'s Bump) -> Blocks<'s> {
        // Loops and not closures that are collected from, which are not always compiled for the level.
        let count = starts.len() - 1;
        let zeros = |count| scratch.alloc_slice_fill_copy(count, 0.0);
        let (weight, moment, means, spread) = (zeros(count + 1), zeros(count + 1), zeros(count), zeros(count));
        for ((&start, weight), moment) in starts.iter().zip(&mut *weight).zip(&mut *moment) {
            *weight = self.prefix.weight[start as usize];
            *moment = self.prefix.moment[start as usize];
        }
        let prefix = Prefix { weight, moment };
        for (b, mean) in means.iter_mut().enumerate() {
            *mean = prefix.mean(b, b + 1);
        }
        for (b, spread) in spread.iter_mut().enumerate() {
            *spread = self.spread_of(starts[b] as usize, starts[b + 1] as usize, means[b]);
        }
        Blocks { elements: Elements { prefix, means, spread, ends: self.ends }, starts }
    }

    /// Σ w |x − mean| = 2 Σ_{x > mean} w (x − mean), plus what the elements hide.
    #[inline(always)]
    fn spread_of(&self, start: usize, end: usize, mean: f64) -> f64 {
        let own = self.spread.get(start..end).map_or(0.0, |s| s.iter().sum());
        if end == start + 1 {
            return own;
        }
        // The elements above the mean are those behind the place from which on the sum is greatest.
        let (weight, moment) = (self.prefix.weight[end], self.prefix.moment[end]);
        let mut most = 0.0;
        for (w, m) in self.prefix.weight[start + 1..end].iter().zip(&self.prefix.moment[start + 1..end]) {
            let above = (moment - m) - mean * (weight - w);
            most = if above > most { above } else { most };
        }
        own + 2.0 * most
    }
}
