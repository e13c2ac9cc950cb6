//! Quantizers with a wide cell around zero.

use super::result::{cell_moments, check_level_count, positive};
use super::{Constraints, Design, DesignError};
use crate::codebook::Codebook;
use crate::source::Source;

/// A dead-zone quantizer.
///
/// The zero cell is (−wΔ/2, wΔ/2]; cell i ≥ 1 on either side starts at wΔ/2 + (i − 1)Δ and is decoded to δΔ above its
/// start. w = 1, δ = ½ is the uniform mid-tread quantizer; w = 2 is JPEG 2000's (ISO/IEC 15444-1, annex E), δ < ½ suits
/// peaked densities.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DeadZone {
    /// M, odd: zero and as many cells on either side.
    pub level_count: usize,
    /// Δ, in units of the source.
    pub step: f64,
    /// w, width of the zero cell over Δ.
    pub zero_width: f64,
    /// δ, the place of the level in its cell, 0 to 1.
    pub reconstruction: f64,
}

/// A dead-zone design with the share of samples that become zero.
#[derive(Clone, Debug, PartialEq)]
pub struct DeadZoneDesign {
    /// Codebook, distortion and entropy.
    pub design: Design,
    /// Probability of the zero cell.
    pub zero_share: f64,
}

impl DeadZone {
    /// The quantizer whose outermost cells end at `x_max`, with levels amid their cells: Δ = x_max/(w/2 + (M − 1)/2).
    ///
    /// ```
    /// assert_eq!(quant_core::design::dead_zone::DeadZone::covering(4.0, 7, 2.0).step, 1.0);
    /// ```
    pub fn covering(x_max: f64, level_count: usize, zero_width: f64) -> Self {
        let step = x_max / (0.5 * zero_width + (level_count / 2) as f64);
        Self { level_count, step, zero_width, reconstruction: 0.5 }
    }

    /// The codebook.
    pub fn codebook(&self) -> Result<Codebook, DesignError> {
        check_level_count(self.level_count, 1)?;
        if self.level_count.is_multiple_of(2) {
            return Err(DesignError::SymmetricZero(self.level_count));
        }
        let (step, width) = (positive("step", self.step)?, positive("zero_width", self.zero_width)?);
        if !(0.0..=1.0).contains(&self.reconstruction) {
            let (name, value) = ("reconstruction", self.reconstruction);
            return Err(DesignError::Parameter { name, value, range: "from 0 to 1" });
        }
        let half = self.level_count as i64 / 2;
        let start = |i: i64| step * (0.5 * width + (i - 1) as f64);
        let level =
            |i: i64| if i == 0 { 0.0 } else { i.signum() as f64 * (start(i.abs()) + self.reconstruction * step) };
        let threshold = |i: i64| if i > 0 { start(i) } else { -start(1 - i) };
        Ok(Codebook::with_thresholds((-half..=half).map(level).collect(), (1 - half..=half).map(threshold).collect())?)
    }

    /// Measures the quantizer on a source.
    ///
    /// ```
    /// use quant_core::{design::{Constraints, dead_zone::DeadZone}, source::Laplacian};
    /// let quantizer = DeadZone { level_count: 7, step: 1.0, zero_width: 2.0, reconstruction: 0.5 };
    /// let result = quantizer.design(&Laplacian::STANDARD, &Constraints::default()).unwrap();
    /// assert!((result.zero_share - (1.0 - (-2f64.sqrt()).exp())).abs() < 1e-15); // P(|X| < 1)
    /// // Max 1960, three levels of a unit normal: thresholds ±0.612, levels ±1.224, distortion 0.1902
    /// let three = DeadZone { level_count: 3, step: 1.224, zero_width: 1.0, reconstruction: 0.5 };
    /// let max = three.design(&quant_core::source::Gaussian::STANDARD, &Constraints::default()).unwrap();
    /// assert!((max.design.mse - 0.1902).abs() < 5e-5 && (max.zero_share - 0.4595).abs() < 1e-4);
    /// ```
    pub fn design(&self, source: &dyn Source, constraints: &Constraints) -> Result<DeadZoneDesign, DesignError> {
        let design = Design::closed_form(constraints.apply(self.codebook()?)?, source);
        let masses = cell_moments(&design.codebook, source);
        let zero = design.codebook.levels().iter().position(|&y| y == 0.0);
        Ok(DeadZoneDesign { zero_share: zero.map_or(0.0, |k| masses[k].mass), design })
    }
}
