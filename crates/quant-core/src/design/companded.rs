//! High-rate companders: uniform quantization between a compressor and its inverse.

use super::result::check_level_count;
use super::{Constraints, Design, DesignError};
use crate::codebook::Codebook;
use crate::source::{Density, Moments, Source, integrate_with};

/// The compander of least distortion at high rate.
///
/// Point density λ* = f^{1/3}/∫f^{1/3}, compressor g(x) = ∫_{−∞}^x λ*, in [0, 1]. Gaussian: g⁻¹(u) = √3σ Φ⁻¹(u);
/// Laplacian: λ* is Laplacian of three times the scale; other densities: g by quadrature and its inverse by Newton.
/// Source: Bennett 1948; Panter and Dite 1951.
pub struct Compander<'a> {
    point_density: CubeRoot<'a>,
    closed: Option<Box<dyn Density>>,
}

impl<'a> Compander<'a> {
    /// The compander of `density`.
    pub fn new(density: &'a dyn Density) -> Self {
        Self { point_density: CubeRoot::new(density), closed: density.cube_root() }
    }

    /// ∫ f^{1/3} dx, in units of x to the power ⅔.
    pub fn norm(&self) -> f64 {
        self.point_density.norm
    }

    /// λ*(x), levels per unit of x and per level.
    pub fn point_density(&self, x: f64) -> f64 {
        self.point_density.pdf(x)
    }

    /// g(x).
    pub fn compress(&self, x: f64) -> f64 {
        self.closed.as_ref().map_or_else(|| self.point_density.cdf(x), |d| d.cdf(x))
    }

    /// g⁻¹(u), 0 < u < 1.
    pub fn expand(&self, u: f64) -> f64 {
        self.closed.as_ref().map_or_else(|| self.point_density.quantile(u), |d| d.quantile(u))
    }

    /// g⁻¹ of ascending shares; numeric inverses go on from one to the next.
    pub fn expand_all(&self, shares: &[f64]) -> Vec<f64> {
        match &self.closed {
            Some(density) => shares.iter().map(|&u| density.quantile(u)).collect(),
            None => self.point_density.quantiles(shares),
        }
    }
}

/// Designs the compander of `level_count` levels: t_k = g⁻¹(k/M), y_k = g⁻¹((k + ½)/M), k = 0 … M − 1.
///
/// ```
/// use quant_core::{design::{Constraints, companded}, source::Gaussian};
/// let design = companded::design(&Gaussian::STANDARD, 8, &Constraints::default()).unwrap();
/// assert!((design.codebook.thresholds()[4] - 0.55190).abs() < 1e-5); // √3·Φ⁻¹(5/8)
/// ```
pub fn design(source: &dyn Source, level_count: usize, constraints: &Constraints) -> Result<Design, DesignError> {
    check_level_count(level_count, 1)?;
    let density = source.density().ok_or(DesignError::NoDensity("companded"))?;
    let compander = Compander::new(density);
    let shares: Vec<f64> = (1..2 * level_count).map(|i| i as f64 / (2 * level_count) as f64).collect();
    let points = compander.expand_all(&shares);
    let every_other = |first: usize| points.iter().skip(first).step_by(2).copied().collect::<Vec<f64>>();
    let codebook = Codebook::with_thresholds(every_other(0), every_other(1))?;
    Ok(Design::closed_form(constraints.apply(codebook)?, source))
}

/// f^{1/3}, normalised; the density that has no closed form.
struct CubeRoot<'a> {
    density: &'a dyn Density,
    location: f64,
    scale: f64,
    singular: Vec<f64>,
    norm: f64,
}

impl<'a> CubeRoot<'a> {
    fn new(density: &'a dyn Density) -> Self {
        let (low, location, high) = (density.quantile(0.25), density.quantile(0.5), density.quantile(0.75));
        let singular = density.singular_points();
        let mut root = Self { density, location, scale: 1.5 * (high - low), singular, norm: 1.0 };
        root.norm = root.mass(f64::NEG_INFINITY, f64::INFINITY);
        root
    }

    fn mass(&self, low: f64, high: f64) -> f64 {
        let (first, last) = self.density.support();
        let range = (low.max(first), high.min(last));
        integrate_with(|x| self.density.pdf(x).cbrt(), range, self.location, self.scale, &self.singular) / self.norm
    }

    fn quantiles(&self, shares: &[f64]) -> Vec<f64> {
        let mut found: Vec<f64> = Vec::with_capacity(shares.len());
        for &u in shares {
            let next = found.last().and_then(|&x| self.step_on(x, shares[found.len() - 1], u));
            found.push(next.unwrap_or_else(|| self.quantile(u)));
        }
        found
    }

    /// Newton's method from the point `x` at which g is `at`, towards `goal`; none if it leaves the right side of x.
    fn step_on(&self, start: f64, at: f64, goal: f64) -> Option<f64> {
        let (mut x, mut share) = (start, at);
        for _ in 0..30 {
            let next = x + (goal - share) / self.pdf(x);
            if !(next >= start && next.is_finite()) {
                return None;
            }
            if (next - x).abs() <= 1e-14 * (x.abs() + self.scale) {
                return Some(next);
            }
            share += if next > x { self.mass(x, next) } else { -self.mass(next, x) };
            x = next;
        }
        None
    }
}

impl Source for CubeRoot<'_> {
    fn moments(&self, low: f64, high: f64, _: f64) -> Moments {
        Moments { mass: self.mass(low, high), ..Moments::default() }
    }

    fn support(&self) -> (f64, f64) {
        self.density.support()
    }

    fn quantile(&self, p: f64) -> f64 {
        crate::source::quantile_of(self, p, self.location, self.scale)
    }
}

impl Density for CubeRoot<'_> {
    fn pdf(&self, x: f64) -> f64 {
        self.density.pdf(x).cbrt() / self.norm
    }
}
