//! Weighted sums of densities.

use super::quantile::quantile;
use super::{Density, Moments, Source, SourceError};

/// f = Σ w_i f_i, Σ w_i = 1.
///
/// ```
/// use quant_core::source::{Gaussian, Mixture, Source};
/// let parts = vec![(9.0, Gaussian::STANDARD), (1.0, Gaussian::new(0.0, 5.0).unwrap())];
/// let mixture = Mixture::new(parts).unwrap(); // weights are normalised
/// assert!((mixture.variance() - 3.4).abs() < 1e-14);
/// ```
#[derive(Clone, Debug)]
pub struct Mixture<D> {
    parts: Vec<(f64, D)>,
}

impl<D: Density> Mixture<D> {
    /// A mixture of (weight, density) parts; weights are divided by their sum.
    pub fn new(mut parts: Vec<(f64, D)>) -> Result<Self, SourceError> {
        for (index, &(value, _)) in parts.iter().enumerate() {
            if !(value >= 0.0 && value.is_finite()) {
                return Err(SourceError::WeightOutOfRange { index, value });
            }
        }
        parts.retain(|p| p.0 > 0.0);
        let total: f64 = parts.iter().map(|p| p.0).sum();
        if parts.is_empty() {
            return Err(SourceError::NoWeight);
        }
        parts.iter_mut().for_each(|p| p.0 /= total);
        Ok(Self { parts })
    }

    fn sum(&self, f: impl Fn(&D) -> f64) -> f64 {
        self.parts.iter().map(|(w, part)| w * f(part)).sum()
    }
}

impl<D: Density> Source for Mixture<D> {
    fn moments(&self, low: f64, high: f64, centre: f64) -> Moments {
        self.parts.iter().map(|(w, part)| part.moments(low, high, centre).scaled(*w, 1.0)).sum()
    }

    fn support(&self) -> (f64, f64) {
        let low = self.parts.iter().map(|p| p.1.support().0).fold(f64::INFINITY, f64::min);
        let high = self.parts.iter().map(|p| p.1.support().1).fold(f64::NEG_INFINITY, f64::max);
        (low, high)
    }

    fn cdf(&self, x: f64) -> f64 {
        self.sum(|part| part.cdf(x))
    }

    fn tail(&self, x: f64) -> f64 {
        self.sum(|part| part.tail(x))
    }

    fn quantile(&self, p: f64) -> f64 {
        quantile(self, p, self.mean(), self.variance().sqrt())
    }

    fn symmetry(&self) -> Option<f64> {
        let first = self.parts[0].1.symmetry()?;
        self.parts.iter().all(|p| p.1.symmetry() == Some(first)).then_some(first)
    }

    fn density(&self) -> Option<&dyn Density> {
        Some(self)
    }
}

impl<D: Density> Density for Mixture<D> {
    fn pdf(&self, x: f64) -> f64 {
        self.sum(|part| part.pdf(x))
    }

    fn atoms(&self) -> Vec<(f64, f64)> {
        self.parts.iter().flat_map(|(w, part)| part.atoms().into_iter().map(move |(x, p)| (x, w * p))).collect()
    }

    fn singular_points(&self) -> Vec<f64> {
        let mut points: Vec<f64> = self.parts.iter().flat_map(|p| p.1.singular_points()).collect();
        points.sort_by(f64::total_cmp);
        points.dedup();
        points
    }
}

impl<D: Density + ?Sized> Source for Box<D> {
    fn moments(&self, low: f64, high: f64, centre: f64) -> Moments {
        (**self).moments(low, high, centre)
    }

    fn support(&self) -> (f64, f64) {
        (**self).support()
    }

    fn quantile(&self, p: f64) -> f64 {
        (**self).quantile(p)
    }

    fn cdf(&self, x: f64) -> f64 {
        (**self).cdf(x)
    }

    fn tail(&self, x: f64) -> f64 {
        (**self).tail(x)
    }

    fn symmetry(&self) -> Option<f64> {
        (**self).symmetry()
    }

    fn density(&self) -> Option<&dyn Density> {
        (**self).density()
    }
}

impl<D: Density + ?Sized> Density for Box<D> {
    fn pdf(&self, x: f64) -> f64 {
        (**self).pdf(x)
    }

    fn cube_root(&self) -> Option<Box<dyn Density>> {
        (**self).cube_root()
    }

    fn atoms(&self) -> Vec<(f64, f64)> {
        (**self).atoms()
    }

    fn singular_points(&self) -> Vec<f64> {
        (**self).singular_points()
    }
}
