//! Product quantization: a codebook for each part of a point.

use super::{Points, VectorCodebook, VectorDesigner, VectorError, VectorFault, refused};
use crate::backend::Backend;
use crate::reference::Reference;

/// One codebook per run of coordinates; a code is one index per part, so K₁·K₂·… codevectors cost K₁ + K₂ + ….
///
/// Source: Jégou, Douze and Schmid 2011.
///
/// ```
/// use quant_core::design::vector::{Points, ProductCodebook, VectorDesigner};
/// let samples: Vec<f32> = (0..64).flat_map(|i| [(i % 8) as f32, (i / 8) as f32]).collect();
/// let points = Points::new(&samples, 2).unwrap();
/// let codebook = ProductCodebook::design(points, 2, &VectorDesigner::new(8)).unwrap();
/// assert_eq!(codebook.mse(points), 0.0); // 64 points from 8 + 8 codevectors
/// // Max 1960: two levels of a unit normal have a distortion of 0.3634, on each of two axes
/// use quant_core::source::special::normal_quantile;
/// let at = |i: i32| normal_quantile((f64::from(i) + 0.5) / 2000.0) as f32;
/// let normal: Vec<f32> = (0..2000).flat_map(|i| [at(i), at((i * 777) % 2000)]).collect();
/// let points = Points::new(&normal, 2).unwrap();
/// let codebook = ProductCodebook::design(points, 2, &VectorDesigner::new(2)).unwrap();
/// assert!((codebook.mse(points) - 0.3634).abs() < 1e-3, "{}", codebook.mse(points));
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct ProductCodebook {
    parts: Vec<VectorCodebook>,
}

impl ProductCodebook {
    /// Designs each of `part_count` equal parts on its own, all with the same designer, in scalar code.
    pub fn design(points: Points<'_>, part_count: usize, designer: &VectorDesigner) -> Result<Self, VectorError> {
        refused(Self::design_with(&Reference, points, None, part_count, designer))
    }

    /// [`Self::design`] on a device, of points that have weights.
    pub fn design_with<B: Backend>(
        backend: &B,
        points: Points<'_>,
        weights: Option<&[f32]>,
        part_count: usize,
        designer: &VectorDesigner,
    ) -> Result<Self, VectorFault<B::Fault>> {
        let dimension = points.dimension();
        if part_count == 0 || !dimension.is_multiple_of(part_count) {
            return Err(VectorError::Parameter {
                name: "part_count",
                value: part_count as f64,
                range: "a divisor of the dimension",
            }
            .into());
        }
        let width = dimension / part_count;
        let part = |p: usize| {
            let samples: Vec<f32> = points.iter().flat_map(|x| &x[p * width..][..width]).copied().collect();
            Ok(designer.design_with(backend, Points::new(&samples, width)?, weights)?.codebook)
        };
        Ok(Self { parts: (0..part_count).map(part).collect::<Result<_, VectorFault<B::Fault>>>()? })
    }

    /// The codebook of each part.
    pub fn parts(&self) -> &[VectorCodebook] {
        &self.parts
    }

    /// One code per part; each is nearest in its part, so the whole is nearest too.
    pub fn encode(&self, point: &[f32]) -> Vec<usize> {
        let width = self.parts[0].dimension();
        point.chunks_exact(width).zip(&self.parts).map(|(x, part)| part.nearest(x).0).collect()
    }

    /// The codevector of a code.
    pub fn decode(&self, codes: &[usize]) -> Vec<f64> {
        self.parts.iter().zip(codes).flat_map(|(part, &code)| part.get(code)).copied().collect()
    }

    /// Mean of ‖x − y‖²/d over points.
    pub fn mse(&self, points: Points<'_>) -> f64 {
        let width = self.parts[0].dimension();
        let cost =
            |x: &[f32]| -> f64 { x.chunks_exact(width).zip(&self.parts).map(|(x, part)| part.nearest(x).1).sum() };
        points.iter().map(cost).sum::<f64>() / points.samples.len() as f64
    }

    /// Σ log₂ K / d, in bits per sample.
    pub fn rate(&self) -> f64 {
        let bits: f64 = self.parts.iter().map(|part| (part.count() as f64).log2()).sum();
        bits / (self.parts.len() * self.parts[0].dimension()) as f64
    }
}
