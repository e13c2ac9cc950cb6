//! Cells of an entropy-constrained quantizer, and one sweep of the alternation.

use super::EntropyConstrained;
use crate::codebook::Codebook;
use crate::design::DesignError;
use crate::design::constraints::{mirror, nearest_to_zero};
use crate::design::result::entropy_bits;
use crate::source::{Moments, Source};

/// Cells of less mass are joined to a neighbour.
const MASS_MIN: f64 = 1e-14;

/// Thresholds with the levels and masses of the cells between them.
pub struct Cells {
    pub levels: Vec<f64>,
    /// Interior thresholds.
    pub thresholds: Vec<f64>,
    pub masses: Vec<f64>,
    pub distortion: f64,
    pub entropy_bits: f64,
}

/// A cell with its level and its moments about that.
struct Cell {
    start: f64,
    level: f64,
    about: Moments,
}

impl Cell {
    /// None for a cell without mass.
    fn between(source: &dyn Source, (start, end): (f64, f64), range: (f64, f64)) -> Option<Self> {
        let guess = match (start.is_finite(), end.is_finite()) {
            (true, true) => 0.5 * (start + end),
            (true, false) => start,
            (false, true) => end,
            (false, false) => source.mean(),
        };
        let moments = source.moments(start, end, guess);
        if moments.mass <= MASS_MIN {
            return None;
        }
        let level = (guess + moments.first / moments.mass).clamp(range.0, range.1);
        // Moving the centre costs a digit at most: the guess is in the cell.
        Some(Self { start, level, about: moments.shifted(guess - level) })
    }
}

impl Cells {
    /// Centroids of the cells that hold mass, in their range; costs with the entropy of these cells. A cell without mass,
    /// or with the level of the one before, is joined to the one before.
    pub fn new(source: &dyn Source, all: &[f64], options: &EntropyConstrained) -> Self {
        let range = options.constraints.range();
        let mut cells: Vec<Cell> = Vec::with_capacity(all.len() + 1);
        let mut start = f64::NEG_INFINITY;
        for end in all.iter().copied().chain([f64::INFINITY]) {
            let Some(mut cell) = Cell::between(source, (start, end), range) else {
                // The first cell that holds mass takes what is empty before it.
                start = if cells.is_empty() { start } else { end };
                continue;
            };
            while let Some(before) = cells.pop_if(|before| before.level >= cell.level) {
                let whole = Cell::between(source, (before.start, end), range);
                cell = whole.expect("it holds at least the mass of its parts");
            }
            cells.push(cell);
            start = end;
        }
        let mut levels: Vec<f64> = cells.iter().map(|c| c.level).collect();
        let mut thresholds: Vec<f64> = cells.iter().skip(1).map(|c| c.start).collect();
        if options.constraints.symmetric {
            mirror(&mut levels);
            mirror(&mut thresholds);
        }
        if options.constraints.zero {
            let index = nearest_to_zero(&levels);
            cells[index].about = cells[index].about.shifted(levels[index]);
            levels[index] = 0.0;
        }
        let masses: Vec<f64> = cells.iter().map(|c| c.about.mass).collect();
        let distortion = cells.iter().map(|c| c.about.second).sum();
        let entropy_bits = entropy_bits(masses.iter().copied());
        Self { levels, thresholds, masses, distortion, entropy_bits }
    }

    /// D + λH.
    pub fn cost(&self, lambda: f64) -> f64 {
        self.distortion + lambda * self.entropy_bits
    }

    /// The best thresholds for these levels and code lengths, ascending; one that is overtaken closes the cell between.
    pub fn next_thresholds(&self, lambda: f64) -> Vec<f64> {
        let threshold = |k: usize| {
            let (low, high) = (self.levels[k - 1], self.levels[k]);
            let extra_bits = (self.masses[k - 1] / self.masses[k]).log2();
            0.5 * (low + high) + lambda * extra_bits / (2.0 * (high - low))
        };
        let mut thresholds: Vec<f64> = Vec::with_capacity(self.levels.len());
        for k in 1..self.levels.len() {
            let t = threshold(k);
            while thresholds.last().is_some_and(|&last| last >= t) {
                thresholds.pop();
            }
            thresholds.push(t);
        }
        thresholds
    }

    /// The codebook; a threshold beyond its levels, where the price of a bit puts it, is moved to the nearer level.
    pub fn codebook(&self) -> Result<Codebook, DesignError> {
        let clamped = |(k, t): (usize, &f64)| t.clamp(self.levels[k], self.levels[k + 1]);
        let thresholds = self.thresholds.iter().enumerate().map(clamped).collect();
        Ok(Codebook::with_thresholds(self.levels.clone(), thresholds)?)
    }
}

/// Squared extrapolation (SQUAREM, Varadhan and Roland 2008) from three successive sets of thresholds; none where cells
/// closed between them or the result is not ascending.
pub fn extrapolated(first: &[f64], second: &[f64], third: &[f64]) -> Option<Vec<f64>> {
    if first.len() != third.len() || second.len() != third.len() {
        return None;
    }
    let (mut step, mut turn) = (0.0, 0.0);
    for ((a, b), c) in first.iter().zip(second).zip(third) {
        step += (b - a) * (b - a);
        turn += (c - 2.0 * b + a) * (c - 2.0 * b + a);
    }
    let length = (step / turn).sqrt();
    if !(length > 1.0 && length.is_finite()) {
        return None;
    }
    let moved = |((a, b), c): ((&f64, &f64), &f64)| a + 2.0 * length * (b - a) + length * length * (c - 2.0 * b + a);
    let all: Vec<f64> = first.iter().zip(second).zip(third).map(moved).collect();
    all.is_sorted_by(|a, b| a < b).then_some(all)
}
