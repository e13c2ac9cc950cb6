//! Fixed codebooks at a scale: NormalFloat, float formats, integers.

use super::minimum::minimize;
use super::result::positive;
use super::{Constraints, Design, DesignError};
use crate::codebook::Codebook;
use crate::source::Source;

/// What a fixed codebook is multiplied by.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Scale {
    /// The scale of least distortion.
    Optimal,
    /// The largest level meets the end of the support; refused where that is infinite.
    Absmax,
    /// This number.
    Fixed(f64),
}

/// Multiplies ascending `levels` by a scale and measures them on a source.
///
/// ```
/// use quant_core::{design::{Constraints, normal_float, scaled}, source::Gaussian};
/// let nf4: Vec<f64> = normal_float::NF4_LEVELS.iter().map(|&y| f64::from(y)).collect();
/// let design = scaled::design(&nf4, &Gaussian::STANDARD, scaled::Scale::Optimal, &Constraints::default()).unwrap();
/// assert!(design.mse > 0.0095010 && design.mse < 0.0117); // above Lloyd–Max's 0.0095010 (Max 1960: 0.009497)
/// ```
pub fn design(
    levels: &[f64],
    source: &dyn Source,
    scale: Scale,
    constraints: &Constraints,
) -> Result<Design, DesignError> {
    let codebook = |scale: f64| -> Result<Codebook, DesignError> {
        constraints.apply(Codebook::nearest(levels.iter().map(|y| y * scale).collect())?)
    };
    let level_max = levels.iter().fold(0.0f64, |max, y| max.max(y.abs()));
    positive("largest level", level_max)?;
    let scale = match scale {
        Scale::Fixed(scale) => positive("scale", scale)?,
        Scale::Absmax => {
            let (low, high) = source.support();
            positive("absmax", high.max(-low))? / level_max
        }
        Scale::Optimal => {
            let unit = source.energy().sqrt() / level_max;
            let cost = |s: f64| codebook(s).map_or(f64::INFINITY, |c| Design::closed_form(c, source).mse);
            if unit > 0.0 { minimize(cost, 0.05 * unit, 100.0 * unit) } else { 1.0 }
        }
    };
    Ok(Design::closed_form(codebook(scale)?, source))
}
