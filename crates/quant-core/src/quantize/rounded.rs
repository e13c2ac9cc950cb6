//! What becomes of codes when a file format stores levels more coarsely than an f32?

use super::Quantized;
use crate::backend::Backend;
use crate::codebook::Codebooks;
use crate::sensitivity::Weights;
use crate::tensor::Matrix;

impl Quantized {
    /// Rounds every level, encodes `matrix` anew, and measures: codes are nearest for what a decoder will use. `round` must
    /// not decrease, so that levels stay in order. Of levels that become equal, codes name one.
    ///
    /// # Panics
    ///
    /// When there are scales, outliers or choices among codebooks: levels are then not all that a decoder uses.
    pub fn round_levels<B: Backend>(
        &mut self,
        backend: &B,
        matrix: Matrix<'_>,
        weights: Option<&Weights>,
        round: impl Fn(f32) -> f32,
    ) -> Result<(), B::Fault> {
        let is_bare = self.scales.is_none() && self.outliers.is_none() && self.switched.is_none();
        assert!(is_bare, "levels are all that a decoder uses");
        let level_count = self.codebooks.level_count();
        let rounded: Vec<f32> = self.codebooks.all_levels().iter().map(|&level| round(level) + 0.0).collect();
        self.codebooks = Codebooks::from_levels(level_count, rounded.chunks(level_count));
        let mut packed = vec![0; self.packed.len()];
        backend.encode(matrix, &self.encoding(), &mut packed)?;
        self.distortion = backend.distortion(matrix, &self.encoding(), &packed)?;
        self.packed = packed;
        match weights {
            Some(weights) => self.measure(backend, matrix, Some(weights.values())),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::quantize::quantize;
    use crate::recipe::Recipe;
    use crate::reference::Reference;
    use crate::tensor::{Matrix, Samples};

    #[test]
    fn codes_are_nearest_for_the_rounded_levels() {
        let samples: Vec<f32> = (0..512).map(|i| (i as f32 * 0.37).sin() * (1.0 + (i % 7) as f32)).collect();
        let matrix = Matrix::new(Samples::F32(&samples), 4, 128).unwrap();
        let mut quantized = quantize(&Reference, matrix, &Recipe::preset("kmeans3-row").unwrap()).unwrap();
        let before = quantized.distortion.squared_error;
        quantized.round_levels(&Reference, matrix, None, |y| y.round()).unwrap();
        assert!(quantized.codebooks.all_levels().iter().all(|y| y.fract() == 0.0));
        let mut decoded = vec![0.0; 512];
        quantized.decode(&Reference, &mut crate::backend::SamplesMut::F32(&mut decoded)).unwrap();
        let nearest = |i: usize| {
            let levels = quantized.codebooks.levels(i / 128).iter();
            levels.map(|y| (samples[i] - y).abs()).fold(f32::MAX, f32::min)
        };
        assert!((0..512).all(|i| (samples[i] - decoded[i]).abs() == nearest(i)));
        let error: f64 = samples.iter().zip(&decoded).map(|(x, y)| f64::from(x - y).powi(2)).sum();
        assert!(error > before && (quantized.distortion.squared_error - error).abs() < 1e-4 * error);
    }
}
