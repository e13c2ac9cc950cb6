//! Seeding: greedy k-means++, and k-means‖ for many points.

use super::random::Random;
use super::{Points, VectorCodebook, distance_below};
use crate::backend::Backend;

/// Up to this many multiply-adds codevectors are picked among all points: about a second of scalar code.
const GREEDY_MAX: usize = 1 << 28;

/// Rounds of k-means‖, each drawing about as many points as codevectors are wanted (Bahmani et al. 2012 find 5 enough).
const ROUNDS: usize = 5;

/// Codevectors among the points, by [`greedy`] or, where that takes too long, by k-means‖ and greedy among its points.
pub(super) fn seeds<B: Backend>(
    backend: &B,
    points: Points<'_>,
    weights: Option<&[f32]>,
    codevector_count: usize,
    random: &mut Random,
) -> Result<VectorCodebook, B::Fault> {
    let work = points.samples.len().saturating_mul(codevector_count * candidate_count(codevector_count));
    if work <= GREEDY_MAX {
        return Ok(greedy(points, weights, codevector_count, random));
    }
    let (samples, cell_weights) = oversample(backend, points, weights, codevector_count, random)?;
    let few = Points { samples: &samples, dimension: points.dimension };
    Ok(greedy(few, Some(&cell_weights), codevector_count, random))
}

fn candidate_count(codevector_count: usize) -> usize {
    2 + (codevector_count as f64).ln() as usize
}

/// k-means‖ (Bahmani et al. 2012): points drawn with probability in proportion to their loss, several rounds, and the
/// weight of the points nearest to each.
fn oversample<B: Backend>(
    backend: &B,
    points: Points<'_>,
    weights: Option<&[f32]>,
    per_round: usize,
    random: &mut Random,
) -> Result<(Vec<f32>, Vec<f32>), B::Fault> {
    let weight_of = |index: usize| weights.map_or(1.0, |w| f64::from(w[index]));
    let mut codes = vec![0; points.len()];
    let mut losses = vec![f64::INFINITY; points.len()];
    let mut samples = points.get(random.below(points.len())).to_vec();
    let mut fresh = samples.clone();
    for _ in 0..ROUNDS {
        let of_round = Points { samples: &fresh, dimension: points.dimension };
        backend.nearest_codevectors(points, of_round, &mut codes)?;
        for (index, (loss, &code)) in losses.iter_mut().zip(&codes).enumerate() {
            let distance: f64 = squared_distance(points.get(index), of_round.get(code as usize));
            *loss = loss.min(weight_of(index) * distance);
        }
        let total: f64 = losses.iter().sum();
        let share = per_round as f64 / total;
        let drawn = (0..points.len()).filter(|&index| total > 0.0 && random.unit() < share * losses[index]);
        fresh = drawn.flat_map(|index| points.get(index)).copied().collect();
        if fresh.is_empty() {
            break;
        }
        samples.extend_from_slice(&fresh);
    }
    let chosen = Points { samples: &samples, dimension: points.dimension };
    let cells = backend.vector_cells(points, weights, chosen, &mut codes)?;
    Ok((samples, cells.weights.iter().map(|&w| w as f32).collect()))
}

fn squared_distance(x: &[f32], y: &[f32]) -> f64 {
    x.iter().zip(y).map(|(&x, &y)| (f64::from(x) - f64::from(y)).powi(2)).sum()
}

/// Picks codevectors among the points: each time the best of 2 + ⌊ln k⌋ candidates that are drawn with probability
/// proportional to their weighted squared distance from the codevectors so far.
///
/// Source: Arthur and Vassilvitskii 2007; the greedy form is Celebi, Kingravi and Vela 2013. When fewer distinct points
/// remain than codevectors are asked for, fewer are returned.
pub(super) fn greedy(
    points: Points<'_>,
    weights: Option<&[f32]>,
    codevector_count: usize,
    random: &mut Random,
) -> VectorCodebook {
    let candidate_count = candidate_count(codevector_count);
    let as_f64 = |index: usize| points.get(index).iter().map(|&x| f64::from(x));
    let first = random.below(points.len());
    let mut codevectors: Vec<f64> = as_f64(first).collect();
    let mut distances = vec![f64::INFINITY; points.len()];
    lower(points, &codevectors, &mut distances);
    let weight_of = |index: usize| weights.map_or(1.0, |w| f64::from(w[index]));
    let loss = |distances: &[f64]| distances.iter().enumerate().map(|(i, d)| weight_of(i) * d).sum::<f64>();
    while codevectors.len() < codevector_count * points.dimension() {
        let total = loss(&distances);
        if total <= 0.0 {
            break;
        }
        let mut best: Option<(f64, Vec<f64>, usize)> = None;
        for _ in 0..candidate_count {
            let goal = random.unit() * total;
            let candidate = pick(distances.iter().enumerate().map(|(i, d)| weight_of(i) * d), goal);
            let mut lowered = distances.clone();
            lower(points, &as_f64(candidate).collect::<Vec<_>>(), &mut lowered);
            let rest = loss(&lowered);
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

/// The point at which the running sum of losses passes `goal`; the last of those with a loss if rounding hides it.
fn pick(losses: impl Iterator<Item = f64>, goal: f64) -> usize {
    let (mut sum, mut last) = (0.0, 0);
    for (index, loss) in losses.enumerate() {
        sum += loss;
        if loss > 0.0 {
            last = index;
        }
        if sum > goal {
            return index;
        }
    }
    last
}
