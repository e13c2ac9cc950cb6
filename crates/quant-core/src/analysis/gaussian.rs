//! How concentrated are Gaussian samples? The level that a rotation brings a row to.

use crate::grid::Symmetry;

/// Points of the integral over thresholds, and how far it goes in standard deviations.
const STEPS: usize = 4000;
const REACH: f64 = 10.0;

/// C of rows of `width` independent Gaussian samples: `d/E[r²]`.
///
/// With M the largest of d samples (or magnitudes), E[M^p] is the integral of p·t^(p−1)·P(M > t). Symmetric ranges: r = 2M,
/// exact. Asymmetric: r = M₁ + M₂ with the two ends taken as independent. About d/(8 ln d) for large d. Width 1 counts as 2.
///
/// ```
/// use quant_core::{analysis::{db, gaussian_concentration}, grid::Symmetry};
/// assert!((db(gaussian_concentration(576, Symmetry::Symmetric)) - 11.21).abs() < 0.01);
/// assert!((db(gaussian_concentration(4096, Symmetry::Asymmetric)) - 18.90).abs() < 0.01);
/// ```
pub fn gaussian_concentration(width: usize, symmetry: Symmetry) -> f64 {
    let count = width.max(2) as f64;
    let tail = |t: f64| 0.5 * libm::erfc(t / std::f64::consts::SQRT_2);
    // P(M > t) of the largest magnitude, or of the largest sample.
    let beyond = |t: f64| match symmetry {
        Symmetry::Symmetric => -libm::expm1(count * libm::log1p(-2.0 * tail(t))),
        Symmetry::Asymmetric => -libm::expm1(count * libm::log1p(-tail(t))),
    };
    let step = REACH / STEPS as f64;
    let integral = |f: &dyn Fn(f64) -> f64| (0..STEPS).map(|i| f((i as f64 + 0.5) * step)).sum::<f64>() * step;
    let square = integral(&|t| 2.0 * t * beyond(t));
    let squared_range = match symmetry {
        Symmetry::Symmetric => 4.0 * square,
        Symmetry::Asymmetric => 2.0 * square + 2.0 * integral(&beyond).powi(2),
    };
    count / squared_range
}
