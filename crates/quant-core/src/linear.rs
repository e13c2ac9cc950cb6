//! Dense linear algebra in f64, on the calling thread: products, Cholesky factors, eigenvalues. By `faer`.

use crate::dense::Dense;
use faer::linalg::matmul::matmul;
use faer::linalg::solvers::{Llt, SelfAdjointEigen};
use faer::linalg::triangular_inverse::invert_lower_triangular;
use faer::linalg::triangular_solve::solve_lower_triangular_in_place;
use faer::{Accum, Mat, MatMut, MatRef, Par, Side};

/// Why a matrix could not be decomposed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LinearError {
    /// Not positive definite, or not finite.
    #[error(
        "a second moment of order {order} is not positive definite; raise the damping, or calibrate on more tokens"
    )]
    NotDefinite {
        /// Its order.
        order: usize,
    },
    /// The iteration for eigenvalues did not end: entries are not finite.
    #[error("the eigenvalues of a matrix of order {order} were not found; its entries must be finite")]
    NoEigenvalues {
        /// Its order.
        order: usize,
    },
}

fn view(matrix: &Dense) -> MatRef<'_, f64> {
    MatRef::from_row_major_slice(matrix.values(), matrix.rows(), matrix.columns())
}

fn owned(matrix: MatRef<'_, f64>) -> Dense {
    Dense::from_fn(matrix.nrows(), matrix.ncols(), |i, j| matrix[(i, j)])
}

/// A·B
///
/// # Panics
/// When A has not as many columns as B has rows.
pub fn product(a: &Dense, b: &Dense) -> Dense {
    let mut out = Dense::zeros(a.rows(), b.columns());
    let (rows, columns) = (a.rows(), b.columns());
    let target = MatMut::from_row_major_slice_mut(out.values_mut(), rows, columns);
    matmul(target, Accum::Replace, view(a), view(b), 1.0, Par::Seq);
    out
}

/// Aᵀ·A, the second moment of the rows of A (not divided by their number).
pub fn gram(a: &Dense) -> Dense {
    let mut out = Dense::zeros(a.columns(), a.columns());
    let order = a.columns();
    let target = MatMut::from_row_major_slice_mut(out.values_mut(), order, order);
    matmul(target, Accum::Replace, view(a).transpose(), view(a), 1.0, Par::Seq);
    out
}

/// W·S·Wᵀ, the second moment of the output of a layer.
pub fn output_moment(weights: &Dense, input_moment: &Dense) -> Dense {
    product(&product(weights, input_moment), &weights.transposed())
}

/// A symmetric matrix as U·diag(λ)·Uᵀ.
pub struct Eigen {
    vectors: Mat<f64>,
    /// λ, ascending.
    pub values: Vec<f64>,
}

impl Eigen {
    /// Decomposes a symmetric matrix; the lower triangle is read.
    pub fn of(matrix: &Dense) -> Result<Self, LinearError> {
        let failed = |_| LinearError::NoEigenvalues { order: matrix.rows() };
        let eigen = SelfAdjointEigen::new(view(matrix), Side::Lower).map_err(failed)?;
        let values: Vec<f64> = eigen.S().column_vector().iter().copied().collect();
        if values.iter().any(|v| !v.is_finite()) {
            return Err(LinearError::NoEigenvalues { order: matrix.rows() });
        }
        Ok(Self { vectors: eigen.U().to_owned(), values })
    }

    /// U·diag(f(λ))·Uᵀ
    pub fn map(&self, f: impl Fn(f64) -> f64) -> Dense {
        let order = self.values.len();
        let scaled = Mat::from_fn(order, order, |i, j| self.vectors[(i, j)] * f(self.values[j]));
        let mut out = Mat::zeros(order, order);
        matmul(out.as_mut(), Accum::Replace, scaled.as_ref(), self.vectors.as_ref().transpose(), 1.0, Par::Seq);
        owned(out.as_ref())
    }
}

/// The eigenvalues of a symmetric matrix, ascending.
pub fn eigenvalues(matrix: &Dense) -> Result<Vec<f64>, LinearError> {
    view(matrix).self_adjoint_eigenvalues(Side::Lower).map_err(|_| LinearError::NoEigenvalues { order: matrix.rows() })
}

/// The symmetric square root of a positive semidefinite matrix; eigenvalues that rounding made negative count as 0.
pub fn square_root(matrix: &Dense) -> Result<Dense, LinearError> {
    Ok(Eigen::of(matrix)?.map(|e| e.max(0.0).sqrt()))
}

/// A lower triangular L with L·Lᵀ = S.
pub fn cholesky(matrix: &Dense) -> Result<Dense, LinearError> {
    let factor = Llt::new(view(matrix), Side::Lower).map_err(|_| LinearError::NotDefinite { order: matrix.rows() })?;
    Ok(owned(factor.L()))
}

/// L⁻¹·B for a lower triangular L.
pub fn solve_lower(lower: &Dense, right: &Dense) -> Dense {
    let mut out = right.clone();
    let (rows, columns) = (right.rows(), right.columns());
    let target = MatMut::from_row_major_slice_mut(out.values_mut(), rows, columns);
    solve_lower_triangular_in_place(view(lower), target, Par::Seq);
    out
}

/// L⁻¹ for a lower triangular L.
pub fn inverse_lower(lower: &Dense) -> Dense {
    let order = lower.rows();
    let mut out = Dense::zeros(order, order);
    let target = MatMut::from_row_major_slice_mut(out.values_mut(), order, order);
    invert_lower_triangular(target, view(lower), Par::Seq);
    out
}
