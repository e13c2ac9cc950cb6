//! The density of samples divided by the largest magnitude of their block.

use super::quadrature::legendre_nodes;
use super::quantile::quantile;
use super::{Density, Moments, Source, SourceError};

/// U = X/max|X_j| for a block of `n` independent samples of a symmetric base density.
///
/// Let G(m) = P(|X| ≤ m), g = G′, and M the block's largest magnitude, with density n g(m) G(m)^{n−1}. One sample in n is
/// the largest and becomes ±1, a point mass of 1/2n each. The others, given M = m, follow the base density truncated to
/// [−m, m] and stretched by 1/m:
///
/// ```text
/// f(u) = (1 − 1/n) ∫ n g(m) G(m)^{n−1} · m f_X(mu)/G(m) dm,   |u| < 1
/// ```
///
/// The integral over m takes 240 Gauss nodes between the quantiles 1e-18 and 1 − 1e-18 of M, so f is a finite mixture.
/// With [`AbsmaxBlock::weighted`] each m counts m² times: a design then minimises the error in the unit of X, not of U.
/// Source: Yoshida 2023, "NF4 isn't information theoretically optimal (and that's good)", section 3.
///
/// ```
/// use quant_core::source::{AbsmaxBlock, Gaussian, Source};
/// let block = AbsmaxBlock::new(Gaussian::STANDARD, 64).unwrap();
/// assert!((block.tail(0.9999999) - 1.0 / 128.0).abs() < 1e-6); // half the point mass 1/64
/// ```
#[derive(Clone, Debug)]
pub struct AbsmaxBlock<D> {
    base: D,
    /// (probability, m).
    parts: Vec<(f64, f64)>,
    /// Mass at each of −1 and 1.
    edge_mass: f64,
    length: usize,
}

/// Why a block density was refused.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum BlockError {
    /// A block has at least two samples.
    #[error("block length is {0}; it must be at least 2")]
    Length(usize),
    /// The base density is not symmetric about 0.
    #[error("the base density of a block must be symmetric about 0")]
    NotSymmetric,
    /// Quadrature failed on the base density.
    #[error(transparent)]
    Source(#[from] SourceError),
}

impl<D: Density> AbsmaxBlock<D> {
    /// Blocks of `length` samples; error counted in the unit of U.
    pub fn new(base: D, length: usize) -> Result<Self, BlockError> {
        Self::with_weight(base, length, |_| 1.0)
    }

    /// Blocks of `length` samples; error counted in the unit of X, so that blocks with a large maximum count more.
    pub fn weighted(base: D, length: usize) -> Result<Self, BlockError> {
        Self::with_weight(base, length, |m| m * m)
    }

    /// Samples in a block.
    pub fn length(&self) -> usize {
        self.length
    }

    fn with_weight(base: D, length: usize, weight: impl Fn(f64) -> f64) -> Result<Self, BlockError> {
        if length < 2 {
            return Err(BlockError::Length(length));
        }
        if base.symmetry() != Some(0.0) {
            return Err(BlockError::NotSymmetric);
        }
        let nodes = maximum_nodes(&base, length);
        let total: f64 = nodes.iter().map(|&(p, m)| p * weight(m)).sum();
        if !(total.is_finite() && total > 0.0) {
            return Err(SourceError::NotIntegrable { integral: total }.into());
        }
        let share = 1.0 - 1.0 / length as f64;
        let parts = nodes.iter().map(|&(p, m)| (share * p * weight(m) / total, m)).collect();
        Ok(Self { base, parts, edge_mass: 0.5 / length as f64, length })
    }
}

/// Probabilities at which the range of the maximum is cut into panels: from below, then from above.
const CUTS_BELOW: [f64; 7] = [1e-18, 1e-9, 1e-5, 1e-3, 0.03, 0.2, 0.5];
const CUTS_ABOVE: [f64; 9] = [0.25, 0.08, 0.02, 3e-3, 1e-4, 1e-6, 1e-9, 1e-13, 1e-18];

/// (probability, m) nodes for the density of the maximum.
fn maximum_nodes<D: Density>(base: &D, length: usize) -> Vec<(f64, f64)> {
    let n = length as f64;
    // G(m) = p^{1/n}: with q the mass above m, q = 1 − p^{1/n}.
    let at_tail = |q: f64| -base.quantile(0.5 * q);
    let below = CUTS_BELOW.map(|p| at_tail(-(p.ln() / n).exp_m1()));
    let above = CUTS_ABOVE.map(|p| at_tail(-((-p).ln_1p() / n).exp_m1()));
    let edges: Vec<f64> = below.into_iter().chain(above).map(|m| m.max(0.0)).collect();
    let density = |m: f64| n * 2.0 * base.pdf(m) * ((n - 1.0) * (-2.0 * base.tail(m)).ln_1p()).exp();
    let panel = |w: &[f64]| legendre_nodes(w[0], w[1]).map(|(m, weight)| (weight * density(m), m)).collect::<Vec<_>>();
    edges.windows(2).flat_map(panel).collect()
}

impl<D: Density> Source for AbsmaxBlock<D> {
    fn moments(&self, low: f64, high: f64, centre: f64) -> Moments {
        let (a, b) = (low.max(-1.0), high.min(1.0));
        let part = |&(p, m): &(f64, f64)| {
            let inside = 1.0 - 2.0 * self.base.tail(m);
            self.base.moments(a * m, b * m, centre * m).scaled(p / inside, 1.0 / m)
        };
        let mut sum: Moments = if a < b { self.parts.iter().map(part).sum() } else { Moments::default() };
        for edge in [-1.0, 1.0] {
            if low < edge && edge <= high {
                sum = sum + Moments::point(self.edge_mass, edge, centre);
            }
        }
        sum
    }

    fn support(&self) -> (f64, f64) {
        (-1.0, 1.0)
    }

    fn quantile(&self, p: f64) -> f64 {
        if p <= self.edge_mass {
            return -1.0;
        }
        if p > 1.0 - self.edge_mass {
            return 1.0;
        }
        quantile(self, p, 0.0, 0.5)
    }

    fn symmetry(&self) -> Option<f64> {
        Some(0.0)
    }

    fn density(&self) -> Option<&dyn Density> {
        Some(self)
    }
}

impl<D: Density> Density for AbsmaxBlock<D> {
    fn pdf(&self, u: f64) -> f64 {
        if u.abs() > 1.0 {
            return 0.0;
        }
        let part = |&(p, m): &(f64, f64)| p * m * self.base.pdf(u * m) / (1.0 - 2.0 * self.base.tail(m));
        self.parts.iter().map(part).sum()
    }

    fn atoms(&self) -> Vec<(f64, f64)> {
        vec![(-1.0, self.edge_mass), (1.0, self.edge_mass)]
    }

    fn singular_points(&self) -> Vec<f64> {
        let mut points = vec![-1.0, 1.0];
        points.extend(self.base.singular_points());
        points
    }
}
