//! Windows that provably hold every border of an optimum, narrowed level by level.
//!
//! At a level of blocks let F_q(b) and B_q(b) be the least costs of the first q cells before boundary b and of the rest
//! behind it, over block means. If c are optimal levels, their partition of the block means costs at most the optimum
//! plus E, the shortfall that [`super::blocks`] bounds, and the optimum at most the best partition of the blocks. So
//! every boundary b of it has F_q(b) + B_q(b) ≤ min_b (F_q + B_q) + E, and all others are pruned. About 0.4·M blocks
//! either side of a border survive at every level for M levels, however many samples there are. A better partition than
//! that of the blocks, after some of Lloyd's steps, lowers the limit by a tenth of E only.

use super::blocks::{Blocks, Elements};
use super::layer::{FillLayer, Layer, Prefix};
use super::rounded::{self, Rounded};
use std::ops::Add;

/// For each border but the outer two the least and the greatest boundary that it may be.
pub type Ranges = Vec<(usize, usize)>;

/// Blocks of the coarsest level, in multiples of the level count: fewer leave wide windows, more make its full
/// programme the dearest part. Tuned on rows of 4096 samples at 8 and 16 levels.
const BLOCKS_PER_LEVEL: usize = 4;

/// Blocks of one level per block of the next. Tuned likewise; between 3 and 6 little changes.
const RATIO: usize = 4;

/// How often ranges are narrowed with the shortfall of the last. The second time a fifth goes, then little.
const PASSES: usize = 2;

/// Share of the total gain by which sums may be off, many times the rounding of prefix sums of 2²⁴ terms.
const ROUNDING: f64 = 1e-12;

/// Ranges of positions between `elements` for the borders of `level_count` cells, optimal for what the elements stand
/// for. `slack` is added to what a partition may cost above the best. An element with spread of its own (a bin) is a
/// level of blocks itself; elements without are only the ends of windows.
pub fn narrow(elements: Elements<'_>, level_count: usize, slack: f64, fill: &impl FillLayer) -> Ranges {
    let levels = fill.vectorize(
        #[inline(always)]
        || hierarchy(elements, level_count),
    );
    let n = elements.len();
    let mut ranges: Option<Ranges> = None;
    for blocks in levels.iter().rev() {
        let count = blocks.means.len();
        let within = ranges.unwrap_or_else(|| vec![(0, count); level_count - 1]);
        let kept = fill.vectorize(
            #[inline(always)]
            || kept(&blocks.prefix, within, &blocks.spread, slack, fill),
        );
        ranges = Some(refined(&kept, &blocks.starts));
    }
    let ranges = ranges.unwrap_or_else(|| vec![(0, n); level_count - 1]);
    if elements.spread.is_empty() {
        return ranges;
    }
    fill.vectorize(
        #[inline(always)]
        || kept(elements.prefix, ranges, elements.spread, slack, fill),
    )
}

#[inline(always)]
fn hierarchy(elements: Elements<'_>, level_count: usize) -> Vec<Blocks> {
    let few = (BLOCKS_PER_LEVEL * level_count).max(24);
    let mut levels: Vec<Blocks> = Vec::new();
    let mut limit = elements.limit_guess(elements.len() / RATIO);
    loop {
        let below = levels.last().map_or(elements, Blocks::elements);
        if below.len() <= 2 * few || levels.len() > 40 {
            return levels;
        }
        let blocks = below.grouped(limit);
        limit *= (RATIO * RATIO) as f64;
        levels.push(blocks);
    }
}

/// Boundary b of blocks, the first block whose mean is above a threshold, as positions in the level below: strictly
/// between the start of the block before b and the end of block b.
pub fn refined(ranges: &[(usize, usize)], starts: &[u32]) -> Ranges {
    let last = starts.len() - 1;
    let low = |b: usize| if b == 0 { 0 } else { starts[b - 1] as usize + 1 };
    let high = |b: usize| if b == last { starts[last] as usize } else { starts[b + 1] as usize - 1 };
    ranges.iter().map(|&(a, b)| (low(a), high(b))).collect()
}

/// Ranges without the boundaries that no optimum has.
#[inline(always)]
fn kept(prefix: &Prefix, ranges: Ranges, spread: &[f64], slack: f64, fill: &impl FillLayer) -> Ranges {
    let excess = Excess { prefix, spread, slack };
    let most = excess.within(&ranges);
    match Rounded::new(prefix, &ranges, most) {
        Some(mut rounded) => {
            let layers = rounded.layers(fill).map(|layers| RoundedLayers { layers, rounded: &rounded, fill });
            kept_by(ranges, &layers, excess, most)
        }
        None => {
            let mirrored = mirrored(prefix);
            kept_by(ranges, &[Exact { prefix, fill }, Exact { prefix: &mirrored, fill }], excess, most)
        }
    }
}

/// What a partition may cost above the least of the elements.
#[derive(Clone, Copy)]
struct Excess<'a> {
    prefix: &'a Prefix,
    spread: &'a [f64],
    slack: f64,
}

impl Excess<'_> {
    #[inline(always)]
    fn within(self, ranges: &[(usize, usize)]) -> f64 {
        shortfall(self.prefix, self.spread, ranges) * (1.0 + 1e-9) + self.slack
    }
}

/// Fills layers in one direction.
trait Layers {
    type Cost: Cost;

    /// The least costs of `count` boundaries from `low` on, from the costs `from` of boundaries `from_low`, …; `to` has
    /// `ROOM` more, which may be overwritten.
    fn fill(&self, from: (&[Self::Cost], usize), to: (&mut [Self::Cost], usize, usize));

    /// The cost that is `excess` above another, and what rounding may have done.
    fn above(&self, least: Self::Cost, excess: f64) -> Self::Cost;
}

/// What layers may write behind the last of their costs.
const ROOM: usize = rounded::LANES;

/// Layers in f64.
struct Exact<'a, F> {
    prefix: &'a Prefix,
    fill: &'a F,
}

impl<F: FillLayer> Layers for Exact<'_, F> {
    type Cost = f64;

    #[inline(always)]
    fn fill(&self, (from, from_low): (&[f64], usize), (to, low, count): (&mut [f64], usize, usize)) {
        let layer = Layer::new(self.prefix, from, from_low, low, true);
        self.fill.fill(layer, &mut to[..count], &mut vec![0; count]);
    }

    #[inline(always)]
    fn above(&self, least: f64, excess: f64) -> f64 {
        least + excess + ROUNDING * least.abs()
    }
}

/// Layers in f32.
struct RoundedLayers<'a, F> {
    layers: rounded::Layers,
    rounded: &'a Rounded,
    fill: &'a F,
}

impl<F: FillLayer> Layers for RoundedLayers<'_, F> {
    type Cost = f32;

    #[inline(always)]
    fn fill(&self, from: (&[f32], usize), to: (&mut [f32], usize, usize)) {
        self.layers.fill(from, to, self.fill);
    }

    #[inline(always)]
    fn above(&self, least: f32, excess: f64) -> f32 {
        (f64::from(least) + self.rounded.excess(excess)) as f32
    }
}

/// A cost of the programme.
trait Cost: Copy + PartialOrd + Add<Output = Self> {
    const ZERO: Self;
    const INFINITY: Self;
}

impl Cost for f64 {
    const ZERO: Self = 0.0;
    const INFINITY: Self = Self::INFINITY;
}

impl Cost for f32 {
    const ZERO: Self = 0.0;
    const INFINITY: Self = Self::INFINITY;
}

/// [`kept`] with layers forward and in descending order.
///
/// F is filled for every boundary. B follows from the last border to the first, from boundaries only that are left: where
/// an optimum has b, the best rest behind b has none that is pruned, so its cost does not change.
#[inline(always)]
fn kept_by<L: Layers>(ranges: Ranges, [forward, backward]: &[L; 2], excess: Excess<'_>, most: f64) -> Ranges {
    let n = excess.prefix.len();
    let mut tables = Tables::forward(&ranges, forward);
    let (mut least, mut first_limit) = (L::Cost::INFINITY, L::Cost::INFINITY);
    let mut left = ranges.clone();
    let count_max = ranges.iter().map(|r| r.1 - r.0 + 1).max().unwrap_or(0);
    let (mut from_low, mut from, mut to) = (0, vec![L::Cost::ZERO], vec![L::Cost::ZERO; count_max + ROOM]);
    for q in (0..ranges.len()).rev() {
        // Boundary b is n − b here. Those behind all that are left of the border behind are not filled.
        let high = n - ranges[q].0;
        let low = (n - ranges[q].1).max(from_low).min(high);
        let count = high - low + 1;
        backward.fill((&from, from_low), (&mut to, low, count));
        tables.add(q, &to[..count]);
        if q + 1 == ranges.len() {
            for &cost in tables.of_border(q) {
                least = if cost < least { cost } else { least };
            }
            first_limit = forward.above(least, most);
        }
        left[q] = tables.within(q, ranges[q].0, ranges[q], first_limit);
        let end = n - left[q].1.min(n - low);
        from.clear();
        from.extend_from_slice(&to[end - low..=n - left[q].0 - low]);
        from_low = end;
    }
    // Narrower ranges make the shortfall smaller, and that may narrow them again.
    for _ in 1..PASSES {
        let limit = forward.above(least, excess.within(&left).min(most));
        for (q, left) in left.iter_mut().enumerate() {
            *left = tables.within(q, ranges[q].0, *left, limit);
        }
    }
    left
}

/// The least costs of every boundary that a border may be: F_q(b), then F_q(b) + B_q(b).
struct Tables<C> {
    /// Where the costs of each border start, and their number at the end.
    offsets: Vec<usize>,
    costs: Vec<C>,
}

impl<C: Cost> Tables<C> {
    /// Least −Σ gain of the cells up to each boundary; cells may be empty.
    #[inline(always)]
    fn forward(ranges: &[(usize, usize)], layers: &impl Layers<Cost = C>) -> Self {
        let mut offsets = vec![0];
        offsets.extend(ranges.iter().scan(0, |sum, r| {
            *sum += r.1 - r.0 + 1;
            Some(*sum)
        }));
        let mut costs = vec![C::INFINITY; offsets[ranges.len()] + ROOM];
        let (mut from_low, mut from) = (0, &[C::ZERO][..]);
        let mut rest = &mut costs[..];
        for &(low, high) in ranges {
            let count = high - low + 1;
            layers.fill((from, from_low), (rest, low, count));
            let (to, behind) = rest.split_at_mut(count);
            (from_low, from, rest) = (low, to, behind);
        }
        Self { offsets, costs }
    }

    fn of_border(&self, q: usize) -> &[C] {
        &self.costs[self.offsets[q]..self.offsets[q + 1]]
    }

    /// Adds the costs behind the least boundaries of border q, the greatest of them first; no optimum has the others.
    #[inline(always)]
    fn add(&mut self, q: usize, rest: &[C]) {
        let (own, others) = self.costs[self.offsets[q]..self.offsets[q + 1]].split_at_mut(rest.len());
        own.iter_mut().zip(rest.iter().rev()).for_each(|(cost, rest)| *cost = *cost + *rest);
        others.fill(C::INFINITY);
    }

    /// From the first to the last boundary in `range` that costs at most `limit`; where none does, all. The costs of
    /// border q start at boundary `low`.
    #[inline(always)]
    fn within(&self, q: usize, low: usize, range: (usize, usize), limit: C) -> (usize, usize) {
        let own = self.offsets[q] + range.0 - low;
        let count = range.1 - range.0 + 1;
        let (mut first, mut last) = ([i32::MAX; ROOM], [-1; ROOM]);
        for start in (0..count).step_by(ROOM) {
            let costs = self.costs[own + start..].first_chunk::<ROOM>().expect("room behind");
            for lane in 0..ROOM {
                let place = (start + lane) as i32;
                let is_left = (costs[lane] <= limit) & (place < count as i32);
                first[lane] = first[lane].min(if is_left { place } else { i32::MAX });
                last[lane] = last[lane].max(if is_left { place } else { -1 });
            }
        }
        let (mut least, mut most) = (i32::MAX, -1);
        for lane in 0..ROOM {
            (least, most) = (least.min(first[lane]), most.max(last[lane]));
        }
        if most < 0 { range } else { (range.0 + least as usize, range.0 + most as usize) }
    }
}

/// Values of θ tried in [`shortfall`].
const THRESHOLDS: usize = 16;

/// Positions that border q may have, in the order of the samples: one block beyond the boundary of means.
#[inline(always)]
fn positions(ranges: &[(usize, usize)], n: usize, q: usize) -> (usize, usize) {
    match q {
        0 => (0, 0),
        q if q > ranges.len() => (n, n),
        q => (ranges[q - 1].0.saturating_sub(1), (ranges[q - 1].1 + 1).min(n)),
    }
}

/// The least that the mean of cell q can be: that of a run does not descend as either end moves up; one block more stands
/// in for an empty run.
#[inline(always)]
fn least_mean(prefix: &Prefix, ranges: &[(usize, usize)], q: usize) -> f64 {
    let n = prefix.len();
    let (i, j) = (positions(ranges, n, q).0, positions(ranges, n, q + 1).0);
    if i < j { prefix.mean(i, j) } else { prefix.mean(i.saturating_sub(1), i.max(1)) }
}

/// The greatest that the mean of cell q can be.
#[inline(always)]
fn greatest_mean(prefix: &Prefix, ranges: &[(usize, usize)], q: usize) -> f64 {
    let n = prefix.len();
    let (i, j) = (positions(ranges, n, q).1, positions(ranges, n, q + 1).1);
    if i < j { prefix.mean(i, j) } else { prefix.mean(i.min(n - 1), (i + 1).min(n)) }
}

/// The greatest of some spreads, in eight parts, which need not wait for each other.
#[inline(always)]
fn greatest(spread: &[f64]) -> f64 {
    let mut parts = [0.0; 8];
    for eight in spread.as_chunks::<8>().0 {
        parts = greater_of_each(parts, eight);
    }
    // The last eight, some of them again.
    match spread.last_chunk::<8>() {
        Some(last) => parts = greater_of_each(parts, last),
        None => parts[..spread.len()].copy_from_slice(spread),
    }
    let half = greater_of_each(parts, &[parts[4], parts[5], parts[6], parts[7], 0.0, 0.0, 0.0, 0.0]);
    greater(greater(half[0], half[1]), greater(half[2], half[3]))
}

#[inline(always)]
fn greater(a: f64, b: f64) -> f64 {
    if a > b { a } else { b }
}

#[inline(always)]
fn greater_of_each(mut a: [f64; 8], b: &[f64; 8]) -> [f64; 8] {
    for lane in 0..8 {
        a[lane] = greater(a[lane], b[lane]);
    }
    a
}

/// How far apart levels can be; where the mean of an element is none, because its weight vanishes from the sums, any far.
#[inline(always)]
fn distance(least: f64, most: f64) -> f64 {
    let distance = most - least;
    if distance.is_nan() { f64::INFINITY } else { distance.max(0.0) }
}

/// E: the most that Σ Δ_q·G_q can be, where the distance Δ_q of the levels beside a border is bounded by where borders
/// may be, G_q is the largest spread that the border can meet, and all Δ_q together are at most the span of the levels.
#[inline(always)]
fn shortfall(prefix: &Prefix, spread: &[f64], ranges: &[(usize, usize)]) -> f64 {
    let span = distance(least_mean(prefix, ranges, 0), greatest_mean(prefix, ranges, ranges.len()));
    let mut terms = Vec::with_capacity(ranges.len());
    let mut high = 0.0;
    for q in 1..=ranges.len() {
        let (from, to) = positions(ranges, spread.len(), q);
        let spread = greatest(&spread[from..to]);
        high = greater(spread, high);
        terms.push((spread, distance(least_mean(prefix, ranges, q - 1), greatest_mean(prefix, ranges, q))));
    }
    // θ·span + Σ Δ_q·max(G_q − θ, 0) is an upper bound for every θ ≥ 0; some up to the greatest G_q are tried.
    let mut bounds = [0.0; THRESHOLDS];
    for (i, bound) in bounds.iter_mut().enumerate() {
        *bound = high * i as f64 / THRESHOLDS as f64 * span;
    }
    for (spread, distance) in terms {
        for (i, bound) in bounds.iter_mut().enumerate() {
            let above = spread - high * i as f64 / THRESHOLDS as f64;
            *bound += if above > 0.0 { above * distance } else { 0.0 };
        }
    }
    let mut least = f64::INFINITY;
    for bound in bounds {
        least = if bound < least { bound } else { least };
    }
    least
}

/// The same elements in descending order, so that one programme serves both directions.
fn mirrored(prefix: &Prefix) -> Prefix {
    let rest = |sums: &[f64]| sums.iter().rev().map(|s| sums[sums.len() - 1] - s).collect();
    Prefix { weight: rest(&prefix.weight), moment: rest(&prefix.moment) }
}
