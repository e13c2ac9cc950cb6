//! What Lloyd's step needs of the cells of a vector codebook.

use super::Points;

/// Weight and weighted sum of the points of each cell.
#[derive(Clone, Debug, PartialEq)]
pub struct VectorCells {
    dimension: usize,
    /// Σ w of each cell.
    pub weights: Vec<f64>,
    /// Σ w·x of each cell, one after the other.
    pub sums: Vec<f64>,
}

impl VectorCells {
    /// Nothing yet in the cells of `codevectors`.
    pub fn empty(codevectors: Points<'_>) -> Self {
        let (count, dimension) = (codevectors.len(), codevectors.dimension());
        Self { dimension, weights: vec![0.0; count], sums: vec![0.0; count * dimension] }
    }

    /// Takes a point.
    #[inline(always)]
    pub fn add(&mut self, code: usize, point: &[f32], weight: f32) {
        let weight = f64::from(weight);
        self.weights[code] += weight;
        let sums = &mut self.sums[code * self.dimension..][..self.dimension];
        sums.iter_mut().zip(point).for_each(|(sum, &x)| *sum += weight * f64::from(x));
    }

    /// Adds another part of the same points.
    pub fn merge(&mut self, other: &Self) {
        self.weights.iter_mut().zip(&other.weights).for_each(|(a, b)| *a += b);
        self.sums.iter_mut().zip(&other.sums).for_each(|(a, b)| *a += b);
    }

    /// Σ w·x of cell `code`.
    pub fn sum(&self, code: usize) -> &[f64] {
        &self.sums[code * self.dimension..][..self.dimension]
    }

    /// Σ w‖x − y‖² for these cells, from Σ w‖x‖²: that less 2·Σ ⟨Σ w·x, y⟩, and Σ w·‖y‖² more.
    pub fn cost(&self, energy: f64, codevectors: Points<'_>) -> f64 {
        let term = |(code, y): (usize, &[f32])| {
            let weight = self.weights[code];
            let of_one = |(&sum, &y): (&f64, &f32)| f64::from(y) * (weight * f64::from(y) - 2.0 * sum);
            self.sum(code).iter().zip(y).map(of_one).sum::<f64>()
        };
        (energy + codevectors.iter().enumerate().map(term).sum::<f64>()).max(0.0)
    }
}
