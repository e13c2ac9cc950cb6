//! The power-law compander.

use super::result::{check_level_count, positive};
use super::{Constraints, Design, DesignError, compressor};
use crate::source::Source;

/// g(u) = sgn(u)·|u|^p, u = x/x_max.
///
/// ```
/// assert_eq!(quant_core::design::power_law::compress(-0.25, 0.5), -0.5);
/// ```
pub fn compress(u: f64, power: f64) -> f64 {
    u.signum() * u.abs().powf(power)
}

/// The quantizer that is uniform after g(x) = sgn(x)·|x/x_max|^p; p < 1 gives small samples the finer cells.
///
/// p = 1 is the uniform quantizer; p = ¾ is the compressor of AAC and MP3 (ISO/IEC 13818-7).
///
/// ```
/// use quant_core::{design::{Constraints, power_law}, source::Uniform};
/// let design = power_law::design(&Uniform::STANDARD, 4, (0.5, 16.0), &Constraints::default()).unwrap();
/// assert_eq!(design.codebook.levels(), [-9.0, -1.0, 1.0, 9.0]); // 16·(¾)², 16·(¼)²
/// assert_eq!(design.codebook.thresholds(), [-4.0, 0.0, 4.0]);
/// // AAC and MP3 decode the integer n as n^(4/3): 2 as 2.5198421, 15 as 36.9931811
/// let x_max = 15.5f64.powf(4.0 / 3.0);
/// let mp3 = power_law::design(&Uniform::STANDARD, 31, (0.75, x_max), &Constraints::default()).unwrap();
/// let levels = mp3.codebook.levels();
/// assert!((levels[17] - 2.5198421).abs() < 1e-7 && (levels[30] - 36.9931811).abs() < 1e-7);
/// ```
pub fn design(
    source: &dyn Source,
    level_count: usize,
    (power, x_max): (f64, f64),
    constraints: &Constraints,
) -> Result<Design, DesignError> {
    check_level_count(level_count, 1)?;
    let (power, x_max) = (positive("power", power)?, positive("x_max", x_max)?);
    let codebook = compressor::codebook(|v| v.powf(1.0 / power), x_max, level_count)?;
    Ok(Design::closed_form(constraints.apply(codebook)?, source))
}
