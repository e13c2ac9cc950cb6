//! The two-sided exponential density.

use super::quadrature::legendre;
use super::{Density, Moments, Source, SourceError, finite, positive};

/// f(x) = exp(−|x − mean|/s) / 2s; the deviation is √2 s.
///
/// ```
/// use quant_core::source::{Laplacian, Source};
/// let cell = Laplacian::STANDARD.moments(0.0, f64::INFINITY, 0.0);
/// assert!((cell.first / cell.mass - 0.5f64.sqrt()).abs() < 1e-15);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Laplacian {
    mean: f64,
    scale: f64,
}

impl Laplacian {
    /// Zero mean, unit variance: s = 1/√2.
    pub const STANDARD: Self = Self { mean: 0.0, scale: std::f64::consts::FRAC_1_SQRT_2 };

    /// The density of the given mean and standard deviation.
    pub fn new(mean: f64, deviation: f64) -> Result<Self, SourceError> {
        let scale = positive("deviation", deviation)? * std::f64::consts::FRAC_1_SQRT_2;
        Ok(Self { mean: finite("mean", mean)?, scale })
    }

    /// The length s on which the density decays.
    pub fn scale(&self) -> f64 {
        self.scale
    }
}

/// Moments about `centre` of exp(−x)/2 over (a, b), 0 ≤ a: with x = a + t, ∫ t^k e^{−t} dt in closed form where the cell
/// is wide, by 16 Gauss nodes where the closed form would cancel.
fn one_side(a: f64, b: f64, centre: f64) -> Moments {
    if a >= b {
        return Moments::default();
    }
    let (front, width) = (0.5 * (-a).exp(), b - a);
    if width <= 2.0 {
        let integrand = |t: f64| {
            let (f, d) = ((-t).exp(), a + t - centre);
            [f, f * d, f * d * d]
        };
        let [mass, first, second] = legendre(&integrand, 0.0, width).0;
        return Moments { mass, first, second }.scaled(front, 1.0);
    }
    let rest = (-width).exp();
    let times_rest = |x: f64| if rest == 0.0 { 0.0 } else { x * rest };
    let mass = 1.0 - rest;
    let first = 1.0 - times_rest(1.0 + width);
    let second = 2.0 - times_rest(2.0 + width * (2.0 + width));
    Moments { mass, first, second }.shifted(a - centre).scaled(front, 1.0)
}

impl Source for Laplacian {
    fn moments(&self, low: f64, high: f64, centre: f64) -> Moments {
        let [a, b, c] = [low, high, centre].map(|x| (x - self.mean) / self.scale);
        let mirrored = one_side((-b).max(0.0), (-a).max(0.0), -c);
        let below = Moments { first: -mirrored.first, ..mirrored };
        (below + one_side(a.max(0.0), b.max(0.0), c)).scaled(1.0, self.scale)
    }

    fn support(&self) -> (f64, f64) {
        (f64::NEG_INFINITY, f64::INFINITY)
    }

    fn quantile(&self, p: f64) -> f64 {
        let z = if p <= 0.5 { (2.0 * p).ln() } else { -(2.0 * (1.0 - p)).ln() };
        self.mean + self.scale * z
    }

    fn symmetry(&self) -> Option<f64> {
        Some(self.mean)
    }

    fn density(&self) -> Option<&dyn Density> {
        Some(self)
    }
}

impl Density for Laplacian {
    fn pdf(&self, x: f64) -> f64 {
        (-(x - self.mean).abs() / self.scale).exp() / (2.0 * self.scale)
    }

    fn cube_root(&self) -> Option<Box<dyn Density>> {
        Some(Box::new(Self { scale: 3.0 * self.scale, ..*self }))
    }

    fn singular_points(&self) -> Vec<f64> {
        vec![self.mean]
    }
}
