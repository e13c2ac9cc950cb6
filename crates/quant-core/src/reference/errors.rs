//! How far is what was decoded from what was there?

use crate::measure::Distortion;
use crate::sensitivity::WeightedError;
use crate::tensor::Matrix;

/// The definition of [`crate::backend::Backend::errors`].
pub fn errors(matrix: Matrix<'_>, decoded: &[f32], weights: Option<&[f32]>) -> (Distortion, WeightedError) {
    assert_eq!(decoded.len(), matrix.len(), "one decoded value per sample");
    let per_column = weights.is_some_and(|w| w.len() == matrix.columns());
    let (mut sums, mut weighted) = (Distortion::empty(0), WeightedError::default());
    sums.sample_count = decoded.len() as u64;
    for (i, &y) in decoded.iter().enumerate() {
        let x = f64::from(matrix.samples().get(i));
        let error = x - f64::from(y);
        sums.squared_error += error * error;
        sums.energy += x * x;
        sums.error_max = sums.error_max.max(error.abs());
        if let Some(weights) = weights {
            let weight = f64::from(weights[if per_column { i % matrix.columns() } else { i }]);
            weighted.squared_error += weight * (error * error);
            weighted.energy += weight * (x * x);
        }
    }
    (sums, weighted)
}
