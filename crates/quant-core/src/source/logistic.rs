//! The logistic density.

use super::quadrature::Panels;
use super::{Density, Moments, Source, SourceError, finite, positive};
use std::f64::consts::PI;

/// f(x) = e^{−z} / s(1 + e^{−z})², z = (x − mean)/s; the deviation is πs/√3.
///
/// ```
/// use quant_core::source::{Logistic, Source};
/// let logistic = Logistic::new(0.0, 1.0).unwrap();
/// assert!((logistic.variance() - 1.0).abs() < 1e-13);
/// ```
#[derive(Clone, Debug)]
pub struct Logistic {
    mean: f64,
    scale: f64,
    panels: Panels,
}

impl Logistic {
    /// The density of the given mean and standard deviation.
    pub fn new(mean: f64, deviation: f64) -> Result<Self, SourceError> {
        let scale = positive("deviation", deviation)? * 3f64.sqrt() / PI;
        // Poles are π scales off the axis.
        let panels = Panels::new(finite("mean", mean)?, scale, &[]).analytic(scale, 0.0);
        Ok(Self { mean, scale, panels })
    }
}

impl Source for Logistic {
    fn moments(&self, low: f64, high: f64, centre: f64) -> Moments {
        self.panels.moments(&|x| self.pdf(x), low, high, centre)
    }

    fn support(&self) -> (f64, f64) {
        (f64::NEG_INFINITY, f64::INFINITY)
    }

    fn cdf(&self, x: f64) -> f64 {
        self.tail(2.0 * self.mean - x)
    }

    fn tail(&self, x: f64) -> f64 {
        1.0 / (1.0 + ((x - self.mean) / self.scale).exp())
    }

    fn quantile(&self, p: f64) -> f64 {
        self.mean + self.scale * (p / (1.0 - p)).ln()
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

impl Density for Logistic {
    fn pdf(&self, x: f64) -> f64 {
        let e = (-((x - self.mean) / self.scale).abs()).exp();
        e / (self.scale * (1.0 + e) * (1.0 + e))
    }
}
