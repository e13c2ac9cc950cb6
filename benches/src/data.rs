//! Which samples are measured on?

use rand::SeedableRng;
use rand::rngs::SmallRng;
use rand_distr::{Distribution, Normal, StudentT};

/// Samples of N(0, `deviation`²).
pub fn gaussian(sample_count: usize, deviation: f32, seed: u64) -> Vec<f32> {
    let normal = Normal::new(0.0, deviation).expect("a standard deviation is finite and not negative");
    normal.sample_iter(SmallRng::seed_from_u64(seed)).take(sample_count).collect()
}

/// Samples of `scale` · t with 5 degrees of freedom: tails as heavy as those of real weights.
pub fn student_t(sample_count: usize, scale: f32, seed: u64) -> Vec<f32> {
    let t = StudentT::new(5.0f32).expect("5 degrees of freedom are positive");
    t.sample_iter(SmallRng::seed_from_u64(seed)).take(sample_count).map(|x| scale * x).collect()
}
