//! Uniform codebooks.

use super::minimum::minimize;
use super::result::check_level_count;
use super::{Constraints, Design, DesignError};
use crate::codebook::Codebook;
use crate::source::Source;

/// How the range of a uniform quantizer is chosen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Range {
    /// [−X, X] with the X of least distortion.
    Symmetric,
    /// [low, high] of least distortion, both ends free.
    Asymmetric,
    /// [−X, X] that covers the whole source; refused where that is infinite.
    Absmax,
    /// The quantiles p and 1 − p.
    Percentile(f64),
    /// These ends.
    Fixed(f64, f64),
}

/// The uniform quantizer: Δ = (high − low)/M, y_k = low + (k + ½)Δ, t_k = low + kΔ; outer cells are infinite.
///
/// A forced zero moves the whole grid by less than Δ, as an integer zero point does. Source of the optimized range:
/// Max 1960, table II (8 levels of a unit normal: Δ = 0.5860, distortion 0.03744).
///
/// ```
/// use quant_core::{design::{Constraints, uniform}, source::Gaussian};
/// let design = uniform::design(&Gaussian::STANDARD, 8, uniform::Range::Symmetric, &Constraints::default()).unwrap();
/// let step = design.codebook.levels()[1] - design.codebook.levels()[0];
/// assert!((step - 0.5860).abs() < 5e-5 && (design.mse - 0.03744).abs() < 5e-6);
/// ```
pub fn design(
    source: &dyn Source,
    level_count: usize,
    range: Range,
    constraints: &Constraints,
) -> Result<Design, DesignError> {
    check_level_count(level_count, 1)?;
    constraints.check(level_count)?;
    let grid = |low: f64, high: f64| grid(low, high, level_count, constraints);
    let cost = |low: f64, high: f64| {
        grid(low, high).map_or(f64::INFINITY, |codebook| Design::closed_form(codebook, source).mse)
    };
    let (low, high) = ends(source, range, &cost)?;
    if !(low < high && (high - low).is_finite()) {
        // All samples equal: one level says it all.
        let codebook = Codebook::nearest(vec![source.mean()])?;
        return Ok(Design::closed_form(constraints.apply(codebook)?, source));
    }
    Ok(Design::closed_form(grid(low, high)?, source))
}

fn grid(low: f64, high: f64, level_count: usize, constraints: &Constraints) -> Result<Codebook, DesignError> {
    let (least, most) = constraints.range();
    let step = (high - low) / level_count as f64;
    // Levels, not cells, have to lie in the clipped range.
    let (first, last) = ((low + 0.5 * step).max(least), (high - 0.5 * step).min(most));
    let step = if level_count > 1 { (last - first) / (level_count - 1) as f64 } else { 0.0 };
    let middle = if constraints.symmetric { 0.0 } else { 0.5 * (first + last) };
    let place = |k: usize| middle + (k as f64 - 0.5 * (level_count - 1) as f64) * step;
    let nearest = (0..level_count).map(place).min_by(|a, b| a.abs().total_cmp(&b.abs())).unwrap_or(0.0);
    let shift = if constraints.zero { nearest } else { 0.0 };
    Ok(Codebook::nearest((0..level_count).map(|k| place(k) - shift).collect())?)
}

fn ends(source: &dyn Source, range: Range, cost: &impl Fn(f64, f64) -> f64) -> Result<(f64, f64), DesignError> {
    let deviation = source.variance().sqrt();
    let largest = 64.0 * (deviation + source.mean().abs());
    let symmetric = || {
        let x = minimize(|x| cost(-x, x), 1e-3 * largest, largest);
        (-x, x)
    };
    match range {
        _ if deviation == 0.0 => Ok((0.0, 0.0)),
        Range::Fixed(low, high) if low < high => Ok((low, high)),
        Range::Fixed(_, value) => Err(DesignError::Parameter { name: "high", value, range: "above low" }),
        Range::Percentile(p) if p > 0.0 && p < 0.5 => Ok((source.quantile(p), source.quantile(1.0 - p))),
        Range::Percentile(value) => {
            Err(DesignError::Parameter { name: "percentile", value, range: "between 0 and 0.5" })
        }
        Range::Absmax => {
            let (low, high) = source.support();
            let x = high.max(-low);
            let finite = DesignError::Parameter { name: "absmax", value: x, range: "finite" };
            if x.is_finite() { Ok((-x, x)) } else { Err(finite) }
        }
        Range::Symmetric => Ok(symmetric()),
        Range::Asymmetric => Ok(asymmetric(source.mean(), deviation, cost)),
    }
}

/// Both ends in turn, as distances from the mean; a few rounds settle because the ends hardly interact.
fn asymmetric(mean: f64, deviation: f64, cost: &impl Fn(f64, f64) -> f64) -> (f64, f64) {
    let (mut below, mut above) = (2.0 * deviation, 2.0 * deviation);
    for _ in 0..8 {
        below = minimize(|x| cost(mean - x, mean + above), 0.05 * deviation, 64.0 * deviation);
        above = minimize(|x| cost(mean - below, mean + x), 0.05 * deviation, 64.0 * deviation);
    }
    (mean - below, mean + above)
}

/// The signed-integer grid of `bits` bits: q / (2^{bits−1} − 1) for q = −2^{bits−1} … 2^{bits−1} − 1.
///
/// The largest positive integer is mapped to 1, so an absmax scale gives the usual symmetric integer quantizer; the
/// extra negative level is reached by searched scales.
///
/// ```
/// assert_eq!(quant_core::design::uniform::integer_levels(2), [-2.0, -1.0, 0.0, 1.0]);
/// ```
pub fn integer_levels(bits: u32) -> Vec<f32> {
    assert!((2..=8).contains(&bits), "2 to 8 bits");
    let half = 1i32 << (bits - 1);
    (-half..half).map(|q| (f64::from(q) / f64::from(half - 1)) as f32).collect()
}
