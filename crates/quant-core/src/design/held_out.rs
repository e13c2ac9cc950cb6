//! Whether a codebook fitted to samples generalises: fit on a share of them, measure on the rest.

use super::{Design, DesignError};
use crate::measure::sqnr_db;
use crate::source::Source;

/// A design on samples that it was not fitted to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HeldOut {
    /// Distortion per sample, in squared units of the source.
    pub mse: f64,
    /// 10·log₁₀(E X²/MSE) in dB.
    pub sqnr_db: f64,
    /// 10·log₁₀(held-out/own distortion) in dB; above 0 where the codebook is worse on what it has not seen.
    pub gap_db: f64,
}

/// Measures a design on `source`.
///
/// ```
/// use quant_core::{design::{held_out, lloyd_max::LloydMax}, source::{Gaussian, Laplacian}};
/// let design = LloydMax::new(8).design(&Gaussian::STANDARD).unwrap();
/// assert_eq!(held_out::measure(&design, &Gaussian::STANDARD).gap_db, 0.0);
/// assert!(held_out::measure(&design, &Laplacian::STANDARD).gap_db > 2.0);
/// ```
pub fn measure(design: &Design, source: &dyn Source) -> HeldOut {
    let other = Design::closed_form(design.codebook.clone(), source);
    let gap_db = if other.mse == design.mse { 0.0 } else { 10.0 * (other.mse / design.mse).log10() };
    HeldOut { mse: other.mse, sqnr_db: sqnr_db(source.energy(), other.mse), gap_db }
}

/// Points for fitting and points held out.
pub type Parts = (Vec<(f64, f64)>, Vec<(f64, f64)>);

/// Parts (value, weight) points: about `share` of them are held out, chosen by their position alone, so that the same
/// file is always parted in the same way. At least one point is kept on either side; there must be two.
///
/// ```
/// let points: Vec<(f64, f64)> = (0..1000).map(|i| (f64::from(i), 1.0)).collect();
/// let (own, other) = quant_core::design::held_out::split(points, 0.2).unwrap();
/// assert!(own.len() + other.len() == 1000 && (150..250).contains(&other.len()));
/// ```
pub fn split(mut points: Vec<(f64, f64)>, share: f64) -> Result<Parts, DesignError> {
    if !(share > 0.0 && share < 1.0) {
        return Err(DesignError::Parameter { name: "held-out share", value: share, range: "above 0 and below 1" });
    }
    if points.len() < 2 {
        let value = points.len() as f64;
        return Err(DesignError::Parameter { name: "sample count", value, range: "at least 2 to hold any out" });
    }
    let last = points.pop().expect("two points");
    let first = points.remove(0);
    let (mut own, mut other) = (vec![first], vec![last]);
    for (index, point) in points.into_iter().enumerate() {
        let side = if uniform(index as u64) < share { &mut other } else { &mut own };
        side.push(point);
    }
    Ok((own, other))
}

/// A number in [0, 1) that looks random (SplitMix64; Steele et al. 2014).
fn uniform(index: u64) -> f64 {
    let mut z = (index + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
}
