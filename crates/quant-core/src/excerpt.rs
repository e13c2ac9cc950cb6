//! Which samples of a large matrix does a codebook learn from?

use crate::grouping::GroupLength;
use crate::reference::row_weights;
use crate::tensor::{Matrix, Samples};

/// Evenly spaced rows of a matrix, cut after a whole group where they are long, with their weights.
pub(crate) struct Excerpt {
    pub(crate) samples: Vec<f32>,
    /// One for each sample, where there are weights.
    pub(crate) weights: Option<Vec<f32>>,
    pub(crate) rows: usize,
    pub(crate) columns: usize,
}

impl Excerpt {
    /// Some `sample_count` samples of `matrix`, all where it has no more. `weights` are as in
    /// [`crate::backend::Backend::fit_rows`].
    pub(crate) fn of(matrix: Matrix<'_>, weights: Option<&[f32]>, group: GroupLength, sample_count: usize) -> Self {
        let group_len = if let GroupLength::Samples(n) = group { n } else { 1 };
        let columns = matrix.columns().min(sample_count.next_multiple_of(group_len));
        let rows = matrix.rows().min(sample_count.div_ceil(columns.max(1)));
        let of_rows = |take: &dyn Fn(usize, usize) -> f32| -> Vec<f32> {
            let places = (0..rows).flat_map(|i| (0..columns).map(move |column| (i * matrix.rows() / rows, column)));
            places.map(|(row, column)| take(row, column)).collect()
        };
        let samples = of_rows(&|row, column| matrix.samples().get(row * matrix.columns() + column));
        let weight = |row, column| row_weights(weights, row, matrix.columns()).expect("there are weights")[column];
        let weights = weights.map(|_| of_rows(&weight));
        Self { samples, weights, rows, columns }
    }

    pub(crate) fn matrix(&self) -> Matrix<'_> {
        Matrix::new(Samples::F32(&self.samples), self.rows, self.columns).expect("whole rows")
    }
}
