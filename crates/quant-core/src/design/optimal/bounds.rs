//! Windows that provably hold every border of an optimum, narrowed level by level.
//!
//! At a level of blocks let F_q(b) and B_q(b) be the least costs of the first q cells before boundary b and of the rest
//! behind it, over block means. If c are optimal levels, their partition of the block means costs at most the optimum
//! plus E, the shortfall that [`super::blocks`] bounds, and the optimum at most the best partition of the blocks. So
//! every boundary b of it has F_q(b) + B_q(b) ≤ min_b (F_q + B_q) + E, and all others are pruned. About 0.4·M blocks
//! either side of a border survive at every level for M levels, however many samples there are.

use super::blocks::{Blocks, Elements};
use super::layer::{FillLayer, Layer, Prefix};

/// For each border but the outer two the least and the greatest boundary that it may be.
pub type Ranges = Vec<(usize, usize)>;

/// Blocks of the coarsest level, in multiples of the level count: fewer leave wide windows, more make its full
/// programme the dearest part. Tuned on rows of 4096 samples at 8 and 16 levels.
const BLOCKS_PER_LEVEL: usize = 4;

/// Blocks of one level per block of the next. Tuned likewise; between 3 and 6 little changes.
const RATIO: usize = 4;

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
        let kept = prune(&blocks.prefix, &blocks.spread, within, slack, fill);
        ranges = Some(refined(&kept, &blocks.starts));
    }
    let ranges = ranges.unwrap_or_else(|| vec![(0, n); level_count - 1]);
    if elements.spread.is_empty() { ranges } else { prune(elements.prefix, elements.spread, ranges, slack, fill) }
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
fn refined(ranges: &[(usize, usize)], starts: &[u32]) -> Ranges {
    let last = starts.len() - 1;
    let low = |b: usize| if b == 0 { 0 } else { starts[b - 1] as usize + 1 };
    let high = |b: usize| if b == last { starts[last] as usize } else { starts[b + 1] as usize - 1 };
    ranges.iter().map(|&(a, b)| (low(a), high(b))).collect()
}

fn prune(prefix: &Prefix, spread: &[f64], ranges: Ranges, slack: f64, fill: &impl FillLayer) -> Ranges {
    let n = prefix.len();
    let forward = Table::filled(prefix, &ranges, fill);
    let mirror = |&(a, b): &(usize, usize)| (n - b, n - a);
    let mirrored_ranges: Ranges = ranges.iter().rev().map(mirror).collect();
    let backward = Table::filled(&mirrored(prefix), &mirrored_ranges, fill);
    let cost = |q: usize, b: usize| forward.at(q, b) + backward.at(ranges.len() - 1 - q, n - b);
    let least = (ranges[0].0..=ranges[0].1).map(|b| cost(0, b)).fold(f64::INFINITY, f64::min);
    let limit = least + shortfall(prefix, spread, &ranges) * (1.0 + 1e-9) + slack + ROUNDING * least.abs();
    let kept = |q: usize, (low, high): (usize, usize)| {
        let first = (low..=high).find(|&b| cost(q, b) <= limit).unwrap_or(low);
        let last = (low..=high).rev().find(|&b| cost(q, b) <= limit).unwrap_or(high);
        (first, last)
    };
    ranges.iter().enumerate().map(|(q, &range)| kept(q, range)).collect()
}

/// E: at most (largest spread) · (span of the levels), and at most Σ over borders of the largest spread that the border
/// can meet times the largest distance of the levels beside it.
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
    let largest = |from: usize, to: usize| spread[from..to].iter().copied().fold(0.0, f64::max);
    let of_border = |q: usize| largest(border(q).0, border(q).1) * (most(q) - least(q - 1)).max(0.0);
    let whole = largest(0, n) * (most(ranges.len()) - least(0)).max(0.0);
    (1..=ranges.len()).map(of_border).sum::<f64>().min(whole)
}

/// The same elements in descending order, so that one programme serves both directions.
fn mirrored(prefix: &Prefix) -> Prefix {
    let rest = |sums: &[f64]| sums.iter().rev().map(|s| sums[sums.len() - 1] - s).collect();
    Prefix { weight: rest(&prefix.weight), moment: rest(&prefix.moment) }
}

/// Least −Σ gain of the cells up to each boundary that a border may be; cells may be empty.
struct Table<'a> {
    ranges: &'a [(usize, usize)],
    offsets: Vec<usize>,
    costs: Vec<f64>,
}

impl<'a> Table<'a> {
    fn at(&self, q: usize, b: usize) -> f64 {
        self.costs[self.offsets[q] + b - self.ranges[q].0]
    }

    fn filled(prefix: &Prefix, ranges: &'a [(usize, usize)], fill: &impl FillLayer) -> Self {
        let mut offsets = vec![0];
        offsets.extend(ranges.iter().scan(0, |sum, r| {
            *sum += r.1 - r.0 + 1;
            Some(*sum)
        }));
        let mut costs = vec![f64::INFINITY; offsets[ranges.len()]];
        let mut best = vec![0; ranges.iter().map(|r| r.1 - r.0 + 1).max().unwrap_or(0)];
        let (mut from_low, mut from) = (0, &[0.0][..]);
        let mut rest = &mut costs[..];
        for &(low, high) in ranges {
            let (to, behind) = rest.split_at_mut(high - low + 1);
            fill.fill(Layer::new(prefix, from, from_low, low, true), to, &mut best[..=high - low]);
            (from_low, from, rest) = (low, to, behind);
        }
        Self { ranges, offsets, costs }
    }
}
