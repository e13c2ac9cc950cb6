//! What SQNR do the factors predict, and what is it really?

use super::{db, gaussian_concentration};
use crate::dense::Dense;
use crate::grid::GridKind;
use crate::measure::sqnr_db;

/// The factors of one linear layer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Factors {
    /// C(x), see [`super::concentration()`].
    pub input_concentration: f64,
    /// C(W).
    pub weight_concentration: f64,
    /// A, see [`super::alignment`].
    pub alignment: f64,
    /// Grid of the inputs.
    pub input_grid: GridKind,
    /// Grid of the weights.
    pub weight_grid: GridKind,
    /// Channels d of the input.
    pub width: usize,
}

impl Factors {
    /// SQNR in dB of quantizing the inputs only: 12·N_x²·C(x)·A.
    pub fn input_sqnr_db(&self) -> f64 {
        db(self.input_ratio())
    }

    /// SQNR in dB of quantizing the weights only: 12·N_w²·C(W)·A.
    pub fn weight_sqnr_db(&self) -> f64 {
        db(self.weight_ratio())
    }

    /// SQNR in dB of both, the two noises added: 1/q = 1/q_x + 1/q_w.
    pub fn sqnr_db(&self) -> f64 {
        -db(1.0 / self.input_ratio() + 1.0 / self.weight_ratio())
    }

    /// The same with the noise that either error makes of the other: 1/q = 1/q_x + (1 + d/(12·N_x²·C(x)))/q_w.
    ///
    /// The term is 1 to 2 % for Gaussian-like tokens at 4 bits; without it the formula is that much optimistic.
    pub fn sqnr_with_product_db(&self) -> f64 {
        let spread = self.width as f64 / (12.0 * self.input_grid.steps().powi(2) * self.input_concentration);
        -db(1.0 / self.input_ratio() + (1.0 + spread) / self.weight_ratio())
    }

    /// What [`Self::sqnr_db`] would gain if one factor were repaired and the others left: either concentration raised to
    /// that of Gaussian samples, which a rotation reaches, or the alignment raised to `alignment_max`.
    ///
    /// A shortfall is not a gain: noises add, so that repairing the side with less noise gains next to nothing.
    ///
    /// ```
    /// use quant_core::{analysis::{Factors, db, gaussian_concentration}, grid::{GridKind, Symmetry}};
    /// let (input_grid, weight_grid) = (GridKind::asymmetric(8), GridKind::symmetric(4));
    /// let input_concentration = 0.01 * gaussian_concentration(576, Symmetry::Asymmetric);
    /// let weight_concentration = 0.1 * gaussian_concentration(576, Symmetry::Symmetric);
    /// let factors =
    ///     Factors { input_concentration, weight_concentration, alignment: 0.01, input_grid, weight_grid, width: 576 };
    /// let gains = factors.repairs(0.02);
    /// // Inputs fall 20 dB short and weights 10; but inputs have 17 steps for each step of the weights.
    /// assert!(gains.input_concentration_db < 1.0 && gains.weight_concentration_db > 7.0);
    /// assert!((gains.alignment_db - db(2.0)).abs() < 1e-12);
    /// ```
    pub fn repairs(&self, alignment_max: f64) -> Repairs {
        let gain = |repaired: Self| repaired.sqnr_db() - self.sqnr_db();
        let gaussian = |grid: GridKind| gaussian_concentration(self.width, grid.symmetry);
        let input_concentration = self.input_concentration.max(gaussian(self.input_grid));
        let weight_concentration = self.weight_concentration.max(gaussian(self.weight_grid));
        Repairs {
            input_concentration_db: gain(Self { input_concentration, ..*self }),
            weight_concentration_db: gain(Self { weight_concentration, ..*self }),
            alignment_db: gain(Self { alignment: self.alignment.max(alignment_max), ..*self }),
        }
    }

    fn input_ratio(&self) -> f64 {
        12.0 * self.input_grid.steps().powi(2) * self.input_concentration * self.alignment
    }

    fn weight_ratio(&self) -> f64 {
        12.0 * self.weight_grid.steps().powi(2) * self.weight_concentration * self.alignment
    }
}

/// What the predicted SQNR gains when one factor alone is repaired, in dB, each 0 or more; see [`Factors::repairs`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Repairs {
    /// Inputs as concentrated as Gaussian samples.
    pub input_concentration_db: f64,
    /// Weights as concentrated as Gaussian samples.
    pub weight_concentration_db: f64,
    /// Weights and inputs in the best alignment.
    pub alignment_db: f64,
}

/// SQNR of both sides quantized, and of one at a time, in dB.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Branches {
    /// Inputs and weights quantized.
    pub both_db: f64,
    /// Inputs only.
    pub input_db: f64,
    /// Weights only.
    pub weight_db: f64,
}

/// The SQNR of Y = X Wᵀ by doing it: X quantized row by row (per token), W row by row (per output), no clipping.
///
/// Plain scalar code, for tests and small layers: tokens × outputs × channels multiplications, four times.
///
/// # Panics
/// When X and W have different numbers of columns.
pub fn measured_sqnr(inputs: &Dense, weights: &Dense, input_grid: GridKind, weight_grid: GridKind) -> Branches {
    let rounded = |rows: &Dense, kind: GridKind| {
        let mut out = rows.clone();
        for row in out.values_mut().chunks_exact_mut(rows.columns()) {
            let grid = kind.fit(row.iter().copied());
            row.iter_mut().for_each(|x| *x = grid.round(*x));
        }
        out
    };
    let (rounded_inputs, rounded_weights) = (rounded(inputs, input_grid), rounded(weights, weight_grid));
    let exact = product(inputs, weights);
    let against = |approximate: Dense| {
        let error: f64 = exact.values().iter().zip(approximate.values()).map(|(a, b)| (a - b).powi(2)).sum();
        sqnr_db(exact.energy(), error)
    };
    Branches {
        both_db: against(product(&rounded_inputs, &rounded_weights)),
        input_db: against(product(&rounded_inputs, weights)),
        weight_db: against(product(inputs, &rounded_weights)),
    }
}

/// X Wᵀ
fn product(inputs: &Dense, weights: &Dense) -> Dense {
    let dot = |i: usize, j: usize| inputs.row(i).iter().zip(weights.row(j)).map(|(x, w)| x * w).sum();
    assert_eq!(inputs.columns(), weights.columns(), "inputs and weights have the same channels");
    Dense::from_fn(inputs.rows(), weights.rows(), dot)
}
