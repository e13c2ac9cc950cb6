//! The exact optimum with a level at 0, with levels in a range, or both.
//!
//! A cell's best level is its centroid moved into the range, and the cost of a cell with it is still Monge: for levels
//! from any set, two crossing assignments cost no less than two nested ones. So the layered programme of divide and
//! conquer holds, with one more state: whether the cell of the zero level is behind.

use super::atoms::Atoms;
use super::layer::Portable;
use super::scratch::Scratch;

/// What levels must satisfy besides low cost.
#[derive(Clone, Copy, Debug)]
pub struct Allowed {
    /// Levels lie in here.
    pub range: (f64, f64),
    /// One level is 0.
    pub zero: bool,
}

/// Levels, ascending and distinct; at most `level_count`.
pub fn levels(atoms: &Atoms, level_count: usize, allowed: Allowed) -> Vec<f64> {
    let costs = Costs::new(atoms, allowed);
    let mut levels = costs.cheapest(level_count);
    levels.sort_by(f64::total_cmp);
    levels.dedup_by(|next, kept| *next <= *kept);
    levels
}

/// Levels ±y and perhaps 0 for samples folded to one side; even counts have no zero. The range is symmetric.
pub fn symmetric_levels(atoms: &Atoms, level_count: usize, high: f64) -> Vec<f64> {
    let mut magnitudes: Vec<(f64, f64)> = atoms.points().map(|(x, w)| (x.abs(), w)).collect();
    magnitudes.sort_by(|a, b| a.0.total_cmp(&b.0));
    let folded = Atoms::from_ascending(magnitudes.into_iter());
    let zero = !level_count.is_multiple_of(2);
    let positive = if zero || high.is_finite() {
        levels(&folded, level_count.div_ceil(2), Allowed { range: (0.0, high), zero })
    } else {
        let borders = super::partition(&folded, level_count / 2, Scratch::default().tools(&Portable));
        super::cells(&borders, folded.len()).map(|(i, j)| folded.centroid(i, j)).collect()
    };
    let negative = positive.iter().rev().filter(|y| **y > 0.0).map(|y| -y);
    negative.chain(positive.iter().copied()).collect()
}

/// Prefix sums about 0 where that is a level, so that its cell costs nothing, else about the mean.
struct Costs {
    centre: f64,
    allowed: Allowed,
    weight: Vec<f64>,
    moment: Vec<f64>,
}

/// The cheapest ways to some number of cells: at each border the cost, and where the last cell starts.
struct State {
    cost: Vec<f64>,
    parents: Vec<Vec<u32>>,
}

/// Marks a last cell whose level is 0.
const ZERO: u32 = 1 << 31;

impl Costs {
    fn new(atoms: &Atoms, allowed: Allowed) -> Self {
        let total: f64 = atoms.points().map(|p| p.1).sum();
        let mean: f64 = atoms.points().map(|(x, w)| x * (w / total)).sum();
        let centre = if allowed.zero { 0.0 } else { mean };
        let (mut weight, mut moment) = (vec![0.0], vec![0.0]);
        for (i, (x, w)) in atoms.points().enumerate() {
            weight.push(weight[i] + w);
            moment.push(moment[i] + w * (x - centre));
        }
        Self { centre, allowed, weight, moment }
    }

    fn level(&self, i: usize, j: usize) -> f64 {
        let mean = (self.moment[j] - self.moment[i]) / (self.weight[j] - self.weight[i]);
        (self.centre + mean).clamp(self.allowed.range.0, self.allowed.range.1)
    }

    /// Σ w (x − level)² less Σ w (x − centre)² over atoms `i..j`, i < j.
    fn cost(&self, i: usize, j: usize) -> f64 {
        let (weight, moment) = (self.weight[j] - self.weight[i], self.moment[j] - self.moment[i]);
        let y = self.level(i, j) - self.centre;
        y * (weight * y - 2.0 * moment)
    }

    fn cheapest(&self, level_count: usize) -> Vec<f64> {
        let n = self.weight.len() - 1;
        let start = |cost: f64| State {
            cost: std::iter::once(cost).chain(std::iter::repeat_n(f64::INFINITY, n)).collect(),
            parents: Vec::new(),
        };
        // Without the zero behind, and with it; where none is asked for it counts as behind from the start.
        let mut before = start(if self.allowed.zero { 0.0 } else { f64::INFINITY });
        let mut behind = start(if self.allowed.zero { f64::INFINITY } else { 0.0 });
        let (mut least, mut best) = (f64::INFINITY, 0);
        for cell_count in 1..=level_count {
            let zeroed = zero_cells(&before.cost);
            let closest = self.layer(&behind.cost);
            let closest_before = self.layer(&before.cost);
            let take = |(a, b): (&(f64, u32), &(f64, u32))| if a.0 <= b.0 { *a } else { (b.0, b.1 | ZERO) };
            behind.push(closest.iter().zip(&zeroed).map(take).collect());
            before.push(closest_before);
            if behind.cost[n] < least {
                (least, best) = (behind.cost[n], cell_count);
            }
        }
        self.walk_back(&before, &behind, best, n)
    }

    fn walk_back(&self, before: &State, behind: &State, cell_count: usize, n: usize) -> Vec<f64> {
        let (mut levels, mut end, mut passed) = (Vec::new(), n, true);
        for layer in (0..cell_count).rev() {
            let parent = if passed { behind } else { before }.parents[layer][end];
            let start = (parent & !ZERO) as usize;
            if parent & ZERO != 0 {
                levels.push(0.0);
                passed = false;
            } else {
                levels.push(self.level(start, end));
            }
            end = start;
        }
        levels
    }

    /// One more cell, not empty: the least of from(i) + cost(i, j) over i < j, and its i.
    fn layer(&self, from: &[f64]) -> Vec<(f64, u32)> {
        let n = from.len() - 1;
        let mut to = vec![(f64::INFINITY, 0); n + 1];
        if n > 0 && from.iter().any(|c| c.is_finite()) {
            self.fill(from, &mut to, (1, n), (0, n - 1));
        }
        to
    }

    /// Divide and conquer over the targets: the best starts ascend with them.
    fn fill(&self, from: &[f64], to: &mut [(f64, u32)], (first, last): (usize, usize), (low, high): (usize, usize)) {
        let j = first + (last - first) / 2;
        let (mut best, mut least) = (low, f64::INFINITY);
        for (i, cost) in from.iter().enumerate().take(high.min(j - 1) + 1).skip(low) {
            let candidate = if cost.is_finite() { cost + self.cost(i, j) } else { f64::INFINITY };
            if candidate < least {
                (best, least) = (i, candidate);
            }
        }
        to[j] = (least, best as u32);
        // Where nothing leads to j nothing is known of its neighbours.
        let (below, above) = if least.is_finite() { (best, best) } else { (high, low) };
        if j > first {
            self.fill(from, to, (first, j - 1), (low, below));
        }
        if j < last {
            self.fill(from, to, (j + 1, last), (above, high));
        }
    }
}

impl State {
    fn push(&mut self, layer: Vec<(f64, u32)>) {
        self.cost = layer.iter().map(|p| p.0).collect();
        self.parents.push(layer.into_iter().map(|p| p.1).collect());
    }
}

/// The cell of the zero level, perhaps empty: sums are about 0, so it costs nothing wherever it starts.
fn zero_cells(before: &[f64]) -> Vec<(f64, u32)> {
    let mut best = (f64::INFINITY, 0);
    let least = |(i, &cost): (usize, &f64)| {
        if cost < best.0 {
            best = (cost, i as u32);
        }
        best
    };
    before.iter().enumerate().map(least).collect()
}
