//! Densities as many weighted points, for designers whose many sweeps make quadrature too slow.

use super::companded::Compander;
use super::entropy_constrained::EntropyConstrained;
use super::{Design, DesignError};
use crate::codebook::Codebook;
use crate::source::{Density, SourceError, WeightedSamples};

/// Points that stand for a density with tails: more than 30 in a cell of the finest quantizers (8 bits, Student's t with
/// ν = 5), so that levels found with them are within 1 % of a cell; the last pass over the density corrects them.
pub const POINT_COUNT: usize = 16_384;

/// The mass and centroid of `count` cells of the high-rate compander of `density`.
///
/// ```
/// use quant_core::{design::discretised, source::{Gaussian, Source}};
/// let points = discretised::points(&Gaussian::STANDARD, 1000).unwrap();
/// assert!((points.variance() - 1.0).abs() < 1e-5 && (points.total_weight() - 1.0).abs() < 1e-12);
/// ```
pub fn points(density: &dyn Density, count: usize) -> Result<WeightedSamples, SourceError> {
    let shares: Vec<f64> = (1..count).map(|k| k as f64 / count as f64).collect();
    let edges = Compander::new(density).expand_all(&shares);
    let ends = edges.iter().copied().chain([f64::INFINITY]);
    let starts = [f64::NEG_INFINITY].into_iter().chain(edges.iter().copied());
    let cell = |(low, high): (f64, f64)| {
        let about = if low.is_finite() { low } else { high };
        let cell = density.moments(low, high, about);
        (cell.mass > 0.0).then(|| (about + cell.first / cell.mass, cell.mass))
    };
    WeightedSamples::from_points(starts.zip(ends).filter_map(cell).collect())
}

/// [`EntropyConstrained::for_rate`] on the [`points`] of a density, its levels then moved to the centroids of the density and measured on it.
///
/// Points move from cell to cell whole, so the entropy is the wanted one within some 4/n bit for n points; measured on
/// Gaussian and Laplacian sources with 16,384 points, the SQNR is within 0.002 dB of the design on the density.
///
/// ```
/// use quant_core::{design::{discretised, entropy_constrained::EntropyConstrained}, source::StudentT};
/// let t = StudentT::new(5.0, 0.0, 1.0).unwrap();
/// let points = discretised::points(&t, 4096).unwrap();
/// let design = discretised::entropy_constrained(&EntropyConstrained::default(), &t, &points, 3.0).unwrap();
/// assert!((design.rate - 3.0).abs() < 1e-3);
/// ```
pub fn entropy_constrained(
    designer: &EntropyConstrained,
    density: &dyn Density,
    points: &WeightedSamples,
    rate: f64,
) -> Result<Design, DesignError> {
    let found = designer.for_rate(points, rate)?;
    let codebook =
        if designer.constraints == Default::default() { recentred(&found.codebook, density)? } else { found.codebook };
    let design = Design::measured(codebook, density, found.iterations, found.stop, found.trace);
    Ok(Design { rate: design.entropy_bits, ..design })
}

/// The same cells with their centroids as levels.
fn recentred(codebook: &Codebook, density: &dyn Density) -> Result<Codebook, DesignError> {
    let (levels, thresholds) = (codebook.levels(), codebook.thresholds());
    let low = |k: usize| if k == 0 { f64::NEG_INFINITY } else { thresholds[k - 1] };
    let high = |k: usize| thresholds.get(k).copied().unwrap_or(f64::INFINITY);
    let centroid = |k: usize| {
        let cell = density.moments(low(k), high(k), levels[k]);
        if cell.mass > 0.0 { levels[k] + cell.first / cell.mass } else { levels[k] }
    };
    Ok(Codebook::with_thresholds((0..levels.len()).map(centroid).collect(), thresholds.to_vec())?)
}
