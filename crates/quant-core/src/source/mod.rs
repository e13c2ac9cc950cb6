//! What a quantizer is designed for: a density, or samples.
//!
//! A [`Source`] answers how much mass lies in a cell and where, which is all that Lloyd's conditions ask. A [`Density`]
//! also has a value at a point, which Newton's method and high-rate theory ask. Densities are functions of a unitless
//! x; a scale in the unit of the samples is a parameter.

mod block;
mod gaussian;
mod generalized_gaussian;
mod histogram;
mod laplacian;
mod logistic;
mod mixture;
mod numeric;
mod quadrature;
mod quantile;
mod samples;
pub mod special;
mod student_t;
mod uniform;

pub use block::{AbsmaxBlock, BlockError};
pub use gaussian::Gaussian;
pub use generalized_gaussian::GeneralizedGaussian;
pub use histogram::Histogram;
pub use laplacian::Laplacian;
pub use logistic::Logistic;
pub use mixture::Mixture;
pub use numeric::Numeric;
pub use quadrature::{integrate, integrate_with};
pub(crate) use quantile::quantile as quantile_of;
pub use samples::WeightedSamples;
pub use student_t::StudentT;
pub use uniform::Uniform;

/// Partial moments m_k = ∫ (x − centre)^k f(x) dx over a cell, k = 0, 1, 2.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Moments {
    /// m₀, the probability of the cell.
    pub mass: f64,
    /// m₁, in units of x.
    pub first: f64,
    /// m₂, in squared units of x.
    pub second: f64,
}

impl Moments {
    /// Moments of a point mass at `x`.
    pub fn point(mass: f64, x: f64, centre: f64) -> Self {
        let d = x - centre;
        Self { mass, first: mass * d, second: mass * d * d }
    }

    /// The same moments about a centre that lies `shift` lower.
    pub fn shifted(self, shift: f64) -> Self {
        Self {
            mass: self.mass,
            first: self.first + shift * self.mass,
            second: self.second + shift * (2.0 * self.first + shift * self.mass),
        }
    }

    /// Moments of the source stretched by `scale`, with mass `weight` times as large.
    pub fn scaled(self, weight: f64, scale: f64) -> Self {
        Self {
            mass: weight * self.mass,
            first: weight * scale * self.first,
            second: weight * scale * scale * self.second,
        }
    }
}

impl std::ops::Add for Moments {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self { mass: self.mass + other.mass, first: self.first + other.first, second: self.second + other.second }
    }
}

impl std::iter::Sum for Moments {
    fn sum<I: Iterator<Item = Self>>(iter: I) -> Self {
        iter.fold(Self::default(), |a, b| a + b)
    }
}

/// A distribution of samples, as far as quantizer design needs to know it.
pub trait Source {
    /// Partial moments over the cell (low, high], about `centre`; zero for an empty cell.
    ///
    /// Built-in densities: relative error of ∫|x − centre|^k f at most 1e-12 within a few deviations of the mean and
    /// 1e-9 out to 12 deviations.
    fn moments(&self, low: f64, high: f64, centre: f64) -> Moments;

    /// The smallest interval outside of which there is no mass; may be infinite.
    fn support(&self) -> (f64, f64);

    /// The least x at which the cdf reaches `p`, 0 < p < 1; the ends of the support at 0 and 1.
    fn quantile(&self, p: f64) -> f64;

    /// P(X ≤ x).
    fn cdf(&self, x: f64) -> f64 {
        self.moments(f64::NEG_INFINITY, x, 0.0).mass
    }

    /// P(X > x), accurate relative to itself.
    fn tail(&self, x: f64) -> f64 {
        self.moments(x, f64::INFINITY, 0.0).mass
    }

    /// E X.
    fn mean(&self) -> f64 {
        self.moments(f64::NEG_INFINITY, f64::INFINITY, 0.0).first
    }

    /// E (X − E X)².
    fn variance(&self) -> f64 {
        self.moments(f64::NEG_INFINITY, f64::INFINITY, self.mean()).second
    }

    /// E X², what SQNR compares distortion with.
    fn energy(&self) -> f64 {
        self.moments(f64::NEG_INFINITY, f64::INFINITY, 0.0).second
    }

    /// The point about which the distribution is symmetric, if it is known to be.
    fn symmetry(&self) -> Option<f64> {
        None
    }

    /// The density, where there is one.
    fn density(&self) -> Option<&dyn Density> {
        None
    }
}

/// A source with a density.
pub trait Density: Source {
    /// f(x), per unit of x, without point masses; 0 outside the support.
    fn pdf(&self, x: f64) -> f64;

    /// The density f^{1/3}/∫f^{1/3}, where it has a closed form: the point density of the best high-rate compander.
    fn cube_root(&self) -> Option<Box<dyn Density>> {
        None
    }

    /// Point masses beside the density, as (place, mass); the integral of the density is 1 less their sum.
    fn atoms(&self) -> Vec<(f64, f64)> {
        Vec::new()
    }

    /// Points at which the density is not smooth: kinks, jumps, poles. Ends of the support included.
    fn singular_points(&self) -> Vec<f64> {
        let (low, high) = self.support();
        [low, high].into_iter().filter(|x| x.is_finite()).collect()
    }
}

/// Why a source was refused.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum SourceError {
    /// A parameter is outside its range.
    #[error("{name} is {value}; it must be {range}")]
    Parameter {
        /// Which one.
        name: &'static str,
        /// Its value.
        value: f64,
        /// Where it may lie.
        range: &'static str,
    },
    /// ∫ f is not finite and positive.
    #[error("the density is not integrable: its integral is {integral}")]
    NotIntegrable {
        /// What the quadrature found.
        integral: f64,
    },
    /// ∫ x² f diverges, so no quantizer has a finite distortion.
    #[error("the density has no finite variance")]
    InfiniteVariance,
    /// A sample is NaN or infinite.
    #[error("sample {index} is {value}; every sample must be finite")]
    SampleNotFinite {
        /// Its position.
        index: usize,
        /// Its value.
        value: f64,
    },
    /// A weight is negative, NaN or infinite.
    #[error("weight {index} is {value}; weights must be finite and at least 0")]
    WeightOutOfRange {
        /// Its position.
        index: usize,
        /// Its value.
        value: f64,
    },
    /// Not one weight per sample.
    #[error("{weights} weights given for {samples} samples")]
    WeightCount {
        /// Samples given.
        samples: usize,
        /// Weights given.
        weights: usize,
    },
    /// There is no sample, or all weights are 0.
    #[error("no sample has weight")]
    NoWeight,
}

/// Checks that a parameter is finite and above 0.
pub(crate) fn positive(name: &'static str, value: f64) -> Result<f64, SourceError> {
    if value.is_finite() && value > 0.0 {
        Ok(value)
    } else {
        Err(SourceError::Parameter { name, value, range: "finite and above 0" })
    }
}

/// Checks that a parameter is finite.
pub(crate) fn finite(name: &'static str, value: f64) -> Result<f64, SourceError> {
    if value.is_finite() { Ok(value) } else { Err(SourceError::Parameter { name, value, range: "finite" }) }
}
