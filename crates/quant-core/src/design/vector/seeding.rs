//! Greedy k-means++ seeding.

use super::random::Random;
use super::{Points, VectorCodebook, distance_below};

/// Picks codevectors among the points: each time the best of 2 + ⌊ln k⌋ candidates that are drawn with probability
/// proportional to their squared distance from the codevectors so far.
///
/// Source: Arthur and Vassilvitskii 2007; the greedy form is Celebi, Kingravi and Vela 2013. When fewer distinct points
/// remain than codevectors are asked for, fewer are returned.
pub(super) fn greedy(points: Points<'_>, codevector_count: usize, random: &mut Random) -> VectorCodebook {
    let candidate_count = 2 + (codevector_count as f64).ln() as usize;
    let as_f64 = |index: usize| points.get(index).iter().map(|&x| f64::from(x));
    let first = random.below(points.len());
    let mut codevectors: Vec<f64> = as_f64(first).collect();
    let mut distances = vec![f64::INFINITY; points.len()];
    lower(points, &codevectors, &mut distances);
    while codevectors.len() < codevector_count * points.dimension() {
        let total: f64 = distances.iter().sum();
        if total <= 0.0 {
            break;
        }
        let mut best: Option<(f64, Vec<f64>, usize)> = None;
        for _ in 0..candidate_count {
            let candidate = pick(&distances, random.unit() * total);
            let mut lowered = distances.clone();
            lower(points, &as_f64(candidate).collect::<Vec<_>>(), &mut lowered);
            let rest: f64 = lowered.iter().sum();
            if best.as_ref().is_none_or(|b| rest < b.0) {
                best = Some((rest, lowered, candidate));
            }
        }
        let (_, lowered, candidate) = best.expect("at least two candidates");
        distances = lowered;
        codevectors.extend(as_f64(candidate));
    }
    VectorCodebook::new(codevectors, points.dimension())
}

fn lower(points: Points<'_>, codevector: &[f64], distances: &mut [f64]) {
    for (x, d) in points.iter().zip(distances) {
        *d = d.min(distance_below(x, codevector, *d));
    }
}

/// The point at which the running sum of distances passes `goal`.
fn pick(distances: &[f64], goal: f64) -> usize {
    let mut sum = 0.0;
    let passes = |d: &f64| {
        sum += d;
        sum > goal
    };
    let last = distances.iter().rposition(|&d| d > 0.0).unwrap_or(0);
    distances.iter().position(passes).unwrap_or(last)
}
