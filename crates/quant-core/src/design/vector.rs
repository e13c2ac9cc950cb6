//! Vector quantization: codebooks of points in ℝᵈ.
//!
//! Distortion is per sample, that is ‖x − y‖² / d, so that it compares with scalar quantizers of the same rate.

mod cells;
mod lattice;
mod lloyd;
mod mini_batch;
mod product;
mod random;
mod residual;
mod seeding;

pub use cells::VectorCells;
pub use lattice::Grid;
pub use lloyd::{VectorDesign, VectorDesigner, split};
pub use mini_batch::MiniBatch;
pub use product::ProductCodebook;
pub use residual::ResidualCodebook;

use crate::backend::Backend;

/// `len` points of `dimension` samples each, point after point.
#[derive(Clone, Copy, Debug)]
pub struct Points<'a> {
    samples: &'a [f32],
    dimension: usize,
}

/// Why points were refused.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum VectorError {
    /// The samples do not make whole points.
    #[error("{samples} samples do not make points of dimension {dimension}")]
    Shape {
        /// Samples given.
        samples: usize,
        /// Dimension asked for.
        dimension: usize,
    },
    /// A sample is NaN or infinite.
    #[error("sample {index} is {value}; every sample must be finite")]
    NotFinite {
        /// Its position.
        index: usize,
        /// Its value.
        value: f32,
    },
    /// Not one weight per point.
    #[error("{weights} weights given for {points} points")]
    WeightCount {
        /// Points given.
        points: usize,
        /// Weights given.
        weights: usize,
    },
    /// A weight is negative, NaN or infinite.
    #[error("weight {index} is {value}; weights must be finite and at least 0")]
    Weight {
        /// Its position.
        index: usize,
        /// Its value.
        value: f32,
    },
    /// A parameter of the designer is outside its range.
    #[error("{name} is {value}; it must be {range}")]
    Parameter {
        /// Which one.
        name: &'static str,
        /// Its value.
        value: f64,
        /// Where it may lie.
        range: &'static str,
    },
}

/// Why a design on a device failed.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum VectorFault<F: std::error::Error + 'static> {
    /// The caller can mend it.
    #[error(transparent)]
    Refused(#[from] VectorError),
    /// The device failed.
    #[error("{0}")]
    Device(#[source] F),
}

/// What the scalar backend, which cannot fail, can still refuse.
fn refused<T>(result: Result<T, VectorFault<std::convert::Infallible>>) -> Result<T, VectorError> {
    result.map_err(|error| match error {
        VectorFault::Refused(refused) => refused,
        VectorFault::Device(never) => match never {},
    })
}

impl<'a> Points<'a> {
    /// Views finite samples as points.
    pub fn new(samples: &'a [f32], dimension: usize) -> Result<Self, VectorError> {
        if dimension == 0 || samples.is_empty() || !samples.len().is_multiple_of(dimension) {
            return Err(VectorError::Shape { samples: samples.len(), dimension });
        }
        match samples.iter().position(|x| !x.is_finite()) {
            Some(index) => Err(VectorError::NotFinite { index, value: samples[index] }),
            None => Ok(Self { samples, dimension }),
        }
    }

    /// How many points; at least one.
    #[allow(clippy::len_without_is_empty, reason = "there is at least one point")]
    pub fn len(&self) -> usize {
        self.samples.len() / self.dimension
    }

    /// Samples of a point.
    pub fn dimension(&self) -> usize {
        self.dimension
    }

    /// All samples, point after point.
    pub fn samples(&self) -> &'a [f32] {
        self.samples
    }

    /// Point `index`.
    pub fn get(&self, index: usize) -> &'a [f32] {
        &self.samples[index * self.dimension..][..self.dimension]
    }

    /// All points.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &'a [f32]> {
        self.samples.chunks_exact(self.dimension)
    }

    /// Σ x² over all samples.
    pub fn energy(&self) -> f64 {
        self.samples.iter().map(|&x| f64::from(x) * f64::from(x)).sum()
    }
}

/// Codevectors in ℝᵈ.
#[derive(Clone, Debug, PartialEq)]
pub struct VectorCodebook {
    dimension: usize,
    codevectors: Vec<f64>,
}

impl VectorCodebook {
    /// Codevectors one after another.
    ///
    /// # Panics
    ///
    /// When they are none or not whole.
    pub fn new(codevectors: Vec<f64>, dimension: usize) -> Self {
        assert!(dimension > 0 && !codevectors.is_empty() && codevectors.len().is_multiple_of(dimension));
        Self { dimension, codevectors }
    }

    /// Samples of a codevector.
    pub fn dimension(&self) -> usize {
        self.dimension
    }

    /// How many codevectors; at least one.
    pub fn count(&self) -> usize {
        self.codevectors.len() / self.dimension
    }

    /// Codevector `code`.
    pub fn get(&self, code: usize) -> &[f64] {
        &self.codevectors[code * self.dimension..][..self.dimension]
    }

    fn get_mut(&mut self, code: usize) -> &mut [f64] {
        &mut self.codevectors[code * self.dimension..][..self.dimension]
    }

    /// The codevectors in f32, as devices compare with them, one after another.
    pub fn to_f32(&self) -> Vec<f32> {
        self.codevectors.iter().map(|&y| y as f32).collect()
    }

    /// The code of a nearest codevector of each point, found by a device to within the rounding of f32.
    ///
    /// # Panics
    ///
    /// When points have another dimension.
    pub fn encode<B: Backend>(&self, backend: &B, points: Points<'_>) -> Result<Vec<u32>, B::Fault> {
        let samples = self.to_f32();
        let mut codes = vec![0; points.len()];
        let codevectors = Points { samples: &samples, dimension: self.dimension };
        backend.nearest_codevectors(points, codevectors, &mut codes)?;
        Ok(codes)
    }

    /// The code of a nearest codevector and ‖x − y‖²; between equals the lower code. A candidate is given up as soon as
    /// the coordinates so far are further away than the best.
    ///
    /// ```
    /// use quant_core::design::vector::VectorCodebook;
    /// let square = VectorCodebook::new(vec![0.0, 0.0, 1.0, 1.0], 2);
    /// assert_eq!(square.nearest(&[0.75, 1.0]), (1, 0.0625));
    /// ```
    pub fn nearest(&self, point: &[f32]) -> (usize, f64) {
        let (mut best, mut least) = (0, f64::INFINITY);
        for (code, codevector) in self.codevectors.chunks_exact(self.dimension).enumerate() {
            let distance = distance_below(point, codevector, least);
            if distance < least {
                (best, least) = (code, distance);
            }
        }
        (best, least)
    }

    /// Mean of ‖x − y‖²/d over points.
    pub fn mse(&self, points: Points<'_>) -> f64 {
        points.iter().map(|x| self.nearest(x).1).sum::<f64>() / (points.len() * self.dimension) as f64
    }
}

/// ‖x − y‖², or anything at least `bound` once that is reached.
fn distance_below(point: &[f32], codevector: &[f64], bound: f64) -> f64 {
    let mut sum = 0.0;
    for (xs, ys) in point.chunks(8).zip(codevector.chunks(8)) {
        sum += xs.iter().zip(ys).map(|(&x, y)| (f64::from(x) - y).powi(2)).sum::<f64>();
        if sum >= bound {
            break;
        }
    }
    sum
}
