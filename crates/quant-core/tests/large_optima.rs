//! Are large codebooks optimal? Fifty cases against a programme that shares no line with the one in use.
//!
//! The other programme is that of [`wu`]. The cost of what it finds is taken afresh, by adding up squares.

mod wu;

use quant_core::design::certified::{GAP_MAX, fit_samples};
use quant_core::reference::Reference;
use quant_core::tensor::{Matrix, Samples};

/// xorshift.
struct Random(u64);

impl Random {
    fn uniform(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        ((self.0 >> 11) as f64 + 0.5) / (1u64 << 53) as f64
    }

    /// Box and Muller 1958.
    fn normal(&mut self) -> f64 {
        (-2.0 * self.uniform().ln()).sqrt() * (std::f64::consts::TAU * self.uniform()).cos()
    }

    fn chi_square(&mut self, freedom: usize) -> f64 {
        (0..freedom).map(|_| self.normal().powi(2)).sum()
    }
}

type Draw = fn(&mut Random, usize) -> f64;

const DISTRIBUTIONS: [(&str, Draw); 5] = [
    ("Gaussian", |random, _| random.normal()),
    ("Student's t, 3 degrees", |random, _| random.normal() / (random.chi_square(3) / 3.0).sqrt()),
    ("Laplacian", |random, _| random.uniform().ln() * if random.uniform() < 0.5 { 1.0 } else { -1.0 }),
    ("constant with outliers", |random, _| if random.uniform() < 2e-3 { 30.0 * random.normal() } else { 0.25 }),
    // Channels of unlike spread, a few far out, stored in bf16: what layers of language models look like.
    ("like weights", |random, i| {
        let spread = 0.02 * (0.4 * ((i / 512) as f64 * 0.7).sin()).exp();
        let x = spread * random.normal() * if random.uniform() < 1e-3 { 12.0 } else { 1.0 };
        f64::from(f32::from_bits((x as f32).to_bits() & 0xffff_0000))
    }),
];

fn compare(name: &str, samples: &[f32], weights: Option<&[f32]>, level_count: usize, gap_max: f64) {
    let matrix = Matrix::new(Samples::F32(samples), 1, samples.len()).expect("one row");
    let fit = fit_samples(&Reference, matrix, weights, level_count).expect("finite samples");
    let weight = |i: usize| weights.map_or(1.0, |w| f64::from(w[i]));
    let points: Vec<(f64, f64)> = samples.iter().enumerate().map(|(i, &x)| (f64::from(x), weight(i))).collect();
    let total: f64 = points.iter().map(|p| p.1).sum();
    let least = wu::least_cost(points, level_count) / total;
    let place = format!("{name}, {} samples, weighted {}, k = {level_count}", samples.len(), weights.is_some());
    assert!((fit.mse - least).abs() <= 1e-9 * least, "{place}: {} against {least}", fit.mse);
    assert!(fit.lower_bound <= least * (1.0 + 1e-12), "{place}: bound {} above {least}", fit.lower_bound);
    assert!(fit.gap <= gap_max, "{place}: a gap of {:e}", fit.gap);
    assert_eq!(fit.certified, fit.gap <= GAP_MAX, "{place}: a gap of {:e}", fit.gap);
}

/// The first six are above the 131,072 samples that are sorted, and go through bins where these narrow enough; the others
/// are sorted: they are fewer, weighted, or have more levels than bins can tell apart (181).
const SIZES: [(usize, bool, usize); 10] = [
    (150_000, false, 2),
    (150_000, false, 4),
    (150_000, false, 8),
    (150_000, false, 16),
    (140_000, false, 40),
    (132_000, false, 64),
    (20_000, false, 256),
    (60_000, true, 3),
    (60_000, true, 16),
    (20_000, true, 200),
];

fn fifty(part: usize) {
    let (name, draw) = DISTRIBUTIONS[part];
    for (case, (count, is_weighted, level_count)) in SIZES.into_iter().enumerate() {
        let mut random = Random(0x9e37_79b9_7f4a_7c15 ^ ((part * 10 + case) as u64 + 1));
        let samples: Vec<f32> = (0..count).map(|i| draw(&mut random, i) as f32).collect();
        // χ²₁, a tenth of them 0.
        let mut weight = || if random.uniform() < 0.1 { 0.0 } else { random.chi_square(1) as f32 };
        let weights: Vec<f32> = (0..count).map(|_| weight()).collect();
        // With many levels what rounding of weights can do counts as more beside an error that is small.
        let gap_max = if is_weighted && level_count == 200 { 4e-9 } else { GAP_MAX };
        compare(name, &samples, is_weighted.then_some(&weights[..]), level_count, gap_max);
    }
}

#[test]
fn gaussian_samples() {
    fifty(0);
}

#[test]
fn samples_of_students_t() {
    fifty(1);
}

#[test]
fn laplacian_samples() {
    fifty(2);
}

#[test]
fn a_constant_with_outliers() {
    fifty(3);
}

#[test]
fn samples_like_weights() {
    fifty(4);
}

/// These have no certificate. The gap is what rounding may do to sums of squares from the mean, about 1e-14 of them for so
/// many samples, as a share of the MSE, and that falls by k²: by a million and more here.
#[test]
fn thousands_of_levels() {
    for (part, level_count, gap_max) in [(0, 1024, 1e-8), (1, 4096, 1e-6), (2, 2000, 1e-7)] {
        let (name, draw) = DISTRIBUTIONS[part];
        let mut random = Random(77 + part as u64);
        let samples: Vec<f32> = (0..10_000).map(|i| draw(&mut random, i) as f32).collect();
        compare(name, &samples, None, level_count, gap_max);
    }
}
