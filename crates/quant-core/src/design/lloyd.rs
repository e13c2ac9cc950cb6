//! Lloyd–Max quantizers of samples and histograms.

use super::optimal;

/// The Lloyd–Max levels of (value, weight) points with ascending values.
///
/// On a finite number of points Lloyd's two conditions hold at every local optimum; the one of least distortion is the
/// exact 1-D k-means partition, so that is what is returned, and no start or restart has to be chosen.
/// Source: Lloyd 1982; see [`optimal::fit_points`].
///
/// ```
/// use quant_core::design::lloyd;
/// assert_eq!(lloyd::from_points(&[(-3.0, 1.0), (-1.0, 1.0), (4.0, 2.0)], 2), [-2.0, 4.0]);
/// ```
pub fn from_points(points: &[(f64, f64)], level_count: usize) -> Vec<f64> {
    optimal::fit_points(points, level_count).levels
}
