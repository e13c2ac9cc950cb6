//! The exact optimum with one level at 0.
//!
//! The cell of the zero level spans 0, so the two sides do not meet: each is cut into some number of cells and a rest
//! next to 0 that is decoded to 0. Both sides are solved for every number of cells, and the best split is taken.

use super::atoms::Atoms;
use super::windows::cheapest_heads;

/// Levels, ascending, one of them 0; at most `level_count`.
pub fn levels(atoms: &Atoms, level_count: usize) -> Vec<f64> {
    let sides = [false, true].map(|above| atoms.side(above));
    let heads = [0, 1].map(|i| cheapest_heads(&sides[i], level_count - 1));
    let (mut best, mut least) = ((0, 0), f64::INFINITY);
    for (below, head) in heads[0].iter().enumerate() {
        let above = (level_count - 1 - below.min(level_count - 1)).min(heads[1].len() - 1);
        let cost = head.0 + heads[1][above].0;
        if below < level_count && cost < least {
            (best, least) = ((below, above), cost);
        }
    }
    let below = centroids(&sides[0], &heads[0][best.0].1);
    let above = centroids(&sides[1], &heads[1][best.1].1);
    below.into_iter().chain([0.0]).chain(above.into_iter().rev().map(|y| -y)).collect()
}

/// Levels ±y and perhaps 0 for samples folded to one side; even counts have no zero.
pub fn symmetric_levels(atoms: &Atoms, level_count: usize) -> Vec<f64> {
    let magnitudes = atoms.values().iter().zip(atoms.weights()).map(|(x, w)| (x.abs(), *w));
    let mut magnitudes: Vec<(f64, f64)> = magnitudes.collect();
    magnitudes.sort_by(|a, b| a.0.total_cmp(&b.0));
    let folded = Atoms::from_ascending(magnitudes.into_iter());
    let positive: Vec<f64> = if level_count.is_multiple_of(2) {
        let borders = super::partition(&folded, level_count / 2);
        super::cells(&borders, folded.len()).map(|(i, j)| folded.centroid(i, j)).collect()
    } else {
        levels(&folded, level_count / 2 + 1)
    };
    let negative = positive.iter().rev().filter(|y| **y > 0.0).map(|y| -y);
    negative.chain(positive.iter().copied()).collect()
}

fn centroids(side: &Atoms, borders: &[usize]) -> Vec<f64> {
    let starts = std::iter::once(0).chain(borders.iter().copied());
    starts.zip(borders).map(|(i, &j)| side.centroid(i, j)).collect()
}
