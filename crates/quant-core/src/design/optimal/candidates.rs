//! A layer in integers and f32: which candidate is best for each target, and what does it cost?

use super::rounded::{LANES, Sums, WIDTH_MAX};
use std::ops::Range;

/// The cost of a cell behind `from`, whose Σ w and Σ w·(x − centre) are these; infinite where it ends before it starts.
#[inline(always)]
fn cost(from: f32, weight: i32, moment: i32) -> f32 {
    let gain = gain(weight, moment);
    let cost = from - gain;
    if weight >= 0 { cost } else { f32::INFINITY }
}

/// (Σ w(x − centre))² / Σ w; 0 of an empty cell.
#[inline(always)]
fn gain(weight: i32, moment: i32) -> f32 {
    let (moment, weight) = (moment as f32, weight.max(1) as f32);
    moment * moment / weight
}

/// For each of the first `count` boundaries the gains of the cells from there to each of `stride` boundaries, a multiple of
/// `LANES`; −∞ where they end before they start, and of ends before the start nothing is written.
#[inline(always)]
pub fn gains(sums: Sums<'_>, (count, stride): (usize, usize), to: &mut [f32]) {
    for (start, to) in to.chunks_exact_mut(stride).take(count).enumerate() {
        let (start_weight, start_moment) = (sums.weight[start], sums.moment[start]);
        // From a multiple of LANES on, so that vectors leave no rest.
        let ends = start / LANES * LANES..stride;
        let of_ends = sums.weight[ends.clone()].iter().zip(&sums.moment[ends.clone()]);
        for (to, (&weight, &moment)) in to[ends].iter_mut().zip(of_ends) {
            let gain = gain(weight - start_weight, moment - start_moment);
            *to = if weight >= start_weight { gain } else { f32::NEG_INFINITY };
        }
    }
}

/// Some costs of a layer beside the sums that they are taken at, as many of each, at most [`WIDTH_MAX`].
#[derive(Clone, Copy, Debug)]
pub struct Candidates<'a> {
    /// The cost before each candidate.
    pub from: &'a [f32],
    /// Σ w before each candidate.
    pub weight: &'a [i32],
    /// Σ w·(x − centre) before each candidate.
    pub moment: &'a [i32],
    /// The greatest of the costs.
    most: f32,
}

impl<'a> Candidates<'a> {
    /// Of these costs and sums.
    #[inline(always)]
    pub fn new(from: &'a [f32], weight: &'a [i32], moment: &'a [i32]) -> Self {
        Self { from, weight, moment, most: greatest(from) }
    }

    /// The cost up to which one may be the least but for rounding: two gains are each off by five roundings at most, and
    /// two costs by one.
    #[inline(always)]
    pub fn limit(&self, least: f32) -> f32 {
        let slack = (self.most - least) * (1.0 / (1 << 20) as f32) + least.abs() * (1.0 / (1 << 22) as f32);
        let limit = least + slack;
        // Where no candidate can be reached any of them is as good.
        if limit >= least { limit } else { f32::INFINITY }
    }

    /// The least cost `to` of each of some targets, of which there are one more than a multiple of `LANES`.
    ///
    /// Every LANES-th target is compared with all candidates; the others with those between what is best for the targets
    /// on either side, or as good but for rounding.
    #[inline(always)]
    pub fn fill(&self, targets: [&[i32]; 2], to: &mut [f32]) {
        let (least, mut before) = self.best((targets[0][0], targets[1][0]));
        to[0] = least;
        for place in (1..to.len()).step_by(LANES) {
            let run = place..place + LANES;
            let own = targets.map(
                #[inline(always)]
                |sums| sums[run.clone()].first_chunk().expect("a whole run"),
            );
            let (_, behind) = self.best((own[0][LANES - 1], own[1][LANES - 1]));
            to[run].copy_from_slice(&self.least_of_each(before.0..before.1.max(behind.1) + 1, own));
            before = behind;
        }
    }

    /// The least cost of a target, and the first and the last candidate that may be the best.
    #[inline(always)]
    fn best(&self, target: (i32, i32)) -> (f32, (usize, usize)) {
        let mut costs = [f32::INFINITY; WIDTH_MAX];
        let costs = &mut costs[..self.from.len()];
        let starts = self.from.iter().zip(self.weight.iter().zip(self.moment));
        for (to, (&from, (weight, moment))) in costs.iter_mut().zip(starts) {
            *to = cost(from, target.0 - weight, target.1 - moment);
        }
        let least = least(costs);
        let limit = self.limit(least);
        let first = costs.iter().position(|&cost| cost <= limit).unwrap_or(0);
        let last = costs.iter().rposition(|&cost| cost <= limit).unwrap_or(costs.len() - 1);
        (least, (first, last))
    }

    /// The least costs of targets among some candidates.
    #[inline(always)]
    fn least_of_each(&self, range: Range<usize>, targets: [&[i32; LANES]; 2]) -> [f32; LANES] {
        let mut least = [f32::INFINITY; LANES];
        let starts = self.weight[range.clone()].iter().zip(&self.moment[range.clone()]);
        for (&from, (&weight, &moment)) in self.from[range].iter().zip(starts) {
            for lane in 0..LANES {
                let cost = cost(from, targets[0][lane] - weight, targets[1][lane] - moment);
                least[lane] = if cost < least[lane] { cost } else { least[lane] };
            }
        }
        least
    }
}

/// The greatest of some costs, in parts that need not wait for each other.
#[inline(always)]
fn greatest(costs: &[f32]) -> f32 {
    reduced(
        costs,
        f32::NEG_INFINITY,
        #[inline(always)]
        |a, b| if a > b { a } else { b },
    )
}

/// The least of some costs, likewise.
#[inline(always)]
fn least(costs: &[f32]) -> f32 {
    reduced(
        costs,
        f32::INFINITY,
        #[inline(always)]
        |a, b| if a < b { a } else { b },
    )
}

/// What `choose` leaves of some costs and `none`.
#[inline(always)]
fn reduced(costs: &[f32], none: f32, choose: impl Fn(f32, f32) -> f32) -> f32 {
    let (vectors, rest) = costs.as_chunks::<LANES>();
    let mut parts = [none; LANES];
    for vector in vectors {
        for lane in 0..LANES {
            parts[lane] = choose(parts[lane], vector[lane]);
        }
    }
    for (part, &cost) in parts.iter_mut().zip(rest) {
        *part = choose(*part, cost);
    }
    for half in [8, 4, 2, 1] {
        for lane in 0..half {
            parts[lane] = choose(parts[lane], parts[lane + half]);
        }
    }
    parts[0]
}
