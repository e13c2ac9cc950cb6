//! Exact 1-D k-means.

/// The levels of an optimal codebook of at most `level_count` levels for weighted samples, ascending and distinct.
pub fn fit_levels(samples: &[f32], weights: Option<&[f32]>, level_count: usize) -> Vec<f32> {
    let _ = (samples, weights, level_count);
    unimplemented!("filled in by the design room")
}

/// Stub.
pub struct OptimalPartition {
    /// Stub.
    pub levels: Vec<f64>,
}

/// Stub.
pub fn fit_points(points: &[(f64, f64)], level_count: usize) -> OptimalPartition {
    let _ = (points, level_count);
    unimplemented!("filled in by the design room")
}
