//! Densities given as functions, and any continuous distribution of `statrs`.

use super::quadrature::Panels;
use super::quantile::quantile;
use super::{Density, Moments, Source, SourceError, finite, positive};
use statrs::distribution::{Continuous, ContinuousCDF};

/// A density known only by its values; moments come from quadrature.
#[derive(Clone, Debug)]
pub struct Numeric<F> {
    pdf: F,
    support: (f64, f64),
    location: f64,
    scale: f64,
    singular: Vec<f64>,
    panels: Panels,
    front: f64,
}

impl<F: Fn(f64) -> f64> Numeric<F> {
    /// Normalises `pdf`, which lives around `location` on the length `scale` and is not smooth at `singular`.
    ///
    /// Refused: a density whose integral is not finite and positive, or whose variance is infinite.
    ///
    /// ```
    /// use quant_core::source::{Numeric, Source, SourceError};
    /// let everywhere = (f64::NEG_INFINITY, f64::INFINITY);
    /// let hyperbolic = Numeric::new(|x: f64| 1.0 / x.cosh(), everywhere, 0.0, 1.0, &[]).unwrap();
    /// assert!((hyperbolic.variance() - 2.4674011002723395).abs() < 1e-12); // (π/2)²
    /// let cauchy = Numeric::new(|x: f64| 1.0 / (1.0 + x * x), everywhere, 0.0, 1.0, &[]);
    /// assert_eq!(cauchy.err(), Some(SourceError::InfiniteVariance));
    /// ```
    pub fn new(pdf: F, support: (f64, f64), location: f64, scale: f64, singular: &[f64]) -> Result<Self, SourceError> {
        let (location, scale) = (finite("location", location)?, positive("scale", scale)?);
        let mut singular = singular.to_vec();
        singular.extend([support.0, support.1].into_iter().filter(|x| x.is_finite()));
        singular.sort_by(f64::total_cmp);
        singular.dedup();
        let panels = Panels::new(location, scale, &singular);
        let mut numeric = Self { pdf, support, location, scale, singular, panels, front: 1.0 };
        let integral = numeric.moments(support.0, support.1, location).mass;
        if numeric.diverges_at_a_pole() || !(integral.is_finite() && integral > 0.0) {
            return Err(SourceError::NotIntegrable { integral });
        }
        if numeric.tail_diverges(|m| m.mass) {
            return Err(SourceError::NotIntegrable { integral: f64::INFINITY });
        }
        if numeric.tail_diverges(|m| m.second) {
            return Err(SourceError::InfiniteVariance);
        }
        numeric.front = 1.0 / integral;
        Ok(numeric)
    }

    /// True when the octaves 2⁴⁰…2⁴¹ and 2⁴¹…2⁴² from the location hold no less each than the one before.
    fn tail_diverges(&self, part: impl Fn(&Moments) -> f64) -> bool {
        let octave = |side: f64, k: i32| {
            let (a, b) = (self.scale * 2f64.powi(k), self.scale * 2f64.powi(k + 1));
            let (a, b) = (self.location + side * a, self.location + side * b);
            part(&self.moments(a.min(b).max(self.support.0), a.max(b).min(self.support.1), self.location))
        };
        [-1.0, 1.0].into_iter().any(|side| {
            let (near, far) = (octave(side, 40), octave(side, 41));
            far > 0.0 && far >= 0.999 * near
        })
    }

    /// The same question for the octaves towards each singular point.
    fn diverges_at_a_pole(&self) -> bool {
        let octave = |pole: f64, side: f64, k: i32| {
            let step = self.scale * 2f64.powi(-k);
            let (a, b) = (pole + side * step, pole + side * 2.0 * step);
            self.moments(a.min(b), a.max(b), pole).mass
        };
        let near_pole = |&pole: &f64| {
            [-1.0, 1.0].into_iter().any(|side| {
                let (far, near) = (octave(pole, side, 19), octave(pole, side, 20));
                near > 0.0 && near >= 0.999 * far
            })
        };
        self.singular.iter().any(near_pole)
    }
}

/// The density of a `statrs` distribution, as [`Numeric`] takes it.
pub type StatrsPdf = Box<dyn Fn(f64) -> f64 + Send + Sync>;

impl Numeric<StatrsPdf> {
    /// Any continuous distribution of `statrs` with a finite variance.
    ///
    /// Location and scale are its median and interquartile range; a kink anywhere but at the median costs quadrature
    /// more work, not accuracy. Poles away from 0 cost accuracy: x next to the pole cannot be resolved.
    ///
    /// ```
    /// use quant_core::source::{Numeric, Source};
    /// let gamma = Numeric::from_statrs(statrs::distribution::Gamma::new(0.5, 2.0).unwrap()).unwrap();
    /// assert!((gamma.mean() - 0.25).abs() < 1e-13 && (gamma.variance() - 0.125).abs() < 1e-13);
    /// ```
    pub fn from_statrs<D>(distribution: D) -> Result<Self, SourceError>
    where
        D: Continuous<f64, f64> + ContinuousCDF<f64, f64> + Send + Sync + 'static,
    {
        let quartile = |p| distribution.inverse_cdf(p);
        let (low, median, high) = (quartile(0.25), quartile(0.5), quartile(0.75));
        let support = (distribution.min(), distribution.max());
        // Some distributions report the largest f64 where they mean infinity.
        let open = |x: f64| if x.abs() >= f64::MAX { x.signum() * f64::INFINITY } else { x };
        let pdf: StatrsPdf = Box::new(move |x| distribution.pdf(x));
        Self::new(pdf, (open(support.0), open(support.1)), median, high - low, &[median])
    }
}

impl<F: Fn(f64) -> f64> Source for Numeric<F> {
    fn moments(&self, low: f64, high: f64, centre: f64) -> Moments {
        let (low, high) = (low.max(self.support.0), high.min(self.support.1));
        self.panels.moments(&|x| self.pdf(x), low, high, centre)
    }

    fn support(&self) -> (f64, f64) {
        self.support
    }

    fn quantile(&self, p: f64) -> f64 {
        quantile(self, p, self.location, self.scale)
    }

    fn density(&self) -> Option<&dyn Density> {
        Some(self)
    }
}

impl<F: Fn(f64) -> f64> Density for Numeric<F> {
    fn pdf(&self, x: f64) -> f64 {
        if x < self.support.0 || x > self.support.1 { 0.0 } else { self.front * (self.pdf)(x) }
    }

    fn singular_points(&self) -> Vec<f64> {
        self.singular.clone()
    }
}
