//! The optimal codebook of a whole tensor without sorting it, with a proof that it is optimal.
//!
//! 16-bit samples have at most 65,536 distinct values, which are counted. f32 samples are counted into bins; the bounds
//! of [`super::optimal`] prove within which bins the borders of an optimum lie, usually 1 in 100; the samples of those
//! bins are gathered, all others enter by exact sums, and the exact programme on this mixture is the optimum of all
//! samples. Three passes over the data and O(n + bins) memory. Where bins narrow too little, all samples are sorted.

use super::optimal::{self, OptimalPartition};
use super::{BinSums, Bins, Gathered};
use crate::backend::Backend;
use crate::codebook::Codebooks;
use crate::grouping::{GroupLength, Grouping};
use crate::tensor::{Matrix, Samples, flush};

/// An optimal codebook and how sure that is.
#[derive(Clone, Debug, PartialEq)]
pub struct Certified {
    /// Levels, ascending and distinct.
    pub levels: Vec<f64>,
    /// Σ w (x − nearest level)² / Σ w.
    pub mse: f64,
    /// No codebook of as many levels has a smaller MSE.
    pub lower_bound: f64,
    /// Whether `gap` is at most [`GAP_MAX`].
    pub certified: bool,
    /// (mse − lower_bound) / mse; 0 for an MSE of 0.
    pub gap: f64,
}

/// The relative gap up to which a codebook is called certified.
pub const GAP_MAX: f64 = 1e-9;

/// Why samples could not be fitted.
#[derive(Debug, thiserror::Error)]
pub enum FitError<F: std::error::Error + 'static> {
    /// There is nothing to fit.
    #[error("no samples; at least 1 is needed")]
    Empty,
    /// No level was asked for.
    #[error("0 levels asked for; at least 1 is needed")]
    NoLevels,
    /// A sample is NaN or infinite.
    #[error(transparent)]
    NotFinite(#[from] crate::tensor::NotFinite),
    /// Not one weight per sample.
    #[error("{weights} weights given for {samples} samples")]
    WeightCount {
        /// Samples given.
        samples: usize,
        /// Weights given.
        weights: usize,
    },
    /// A weight is negative, NaN or infinite.
    #[error("weight {index} is {value}; weights must be finite and at least 0")]
    Weight {
        /// Position of the weight.
        index: usize,
        /// Its value.
        value: f32,
    },
    /// The device failed.
    #[error("{0}")]
    Fault(#[source] F),
}

/// Bins of the histogram, a table of which fits in a second-level cache.
/// About 0.4·M bins either side of each of M borders cannot be told from it, so this serves up to √(bins / 2) levels.
const BIN_COUNT: usize = 1 << 16;

/// Up to this many samples sorting is as fast as counting.
const SORTED_MAX: usize = 1 << 17;

/// The optimal codebook of at most `level_count` levels for all samples of `matrix`.
///
/// Minimises Σ w (x − nearest level)². Weights, one per sample, are finite and at least 0; if all are 0, each is 1.
///
/// ```
/// use quant_core::{design::certified::fit_samples, reference::Reference, tensor::{Matrix, Samples}};
/// let samples = [0.0, 10.0, 1.0, 11.0];
/// let fit = fit_samples(&Reference, Matrix::new(Samples::F32(&samples), 1, 4).unwrap(), None, 2).unwrap();
/// assert_eq!((fit.levels, fit.mse, fit.certified), (vec![0.5, 10.5], 0.25, true));
/// ```
pub fn fit_samples<B: Backend>(
    backend: &B,
    matrix: Matrix<'_>,
    weights: Option<&[f32]>,
    level_count: usize,
) -> Result<Certified, FitError<B::Fault>> {
    check(matrix.len(), weights, level_count)?;
    if let Some(refused) = backend.first_not_finite(matrix.samples()).map_err(FitError::Fault)? {
        return Err(refused.into());
    }
    if weights.is_some() {
        return Ok(fit_sorted(backend, matrix, weights, level_count));
    }
    fit_finite(backend, matrix, level_count).map_err(FitError::Fault)
}

/// [`fit_samples`] of samples known to be finite and at least 1, without weights.
pub fn fit_finite<B: Backend>(backend: &B, matrix: Matrix<'_>, level_count: usize) -> Result<Certified, B::Fault> {
    if !matches!(matrix.samples(), Samples::F32(_)) {
        let points = value_points(&backend.value_histogram(matrix.samples())?, matrix.samples());
        return Ok(certified(backend.fit_points(&points, level_count), &points, points.len(), 0.0));
    }
    if matrix.len() > SORTED_MAX
        && level_count * level_count <= BIN_COUNT / 2
        && let Some(fit) = fit_binned(backend, matrix, level_count, BIN_COUNT)?
    {
        return Ok(fit);
    }
    Ok(fit_sorted(backend, matrix, None, level_count))
}

/// The optimal codebook of each row of `matrix`, of at most `level_count` levels: [`Backend::fit_rows`] behind a check of
/// what it is given.
///
/// Weights, one per sample or one row for all, are finite and at least 0; in a row where all are 0, each is 1.
///
/// ```
/// use quant_core::{design::certified::fit_rows, reference::Reference, tensor::{Matrix, Samples}};
/// let samples = [0.0, 10.0, 1.0, 11.0, 2.0, 2.0, 2.0, 5.0];
/// let matrix = Matrix::new(Samples::F32(&samples), 2, 4).unwrap();
/// let rows = fit_rows(&Reference, matrix, None, 2).unwrap();
/// assert_eq!((rows.levels(0), rows.levels(1)), (&[0.5, 10.5][..], &[2.0, 5.0][..]));
/// let refused = fit_rows(&Reference, matrix, Some(&[1.0, 1.0, -2.0, 1.0]), 2).unwrap_err();
/// assert_eq!(refused.to_string(), "weight 2 is -2; weights must be finite and at least 0");
/// ```
pub fn fit_rows<B: Backend>(
    backend: &B,
    matrix: Matrix<'_>,
    weights: Option<&[f32]>,
    level_count: usize,
) -> Result<Codebooks, FitError<B::Fault>> {
    let per_column = weights.is_some_and(|w| w.len() == matrix.columns());
    check(if per_column { matrix.columns() } else { matrix.len() }, weights, level_count)?;
    if let Some(refused) = backend.first_not_finite(matrix.samples()).map_err(FitError::Fault)? {
        return Err(refused.into());
    }
    backend.fit_rows(matrix, None, weights, level_count).map_err(FitError::Fault)
}

fn check<F: std::error::Error>(count: usize, weights: Option<&[f32]>, level_count: usize) -> Result<(), FitError<F>> {
    if count == 0 {
        return Err(FitError::Empty);
    }
    if level_count == 0 {
        return Err(FitError::NoLevels);
    }
    let Some(weights) = weights else { return Ok(()) };
    if weights.len() != count {
        return Err(FitError::WeightCount { samples: count, weights: weights.len() });
    }
    match weights.iter().position(|w| !(*w >= 0.0 && w.is_finite())) {
        Some(index) => Err(FitError::Weight { index, value: weights[index] }),
        None => Ok(()),
    }
}

fn fit_sorted<B: Backend>(backend: &B, matrix: Matrix<'_>, weights: Option<&[f32]>, level_count: usize) -> Certified {
    let points = optimal::points((0..matrix.len()).map(|i| matrix.samples().get(i)), weights);
    certified(backend.fit_points(&points, level_count), &points, points.len(), 0.0)
}

/// Terms of a sum that are taken one after the other; backends gather in parts of at most as many.
const STEPS_MAX: usize = 1 << 16;

/// The result with its gap. A partition found by comparing prefix sums can be dearer than the best by their rounding:
/// a random walk of as many steps as there are terms in a run, and then runs, each ε·Σ w x² at most, x from the mean, and by
/// what rounding of weights does.
fn certified(fit: OptimalPartition, points: &[(f64, f64)], terms: usize, hidden: f64) -> Certified {
    let OptimalPartition { levels, cost, weight_rounding, .. } = fit;
    let weight: f64 = points.iter().map(|p| p.1).sum();
    let mean = points.iter().map(|p| p.0 * (p.1 / weight)).sum::<f64>();
    let energy: f64 = points.iter().map(|p| p.1 * (p.0 - mean).powi(2)).sum();
    let steps = terms.min(STEPS_MAX + terms / STEPS_MAX) as f64;
    let rounding = 0.5 * f64::EPSILON * steps.sqrt() * energy + weight_rounding;
    let rounding = if points.len() <= levels.len() { 0.0 } else { rounding };
    let mse = (cost + hidden) / weight;
    let lower_bound = (mse - rounding / weight).max(0.0);
    let gap = if mse > 0.0 { (mse - lower_bound) / mse } else { 0.0 };
    Certified { levels, mse, lower_bound, certified: gap <= GAP_MAX, gap }
}

/// None where bins narrow too little.
fn fit_binned<B: Backend>(
    backend: &B,
    matrix: Matrix<'_>,
    level_count: usize,
    bin_count: usize,
) -> Result<Option<Certified>, B::Fault> {
    let mut absmax = [0.0];
    let whole = Grouping::new(matrix.rows(), matrix.columns(), GroupLength::Tensor);
    backend.absmax_scales(matrix, whole, 1.0, &mut absmax)?;
    let Some(bins) = choose_bins(matrix, absmax[0], bin_count) else { return Ok(None) };
    let sums = backend.histogram(matrix, None, &bins)?;
    let Some(segments) = segments(&bins, &sums, level_count) else { return Ok(None) };
    let centre = f64::from(bins.low);
    let gathered = backend.gather(matrix, &bins, &segments, centre)?;
    let (points, hidden) = mixture(gathered, &bins, &segments, centre);
    Ok(Some(certified(backend.fit_points(&points, level_count), &points, matrix.len(), hidden)))
}

/// Bins by a strided selection of samples, the largest magnitude of all of which is `absmax`.
pub(crate) fn choose_bins(matrix: Matrix<'_>, absmax: f32, bin_count: usize) -> Option<Bins> {
    let step = (matrix.len() / (1 << 14)).max(1);
    let mut selection: Vec<f32> = (0..matrix.len()).step_by(step).map(|i| matrix.samples().get(i)).collect();
    selection.sort_unstable_by(f32::total_cmp);
    Bins::over_selection(&selection, absmax, |_| bin_count)
}

/// Odd numbers for bins that may hold a border, even ones between; none where that is half of the samples or more.
fn segments(bins: &Bins, sums: &BinSums, level_count: usize) -> Option<Vec<u16>> {
    let present: Vec<usize> = (0..bins.count).filter(|&b| sums.counts[b] > 0).collect();
    let points = sums.points(bins);
    let error = 2f64.powi(-bins.fraction_bits - 1);
    // How far apart samples of a bin are, as they are summed.
    let width = |b: usize| if sums.counts[b] > 1 { bins.width_max(b) + 2.0 * error } else { 0.0 };
    // Σ |x − mean| ≤ n · width / 2, greatest with half of the samples at either end.
    let spread: Vec<f64> = present.iter().map(|&b| 0.5 * sums.counts[b] as f64 * width(b)).collect();
    // A sample is within the width of its bin of the mean there, and both are rounded.
    let reach = |b: usize| width(b).max(2.0 * error);
    let (first, last) = (*present.first()?, *present.last()?);
    let ends = (points[0].0 - reach(first), points[points.len() - 1].0 + reach(last));
    let ranges = optimal::border_ranges(&points, &spread, ends, error, level_count)?;
    let mut wanted = vec![false; bins.count];
    for (low, high) in ranges {
        present[low.saturating_sub(1)..=high.min(present.len() - 1)].iter().for_each(|&b| wanted[b] = true);
    }
    let total: u64 = sums.counts.iter().sum();
    let gathered: u64 = (0..bins.count).filter(|&b| wanted[b]).map(|b| sums.counts[b]).sum();
    (gathered < total / 2).then(|| numbered(&wanted))
}

fn numbered(wanted: &[bool]) -> Vec<u16> {
    let mut number = 0;
    let next = |&wanted: &bool| {
        number += u16::from((number % 2 == 1) != wanted);
        number
    };
    wanted.iter().map(next).collect()
}

/// Points whose optimal partition is that of all samples, ascending, and Σ (x − mean)² within those that stand for many.
fn mixture(mut gathered: Gathered, bins: &Bins, segments: &[u16], centre: f64) -> (Vec<(f64, f64)>, f64) {
    super::optimal::sort_samples(&mut gathered.samples);
    let mut rest = &gathered.samples[..];
    let (mut points, mut hidden) = (Vec::with_capacity(rest.len() + gathered.sums.len()), 0.0);
    for (segment, sums) in gathered.sums.iter().enumerate() {
        if sums.count > 0 {
            let mean = sums.moment / sums.count as f64;
            hidden += (sums.square - sums.moment * mean).max(0.0);
            points.push((centre + mean, sums.count as f64));
        }
        let own = rest.partition_point(|&x| usize::from(segments[bins.index(x)]) <= segment);
        points.extend(rest[..own].iter().map(|&x| (f64::from(x), 1.0)));
        rest = &rest[own..];
    }
    (points, hidden)
}

/// The distinct values of 16-bit samples with their counts, ascending; both zeros and all f32-subnormals are 0.
pub fn value_points(counts: &[u64], samples: Samples<'_>) -> Vec<(f64, f64)> {
    let value = |bits: usize| {
        flush(match samples {
            Samples::F16(_) => half::f16::from_bits(bits as u16).to_f32(),
            _ => half::bf16::from_bits(bits as u16).to_f32(),
        })
    };
    let present = counts.iter().enumerate().filter(|&(_, &n)| n > 0);
    let mut points: Vec<(f64, f64)> = present.map(|(bits, &n)| (f64::from(value(bits)) + 0.0, n as f64)).collect();
    points.sort_by(|a, b| a.0.total_cmp(&b.0));
    points.dedup_by(|next, kept| {
        let same = next.0 == kept.0;
        if same {
            kept.1 += next.1;
        }
        same
    });
    points
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reference::Reference;

    /// Deterministic samples by the inverse of a distribution function, from a Weyl sequence with xorshift.
    fn samples(seed: u64, count: usize, quantile: impl Fn(f64) -> f64) -> Vec<f32> {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut uniform = move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            ((state >> 11) as f64 + 0.5) / (1u64 << 53) as f64
        };
        (0..count).map(|_| quantile(uniform()) as f32).collect()
    }

    fn logistic(p: f64) -> f64 {
        (p / (1.0 - p)).ln()
    }

    fn laplacian(p: f64) -> f64 {
        if p < 0.5 { (2.0 * p).ln() } else { -(2.0 - 2.0 * p).ln() }
    }

    /// Tails ∝ |x|⁻⁴, as those of Student's t with ν = 3.
    fn heavy(p: f64) -> f64 {
        (1.0 - p).powf(-1.0 / 3.0) - p.powf(-1.0 / 3.0)
    }

    fn inputs(count: usize) -> Vec<(&'static str, Vec<f32>)> {
        let outliers = |p: f64| if p < 1e-3 { 1e4 * (p - 5e-4) } else { 0.25 };
        let spiked = |p: f64| if p < 1e-4 { 3e5 * p } else { logistic(p) };
        vec![
            ("logistic", samples(1, count, logistic)),
            ("laplacian", samples(2, count, laplacian)),
            ("heavy tails", samples(3, count, heavy)),
            ("constant with outliers", samples(4, count, outliers)),
            ("bulk with outliers", samples(5, count, spiked)),
            ("few values", samples(6, count, |p| (p * 40.0).floor())),
            ("duplicates", samples(7, count, |p| (logistic(p) * 64.0).round() / 64.0)),
            ("far from zero", samples(8, count, |p| 1000.0 + logistic(p))),
            ("one side", samples(9, count, |p| -p.ln())),
            ("subnormal", samples(10, count, |p| 3e-38 * logistic(p))),
            ("largest", samples(11, count, |p| if p < 0.5 { -3.4e38 * p } else { 3.4e38 * p })),
            ("equal", vec![0.375; count]),
        ]
    }

    fn cost(samples: &[f32], levels: &[f64]) -> f64 {
        let squared = |x: f64| levels.iter().map(|y| (x - y) * (x - y)).fold(f64::INFINITY, f64::min);
        samples.iter().map(|&x| squared(f64::from(flush(x)))).sum::<f64>() / samples.len() as f64
    }

    fn same_as_sorted(name: &str, all: &[f32], fit: &Certified, level_count: usize) {
        let matrix = Matrix::new(Samples::F32(all), 1, all.len()).expect("one row");
        let best = fit_sorted(&Reference, matrix, None, level_count);
        assert!(fit.mse <= best.mse * (1.0 + 1e-9), "{name}, {level_count}: {} against {}", fit.mse, best.mse);
        let real = cost(all, &fit.levels);
        assert!((fit.mse - real).abs() <= 1e-9 * real, "{name}, {level_count}: {} told, {real} is true", fit.mse);
        let bound = fit.lower_bound;
        assert!(bound <= fit.mse && bound <= best.mse * (1.0 + 1e-12), "{name}, {level_count}: {bound}, {}", best.mse);
    }

    #[test]
    fn samples_that_are_only_counted_get_the_codebook_of_sorted_ones() {
        let mut binned = 0;
        for (name, all) in inputs(150_000) {
            let matrix = Matrix::new(Samples::F32(&all), 1, all.len()).expect("one row");
            for level_count in [2, 5, 16] {
                if let Ok(Some(fit)) = fit_binned(&Reference, matrix, level_count, BIN_COUNT) {
                    same_as_sorted(name, &all, &fit, level_count);
                    binned += 1;
                }
                let fit = fit_samples(&Reference, matrix, None, level_count).expect("finite samples");
                same_as_sorted(name, &all, &fit, level_count);
            }
        }
        assert!(binned >= 18, "bins served only {binned} cases");
    }

    #[test]
    fn coarse_bins_still_give_the_optimum() {
        let mut binned = 0;
        for (name, all) in inputs(6_000) {
            let matrix = Matrix::new(Samples::F32(&all), 1, all.len()).expect("one row");
            for (level_count, bin_count) in [(2, 512), (3, 1024), (4, 2048), (8, 4096)] {
                if let Ok(Some(fit)) = fit_binned(&Reference, matrix, level_count, bin_count) {
                    same_as_sorted(name, &all, &fit, level_count);
                    binned += 1;
                }
            }
        }
        assert!(binned >= 10, "bins served only {binned} cases");
    }

    #[test]
    fn bad_weights_are_refused_by_name() {
        let samples = [1.0, 2.0, 3.0];
        let matrix = Matrix::new(Samples::F32(&samples), 1, 3).expect("one row");
        let fit = |weights: &[f32]| fit_samples(&Reference, matrix, Some(weights), 2).map_err(|e| e.to_string());
        assert_eq!(fit(&[1.0, -1.0, 1.0]), Err("weight 1 is -1; weights must be finite and at least 0".into()));
        assert_eq!(fit(&[1.0, 1.0, f32::NAN]), Err("weight 2 is NaN; weights must be finite and at least 0".into()));
        assert_eq!(fit(&[1.0]), Err("1 weights given for 3 samples".into()));
        assert_eq!(fit(&[0.0, 0.0, 0.0]).map(|f| f.mse), Ok(1.0 / 6.0));
        assert_eq!(fit(&[0.0, 1.0, 1.0]).map(|f| (f.levels, f.mse)), Ok((vec![2.0, 3.0], 0.0)));
    }
}
