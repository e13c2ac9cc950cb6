//! The generalized Gaussian density: Laplacian, Gaussian and uniform are members.

use super::quadrature::Panels;
use super::quantile::quantile;
use super::{Density, Moments, Source, SourceError, finite, positive};

/// f(x) = β / (2αΓ(1/β)) · exp(−(|x − mean|/α)^β); the deviation is α√(Γ(3/β)/Γ(1/β)).
///
/// β = 1 is the Laplacian, 2 the Gaussian, ∞ the uniform. Valid for β in [0.2, 64]; outside, quadrature would no longer
/// hold 1e-12, so it is refused.
///
/// ```
/// use quant_core::source::{Density, Gaussian, GeneralizedGaussian};
/// let member = GeneralizedGaussian::new(2.0, 0.0, 1.0).unwrap();
/// assert!((member.pdf(1.3) - Gaussian::STANDARD.pdf(1.3)).abs() < 1e-15);
/// ```
#[derive(Clone, Debug)]
pub struct GeneralizedGaussian {
    shape: f64,
    mean: f64,
    scale: f64,
    front: f64,
    panels: Panels,
}

impl GeneralizedGaussian {
    /// Shape β, with the given mean and standard deviation.
    pub fn new(shape: f64, mean: f64, deviation: f64) -> Result<Self, SourceError> {
        if !(0.2..=64.0).contains(&shape) {
            return Err(SourceError::Parameter { name: "beta", value: shape, range: "from 0.2 to 64" });
        }
        let gamma = libm::tgamma;
        let scale = positive("deviation", deviation)? * (gamma(1.0 / shape) / gamma(3.0 / shape)).sqrt();
        Ok(Self::with_scale(shape, finite("mean", mean)?, scale))
    }

    fn with_scale(shape: f64, mean: f64, scale: f64) -> Self {
        let front = shape / (2.0 * scale * libm::tgamma(1.0 / shape));
        Self { shape, mean, scale, front, panels: Panels::new(mean, scale, &[mean]) }
    }

    /// The shape β.
    pub fn shape(&self) -> f64 {
        self.shape
    }
}

impl Source for GeneralizedGaussian {
    fn moments(&self, low: f64, high: f64, centre: f64) -> Moments {
        self.panels.moments(&|x| self.pdf(x), low, high, centre)
    }

    fn support(&self) -> (f64, f64) {
        (f64::NEG_INFINITY, f64::INFINITY)
    }

    fn quantile(&self, p: f64) -> f64 {
        quantile(self, p, self.mean, self.scale)
    }

    fn mean(&self) -> f64 {
        self.mean
    }

    fn symmetry(&self) -> Option<f64> {
        Some(self.mean)
    }

    fn density(&self) -> Option<&dyn Density> {
        Some(self)
    }
}

impl Density for GeneralizedGaussian {
    fn pdf(&self, x: f64) -> f64 {
        self.front * (-((x - self.mean) / self.scale).abs().powf(self.shape)).exp()
    }

    fn cube_root(&self) -> Option<Box<dyn Density>> {
        let scale = self.scale * 3f64.powf(1.0 / self.shape);
        Some(Box::new(Self::with_scale(self.shape, self.mean, scale)))
    }

    fn singular_points(&self) -> Vec<f64> {
        vec![self.mean]
    }
}
