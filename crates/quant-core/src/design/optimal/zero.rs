//! The exact optimum with one level at 0.
//!
//! The cell of the zero level spans 0, so the two sides do not meet: each is cut into some number of cells and a rest
//! next to 0 that is decoded to 0. Both sides are solved for every number of cells, and the best split is taken.

use super::atoms::Atoms;
use super::layer::Portable;

/// Levels, ascending, one of them 0; at most `level_count`.
pub fn levels(atoms: &Atoms, level_count: usize) -> Vec<f64> {
    let sides = [false, true].map(|above| Side::new(atoms, above));
    let heads = [0, 1].map(|i| sides[i].cheapest_heads(level_count - 1));
    let (mut best, mut least) = ((0, 0), f64::INFINITY);
    for (below, head) in heads[0].iter().enumerate() {
        let above = (level_count - 1 - below.min(level_count - 1)).min(heads[1].len() - 1);
        let cost = head.0 + heads[1][above].0;
        if below < level_count && cost < least {
            (best, least) = ((below, above), cost);
        }
    }
    let below = sides[0].centroids(&heads[0][best.0].1);
    let above = sides[1].centroids(&heads[1][best.1].1);
    below.into_iter().chain([0.0]).chain(above.into_iter().rev().map(|y| -y)).collect()
}

/// Levels ±y and perhaps 0 for samples folded to one side; even counts have no zero.
pub fn symmetric_levels(atoms: &Atoms, level_count: usize) -> Vec<f64> {
    let mut magnitudes: Vec<(f64, f64)> = atoms.points().map(|(x, w)| (x.abs(), w)).collect();
    magnitudes.sort_by(|a, b| a.0.total_cmp(&b.0));
    let folded = Atoms::from_ascending(magnitudes.into_iter());
    let positive: Vec<f64> = if level_count.is_multiple_of(2) {
        let borders = super::partition(&folded, level_count / 2, &Portable);
        super::cells(&borders, folded.len()).map(|(i, j)| folded.centroid(i, j)).collect()
    } else {
        levels(&folded, level_count / 2 + 1)
    };
    let negative = positive.iter().rev().filter(|y| **y > 0.0).map(|y| -y);
    negative.chain(positive.iter().copied()).collect()
}

/// The atoms on one side of 0, without 0, as distances from it, negated: they ascend towards 0. Sums are about 0, so
/// that the rest, decoded to 0, costs Σ w x² and gains nothing.
struct Side {
    values: Vec<f64>,
    weight: Vec<f64>,
    moment: Vec<f64>,
}

impl Side {
    fn new(atoms: &Atoms, above: bool) -> Self {
        let mut pairs: Vec<(f64, f64)> = atoms
            .points()
            .filter(|(x, _)| if above { *x > 0.0 } else { *x < 0.0 })
            .map(|(x, w)| (-x.abs(), w))
            .collect();
        pairs.sort_by(|a, b| a.0.total_cmp(&b.0));
        let (mut weight, mut moment) = (vec![0.0], vec![0.0]);
        for (i, (x, w)) in pairs.iter().enumerate() {
            weight.push(weight[i] + w);
            moment.push(moment[i] + w * x);
        }
        Self { values: pairs.into_iter().map(|(x, _)| x).collect(), weight, moment }
    }

    /// Σ w x² less Σ w (x − mean)² over atoms `i..j`, i < j.
    fn gain(&self, i: usize, j: usize) -> f64 {
        let moment = self.moment[j] - self.moment[i];
        moment * moment / (self.weight[j] - self.weight[i])
    }

    fn centroids(&self, borders: &[usize]) -> Vec<f64> {
        let mean = |i: usize, j: usize| (self.moment[j] - self.moment[i]) / (self.weight[j] - self.weight[i]);
        let starts = std::iter::once(0).chain(borders.iter().copied());
        starts.zip(borders).map(|(i, &j)| mean(i, j).clamp(self.values[i], self.values[j - 1])).collect()
    }

    /// The cheapest cuts of a leading run of atoms into exactly 0, 1, … cells, the rest decoded to 0: for each count
    /// the cost less Σ w x², and the borders, the last one being where the rest starts.
    fn cheapest_heads(&self, cell_count_max: usize) -> Vec<(f64, Vec<usize>)> {
        let n = self.values.len();
        let mut found = vec![(0.0, Vec::new())];
        let mut parents: Vec<Vec<usize>> = Vec::new();
        // cost[j]: the best so far with its last border at j; only 0 cells end at 0.
        let mut cost = vec![f64::INFINITY; n + 1];
        cost[0] = 0.0;
        for cell_count in 1..=cell_count_max.min(n) {
            let (mut next, mut parent) = (vec![f64::INFINITY; n + 1], vec![0; n + 1]);
            self.fill(&cost, &mut next, &mut parent, (cell_count, n), (cell_count - 1, n - 1));
            cost = next;
            parents.push(parent);
            let best = (cell_count..=n).min_by(|&a, &b| cost[a].total_cmp(&cost[b])).expect("a cell per atom at most");
            let mut borders = vec![best];
            for earlier in (1..cell_count).rev() {
                borders.push(parents[earlier][borders[borders.len() - 1]]);
            }
            borders.reverse();
            found.push((cost[best], borders));
        }
        found
    }

    /// Divide and conquer over the targets: the cost is Monge, so the best parents ascend with them.
    fn fill(
        &self,
        cost: &[f64],
        next: &mut [f64],
        parent: &mut [usize],
        (first, last): (usize, usize),
        from: (usize, usize),
    ) {
        let j = first + (last - first) / 2;
        let (mut best, mut least) = (from.0, f64::INFINITY);
        for (i, cost) in cost.iter().enumerate().take(from.1.min(j - 1) + 1).skip(from.0) {
            let candidate = cost - self.gain(i, j);
            if candidate < least {
                (best, least) = (i, candidate);
            }
        }
        (next[j], parent[j]) = (least, best);
        if j > first {
            self.fill(cost, next, parent, (first, j - 1), (from.0, best));
        }
        if j < last {
            self.fill(cost, next, parent, (j + 1, last), (best, from.1));
        }
    }
}
