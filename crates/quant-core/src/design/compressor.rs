//! Codebooks that are uniform between an odd compressor g on [−x_max, x_max] and its inverse.

use super::DesignError;
use crate::codebook::Codebook;

/// t_k = g⁻¹(−1 + 2k/M), y_k = g⁻¹(−1 + (2k + 1)/M), with g from [−1, 1] to [−1, 1] and x in units of `x_max`.
pub(super) fn codebook(expand: impl Fn(f64) -> f64, x_max: f64, level_count: usize) -> Result<Codebook, DesignError> {
    // Numerators are odd integers about 0, so the codebook is symmetric to the last bit.
    let at = |numerator: i64| {
        let u = numerator as f64 / level_count as f64;
        x_max * u.signum() * if numerator == 0 { 0.0 } else { expand(u.abs()) }
    };
    let m = level_count as i64;
    let levels = (0..m).map(|k| at(2 * k + 1 - m)).collect();
    let thresholds = (1..m).map(|k| at(2 * k - m)).collect();
    Ok(Codebook::with_thresholds(levels, thresholds)?)
}
