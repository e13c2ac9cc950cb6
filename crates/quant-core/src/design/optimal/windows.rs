//! The layered dynamic programme, with each border confined to a window.
//!
//! F_q(j) = min over i of F_{q−1}(i) − gain(i, j). The cost is Monge, so the best i does not descend as j ascends, and
//! divide and conquer fills a layer in O(n log n) (Wu 1991; Grønlund et al. 2017). With windows that cover everything
//! this is the plain exact algorithm; narrower windows that are known to hold an optimum leave the result unchanged.

use super::layer::{FillLayer, Layer, Prefix};
use super::scratch::Tools;
use bumpalo::Bump;

/// For each interior border the least and the greatest index it may take.
#[derive(Debug)]
pub struct Windows<'s>(&'s mut [(usize, usize)]);

impl<'s> Windows<'s> {
    /// Every border anywhere: `cell_count` cells of at least one of `n` atoms.
    pub fn full(n: usize, cell_count: usize, scratch: &'s Bump) -> Self {
        Self(scratch.alloc_slice_fill_with(cell_count - 1, |i| full(i, n, cell_count)))
    }

    /// Borders within `ranges` of positions between `n` atoms, no cell empty.
    pub fn within(ranges: &[(usize, usize)], n: usize, scratch: &'s Bump) -> Self {
        let own = scratch.alloc_slice_copy(ranges);
        for (i, (low, high)) in own.iter_mut().enumerate() {
            let full = full(i, n, ranges.len() + 1);
            (*low, *high) = ((*low).max(full.0), (*high).min(full.1));
        }
        let mut windows = Self(own);
        windows.separate();
        windows
    }

    /// Narrows by an optimal partition into another number of cells. With r cells more, border q lies in
    /// [p_q, p_{q+r}]; with s fewer, in [p_{q−s}, p_q] (Aggarwal, Schieber and Tokuyama 1994, Monge paths interleave).
    pub fn narrow(&mut self, other_borders: &[usize]) {
        let cell_count = self.0.len() + 1;
        let surplus = other_borders.len() as isize + 1 - cell_count as isize;
        for q in 1..cell_count {
            let (a, b) = (q as isize + surplus.min(0), q as isize + surplus.max(0));
            if a >= 1 {
                self.0[q - 1].0 = self.0[q - 1].0.max(other_borders[a as usize - 1]);
            }
            if b as usize <= other_borders.len() {
                self.0[q - 1].1 = self.0[q - 1].1.min(other_borders[b as usize - 1]);
            }
        }
        self.separate();
    }

    /// Leaves out positions that would make a cell empty.
    fn separate(&mut self) {
        for q in 1..self.0.len() {
            self.0[q].0 = self.0[q].0.max(self.0[q - 1].0 + 1);
        }
        for q in (1..self.0.len()).rev() {
            self.0[q - 1].1 = self.0[q - 1].1.min(self.0[q].1.saturating_sub(1));
        }
    }

    /// False when rounding in near-ties has left a border no place; then only full windows are safe.
    pub fn are_consistent(&self) -> bool {
        self.0.iter().all(|(low, high)| low <= high)
    }
}

/// Where border `i` of the interior ones may lie.
fn full(i: usize, n: usize, cell_count: usize) -> (usize, usize) {
    (i + 1, n - (cell_count - 1 - i))
}

/// Interior borders of the cheapest partition within `windows`; between equals the lower border wins. None where no
/// partition has a finite cost, because weights vanish from the sums.
pub fn cheapest<'s>(
    prefix: Prefix<'_>,
    windows: &Windows<'_>,
    tools: Tools<'s, impl FillLayer>,
) -> Option<&'s [usize]> {
    let layer_count = windows.0.len();
    if layer_count == 0 {
        return Some(&[]);
    }
    let ends = || windows.0.iter().map(|&(low, high)| (low, high - low + 1));
    let last = (prefix.len(), 1);
    let len_max = ends().map(|(_, len)| len).max().unwrap_or(1);
    let (mut from, mut to) = (tools.room(len_max), tools.room(len_max));
    let parents = tools.room(ends().map(|(_, len)| len).sum::<usize>() + 1);
    let (mut from_low, mut from_len) = (0, 1);
    let mut rest = &mut parents[..];
    for (low, len) in ends().chain([last]) {
        let (best, others) = rest.split_at_mut(len);
        tools.fill.fill(Layer::new(prefix, &from[..from_len], from_low, low, false), &mut to[..len], best);
        std::mem::swap(&mut from, &mut to);
        (from_low, from_len, rest) = (low, len, others);
    }
    if !from[0].is_finite() {
        return None;
    }
    let borders = tools.room(layer_count);
    // Behind the parents of the boundaries of a border are those of the next.
    let mut behind = parents.len() - 1;
    let mut parent = parents[behind] as usize;
    for (border, (low, len)) in borders.iter_mut().zip(ends()).rev() {
        *border = low + parent;
        behind -= len;
        parent = parents[behind + parent] as usize;
    }
    Some(borders)
}
