//! How well could weights and inputs be aligned?

use crate::dense::Dense;
use crate::linear::{self, LinearError};

/// A* = Σ s_i²/(Σ s_i)², the largest alignment that an invertible map can reach; s_i are the singular values of
/// W·Sx^(1/2), the roots of the eigenvalues of Sx^(1/2)·Sw·Sx^(1/2).
///
/// Attained where TᵀT is proportional to Sx⁻¹ # Sw when both are definite, a limit otherwise. 1/A* is an effective rank of
/// the output: 1 ≤ 1/A* ≤ rank. Source: Hölder's inequality for Schatten norms on ‖W T⁻¹‖·‖T Sx^(1/2)‖. 0 when the output
/// is zero.
///
/// ```
/// use quant_core::{analysis::alignment_max, dense::Dense};
/// let (inputs, weights) = (Dense::diagonal(&[1.0, 4.0, 9.0, 16.0]), Dense::diagonal(&[16.0, 9.0, 4.0, 1.0]));
/// assert!((alignment_max(&inputs, &weights)? - 0.26).abs() < 1e-12);
/// # Ok::<(), quant_core::linear::LinearError>(())
/// ```
pub fn alignment_max(input_moment: &Dense, weight_moment: &Dense) -> Result<f64, LinearError> {
    Ok(ratio(&singular_values(input_moment, weight_moment)?))
}

/// A* from the second moment of the output, W·Sx·Wᵀ, which has the same eigenvalues and is smaller for narrow outputs.
pub fn alignment_max_of_output(output_moment: &Dense) -> Result<f64, LinearError> {
    Ok(ratio(&roots(linear::eigenvalues(output_moment)?)))
}

/// The largest alignment that maps of blocks of `block` channels can reach: tr(Sx·Sw)/(Σ_b τ_b)², τ_b the sum of the
/// singular values of Sw_b^(1/2)·Sx_b^(1/2). Does not fall when blocks are merged. 0 when either side is zero.
///
/// # Panics
/// For empty blocks.
pub fn alignment_max_blocks(input_moment: &Dense, weight_moment: &Dense, block: usize) -> Result<f64, LinearError> {
    let width = input_moment.rows();
    let mut sum = 0.0;
    for start in (0..width).step_by(block) {
        let range = start..width.min(start + block);
        let (x, w) = (input_moment.diagonal_block(range.clone()), weight_moment.diagonal_block(range));
        sum += singular_values(&x, &w)?.iter().sum::<f64>();
    }
    Ok(if sum > 0.0 { input_moment.inner(weight_moment) / (sum * sum) } else { 0.0 })
}

fn singular_values(input_moment: &Dense, weight_moment: &Dense) -> Result<Vec<f64>, LinearError> {
    let root = linear::square_root(input_moment)?;
    let middle = linear::product(&linear::product(&root, weight_moment), &root);
    Ok(roots(linear::eigenvalues(&middle)?))
}

/// Singular values from their squares. Squares within rounding of zero count as zero: the root of noise is large.
fn roots(eigenvalues: Vec<f64>) -> Vec<f64> {
    let largest = eigenvalues.iter().copied().fold(0.0, f64::max);
    let noise = eigenvalues.len() as f64 * f64::EPSILON * largest;
    eigenvalues.into_iter().map(|e| if e > noise { e.sqrt() } else { 0.0 }).collect()
}

fn ratio(singular: &[f64]) -> f64 {
    let (squares, sum) = (singular.iter().map(|s| s * s).sum::<f64>(), singular.iter().sum::<f64>());
    if sum > 0.0 { squares / (sum * sum) } else { 0.0 }
}
