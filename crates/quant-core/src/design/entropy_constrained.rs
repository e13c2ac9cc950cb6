//! Entropy-constrained scalar quantization: distortion against entropy instead of the number of levels.

mod cells;
mod grid;

use super::constraints::Symmetrised;
use super::result::positive;
use super::{Constraints, Design, DesignError, StopReason};
use crate::source::Source;
use cells::{Cells, extrapolated};
use grid::{Grid, grids};

/// Minimises D + λH, H the entropy of the codes in bits.
///
/// Alternation: with ℓ_k = −log₂ p_k, thresholds t_k = (y_{k−1} + y_k)/2 + λ(ℓ_k − ℓ_{k−1})/2(y_k − y_{k−1}), then
/// y_k = E[X | cell k]; cells that close up are dropped; every second sweep is extrapolated where that does not cost.
/// Source: Berger 1972; Farvardin and Modestino 1984. The result's rate is the entropy.
///
/// ```
/// use quant_core::{design::entropy_constrained::EntropyConstrained, source::Gaussian};
/// let design = EntropyConstrained::default().for_rate(&Gaussian::STANDARD, 3.0).unwrap();
/// // Gish and Pierce 1968: 1.53 dB short of Shannon's 18.06 dB at 3 bits
/// assert!((design.rate - 3.0).abs() < 1e-6 && (18.0618 - design.sqnr_db - 1.533).abs() < 0.002);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct EntropyConstrained {
    /// Levels at most, to begin with.
    pub level_count_max: usize,
    /// Where to start.
    pub start: Start,
    /// What the levels must satisfy.
    pub constraints: Constraints,
    /// Sweeps at most.
    pub iterations_max: usize,
    /// Converged when a sweep lowers D + λH by less than this share.
    pub tolerance: f64,
}

/// The thresholds before the first sweep. Cells close in the alternation and never open, so a start has all that may be
/// wanted: the uniform grid that is optimal at high rate, Δ² = 6λ/ln 2. Where its cells lie decides which local optimum
/// is found: a uniform source at 2 bits needs four, and from five of them there is no way.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Start {
    /// Odd, even, and from the edge of a finite support: the best of what they lead to; between equals the earlier.
    #[default]
    Best,
    /// A grid with a cell about the centre.
    Odd,
    /// A grid with a threshold at the centre.
    Even,
    /// The midpoints of these levels, ascending.
    Levels(Vec<f64>),
}

impl Default for EntropyConstrained {
    fn default() -> Self {
        let (start, constraints) = (Start::Best, Constraints::default());
        Self { level_count_max: 4096, start, constraints, iterations_max: 3000, tolerance: 1e-11 }
    }
}

/// Bits by which a rate may differ from the one asked for.
const RATE_TOLERANCE: f64 = 1e-7;

impl EntropyConstrained {
    /// The design for a price `lambda` of one bit, in squared units of the source. The trace is of D + λH.
    pub fn design(&self, source: &dyn Source, lambda: f64) -> Result<Design, DesignError> {
        positive("lambda", lambda)?;
        self.constraints.check(self.level_count_max | 1)?;
        let symmetrised = Symmetrised(source);
        let target: &dyn Source = if self.constraints.symmetric { &symmetrised } else { source };
        let step = (6.0 * lambda / std::f64::consts::LN_2).sqrt();
        let of_grid = |grid: Grid| self.run(target, lambda, grid.thresholds(target, step, self));
        let runs = match &self.start {
            Start::Levels(levels) => vec![self.run(target, lambda, midpoints(levels))],
            _ => grids(self, target).into_iter().map(of_grid).collect(),
        };
        let best = runs.into_iter().min_by(|a, b| a.cells.cost(lambda).total_cmp(&b.cells.cost(lambda)));
        best.expect("there is a start").design(source)
    }

    /// The design of least distortion found whose entropy is at most `rate` bits (within 1e-7), by a search on λ.
    ///
    /// Where no λ leads to the rate, as where entropy jumps, the uniform grid of thresholds with that entropy is looked at
    /// too (stop: `ClosedForm`); so the result is never worse than a uniform quantizer of the same entropy.
    pub fn for_rate(&self, source: &dyn Source, rate: f64) -> Result<Design, DesignError> {
        positive("rate", rate)?;
        let variance = source.variance();
        if variance == 0.0 {
            return self.design(source, 1.0);
        }
        let mut best: Option<Design> = None;
        let mut consider = |design: Design| {
            let better = |b: &Design| design.mse < b.mse;
            if design.rate <= rate + RATE_TOLERANCE && best.as_ref().is_none_or(better) {
                best = Some(design);
            }
        };
        self.search(source, (rate, variance), &mut consider)?;
        let symmetrised = Symmetrised(source);
        let target: &dyn Source = if self.constraints.symmetric { &symmetrised } else { source };
        for cells in grids(self, target).into_iter().filter_map(|g| g.at_rate(target, rate, self)) {
            consider(Run { cells, trace: vec![], stop: StopReason::ClosedForm }.design(source)?);
        }
        Ok(best.expect("the search ends with a rate that is low enough"))
    }

    /// Designs for prices that lead to `rate`, one of them at most as high.
    fn search(
        &self,
        source: &dyn Source,
        (rate, variance): (f64, f64),
        consider: &mut impl FnMut(Design),
    ) -> Result<(), DesignError> {
        let mut lambda = 2.0 * std::f64::consts::LN_2 * variance * (-2.0 * rate).exp2();
        // Price and excess of rate on either side.
        let (mut low, mut high) = (None::<(f64, f64)>, None::<(f64, f64)>);
        for turn in 0..40 {
            let design = self.design(source, lambda)?;
            let excess = design.rate - rate;
            consider(design);
            *if excess > 0.0 { &mut low } else { &mut high } = Some((lambda, excess));
            if excess.abs() < RATE_TOLERANCE {
                return Ok(());
            }
            lambda = match (low, high) {
                (Some(low), Some(high)) => {
                    let width = (high.0 / low.0).ln();
                    // Rate falls by about ½ log₂e over a factor of e in price, unless it jumps.
                    if low.1 - high.1 > 1e3 * width {
                        return Ok(());
                    }
                    let share = if turn % 3 == 2 { 0.5 } else { (low.1 / (low.1 - high.1)).clamp(0.01, 0.99) };
                    low.0 * (share * width).exp()
                }
                // At high rate λ ∝ 2^{−2R}.
                _ if excess > 0.0 => lambda * (2.0 * excess).exp2().max(1.01),
                _ => lambda * (2.0 * excess).exp2().min(0.99),
            };
        }
        if high.is_none() {
            // A single cell has no entropy, and no price can be too high for it.
            consider(self.design(source, 1e3 * variance.max(lambda))?);
        }
        Ok(())
    }

    /// The operational rate–distortion curve: one design per price.
    pub fn curve(&self, source: &dyn Source, lambdas: &[f64]) -> Result<Vec<Design>, DesignError> {
        lambdas.iter().map(|&lambda| self.design(source, lambda)).collect()
    }

    fn run(&self, source: &dyn Source, lambda: f64, start: Vec<f64>) -> Run {
        let mut cells = Cells::new(source, &start, self);
        let mut trace = vec![cells.cost(lambda)];
        let mut stop = StopReason::IterationsMax;
        let mut before: Option<Vec<f64>> = None;
        while trace.len() <= self.iterations_max {
            let next = Cells::new(source, &cells.next_thresholds(lambda), self);
            let cost = cells.cost(lambda);
            let gain = cost - next.cost(lambda);
            trace.push(next.cost(lambda));
            let jump = before.take().and_then(|first| extrapolated(&first, &cells.thresholds, &next.thresholds));
            let last = std::mem::replace(&mut cells, next);
            if gain <= self.tolerance * cells.cost(lambda) {
                if gain < 0.0 {
                    cells = last;
                    trace.pop();
                }
                stop = StopReason::Converged;
                break;
            }
            match jump.map(|thresholds| Cells::new(source, &thresholds, self)) {
                Some(far) if far.cost(lambda) < cells.cost(lambda) => {
                    trace.push(far.cost(lambda));
                    cells = far;
                }
                Some(_) => {}
                None => before = Some(last.thresholds),
            }
        }
        Run { cells, trace, stop }
    }
}

/// Where an alternation ended.
struct Run {
    cells: Cells,
    trace: Vec<f64>,
    stop: StopReason,
}

impl Run {
    fn design(self, source: &dyn Source) -> Result<Design, DesignError> {
        let iterations = self.trace.len().saturating_sub(1);
        let design = Design::measured(self.cells.codebook()?, source, iterations, self.stop, self.trace);
        Ok(Design { rate: design.entropy_bits, ..design })
    }
}

fn midpoints(levels: &[f64]) -> Vec<f64> {
    levels.windows(2).map(|w| 0.5 * (w[0] + w[1])).collect()
}
