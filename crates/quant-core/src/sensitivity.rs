//! What does an error of each sample weigh? Sensitivity weights: a Fisher diagonal, an importance matrix, input energies.

use std::ops::Range;

/// Weights of squared errors: one per sample, or one for each column.
///
/// A loss that rises by ½ Σ h_i e_i² asks for weights h_i: the Fisher diagonal E g_i² where gradients are known, or
/// E x_i² of the input that column i multiplies, which makes Σ w e² the mean squared error of the output (of independent
/// inputs).
#[derive(Clone, Debug, PartialEq)]
pub struct Weights {
    values: Vec<f32>,
}

/// Why weights were refused.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum WeightsError {
    /// A weight is negative, NaN or infinite.
    #[error("weight {index} is {value}; weights must be finite and at least 0")]
    OutOfRange {
        /// Row-major position.
        index: usize,
        /// Its value.
        value: f32,
    },
    /// Neither one per sample nor one per column.
    #[error("{actual} weights for a {rows} × {columns} matrix; {} or {columns} expected", rows * columns)]
    Count {
        /// Weights given.
        actual: usize,
        /// Rows of the matrix.
        rows: usize,
        /// Columns of the matrix.
        columns: usize,
    },
}

impl Weights {
    /// Checks `values`, row-major or one for each column, and divides them by their mean, so that no scale of theirs matters.
    ///
    /// ```
    /// use quant_core::sensitivity::Weights;
    /// assert_eq!(Weights::new(vec![1.0, 3.0], 5, 2).unwrap().values(), [0.5, 1.5]);
    /// let refused = Weights::new(vec![1.0, -3.0], 5, 2).unwrap_err();
    /// assert_eq!(refused.to_string(), "weight 1 is -3; weights must be finite and at least 0");
    /// ```
    pub fn new(mut values: Vec<f32>, rows: usize, columns: usize) -> Result<Self, WeightsError> {
        if values.len() != columns && values.len() != rows * columns {
            return Err(WeightsError::Count { actual: values.len(), rows, columns });
        }
        let refused = |w: &f32| !(w.is_finite() && *w >= 0.0);
        // Sixteen at a time, which need not wait for each other: one per sample may be billions.
        let (sixteens, rest) = values.as_chunks::<16>();
        let are_refused = sixteens.iter().any(|w| w.iter().fold(false, |any, w| any | refused(w)));
        if (are_refused || rest.iter().any(refused))
            && let Some(index) = values.iter().position(refused)
        {
            return Err(WeightsError::OutOfRange { index, value: values[index] });
        }
        let mut lanes = [0.0; 16];
        for w in sixteens {
            lanes.iter_mut().zip(w).for_each(|(sum, &w)| *sum += f64::from(w));
        }
        let sum = lanes.iter().sum::<f64>() + rest.iter().map(|&w| f64::from(w)).sum::<f64>();
        match sum > 0.0 {
            true => {
                let inverse_mean = values.len() as f64 / sum;
                values.iter_mut().for_each(|w| *w = (f64::from(*w) * inverse_mean) as f32);
            }
            // Nothing matters: everything matters alike.
            false => values.fill(1.0),
        }
        Ok(Self { values })
    }

    /// The weights, of mean 1.
    pub fn values(&self) -> &[f32] {
        &self.values
    }
}

/// The weights of a row, where `weights` are one for each column, shared by all rows, or one for each sample.
pub fn row_weights(weights: Option<&[f32]>, row: usize, columns: usize) -> Option<&[f32]> {
    weights_of_rows(weights, row..row + 1, columns)
}

/// The weights of some rows, of the same form.
pub fn weights_of_rows(weights: Option<&[f32]>, rows: Range<usize>, columns: usize) -> Option<&[f32]> {
    weights.map(|w| if w.len() == columns { w } else { &w[rows.start * columns..rows.end * columns] })
}

/// Weighted sums over samples: Σ w·e² and Σ w·x².
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct WeightedError {
    /// Σ w·(x − Q(x))².
    pub squared_error: f64,
    /// Σ w·x².
    pub energy: f64,
}

impl WeightedError {
    /// Adds the sums of `other`.
    pub fn merge(&mut self, other: &WeightedError) {
        self.squared_error += other.squared_error;
        self.energy += other.energy;
    }
}
