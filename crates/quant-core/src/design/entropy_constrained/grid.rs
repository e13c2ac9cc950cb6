//! Uniform grids of thresholds: where the alternation starts, and what it must not fall behind.

use super::cells::Cells;
use super::{EntropyConstrained, Start};
use crate::source::Source;

/// How a grid of equal cells lies on the source.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Grid {
    /// A cell has the centre in its middle: an odd number of cells.
    Odd,
    /// A threshold is at the centre: an even number.
    Even,
    /// The first cell starts where the support does, and the last may be smaller.
    Edge,
}

/// The grids that the start stands for; the edge only where the support has one, and symmetric levels with a zero
/// among them only from an odd number.
pub fn grids(options: &EntropyConstrained, source: &dyn Source) -> Vec<Grid> {
    let only_odd = options.constraints.symmetric && options.constraints.zero;
    match options.start {
        Start::Even | Start::Best if only_odd => vec![Grid::Odd],
        Start::Odd => vec![Grid::Odd],
        Start::Even => vec![Grid::Even],
        Start::Levels(_) => vec![],
        Start::Best if source.support().0.is_finite() && source.support().1.is_finite() => {
            vec![Grid::Odd, Grid::Even, Grid::Edge]
        }
        Start::Best => vec![Grid::Odd, Grid::Even],
    }
}

impl Grid {
    /// Thresholds `step` apart over all of the source but tails of 1e-12, at most as many as levels are allowed.
    pub fn thresholds(self, source: &dyn Source, step: f64, options: &EntropyConstrained) -> Vec<f64> {
        let (low, high) = (source.quantile(1e-12), source.quantile(1.0 - 1e-12));
        let middle = if options.constraints.zero { 0.0 } else { source.symmetry().unwrap_or_else(|| source.mean()) };
        let most = (options.level_count_max.max(2) / 2) as f64;
        let side = ((high - middle).max(middle - low) / step).ceil().clamp(1.0, most) as i64;
        match self {
            Self::Odd => (-side..side).map(|k| middle + (k as f64 + 0.5) * step).collect(),
            Self::Even => (1 - side..side).map(|k| middle + k as f64 * step).collect(),
            Self::Edge => {
                let count = ((high - low) / step).ceil().clamp(1.0, options.level_count_max as f64) as i64;
                (1..count).map(|k| low + k as f64 * step).collect()
            }
        }
    }

    /// The cells of this grid whose entropy is the greatest at most `rate`, as far as 60 steps of a search tell.
    pub fn at_rate(self, source: &dyn Source, rate: f64, options: &EntropyConstrained) -> Option<Cells> {
        let deviation = source.variance().sqrt();
        let (mut low, mut high) = (f64::MIN_POSITIVE, f64::INFINITY);
        let mut step = (12f64.sqrt() * deviation * (-rate).exp2()).min(deviation);
        let mut best: Option<Cells> = None;
        for turn in 0..60 {
            let cells = Cells::new(source, &self.thresholds(source, step, options), options);
            let excess = cells.entropy_bits - rate;
            if excess > 0.0 {
                low = step;
            } else {
                high = step;
            }
            if excess <= 0.0 && best.as_ref().is_none_or(|b| cells.entropy_bits >= b.entropy_bits) {
                best = Some(cells);
            }
            if (-1e-9..=0.0).contains(&excess)
                || (high.is_finite() && high - low <= 1e-14 * high)
                || step > 1e6 * deviation
            {
                break;
            }
            // At high rate H = h − log₂ Δ; every other step, and where that leaves the bracket, bisect.
            step *= (excess + 2e-10).exp2();
            if !(step > low && step < high) || (turn % 2 == 1 && high.is_finite()) {
                step = if high.is_finite() { 0.5 * (low + high) } else { 2.0 * low };
            }
        }
        best
    }
}
