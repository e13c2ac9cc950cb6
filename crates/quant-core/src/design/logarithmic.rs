//! Quantizers of constant relative error.

use super::result::{check_level_count, positive};
use super::{Constraints, Design, DesignError};
use crate::codebook::Codebook;
use crate::source::Source;

/// A logarithmic design with its relative error.
#[derive(Clone, Debug, PartialEq)]
pub struct LogarithmicDesign {
    /// Codebook, distortion and entropy.
    pub design: Design,
    /// The largest |x − Q(x)|/|x| for x_min ≤ |x| ≤ x_max.
    pub relative_error_max: f64,
}

/// Q(x) = sgn(x)·exp(Q_uniform(ln|x|)) with n = (M − 1)/2 cells of ln|x| over [ln x_min, ln x_max] on either side, and an
/// explicit zero for |x| below x_min. M is odd.
///
/// With Δ = ln(x_max/x_min)/n the relative error is at most e^{Δ/2} − 1, reached at the low end of every cell.
///
/// ```
/// use quant_core::{design::{Constraints, logarithmic}, source::Laplacian};
/// let found = logarithmic::design(&Laplacian::STANDARD, 7, (1.0, 64.0), &Constraints::default()).unwrap();
/// let levels = found.design.codebook.levels();
/// assert!((levels[4] - 2.0).abs() < 1e-15 && (levels[5] - 8.0).abs() < 1e-14); // cells of one octave and its double
/// assert!((found.relative_error_max - 1.0).abs() < 1e-15);
/// // The stops of a lens: an octave is one stop of light, and half a stop away is √2 − 1 = 41.42 % off.
/// let stops = logarithmic::design(&Laplacian::STANDARD, 13, (1.0, 64.0), &Constraints::default()).unwrap();
/// assert!((stops.relative_error_max - 0.41421356).abs() < 1e-8);
/// ```
pub fn design(
    source: &dyn Source,
    level_count: usize,
    (x_min, x_max): (f64, f64),
    constraints: &Constraints,
) -> Result<LogarithmicDesign, DesignError> {
    check_level_count(level_count, 3)?;
    if level_count.is_multiple_of(2) {
        return Err(DesignError::SymmetricZero(level_count));
    }
    let (x_min, x_max) = (positive("x_min", x_min)?, positive("x_max", x_max)?);
    if x_max <= x_min {
        return Err(DesignError::Parameter { name: "x_max", value: x_max, range: "above x_min" });
    }
    let half = level_count as i64 / 2;
    let width = (x_max / x_min).ln() / half as f64;
    let start = |i: i64| x_min * (width * (i - 1) as f64).exp();
    let level = |i: i64| if i == 0 { 0.0 } else { i.signum() as f64 * start(i.abs()) * (0.5 * width).exp() };
    let threshold = |i: i64| if i > 0 { start(i) } else { -start(1 - i) };
    let codebook =
        Codebook::with_thresholds((-half..=half).map(level).collect(), (1 - half..=half).map(threshold).collect())?;
    let design = Design::closed_form(constraints.apply(codebook)?, source);
    Ok(LogarithmicDesign { design, relative_error_max: (0.5 * width).exp_m1() })
}
