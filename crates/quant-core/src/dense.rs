//! A matrix of f64 in row-major order: second moments, transforms, and the small cases of tests.

/// A row-major matrix of f64. Shapes are a matter of code, not of data: a mismatch is a bug and panics.
#[derive(Clone, Debug, PartialEq)]
pub struct Dense {
    rows: usize,
    columns: usize,
    values: Vec<f64>,
}

impl Dense {
    /// Takes `values` as `rows × columns`.
    ///
    /// # Panics
    /// When their number is another.
    pub fn new(rows: usize, columns: usize, values: Vec<f64>) -> Self {
        assert_eq!(values.len(), rows * columns, "{rows} × {columns} values");
        Self { rows, columns, values }
    }

    /// All zeros.
    pub fn zeros(rows: usize, columns: usize) -> Self {
        Self { rows, columns, values: vec![0.0; rows * columns] }
    }

    /// The identity of order `order`.
    pub fn identity(order: usize) -> Self {
        Self::diagonal(&vec![1.0; order])
    }

    /// A square matrix with `entries` on its diagonal.
    pub fn diagonal(entries: &[f64]) -> Self {
        let mut matrix = Self::zeros(entries.len(), entries.len());
        entries.iter().enumerate().for_each(|(i, &x)| matrix.set(i, i, x));
        matrix
    }

    /// Entry (i, j) = `entry(i, j)`.
    pub fn from_fn(rows: usize, columns: usize, entry: impl Fn(usize, usize) -> f64) -> Self {
        let values = (0..rows * columns).map(|at| entry(at / columns, at % columns)).collect();
        Self { rows, columns, values }
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of columns.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// All entries, row by row.
    pub fn values(&self) -> &[f64] {
        &self.values
    }

    /// All entries, row by row, to be changed.
    pub fn values_mut(&mut self) -> &mut [f64] {
        &mut self.values
    }

    /// Entry (row, column).
    pub fn get(&self, row: usize, column: usize) -> f64 {
        self.values[row * self.columns + column]
    }

    /// Sets entry (row, column).
    pub fn set(&mut self, row: usize, column: usize, value: f64) {
        self.values[row * self.columns + column] = value;
    }

    /// Row `row`.
    pub fn row(&self, row: usize) -> &[f64] {
        &self.values[row * self.columns..][..self.columns]
    }

    /// All rows in order.
    pub fn row_iter(&self) -> impl Iterator<Item = &[f64]> {
        self.values.chunks_exact(self.columns.max(1))
    }

    /// The transpose.
    pub fn transposed(&self) -> Self {
        Self::from_fn(self.columns, self.rows, |i, j| self.get(j, i))
    }

    /// Rows and columns `range` of a square matrix: a block on its diagonal.
    pub fn diagonal_block(&self, range: std::ops::Range<usize>) -> Self {
        let start = range.start;
        Self::from_fn(range.len(), range.len(), |i, j| self.get(start + i, start + j))
    }

    /// The entries on the diagonal.
    pub fn diagonal_entries(&self) -> Vec<f64> {
        (0..self.rows.min(self.columns)).map(|i| self.get(i, i)).collect()
    }

    /// tr S, the sum of the diagonal.
    pub fn trace(&self) -> f64 {
        self.diagonal_entries().iter().sum()
    }

    /// Σ of all squared entries, ‖·‖_F².
    pub fn energy(&self) -> f64 {
        self.values.iter().map(|x| x * x).sum()
    }

    /// Σ_ij A_ij·B_ij; for symmetric matrices the trace of their product.
    ///
    /// # Panics
    /// When shapes differ.
    pub fn inner(&self, other: &Self) -> f64 {
        assert_eq!((self.rows, self.columns), (other.rows, other.columns), "equal shapes");
        self.values.iter().zip(&other.values).map(|(a, b)| a * b).sum()
    }

    /// Adds `factor · other`.
    ///
    /// # Panics
    /// When shapes differ.
    pub fn add_scaled(&mut self, factor: f64, other: &Self) {
        assert_eq!((self.rows, self.columns), (other.rows, other.columns), "equal shapes");
        self.values.iter_mut().zip(&other.values).for_each(|(a, b)| *a += factor * b);
    }

    /// Multiplies every entry.
    pub fn scaled(mut self, factor: f64) -> Self {
        self.values.iter_mut().for_each(|x| *x *= factor);
        self
    }

    /// S + ε·(tr S/d)·I, which makes a singular second moment definite. A matrix of zeros becomes ε·I.
    ///
    /// ```
    /// use quant_core::dense::Dense;
    /// assert_eq!(Dense::diagonal(&[3.0, 1.0]).damped(0.5).diagonal_entries(), [4.0, 2.0]);
    /// ```
    pub fn damped(&self, epsilon: f64) -> Self {
        let mean = self.trace() / self.rows.max(1) as f64;
        let shift = epsilon * if mean > 0.0 { mean } else { 1.0 };
        let mut damped = self.clone();
        (0..self.rows).for_each(|i| damped.values[i * self.columns + i] += shift);
        damped
    }
}
