//! The layered dynamic programme, with each border confined to a window.
//!
//! F_q(j) = min over i of F_{q−1}(i) − gain(i, j). The cost is Monge, so the best i does not descend as j ascends, and
//! divide and conquer fills a layer in O(n log n) (Wu 1991; Grønlund et al. 2017). With windows that cover everything
//! this is the plain exact algorithm; narrower windows that are known to hold an optimum leave the result unchanged.

use super::atoms::Atoms;

/// For each interior border the least and the greatest index it may take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Windows {
    low: Vec<usize>,
    high: Vec<usize>,
}

impl Windows {
    /// Every border anywhere: `cell_count` cells of at least one of `n` atoms.
    pub fn full(n: usize, cell_count: usize) -> Self {
        let low = (1..cell_count).collect();
        let high = (1..cell_count).map(|q| n - (cell_count - q)).collect();
        Self { low, high }
    }

    /// Narrows by an optimal partition into another number of cells. With r cells more, border q lies in
    /// [p_q, p_{q+r}]; with s fewer, in [p_{q−s}, p_q] (Aggarwal, Schieber and Tokuyama 1994, Monge paths interleave).
    pub fn narrow(&mut self, other_borders: &[usize]) {
        let cell_count = self.low.len() + 1;
        let surplus = other_borders.len() as isize + 1 - cell_count as isize;
        for q in 1..cell_count {
            let (a, b) = (q as isize + surplus.min(0), q as isize + surplus.max(0));
            if a >= 1 {
                self.low[q - 1] = self.low[q - 1].max(other_borders[a as usize - 1]);
            }
            if b as usize <= other_borders.len() {
                self.high[q - 1] = self.high[q - 1].min(other_borders[b as usize - 1]);
            }
        }
        for q in 1..self.low.len() {
            self.low[q] = self.low[q].max(self.low[q - 1] + 1);
        }
        for q in (1..self.low.len()).rev() {
            self.high[q - 1] = self.high[q - 1].min(self.high[q].saturating_sub(1));
        }
    }
}

impl Windows {
    /// False when rounding in near-ties has left a border no place; then only full windows are safe.
    pub fn are_consistent(&self) -> bool {
        self.low.iter().zip(&self.high).all(|(low, high)| low <= high)
    }
}

/// Interior borders of the cheapest partition within `windows`; between equals the lower border wins.
pub fn cheapest(atoms: &Atoms, windows: &Windows) -> Vec<usize> {
    let layer_count = windows.low.len();
    if layer_count == 0 {
        return Vec::new();
    }
    let mut parents: Vec<Vec<u32>> = Vec::with_capacity(layer_count);
    let mut layer = Layer { low: 0, cost: vec![0.0] };
    for q in 0..layer_count {
        let (next, parent) = layer.advance(atoms, windows.low[q], windows.high[q]);
        layer = next;
        parents.push(parent);
    }
    let n = atoms.len();
    let (_, last) = layer.advance(atoms, n, n);
    let mut border = last[0] as usize;
    let mut borders = vec![border];
    for q in (1..layer_count).rev() {
        border = parents[q][border - windows.low[q]] as usize;
        borders.push(border);
    }
    borders.reverse();
    borders
}

/// The cheapest partition into exactly 0, 1, …, `cell_count_max` cells of a leading run of atoms, the rest costing
/// nothing: for each count the cost and the borders, the last one being where the rest starts.
pub fn cheapest_heads(atoms: &Atoms, cell_count_max: usize) -> Vec<(f64, Vec<usize>)> {
    let n = atoms.len();
    let mut found = vec![(0.0, Vec::new())];
    let mut parents: Vec<Vec<u32>> = Vec::new();
    let mut layer = Layer { low: 0, cost: vec![0.0] };
    for q in 1..=cell_count_max.min(n) {
        let (next, parent) = layer.advance(atoms, q, n);
        layer = next;
        parents.push(parent);
        let best = (0..layer.cost.len()).min_by(|&a, &b| layer.cost[a].total_cmp(&layer.cost[b])).expect("q ≤ n");
        let mut borders = vec![q + best];
        for earlier in (1..q).rev() {
            let last = *borders.last().expect("one border at least");
            borders.push(parents[earlier][last - (earlier + 1)] as usize);
        }
        borders.reverse();
        found.push((layer.cost[best], borders));
    }
    found
}

/// Cheapest costs of the cells so far, for a last border of `low`, `low + 1`, ….
struct Layer {
    low: usize,
    cost: Vec<f64>,
}

impl Layer {
    fn advance(&self, atoms: &Atoms, low: usize, high: usize) -> (Layer, Vec<u32>) {
        let count = high - low + 1;
        let mut next = Layer { low, cost: vec![f64::INFINITY; count] };
        let mut parent = vec![0; count];
        let candidates = (self.low, self.low + self.cost.len() - 1);
        self.fill(atoms, &mut next, &mut parent, (low, high), candidates);
        (next, parent)
    }

    fn fill(&self, atoms: &Atoms, next: &mut Layer, parent: &mut [u32], targets: (usize, usize), from: (usize, usize)) {
        let j = targets.0 + (targets.1 - targets.0) / 2;
        let (best, cost) = self.best(atoms, j, from);
        next.cost[j - next.low] = cost;
        parent[j - next.low] = best as u32;
        if targets.0 < j {
            self.fill(atoms, next, parent, (targets.0, j - 1), (from.0, best));
        }
        if j < targets.1 {
            self.fill(atoms, next, parent, (j + 1, targets.1), (best, from.1));
        }
    }

    fn best(&self, atoms: &Atoms, j: usize, from: (usize, usize)) -> (usize, f64) {
        let (mut best, mut least) = (from.0, f64::INFINITY);
        for i in from.0..=from.1.min(j - 1) {
            let cost = self.cost[i - self.low] - atoms.gain(i, j);
            if cost < least {
                (best, least) = (i, cost);
            }
        }
        (best, least)
    }
}
