//! Do the verbs on vectors mean the same? Codes by their regret, sums by the codes that the backend itself gave.

use super::cases::Noise;
use super::done;
use crate::backend::Backend;
use crate::design::vector::{Points, VectorCells};

/// Points, codevectors and dimension: blocks and groups of kernels, one more and one less.
const SHAPES: [(usize, usize, usize); 9] = [
    (1, 1, 1),
    (7, 3, 2),
    (33, 8, 3),
    (64, 9, 8),
    (100, 17, 16),
    (257, 31, 5),
    (31, 300, 4),
    (65, 40, 130),
    (2100, 16, 8),
];

/// Case of [`Backend::nearest_codevectors`] and [`Backend::vector_cells`].
pub fn vector_cells<B: Backend>(backends: &[B]) {
    for (point_count, codevector_count, dimension) in SHAPES {
        let mut noise = Noise((point_count * dimension) as u64);
        let mut normals = |count: usize| -> Vec<f32> { (0..count).map(|_| noise.normal()).collect() };
        let (samples, mut levels) = (normals(point_count * dimension), normals(codevector_count * dimension));
        // Two equal codevectors: the lower code counts.
        let half = levels.len() / dimension / 2 * dimension;
        levels.copy_within(..dimension, half);
        let points = Points::new(&samples, dimension).expect("finite samples");
        let codevectors = Points::new(&levels, dimension).expect("finite levels");
        let weights: Vec<f32> = (0..point_count).map(|i| (i % 5) as f32 * 0.25).collect();
        for backend in backends {
            let place = format!("{} on {point_count} × {dimension}, {codevector_count} codevectors", backend.name());
            for weights in [None, Some(&weights[..])] {
                let (mut codes, mut again) = (vec![u32::MAX; point_count], vec![u32::MAX; point_count]);
                let cells = done(backend.vector_cells(points, weights, codevectors, &mut codes));
                done(backend.nearest_codevectors(points, codevectors, &mut again));
                assert_eq!(codes, again, "{place}");
                assert!(codevector_count < 2 || codes.iter().all(|&code| code as usize * dimension != half), "{place}");
                compare_regret(points, codevectors, &codes, &place);
                compare_sums(points, weights, codevectors, &codes, &cells, &place);
            }
        }
    }
}

fn distance(x: &[f32], y: &[f32]) -> f64 {
    x.iter().zip(y).map(|(&x, &y)| (f64::from(x) - f64::from(y)).powi(2)).sum()
}

/// d + 1 roundings of a score, each of 2⁻²⁴ times ‖x‖‖y‖ + ½‖y‖² at most; twice the score, and two codevectors.
fn compare_regret(points: Points<'_>, codevectors: Points<'_>, codes: &[u32], place: &str) {
    let norm = |x: &[f32]| distance(x, &vec![0.0; x.len()]).sqrt();
    let longest = codevectors.iter().map(norm).fold(0.0, f64::max);
    for (index, (x, &code)) in points.iter().zip(codes).enumerate() {
        let chosen = distance(x, codevectors.get(code as usize));
        let best = codevectors.iter().map(|y| distance(x, y)).fold(f64::INFINITY, f64::min);
        let terms = (x.len() + 1) as f64 * 2f64.powi(-24) * longest * (norm(x) + 0.5 * longest);
        assert!(chosen <= best + 4.0 * terms, "point {index}: {chosen} chosen, {best} is best; {place}");
    }
}

fn compare_sums(
    points: Points<'_>,
    weights: Option<&[f32]>,
    codevectors: Points<'_>,
    codes: &[u32],
    found: &VectorCells,
    place: &str,
) {
    let (mut expected, mut magnitude) = (VectorCells::empty(codevectors), VectorCells::empty(codevectors));
    for (index, (x, &code)) in points.iter().zip(codes).enumerate() {
        let weight = weights.map_or(1.0, |w| w[index]);
        expected.add(code as usize, x, weight);
        let absolute: Vec<f32> = x.iter().map(|x| x.abs()).collect();
        magnitude.add(code as usize, &absolute, weight);
    }
    // Weights are multiples of ¼, so their sums are exact; n terms in any order round by (n − 1)·2⁻⁵³·Σ|w·x| each.
    assert_eq!(found.weights, expected.weights, "{place}");
    let bound = 2.0 * points.len() as f64 * 0.5 * f64::EPSILON;
    for ((found, expected), magnitude) in found.sums.iter().zip(&expected.sums).zip(&magnitude.sums) {
        assert!((found - expected).abs() <= bound * magnitude, "{found:e} for {expected:e}; {place}");
    }
}
