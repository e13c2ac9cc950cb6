//! By how much may the error of means fall short of that of what they stand for?
//!
//! [`super::blocks`] says why; here the levels are bounded by where borders may be.

use super::blocks::Elements;
use super::layer::FillLayer;
use super::scratch::Tools;

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

/// The least that the mean of cell q can be: that of a run does not descend as either end moves up. For an empty run it is
/// the mean of the block before, above which all samples of the cell are, or the least sample.
#[inline(always)]
fn least_mean(Elements { prefix, ends, .. }: Elements<'_>, ranges: &[(usize, usize)], q: usize) -> f64 {
    let n = prefix.len();
    let (i, j) = (positions(ranges, n, q).0, positions(ranges, n, q + 1).0);
    match (i, j) {
        _ if i < j => prefix.mean(i, j),
        (0, _) => ends.0,
        _ => prefix.mean(i - 1, i),
    }
}

/// The greatest that the mean of cell q can be, likewise.
#[inline(always)]
fn greatest_mean(Elements { prefix, ends, .. }: Elements<'_>, ranges: &[(usize, usize)], q: usize) -> f64 {
    let n = prefix.len();
    let (i, j) = (positions(ranges, n, q).1, positions(ranges, n, q + 1).1);
    match (i, j) {
        _ if i < j => prefix.mean(i, j),
        _ if i == n => ends.1,
        _ => prefix.mean(i, i + 1),
    }
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
    if distance.is_finite() { distance.max(0.0) } else { f64::INFINITY }
}

/// E: the most that Σ Δ_q·G_q can be, where the distance Δ_q of the levels beside a border is bounded by where borders
/// may be, G_q is the largest spread that the border can meet, and all Δ_q together are at most the span of the levels.
#[inline(always)]
pub fn shortfall(elements: Elements<'_>, ranges: &[(usize, usize)], tools: Tools<'_, impl FillLayer>) -> f64 {
    let spread = elements.spread;
    let span = distance(least_mean(elements, ranges, 0), greatest_mean(elements, ranges, ranges.len()));
    let terms = tools.room(ranges.len());
    let mut high = 0.0;
    for (i, term) in terms.iter_mut().enumerate() {
        let q = i + 1;
        let (from, to) = positions(ranges, spread.len(), q);
        let spread = greatest(&spread[from..to]);
        high = greater(spread, high);
        *term = (spread, distance(least_mean(elements, ranges, q - 1), greatest_mean(elements, ranges, q)));
    }
    // θ·span + Σ Δ_q·max(G_q − θ, 0) is an upper bound for every θ ≥ 0; some up to the greatest G_q are tried.
    let mut bounds = [0.0; THRESHOLDS];
    for (i, bound) in bounds.iter_mut().enumerate() {
        *bound = high * i as f64 / THRESHOLDS as f64 * span;
    }
    for &mut (spread, distance) in terms {
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
