//! Why a linear layer loses what it loses: bits × concentration × alignment.
//!
//! For y = W x with both sides rounded to uniform grids of N_x and N_w steps (see [`crate::grid`]),
//!
//! ```text
//! SQNR ≈ 12·(N_x²·C(x) ‖ N_w²·C(W))·A,   a ‖ b = 1/(1/a + 1/b)
//! C(x) = E‖x‖²/E[r(x)²]   C(W) = Σ_o ‖w_o‖²/Σ_o r(w_o)²   A = tr(Sw·Sx)/(tr Sw·tr Sx)
//! ```
//!
//! with r the range that a grid spans, Sx = E[x xᵀ], Sw = Wᵀ W. Concentration says how much of the grid the samples use;
//! alignment, whether the directions in which the weights are large are those in which the inputs are. A rotation changes
//! the first only; CAT the second.
//!
//! Source: M. Federici, B. van Breugel, P. Whatmough, M. Nagel, "Dissecting Quantization Error: A Concentration-Alignment
//! Perspective", arXiv 2603.04359 (2026). Assumptions: errors uniform within a step, uncorrelated with each other and the
//! data, and no clipping. Sparse tokens break the first (the formula is then pessimistic), see the module's tests.

#[cfg(feature = "linear-algebra")]
mod alignment_max;
mod concentration;
mod gaussian;
mod prediction;

#[cfg(feature = "linear-algebra")]
pub use alignment_max::{alignment_max, alignment_max_blocks, alignment_max_of_output};
pub use concentration::{Sharing, concentration, concentration_grouped};
pub use gaussian::gaussian_concentration;
pub use prediction::{Branches, Factors, Repairs, measured_sqnr};

use crate::dense::Dense;

/// A = tr(Sw·Sx)/(tr Sw·tr Sx), between 0 and 1: the energy of the output, of that which the energies of weights and
/// inputs allow. Unchanged by rotations and by scalars. 0 when either side is zero.
///
/// ```
/// use quant_core::{analysis::alignment, dense::Dense};
/// let (inputs, weights) = (Dense::diagonal(&[1.0, 4.0, 9.0, 16.0]), Dense::diagonal(&[16.0, 9.0, 4.0, 1.0]));
/// assert_eq!(alignment(&inputs, &weights), 104.0 / 900.0);
/// ```
///
/// # Panics
/// When the two have different orders.
pub fn alignment(input_moment: &Dense, weight_moment: &Dense) -> f64 {
    let energies = input_moment.trace() * weight_moment.trace();
    if energies > 0.0 { input_moment.inner(weight_moment) / energies } else { 0.0 }
}

/// 10·log₁₀ of a ratio of powers.
pub fn db(ratio: f64) -> f64 {
    10.0 * ratio.log10()
}
