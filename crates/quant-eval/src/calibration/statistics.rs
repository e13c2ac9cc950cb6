//! Σ x xᵀ, the largest magnitudes and the number of tokens at one input.

use faer::linalg::matmul::matmul;
use faer::{Accum, Mat, MatRef, Par};
use quant_core::dense::Dense;
use rayon::prelude::*;

/// Tokens whose products are summed in f32 before they are added in f64: 256 terms lose 2⁻¹⁶ at worst, random signs far
/// less.
const TOKENS: usize = 256;
/// Rows of the moment in a work item.
const ROWS: usize = 192;

/// What calibration knows of one linear input. Merging is addition.
#[derive(Clone, Debug, PartialEq)]
pub struct Statistics {
    /// The lower triangle of Σ x xᵀ; the rest is zero.
    sum: Dense,
    channel_max: Vec<f64>,
    token_count: u64,
}

impl Statistics {
    /// Nothing seen yet of `width` channels.
    pub fn new(width: usize) -> Self {
        Self { sum: Dense::zeros(width, width), channel_max: vec![0.0; width], token_count: 0 }
    }

    /// From stored parts; `lower` holds the lower triangle row by row.
    pub(super) fn from_parts(mut sum: Dense, lower: &[f64], channel_max: Vec<f64>, token_count: u64) -> Self {
        let mut values = lower.iter();
        for row in 0..sum.rows() {
            values.by_ref().take(row + 1).enumerate().for_each(|(column, &x)| sum.set(row, column, x));
        }
        Self { sum, channel_max, token_count }
    }

    /// Channels.
    pub fn width(&self) -> usize {
        self.channel_max.len()
    }

    /// Tokens seen.
    pub fn token_count(&self) -> u64 {
        self.token_count
    }

    /// The largest magnitude seen in each channel.
    pub fn channel_max(&self) -> Vec<f64> {
        self.channel_max.clone()
    }

    /// Adds whole rows of tokens.
    pub fn add(&mut self, rows: &[f32]) {
        let width = self.width();
        let count = rows.len() / width;
        self.token_count += count as u64;
        for row in rows.chunks_exact(width) {
            self.channel_max.iter_mut().zip(row).for_each(|(m, x)| *m = m.max(f64::from(x.abs())));
        }
        self.sum.values_mut().par_chunks_mut(ROWS * width).enumerate().for_each(|(index, sums)| {
            let (start, height) = (index * ROWS, sums.len() / width);
            // Columns to the right of the last diagonal entry are in another row's lower triangle.
            let reach = start + height;
            let mut part = Mat::<f32>::zeros(reach, height);
            for rows in rows.chunks(TOKENS * width) {
                let x = MatRef::from_row_major_slice(rows, rows.len() / width, width);
                let (all, mine) = (x.subcols(0, reach), x.subcols(start, height));
                matmul(part.as_mut(), Accum::Replace, all.transpose(), mine, 1.0, Par::Seq);
                for (offset, sums) in sums.chunks_exact_mut(width).enumerate() {
                    let row = start + offset;
                    sums[..=row].iter_mut().enumerate().for_each(|(j, sum)| *sum += f64::from(part[(j, offset)]));
                }
            }
        });
    }

    /// Adds what another run saw.
    ///
    /// # Panics
    /// When widths differ.
    pub fn merge(&mut self, other: &Self) {
        self.sum.add_scaled(1.0, &other.sum);
        self.channel_max.iter_mut().zip(&other.channel_max).for_each(|(m, x)| *m = m.max(*x));
        self.token_count += other.token_count;
    }

    /// E[x xᵀ], symmetric; zero when no token was seen.
    pub fn moment(&self) -> Dense {
        let scale = 1.0 / (self.token_count.max(1) as f64);
        Dense::from_fn(self.width(), self.width(), |i, j| scale * self.sum.get(i.max(j), i.min(j)))
    }

    pub(super) fn lower_triangle(&self) -> Vec<f64> {
        self.sum.row_iter().enumerate().flat_map(|(row, values)| values[..=row].iter().copied()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_products_however_tokens_are_cut() {
        let width = 200;
        let rows: Vec<f32> = (0..300 * width).map(|i| (i as f32 * 0.61).sin() * (1.0 + (i % width) as f32)).collect();
        let wide = Dense::new(300, width, rows.iter().map(|&x| f64::from(x)).collect());
        let expected = quant_core::linear::gram(&wide).scaled(1.0 / 300.0);
        let mut whole = Statistics::new(width);
        whole.add(&rows);
        let (mut first, mut second) = (Statistics::new(width), Statistics::new(width));
        first.add(&rows[..70 * width]);
        second.add(&rows[70 * width..]);
        first.merge(&second);
        assert_eq!((first.token_count(), first.channel_max()), (300, whole.channel_max()));
        for statistics in [whole, first] {
            let moment = statistics.moment();
            let scale = expected.values().iter().fold(0.0, |m: f64, x| m.max(x.abs()));
            let near = |(a, b): (&f64, &f64)| (a - b).abs() < 1e-6 * scale;
            assert!(moment.values().iter().zip(expected.values()).all(near));
            let again = Statistics::from_parts(
                Dense::zeros(width, width),
                &statistics.lower_triangle(),
                statistics.channel_max(),
                statistics.token_count(),
            );
            assert_eq!(again, statistics);
        }
    }
}
