//! The constant density.

use super::{Density, Moments, Source, SourceError, finite};

/// f(x) = 1/(high − low) on [low, high].
///
/// ```
/// use quant_core::source::{Source, Uniform};
/// assert!((Uniform::STANDARD.variance() - 1.0).abs() < 1e-15);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Uniform {
    low: f64,
    high: f64,
}

impl Uniform {
    /// Zero mean, unit variance: [−√3, √3].
    pub const STANDARD: Self = Self { low: -1.732_050_807_568_877_2, high: 1.732_050_807_568_877_2 };

    /// Uniform on [low, high].
    pub fn new(low: f64, high: f64) -> Result<Self, SourceError> {
        if finite("high", high)? > finite("low", low)? && (high - low).is_finite() {
            Ok(Self { low, high })
        } else {
            Err(SourceError::Parameter { name: "high", value: high, range: "above low" })
        }
    }
}

impl Source for Uniform {
    fn moments(&self, low: f64, high: f64, centre: f64) -> Moments {
        let (a, b) = (low.max(self.low), high.min(self.high));
        if a >= b {
            return Moments::default();
        }
        let (width, middle) = (b - a, a + 0.5 * (b - a));
        let about_middle = Moments { mass: 1.0, first: 0.0, second: width * width / 12.0 };
        about_middle.shifted(middle - centre).scaled(width / (self.high - self.low), 1.0)
    }

    fn support(&self) -> (f64, f64) {
        (self.low, self.high)
    }

    fn quantile(&self, p: f64) -> f64 {
        self.low + p * (self.high - self.low)
    }

    fn symmetry(&self) -> Option<f64> {
        Some(self.low + 0.5 * (self.high - self.low))
    }

    fn density(&self) -> Option<&dyn Density> {
        Some(self)
    }
}

impl Density for Uniform {
    fn pdf(&self, x: f64) -> f64 {
        if (self.low..=self.high).contains(&x) { 1.0 / (self.high - self.low) } else { 0.0 }
    }

    fn cube_root(&self) -> Option<Box<dyn Density>> {
        Some(Box::new(*self))
    }
}
