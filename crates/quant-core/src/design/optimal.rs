//! Exact 1-D k-means: the codebook of least squared error for weighted samples, with no restarts and no tolerance.
//!
//! Cells of an optimal quantizer are runs of the sorted samples, so the search is over borders: minimise
//! Σ_cells Σ w (x − mean)². Samples become weighted atoms; a partition that minimises cost + slope · cells is found in
//! about O(n) evaluations; if by luck it has M cells it is the answer (it is on the convex hull of cost against M,
//! which for a Monge cost holds every M). Otherwise its borders confine those of the M-cell optimum to windows, and a
//! layered dynamic programme over the windows finishes: O(n log n) in all where the plain programme takes O(M n log n).

mod atoms;
mod binned;
mod blocks;
mod bounds;
mod candidates;
mod constrained;
mod gathered;
mod layer;
mod path;
mod radix;
pub mod rounded;
mod scratch;
mod shortfall;
mod table;
mod windows;

use super::result::check_level_count;
use super::{Constraints, Design, DesignError, StopReason};
use crate::codebook::Codebook;
use crate::source::WeightedSamples;
use atoms::Atoms;
use constrained::Allowed;
pub use layer::{Candidates, FillLayer, Layer, Portable};
pub use scratch::Scratch;
use scratch::Tools;
use windows::Windows;

/// An optimal partition of weighted points.
#[derive(Clone, Debug, PartialEq)]
pub struct OptimalPartition {
    /// Centroids of the cells, ascending and distinct.
    pub levels: Vec<f64>,
    /// Index of the first point of each cell but the first.
    pub borders: Vec<usize>,
    /// Σ w (x − level)², in weight times squared units of the points.
    pub cost: f64,
    /// The most by which rounding of Σ w may have made it dearer than the best; 0 of whole weights.
    pub weight_rounding: f64,
}

/// The levels of an optimal codebook of at most `level_count` levels for weighted samples, ascending and distinct.
///
/// Minimises Σ w (x − nearest level)² exactly (up to f64 rounding of the sums), then rounds centroids to f32. Samples
/// of weight 0 are ignored; if all weights are 0, or none is given, every sample weighs 1. With fewer distinct values
/// than levels each value is a level. The order of the samples matters only to how sums round. No samples: one level, 0.
///
/// Source: Wu 1991; Grønlund et al. 2017, "Fast exact k-means, k-medians and Bregman divergence clustering in 1D".
/// Valid for finite samples and finite weights of at least 0, which callers check at the border.
///
/// ```
/// use quant_core::design::optimal::fit_levels;
/// assert_eq!(fit_levels(&[0.0, 10.0, 1.0, 11.0], None, 2), [0.5, 10.5]);
/// assert_eq!(fit_levels(&[0.0, 1.0, 10.0], Some(&[3.0, 1.0, 1.0]), 2), [0.25, 10.0]);
/// ```
///
/// # Panics
///
/// When `level_count` is 0, or there is not one weight per sample.
pub fn fit_levels(samples: &[f32], weights: Option<&[f32]>, level_count: usize) -> Vec<f32> {
    fit_levels_with(&Portable, &mut Scratch::default(), samples, weights, level_count)
}

/// [`fit_levels`] with its inner loops compiled as `fill` wants, in memory that is there; the result is the same.
pub fn fit_levels_with(
    fill: &impl FillLayer,
    scratch: &mut Scratch,
    samples: &[f32],
    weights: Option<&[f32]>,
    level_count: usize,
) -> Vec<f32> {
    assert!(level_count > 0, "at least 1 level");
    assert!(weights.is_none_or(|w| w.len() == samples.len()), "one weight per sample");
    scratch.clear();
    let tools = scratch.tools(fill);
    binned::levels(tools, samples, weights, level_count)
        .unwrap_or_else(|| fit_sorted(tools, samples, weights, level_count))
}

fn fit_sorted(
    tools: Tools<'_, impl FillLayer>,
    samples: &[f32],
    weights: Option<&[f32]>,
    level_count: usize,
) -> Vec<f32> {
    let atoms = Atoms::from_samples(samples, weights);
    if atoms.is_empty() {
        return vec![0.0];
    }
    cells(&partition(&atoms, level_count, tools), atoms.len()).map(|(i, j)| atoms.centroid(i, j) as f32).collect()
}

/// The optimal partition of (value, weight) points with ascending values, as [`fit_levels`] defines it, in f64.
///
/// ```
/// let best = quant_core::design::optimal::fit_points(&[(0.0, 1.0), (1.0, 1.0), (5.0, 2.0)], 2);
/// assert_eq!((best.levels, best.borders, best.cost), (vec![0.5, 5.0], vec![2], 0.5));
/// ```
///
/// # Panics
///
/// When `level_count` is 0, values descend, or no point has weight.
pub fn fit_points(points: &[(f64, f64)], level_count: usize) -> OptimalPartition {
    fit_points_with(&Portable, points, level_count)
}

/// [`fit_points`] with its inner loop compiled as `fill` wants; the result is the same.
pub fn fit_points_with(fill: &impl FillLayer, points: &[(f64, f64)], level_count: usize) -> OptimalPartition {
    assert!(level_count > 0, "at least 1 level");
    assert!(points.windows(2).all(|w| w[0].0 <= w[1].0), "values ascend");
    let atoms = Atoms::from_ascending(points.iter().copied());
    assert!(!atoms.is_empty(), "a point with weight");
    result(&atoms, points, &partition(&atoms, level_count, Scratch::default().tools(fill)))
}

/// The optimal codebook of weighted samples as a [`Design`]; checked at [`WeightedSamples::new`].
///
/// Fewer distinct values than levels give that many levels and no distortion. The result is exact under every
/// constraint (stop: `Exact`). In time O(n log n), or O(M n log n) with a zero or a clip that binds.
///
/// ```
/// use quant_core::{design::{Constraints, optimal}, source::WeightedSamples};
/// let samples = WeightedSamples::new([-1.0, 0.1, 1.0, 3.0], None).unwrap();
/// let zero = Constraints { zero: true, ..Constraints::default() };
/// assert_eq!(optimal::design(&samples, 3, &zero).unwrap().codebook.levels(), [0.0, 1.0, 3.0]);
/// ```
pub fn design(samples: &WeightedSamples, level_count: usize, constraints: &Constraints) -> Result<Design, DesignError> {
    check_level_count(level_count, 1)?;
    constraints.check(level_count)?;
    let atoms = Atoms::from_ascending(samples.points().iter().copied());
    let range = constraints.range();
    let levels = if constraints.symmetric {
        constrained::symmetric_levels(&atoms, level_count, range.1)
    } else if constraints.zero {
        constrained::levels(&atoms, level_count, Allowed { range, zero: true })
    } else {
        let levels = fit_points(samples.points(), level_count).levels;
        let binds = levels[0] < range.0 || levels[levels.len() - 1] > range.1;
        if binds { constrained::levels(&atoms, level_count, Allowed { range, zero: false }) } else { levels }
    };
    Ok(Design::measured(Codebook::nearest(levels)?, samples, 0, StopReason::Exact, Vec::new()))
}

fn result(atoms: &Atoms, points: &[(f64, f64)], borders: &[usize]) -> OptimalPartition {
    let levels: Vec<f64> = cells(borders, atoms.len()).map(|(i, j)| atoms.centroid(i, j)).collect();
    let cost = cells(borders, atoms.len()).zip(&levels).map(|((i, j), &y)| atoms.squared_error(i, j, y)).sum();
    let first_of = |&border: &usize| points.partition_point(|p| p.0 < atoms.values()[border]);
    let weight_rounding = 2.0 * atoms.weight_rounding();
    OptimalPartition { levels, borders: borders.iter().map(first_of).collect(), cost, weight_rounding }
}

/// Distinct values of samples with their weights, ascending, as [`fit_levels`] sees them.
pub fn points(samples: impl Iterator<Item = f32>, weights: Option<&[f32]>) -> Vec<(f64, f64)> {
    let mut points = Vec::with_capacity(samples.size_hint().0);
    atoms::merge_samples(samples, weights, |value, weight| points.push((value, weight)));
    points
}

/// Sorts finite samples in linear time.
pub fn sort_samples(samples: &mut Vec<f32>) {
    *samples = atoms::sorted(samples.iter().copied()).collect();
}

/// For each border of an optimal partition of the samples in bins: the least and the greatest index of a bin before
/// which the partition of the bins' means may have it. The border itself lies at most one bin farther out.
///
/// `points` are means and counts of bins in ascending order, `spread` upper bounds of their Σ |x − mean|, and each mean
/// may be off by `error` through rounding of the samples, d say: the root of the cost moves by at most √(n d²), the
/// distance of the samples from the levels being a norm. No sample is outside `ends`. None where bounds are not worth their
/// while.
pub fn border_ranges(
    points: &[(f64, f64)],
    spread: &[f64],
    ends: (f64, f64),
    error: f64,
    level_count: usize,
) -> Option<Vec<(usize, usize)>> {
    let atoms = Atoms::from_ascending(points.iter().copied());
    if atoms.len() != points.len() || !is_bounded(atoms.len(), level_count) {
        return None;
    }
    let count: f64 = points.iter().map(|p| p.1).sum();
    // Any cost above the optimum will do for the slack: that of the best partition of the means, plus what bins hide.
    let scratch = Scratch::default();
    let tools = scratch.tools(&Portable);
    let coarse = bounds::narrow(atoms.elements(), level_count, 0.0, tools);
    let windows = Windows::within(coarse, atoms.len(), tools.scratch);
    if !windows.are_consistent() {
        return None;
    }
    let borders = windows::cheapest(atoms.prefix(), &windows, tools)?;
    let cost: f64 = cells(borders, atoms.len()).map(|(i, j)| atoms.squared_error(i, j, atoms.centroid(i, j))).sum();
    let cost = cost + spread.iter().zip(points).map(|(s, p)| s * s / p.1).sum::<f64>();
    let slack = 2.0 * (2.0 * (cost * count).sqrt() * error + count * error * error);
    let ends = (ends.0 - atoms.centre(), ends.1 - atoms.centre());
    let elements = blocks::Elements { spread, ends, ..atoms.elements() };
    Some(bounds::narrow(elements, level_count, slack, tools).to_vec())
}

/// Runs `i..j` of atoms between borders.
fn cells(borders: &[usize], n: usize) -> impl Iterator<Item = (usize, usize)> {
    let starts = std::iter::once(0).chain(borders.iter().copied());
    starts.zip(borders.iter().copied().chain(std::iter::once(n)))
}

/// Slopes tried before the windows found so far are taken. Each costs one pass; usually one or two bring the number of
/// cells within an eighth of the target, and narrower windows save less than a pass.
const SLOPES_MAX: usize = 8;

/// Below this many atoms per level the plain programme is as fast.
const ATOMS_PER_LEVEL_MIN: usize = 3;

/// Below this many atoms per level bounds prune too little to pay.
const BOUNDED_ATOMS_PER_LEVEL_MIN: usize = 16;

/// Bounds keep a table of about 4·M² costs twice: 16 MiB at this many levels M.
const BOUNDED_LEVELS_MAX: usize = 512;

fn is_bounded(n: usize, level_count: usize) -> bool {
    (2..=BOUNDED_LEVELS_MAX).contains(&level_count) && n >= BOUNDED_ATOMS_PER_LEVEL_MIN * level_count
}

fn partition(atoms: &Atoms, level_count: usize, tools: Tools<'_, impl FillLayer>) -> Vec<usize> {
    let n = atoms.len();
    if level_count >= n {
        return (1..n).collect();
    }
    let mut windows = Windows::full(n, level_count, tools.scratch);
    if atoms.are_vanishing() {
        // Every border anywhere.
    } else if is_bounded(n, level_count) {
        let slack = 4.0 * atoms.weight_rounding();
        let ranges = bounds::narrow(atoms.elements(), level_count, slack, tools);
        windows = Windows::within(ranges, n, tools.scratch);
    } else if level_count > 1
        && n >= ATOMS_PER_LEVEL_MIN * level_count
        && let Some(borders) = narrow_by_slopes(atoms, level_count, &mut windows)
    {
        return borders;
    }
    if !windows.are_consistent() {
        windows = Windows::full(n, level_count, tools.scratch);
    }
    let borders = windows::cheapest(atoms.prefix(), &windows, tools);
    // Only sums that overflow leave no partition a cost.
    borders.map_or_else(|| (1..level_count).collect(), <[usize]>::to_vec)
}

/// Tries slopes until a partition has about `level_count` cells; returns it if the number is met.
fn narrow_by_slopes(atoms: &Atoms, level_count: usize, windows: &mut Windows<'_>) -> Option<Vec<usize>> {
    let (mut low, mut high) = (0.0, f64::INFINITY);
    let mut slope = atoms.slope_guess(level_count);
    for _ in 0..SLOPES_MAX {
        let borders = path::cheapest(atoms, slope);
        let cell_count = borders.len() + 1;
        if cell_count == level_count {
            return Some(borders);
        }
        windows.narrow(&borders);
        if cell_count.abs_diff(level_count) <= 1 + level_count / 8 {
            break;
        }
        if cell_count > level_count {
            low = slope;
        } else {
            high = slope;
        }
        // D ∝ M⁻² makes the slope ∝ M⁻³; where that leaves the bracket, bisect.
        slope *= (cell_count as f64 / level_count as f64).powi(3);
        if slope <= low || slope >= high {
            slope = if high.is_finite() { low + (high - low) / 2.0 } else { 2.0 * low };
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Small deterministic numbers (xorshift), for inputs that need no statistics.
    fn numbers(seed: u64) -> impl FnMut() -> f64 {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 11) as f64 / (1u64 << 53) as f64
        }
    }

    fn certified_cost(atoms: &Atoms, level_count: usize) -> f64 {
        let scratch = Scratch::default();
        let tools = scratch.tools(&Portable);
        let windows = Windows::full(atoms.len(), level_count, tools.scratch);
        let borders = windows::cheapest(atoms.prefix(), &windows, tools).expect("finite sums");
        cells(borders, atoms.len()).map(|(i, j)| atoms.squared_error(i, j, atoms.centroid(i, j))).sum()
    }

    #[test]
    fn the_cost_is_that_of_the_plain_dynamic_programme() {
        for seed in 1..400u64 {
            let mut next = numbers(seed);
            let n = 2 + (next() * 400.0) as usize;
            let tail = 1.0 + next() * 8.0;
            let grid = if seed % 3 == 0 { 20.0 } else { 1e9 };
            let mut points: Vec<(f64, f64)> = (0..n)
                .map(|_| {
                    (((next() - 0.5).powi(3) * (next() * tail).exp() * grid).round() / grid, (next() * 4.0).floor())
                })
                .collect();
            points.push((0.0, 1.0));
            points.sort_by(|a, b| a.0.total_cmp(&b.0));
            let atoms = Atoms::from_ascending(points.iter().copied());
            for level_count in [1, 2, 3, 5, 8, 16, 40] {
                let found = fit_points(&points, level_count);
                if level_count < atoms.len() {
                    let least = certified_cost(&atoms, level_count);
                    let total = atoms.squared_error(0, atoms.len(), atoms.centroid(0, atoms.len()));
                    assert!((found.cost - least).abs() <= 1e-13 * total, "seed {seed}: {} against {least}", found.cost);
                }
                assert_eq!(found.levels.len(), level_count.min(atoms.len()));
                assert_eq!(found.borders.len() + 1, found.levels.len());
            }
        }
    }

    #[test]
    fn degenerate_samples_give_what_there_is() {
        assert_eq!(fit_levels(&[], None, 4), [0.0]);
        assert_eq!(fit_levels(&[3.0; 7], None, 4), [3.0]);
        assert_eq!(fit_levels(&[3.0, -1.0], None, 4), [-1.0, 3.0]);
        assert_eq!(fit_levels(&[1.0, 2.0, 9.0], Some(&[0.0, 1.0, 0.0]), 2), [2.0]);
        assert_eq!(fit_levels(&[1.0, 2.0, 9.0], Some(&[0.0; 3]), 2), [1.5, 9.0]);
        assert_eq!(fit_levels(&[1.0, 2.0, 9.0], None, 1), [4.0]);
    }

    #[test]
    fn windows_that_rounding_left_empty_are_not_used() {
        for at in (0..1078).step_by(7) {
            let value = |i: usize| ((i as f64 / 1078.0).powi(5) * 102_400.0).round() / 1024.0 + 1000.0;
            let samples: Vec<f32> =
                (0..1078).map(|i| if i == at { 1_099_537_200.0 } else { value(i) as f32 }).collect();
            let weights: Vec<f32> = samples.iter().map(|x| x * x).collect();
            let levels = fit_levels(&samples, Some(&weights), 16);
            assert!(levels.len() == 16 && levels.windows(2).all(|pair| pair[0] < pair[1]), "{at}: {levels:?}");
        }
    }

    #[test]
    fn weights_of_any_magnitudes_give_levels() {
        assert_eq!(fit_levels(&[1.0, 2.0, 3.0], Some(&[1e20, 1.0, 1e20]), 4), [1.0, 2.0, 3.0]);
        assert!(fit_points(&[(1.0, 1e20), (2.0, 1.0), (3.0, 1.0), (4.0, 1e20)], 3).cost.is_finite());
        for seed in 1..120u64 {
            let mut next = numbers(seed);
            let n = if seed % 2 == 0 { 300 } else { 1500 };
            let samples: Vec<f32> = (0..n).map(|_| (next() - 0.5) as f32).collect();
            let decades = 12.0 + 4.0 * (seed % 5) as f64;
            let weights: Vec<f32> = (0..n).map(|_| 10f64.powf((next() - 0.5) * decades) as f32).collect();
            for level_count in [4, 16, 100] {
                let levels = fit_levels(&samples, Some(&weights), level_count);
                let ascend = levels.windows(2).all(|pair| pair[0] < pair[1]);
                assert!(ascend && levels[0].is_finite(), "seed {seed}, {level_count}: {levels:?}");
                assert!(levels.len() <= level_count);
            }
        }
    }

    #[test]
    fn the_order_of_samples_does_not_matter() {
        let mut next = numbers(5);
        let mut pairs: Vec<(f32, f32)> = (0..500).map(|_| ((next() as f32 * 50.0).round(), next() as f32)).collect();
        let fit = |pairs: &[(f32, f32)]| {
            let (samples, weights): (Vec<f32>, Vec<f32>) = pairs.iter().copied().unzip();
            fit_levels(&samples, Some(&weights), 7)
        };
        let first = fit(&pairs);
        pairs.reverse();
        assert_eq!(fit(&pairs), first);
        pairs.sort_by(|a, b| a.1.total_cmp(&b.1));
        assert_eq!(fit(&pairs), first);
    }
}
