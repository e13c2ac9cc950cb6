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
use super::scratch::Tools;
use super::shortfall::shortfall;
use bumpalo::Bump;
use std::cell::RefCell;
use std::ops::Add;

/// For each border but the outer two the least and the greatest boundary that it may be.
pub type Ranges<'a> = &'a [(usize, usize)];

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
pub fn narrow<'s>(
    elements: Elements<'_>,
    level_count: usize,
    slack: f64,
    tools: Tools<'s, impl FillLayer>,
) -> Ranges<'s> {
    let levels = tools.fill.vectorize(
        #[inline(always)]
        || hierarchy(elements, level_count, tools.scratch),
    );
    let coarsest = levels.last().map_or(elements.len(), |blocks| blocks.elements.len());
    let mut ranges: Ranges<'s> = tools.scratch.alloc_slice_fill_copy(level_count - 1, (0, coarsest));
    for blocks in levels.iter().rev() {
        ranges = tools.fill.vectorize(
            #[inline(always)]
            || narrowed(blocks.elements, ranges, slack, tools, |kept| refined(kept, blocks.starts, tools.scratch)),
        );
    }
    if elements.spread.is_empty() {
        return ranges;
    }
    tools.fill.vectorize(
        #[inline(always)]
        || narrowed(elements, ranges, slack, tools, |kept| &*tools.scratch.alloc_slice_copy(kept)),
    )
}

#[inline(always)]
fn hierarchy<'s>(elements: Elements<'_>, level_count: usize, scratch: &'s Bump) -> Vec<Blocks<'s>> {
    let few = (BLOCKS_PER_LEVEL * level_count).max(24);
    let mut levels: Vec<Blocks<'s>> = Vec::new();
    let mut limit = elements.limit_guess(elements.len() / RATIO);
    loop {
        let below = levels.last().map_or(elements, |blocks| blocks.elements);
        if below.len() <= 2 * few || levels.len() > 40 {
            return levels;
        }
        levels.push(below.grouped(limit, scratch));
        limit *= (RATIO * RATIO) as f64;
    }
}

/// Boundary b of blocks, the first block whose mean is above a threshold, as positions in the level below: strictly
/// between the start of the block before b and the end of block b.
#[inline(always)]
pub fn refined<'s>(ranges: Ranges<'_>, starts: &[u32], scratch: &'s Bump) -> Ranges<'s> {
    let last = starts.len() - 1;
    let low = |b: usize| if b == 0 { 0 } else { starts[b - 1] as usize + 1 };
    let high = |b: usize| if b == last { starts[last] as usize } else { starts[b + 1] as usize - 1 };
    let refined = scratch.alloc_slice_copy(ranges);
    for (low_end, high_end) in &mut *refined {
        (*low_end, *high_end) = (low(*low_end), high(*high_end));
    }
    refined
}

/// What `kept` keeps, made to last by `last`.
#[inline(always)]
fn narrowed<'s>(
    elements: Elements<'_>,
    ranges: Ranges<'_>,
    slack: f64,
    tools: Tools<'s, impl FillLayer>,
    last: impl FnOnce(Ranges<'_>) -> Ranges<'s>,
) -> Ranges<'s> {
    tools.passing(
        #[inline(always)]
        |tools| last(kept(elements, ranges, slack, tools)),
    )
}

/// Ranges without the boundaries that no optimum has.
#[inline(always)]
fn kept<'s>(elements: Elements<'_>, ranges: Ranges<'_>, slack: f64, tools: Tools<'s, impl FillLayer>) -> Ranges<'s> {
    let excess = Excess { elements, slack };
    let most = excess.within(ranges, tools);
    match Rounded::new(elements.prefix, ranges, most, tools) {
        Some(rounded) => {
            let [forward, backward] = rounded.layers(tools);
            let of = |layers| RoundedLayers { layers, rounded, fill: tools.fill };
            kept_by(ranges, (&of(forward), &of(backward)), excess, most, tools)
        }
        None => {
            let of = |prefix| Exact { prefix, fill: tools.fill, best: RefCell::new(tools.room(count_max(ranges))) };
            let (forward, backward) = (of(elements.prefix), of(mirrored(elements.prefix, tools)));
            kept_by(ranges, (&forward, &backward), excess, most, tools)
        }
    }
}

/// Boundaries of the border that has most.
fn count_max(ranges: Ranges<'_>) -> usize {
    ranges.iter().map(|r| r.1 - r.0 + 1).max().unwrap_or(0)
}

/// What a partition may cost above the least of the elements.
#[derive(Clone, Copy)]
struct Excess<'a> {
    elements: Elements<'a>,
    slack: f64,
}

impl Excess<'_> {
    #[inline(always)]
    fn within(self, ranges: Ranges<'_>, tools: Tools<'_, impl FillLayer>) -> f64 {
        shortfall(self.elements, ranges, tools) * (1.0 + 1e-9) + self.slack
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
    prefix: Prefix<'a>,
    fill: &'a F,
    /// Where each cost of a layer came from, which nobody asks; as many as the widest layer has.
    best: RefCell<&'a mut [u32]>,
}

impl<F: FillLayer> Layers for Exact<'_, F> {
    type Cost = f64;

    #[inline(always)]
    fn fill(&self, (from, from_low): (&[f64], usize), (to, low, count): (&mut [f64], usize, usize)) {
        let layer = Layer::new(self.prefix, from, from_low, low, true);
        self.fill.fill(layer, &mut to[..count], &mut self.best.borrow_mut()[..count]);
    }

    #[inline(always)]
    fn above(&self, least: f64, excess: f64) -> f64 {
        least + excess + ROUNDING * least.abs()
    }
}

/// Layers in f32.
struct RoundedLayers<'a, F> {
    layers: rounded::Layers<'a>,
    rounded: Rounded<'a>,
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
fn kept_by<'s, L: Layers>(
    ranges: Ranges<'_>,
    (forward, backward): (&L, &L),
    excess: Excess<'_>,
    most: f64,
    tools: Tools<'s, impl FillLayer>,
) -> Ranges<'s> {
    let n = excess.elements.len();
    let mut tables = Tables::forward(ranges, forward, tools.scratch);
    let (mut least, mut first_limit) = (L::Cost::INFINITY, L::Cost::INFINITY);
    let left = tools.scratch.alloc_slice_copy(ranges);
    let zeros = || tools.scratch.alloc_slice_fill_copy(count_max(ranges) + ROOM, L::Cost::ZERO);
    let (mut from_low, mut from_count, from, to) = (0, 1, zeros(), zeros());
    for q in (0..ranges.len()).rev() {
        // Boundary b is n − b here. Those behind all that are left of the border behind are not filled.
        let high = n - ranges[q].0;
        let low = (n - ranges[q].1).max(from_low).min(high);
        let count = high - low + 1;
        backward.fill((&from[..from_count], from_low), (to, low, count));
        tables.add(q, &to[..count]);
        if q + 1 == ranges.len() {
            for &cost in tables.of_border(q) {
                least = if cost < least { cost } else { least };
            }
            first_limit = forward.above(least, most);
        }
        left[q] = tables.within(q, ranges[q].0, ranges[q], first_limit);
        let end = n - left[q].1.min(n - low);
        let kept = &to[end - low..=n - left[q].0 - low];
        from[..kept.len()].copy_from_slice(kept);
        (from_low, from_count) = (end, kept.len());
    }
    // Narrower ranges make the shortfall smaller, and that may narrow them again.
    for _ in 1..PASSES {
        let limit = forward.above(least, excess.within(left, tools).min(most));
        for (q, left) in left.iter_mut().enumerate() {
            *left = tables.within(q, ranges[q].0, *left, limit);
        }
    }
    left
}

/// The least costs of every boundary that a border may be: F_q(b), then F_q(b) + B_q(b).
struct Tables<'s, C> {
    /// Where the costs of each border start, and their number at the end.
    offsets: &'s [usize],
    costs: &'s mut [C],
}

impl<'s, C: Cost> Tables<'s, C> {
    /// Least −Σ gain of the cells up to each boundary; cells may be empty.
    #[inline(always)]
    fn forward(ranges: Ranges<'_>, layers: &impl Layers<Cost = C>, scratch: &'s Bump) -> Self {
        let offsets = scratch.alloc_slice_fill_copy(ranges.len() + 1, 0);
        for (q, (low, high)) in ranges.iter().enumerate() {
            offsets[q + 1] = offsets[q] + high - low + 1;
        }
        let costs = scratch.alloc_slice_fill_copy(offsets[ranges.len()] + ROOM, C::INFINITY);
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

/// The same elements in descending order, so that one programme serves both directions.
fn mirrored<'s>(prefix: Prefix<'_>, tools: Tools<'s, impl FillLayer>) -> Prefix<'s> {
    let rest = |sums: &[f64]| {
        let mirrored = tools.room(sums.len());
        for (to, sum) in mirrored.iter_mut().zip(sums.iter().rev()) {
            *to = sums[sums.len() - 1] - sum;
        }
        &*mirrored
    };
    Prefix { weight: rest(prefix.weight), moment: rest(prefix.moment) }
}
