//! Mini-batch k-means: for more points than fit a pass.

use super::random::Random;
use super::{Points, VectorCodebook, VectorError, VectorFault, refused, seeding};
use crate::backend::Backend;
use crate::reference::Reference;

/// Web-scale k-means (Sculley 2010): each step assigns a random batch and moves every codevector towards the mean of the
/// points it has ever been given, by 1/count.
///
/// ```
/// use quant_core::design::vector::{MiniBatch, Points};
/// let samples: Vec<f32> = (0..4000).map(|i| if i % 4 < 2 { 0.0 } else { 8.0 }).collect();
/// let codebook = MiniBatch::new(2).design(Points::new(&samples, 2).unwrap()).unwrap();
/// assert_eq!(codebook.mse(Points::new(&samples, 2).unwrap()), 0.0);
/// // Max 1960: two levels of a unit normal have a distortion of 0.3634
/// use quant_core::source::special::normal_quantile;
/// let normal: Vec<f32> = (0..2000).map(|i| normal_quantile((f64::from(i) + 0.5) / 2000.0) as f32).collect();
/// let points = Points::new(&normal, 1).unwrap();
/// let mse = MiniBatch::new(2).design(points).unwrap().mse(points);
/// assert!((mse - 0.3634).abs() < 5e-3, "{mse}");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MiniBatch {
    /// K.
    pub codevector_count: usize,
    /// Points of a batch.
    pub batch_len: usize,
    /// Batches.
    pub steps: usize,
    /// Of the random numbers.
    pub seed: u64,
}

impl MiniBatch {
    /// 100 batches of 1024 points, or of 8 points per codevector if that is more.
    pub fn new(codevector_count: usize) -> Self {
        Self { codevector_count, batch_len: 1024.max(8 * codevector_count), steps: 100, seed: 1 }
    }

    /// Finds a codebook with scalar code.
    pub fn design(&self, points: Points<'_>) -> Result<VectorCodebook, VectorError> {
        refused(self.design_with(&Reference, points))
    }

    /// Finds a codebook on a device.
    pub fn design_with<B: Backend>(
        &self,
        backend: &B,
        points: Points<'_>,
    ) -> Result<VectorCodebook, VectorFault<B::Fault>> {
        if self.codevector_count == 0 || self.batch_len == 0 {
            return Err(VectorError::Parameter { name: "codevector_count", value: 0.0, range: "at least 1" }.into());
        }
        let mut random = Random::new(self.seed);
        let seeds = draw(points, 4 * self.batch_len, &mut random);
        let seeds = Points { samples: &seeds, dimension: points.dimension };
        let mut codebook =
            seeding::seeds(backend, seeds, None, self.codevector_count, &mut random).map_err(VectorFault::Device)?;
        let mut counts = vec![0u64; codebook.count()];
        for _ in 0..self.steps {
            let batch = draw(points, self.batch_len, &mut random);
            let batch = Points { samples: &batch, dimension: points.dimension };
            let codes = codebook.encode(backend, batch).map_err(VectorFault::Device)?;
            for (x, code) in batch.iter().zip(codes) {
                let code = code as usize;
                counts[code] += 1;
                let rate = 1.0 / counts[code] as f64;
                codebook.get_mut(code).iter_mut().zip(x).for_each(|(y, &x)| *y += rate * (f64::from(x) - *y));
            }
        }
        Ok(codebook)
    }
}

/// Points drawn with replacement, or all of them where that is fewer.
fn draw(points: Points<'_>, count: usize, random: &mut Random) -> Vec<f32> {
    if count >= points.len() {
        return points.samples.to_vec();
    }
    (0..count).flat_map(|_| points.get(random.below(points.len())).iter().copied()).collect()
}
