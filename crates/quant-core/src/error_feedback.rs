//! Rounding with error feedback: which error of one weight do the weights after it make up for?
//!
//! For inputs x with second moment H = E\[x·xᵀ\], a row w of weights and its rounded form q lose
//! E\[((w − q)·x)²\] = (w − q)·H·(w − q)ᵀ. Columns are rounded one after the other; what column j loses is taken from the
//! columns after it, w_k ← w_k − (w_j − q_j)·U_jk/U_jj with H⁻¹ = Uᵀ·U, U upper triangular: the best that the columns not
//! yet rounded can do. Any codebook does, for only w_j's own code is looked up. Source: Frantar et al., GPTQ, arXiv
//! 2210.17323 (2022), after Hassibi and Stork's optimal brain surgeon (1993).
//!
//! U comes without an inverse of H: with V·Vᵀ = H, V upper triangular, U = V⁻¹, and V is the Cholesky factor of H with
//! its rows and columns reversed.

use crate::dense::Dense;
#[cfg(feature = "linear-algebra")]
use crate::linear::{self, LinearError};

/// Damping in units of the mean diagonal: GPTQ's own. Less follows the noise of the calibration, more loses the gain.
pub const DAMPING: f64 = 1e-2;

/// In which order columns are rounded, and what each passes on.
#[derive(Clone, Debug, PartialEq)]
pub struct Feedback {
    order: Vec<usize>,
    spread: Dense,
}

impl Feedback {
    /// For inputs with second moment `moment`, `d × d`, of which `damping` times the mean diagonal is added to the
    /// diagonal. With `activation_order`, the columns with the most input energy go first, equal ones in their own order.
    ///
    /// # Errors
    /// When the damped moment is not positive definite.
    ///
    /// # Panics
    /// When `moment` is not square.
    ///
    /// ```
    /// use quant_core::{dense::Dense, error_feedback::Feedback};
    /// let moment = Dense::new(2, 2, vec![1.0, 0.5, 0.5, 4.0]);
    /// let feedback = Feedback::new(&moment, 0.0, false).unwrap();
    /// assert_eq!(feedback.spread().get(0, 1), -0.125); // −½/4: what of column 0 column 1 can stand in for
    /// assert_eq!(Feedback::new(&moment, 0.0, true).unwrap().order(), [1, 0]);
    /// ```
    #[cfg(feature = "linear-algebra")]
    pub fn new(moment: &Dense, damping: f64, activation_order: bool) -> Result<Self, LinearError> {
        assert_eq!(moment.rows(), moment.columns(), "a second moment is square");
        let width = moment.rows();
        let mut order: Vec<usize> = (0..width).collect();
        if activation_order {
            order.sort_by(|&a, &b| moment.get(b, b).total_cmp(&moment.get(a, a)));
        }
        let damped = moment.damped(damping);
        let last = width.saturating_sub(1);
        let reversed = Dense::from_fn(width, width, |i, j| damped.get(order[last - i], order[last - j]));
        let inverse = linear::inverse_lower(&linear::cholesky(&reversed)?);
        let entry = |i: usize, j: usize| inverse.get(last - i, last - j) / inverse.get(last - i, last - i);
        let spread = Dense::from_fn(width, width, |i, j| if i <= j { entry(i, j) } else { 0.0 });
        Ok(Self { order, spread })
    }

    /// From an order of all columns and a `d × d` matrix, of which what lies above the diagonal counts.
    ///
    /// # Panics
    /// When `order` is no permutation or `spread` has another shape.
    pub fn from_parts(order: Vec<usize>, spread: Dense) -> Self {
        let mut seen = vec![false; order.len()];
        order.iter().for_each(|&column| assert!(!std::mem::replace(&mut seen[column], true), "each column once"));
        assert_eq!((spread.rows(), spread.columns()), (order.len(), order.len()), "one row for each column");
        Self { order, spread }
    }

    /// Columns of the matrices that it is for.
    pub fn width(&self) -> usize {
        self.order.len()
    }

    /// The columns in the order in which they are rounded.
    pub fn order(&self) -> &[usize] {
        &self.order
    }

    /// U_jk/U_jj for j < k, counted in that order: what of the error of the j-th is taken from the k-th.
    pub fn spread(&self) -> &Dense {
        &self.spread
    }
}

/// Σ over the rows e of `errors` of e·H·eᵀ: ‖(W − Q)·X‖² for each token. `errors` is `rows × d`, `moment` `d × d`.
///
/// # Panics
/// When shapes do not fit.
#[cfg(feature = "linear-algebra")]
pub fn output_error(errors: &Dense, moment: &Dense) -> f64 {
    linear::product(errors, moment).inner(errors)
}
