//! Residual quantization: each stage quantizes what the ones before left over.

use super::{Points, VectorCodebook, VectorDesigner, VectorError, VectorFault, refused};
use crate::backend::Backend;
use crate::reference::Reference;

/// A sum of codevectors, one from each stage.
///
/// Source: Juang and Gray 1982. Encoding is greedy, stage by stage, so it need not find the nearest sum.
///
/// ```
/// use quant_core::design::vector::{Points, ResidualCodebook, VectorDesigner};
/// let samples: Vec<f32> = [0.0, 1.0, 10.0, 11.0].into();
/// let points = Points::new(&samples, 1).unwrap();
/// let codebook = ResidualCodebook::design(points, 2, &VectorDesigner::new(2)).unwrap();
/// assert_eq!(codebook.mse(points), 0.0); // {0.5, 10.5} + {−0.5, 0.5}
/// // Max 1960: two levels of a unit normal have a distortion of 0.3634, which is what the second stage starts from
/// use quant_core::source::special::normal_quantile;
/// let normal: Vec<f32> = (0..2000).map(|i| normal_quantile((f64::from(i) + 0.5) / 2000.0) as f32).collect();
/// let points = Points::new(&normal, 1).unwrap();
/// let one = ResidualCodebook::design(points, 1, &VectorDesigner::new(2)).unwrap();
/// assert!((one.mse(points) - 0.3634).abs() < 1e-3);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct ResidualCodebook {
    stages: Vec<VectorCodebook>,
}

impl ResidualCodebook {
    /// Designs `stage_count` stages one after another, all with the same designer, in scalar code.
    pub fn design(points: Points<'_>, stage_count: usize, designer: &VectorDesigner) -> Result<Self, VectorError> {
        refused(Self::design_with(&Reference, points, None, stage_count, designer))
    }

    /// [`Self::design`] on a device, of points that have weights.
    pub fn design_with<B: Backend>(
        backend: &B,
        points: Points<'_>,
        weights: Option<&[f32]>,
        stage_count: usize,
        designer: &VectorDesigner,
    ) -> Result<Self, VectorFault<B::Fault>> {
        if stage_count == 0 {
            return Err(VectorError::Parameter { name: "stage_count", value: 0.0, range: "at least 1" }.into());
        }
        let mut rest = points.samples.to_vec();
        let mut stages = Vec::with_capacity(stage_count);
        for _ in 0..stage_count {
            let left = Points::new(&rest, points.dimension())?;
            let stage = designer.design_with(backend, left, weights)?.codebook;
            let codes = stage.encode(backend, left).map_err(VectorFault::Device)?;
            for (x, code) in rest.chunks_exact_mut(points.dimension()).zip(codes) {
                subtract(x, &stage, code as usize);
            }
            stages.push(stage);
        }
        Ok(Self { stages })
    }

    /// The codebook of each stage.
    pub fn stages(&self) -> &[VectorCodebook] {
        &self.stages
    }

    /// One code per stage.
    pub fn encode(&self, point: &[f32]) -> Vec<usize> {
        let mut rest = point.to_vec();
        let encode = |stage: &VectorCodebook| {
            let code = stage.nearest(&rest).0;
            subtract(&mut rest, stage, code);
            code
        };
        self.stages.iter().map(encode).collect()
    }

    /// The sum of codevectors.
    pub fn decode(&self, codes: &[usize]) -> Vec<f64> {
        let mut sum = vec![0.0; self.stages[0].dimension()];
        for (stage, &code) in self.stages.iter().zip(codes) {
            sum.iter_mut().zip(stage.get(code)).for_each(|(s, y)| *s += y);
        }
        sum
    }

    /// Mean of ‖x − y‖²/d over points.
    pub fn mse(&self, points: Points<'_>) -> f64 {
        let squared = |(&x, y): (&f32, f64)| (f64::from(x) - y).powi(2);
        let cost = |x: &[f32]| x.iter().zip(self.decode(&self.encode(x))).map(squared).sum::<f64>();
        points.iter().map(cost).sum::<f64>() / points.samples.len() as f64
    }
}

fn subtract(point: &mut [f32], stage: &VectorCodebook, code: usize) {
    point.iter_mut().zip(stage.get(code)).for_each(|(x, y)| *x = (f64::from(*x) - y) as f32);
}
