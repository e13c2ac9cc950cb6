//! Windows that provably hold every border of an optimum, narrowed level by level.
//!
//! At a level of blocks let F_q(b) and B_q(b) be the least costs of the first q cells before boundary b and of the rest
//! behind it, over block means. If c are optimal levels, their partition of the block means costs at most the optimum
//! plus E, the shortfall that [`super::blocks`] bounds, and the optimum at most the best partition of the blocks. So
//! every boundary b of it has F_q(b) + B_q(b) ≤ min_b (F_q + B_q) + E, and all others are pruned. About 0.4·M blocks
//! either side of a border survive at every level for M levels, however many samples there are. A better partition than
//! that of the blocks, after some of Lloyd's steps, lowers the limit by a tenth of E only.

use super::blocks::{Blocks, Elements};
use super::layer::{FillLayer, Prefix};
use super::table::Layers;

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
    let levels = hierarchy(elements, level_count);
    let n = elements.len();
    let mut ranges: Option<Ranges> = None;
    for blocks in levels.iter().rev() {
        let count = blocks.means.len();
        let within = ranges.unwrap_or_else(|| vec![(0, count); level_count - 1]);
        let kept = kept(&blocks.prefix, within, &blocks.spread, slack, fill);
        ranges = Some(refined(&kept, &blocks.starts));
    }
    let ranges = ranges.unwrap_or_else(|| vec![(0, n); level_count - 1]);
    if elements.spread.is_empty() {
        return ranges;
    }
    kept(elements.prefix, ranges, elements.spread, slack, fill)
}

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
///
/// F is filled for every boundary. B follows from the last border to the first, from boundaries only that are left: where
/// an optimum has b, the best rest behind b has none that is pruned, so its cost does not change.
fn kept(prefix: &Prefix, ranges: Ranges, spread: &[f64], slack: f64, fill: &impl FillLayer) -> Ranges {
    let n = prefix.len();
    let mut tables = Tables::forward(prefix, &ranges, fill);
    let shortfall = |ranges: &[(usize, usize)]| {
        let shortfall = fill.vectorize(
            #[inline(always)]
            || shortfall(prefix, spread, ranges),
        );
        shortfall * (1.0 + 1e-9)
    };
    let first_shortfall = shortfall(&ranges);
    let mut base = f64::INFINITY;
    let mut left = ranges.clone();
    let mirrored = mirrored(prefix);
    let layers = Layers::new(&mirrored, fill);
    let (mut from_low, mut from) = (0, vec![0.0]);
    let (mut to, mut best) = (Vec::new(), Vec::new());
    for q in (0..ranges.len()).rev() {
        // Boundary b is n − b here. Those behind all that are left of the border behind are not filled.
        let high = n - ranges[q].0;
        let low = (n - ranges[q].1).max(from_low).min(high);
        to.resize(high - low + 1, 0.0);
        best.resize(high - low + 1, 0);
        layers.fill((&from, from_low), (&mut to, low), &mut best);
        tables.add(q, &to);
        if base.is_infinite() {
            let least = tables.of_border(q).iter().copied().fold(f64::INFINITY, f64::min);
            base = least + slack + ROUNDING * least.abs();
        }
        left[q] = tables.within(q, ranges[q].0, ranges[q], base + first_shortfall);
        let end = n - left[q].1.min(n - low);
        from.clear();
        from.extend_from_slice(&to[end - low..=n - left[q].0 - low]);
        from_low = end;
    }
    // Narrower ranges make the shortfall smaller, and that may narrow them again.
    for _ in 1..PASSES {
        let limit = base + shortfall(&left).min(first_shortfall);
        left.iter_mut().enumerate().for_each(|(q, left)| *left = tables.within(q, ranges[q].0, *left, limit));
    }
    left
}

/// The least costs of every boundary that a border may be: F_q(b), then F_q(b) + B_q(b).
struct Tables {
    /// Where the costs of each border start, and their number at the end.
    offsets: Vec<usize>,
    costs: Vec<f64>,
}

impl Tables {
    /// Least −Σ gain of the cells up to each boundary; cells may be empty.
    fn forward(prefix: &Prefix, ranges: &[(usize, usize)], fill: &impl FillLayer) -> Self {
        let mut offsets = vec![0];
        offsets.extend(ranges.iter().scan(0, |sum, r| {
            *sum += r.1 - r.0 + 1;
            Some(*sum)
        }));
        let mut costs = vec![f64::INFINITY; offsets[ranges.len()]];
        let mut best = vec![0; ranges.iter().map(|r| r.1 - r.0 + 1).max().unwrap_or(0)];
        let (mut from_low, mut from) = (0, &[0.0][..]);
        let mut rest = &mut costs[..];
        let layers = Layers::new(prefix, fill);
        for &(low, high) in ranges {
            let (to, behind) = rest.split_at_mut(high - low + 1);
            layers.fill((from, from_low), (to, low), &mut best[..=high - low]);
            (from_low, from, rest) = (low, to, behind);
        }
        Self { offsets, costs }
    }

    fn of_border(&self, q: usize) -> &[f64] {
        &self.costs[self.offsets[q]..self.offsets[q + 1]]
    }

    /// Adds the costs behind the least boundaries of border q, the greatest of them first; no optimum has the others.
    fn add(&mut self, q: usize, rest: &[f64]) {
        let (own, others) = self.costs[self.offsets[q]..self.offsets[q + 1]].split_at_mut(rest.len());
        own.iter_mut().zip(rest.iter().rev()).for_each(|(cost, rest)| *cost += rest);
        others.fill(f64::INFINITY);
    }

    /// From the first to the last boundary in `range` that costs at most `limit`; where none does, all. The costs of
    /// border q start at boundary `low`.
    fn within(&self, q: usize, low: usize, range: (usize, usize), limit: f64) -> (usize, usize) {
        let costs = &self.of_border(q)[range.0 - low..=range.1 - low];
        let first = costs.iter().position(|&cost| cost <= limit);
        let last = costs.iter().rposition(|&cost| cost <= limit);
        first.zip(last).map_or(range, |(first, last)| (range.0 + first, range.0 + last))
    }
}

/// E: the most that Σ Δ_q·G_q can be, where the distance Δ_q of the levels beside a border is bounded by where borders
/// may be, G_q is the largest spread that the border can meet, and all Δ_q together are at most the span of the levels.
#[inline(always)]
fn shortfall(prefix: &Prefix, spread: &[f64], ranges: &[(usize, usize)]) -> f64 {
    let n = spread.len();
    // Positions that a border may have, in the order of the samples: one block beyond the boundary of means.
    let border = |q: usize| match q {
        0 => (0, 0),
        q if q > ranges.len() => (n, n),
        q => (ranges[q - 1].0.saturating_sub(1), (ranges[q - 1].1 + 1).min(n)),
    };
    // The mean of a run does not descend as either end moves up; one block more stands in for an empty run.
    let least = |q: usize| {
        let (i, j) = (border(q).0, border(q + 1).0);
        if i < j { prefix.mean(i, j) } else { prefix.mean(i.saturating_sub(1), i.max(1)) }
    };
    let most = |q: usize| {
        let (i, j) = (border(q).1, border(q + 1).1);
        if i < j { prefix.mean(i, j) } else { prefix.mean(i.min(n - 1), (i + 1).min(n)) }
    };
    let largest =
        |(from, to): (usize, usize)| spread[from..to].iter().fold(0.0, |max: f64, &s| if s > max { s } else { max });
    let of_border = |q: usize| (largest(border(q)), (most(q) - least(q - 1)).max(0.0));
    let mut terms: Vec<(f64, f64)> = (1..=ranges.len()).map(of_border).collect();
    terms.sort_unstable_by(|a, b| b.0.total_cmp(&a.0));
    let mut span = (most(ranges.len()) - least(0)).max(0.0);
    let mut sum = 0.0;
    for (spread, distance) in terms {
        let distance = distance.min(span);
        (sum, span) = (sum + spread * distance, span - distance);
    }
    sum
}

/// The same elements in descending order, so that one programme serves both directions.
fn mirrored(prefix: &Prefix) -> Prefix {
    let rest = |sums: &[f64]| sums.iter().rev().map(|s| sums[sums.len() - 1] - s).collect();
    Prefix { weight: rest(&prefix.weight), moment: rest(&prefix.moment) }
}
