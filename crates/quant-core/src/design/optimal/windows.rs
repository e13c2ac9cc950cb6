//! The layered dynamic programme, with each border confined to a window.
//!
//! F_q(j) = min over i of F_{q−1}(i) − gain(i, j). The cost is Monge, so the best i does not descend as j ascends, and
//! divide and conquer fills a layer in O(n log n) (Wu 1991; Grønlund et al. 2017). With windows that cover everything
//! this is the plain exact algorithm; narrower windows that are known to hold an optimum leave the result unchanged.

use super::layer::{FillLayer, Layer, Prefix};

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

    /// Borders within `ranges` of positions between `n` atoms, no cell empty.
    pub fn within(ranges: &[(usize, usize)], n: usize) -> Self {
        let full = Self::full(n, ranges.len() + 1);
        let low = ranges.iter().zip(full.low).map(|(r, low)| r.0.max(low)).collect();
        let high = ranges.iter().zip(full.high).map(|(r, high)| r.1.min(high)).collect();
        let mut windows = Self { low, high };
        windows.separate();
        windows
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
        self.separate();
    }

    /// Leaves out positions that would make a cell empty.
    fn separate(&mut self) {
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
pub fn cheapest(prefix: &Prefix, windows: &Windows, fill: &impl FillLayer) -> Vec<usize> {
    let layer_count = windows.low.len();
    if layer_count == 0 {
        return Vec::new();
    }
    let ends = || windows.low.iter().zip(&windows.high).map(|(&low, &high)| (low, high - low + 1));
    let last = (prefix.len(), 1);
    let len_max = ends().map(|(_, len)| len).max().unwrap_or(1);
    let (mut from, mut to) = (vec![0.0; len_max], vec![0.0; len_max]);
    let mut parents = vec![0; ends().map(|(_, len)| len).sum::<usize>() + 1];
    let (mut from_low, mut from_len) = (0, 1);
    let mut rest = &mut parents[..];
    for (low, len) in ends().chain([last]) {
        let (best, others) = rest.split_at_mut(len);
        fill.fill(Layer::new(prefix, &from[..from_len], from_low, low, false), &mut to[..len], best);
        std::mem::swap(&mut from, &mut to);
        (from_low, from_len, rest) = (low, len, others);
    }
    let mut borders = vec![0; layer_count];
    // Behind the parents of the boundaries of a border are those of the next.
    let mut behind = parents.len() - 1;
    let mut parent = parents[behind] as usize;
    for (border, (low, len)) in borders.iter_mut().zip(ends()).rev() {
        *border = low + parent;
        behind -= len;
        parent = parents[behind + parent] as usize;
    }
    borders
}
