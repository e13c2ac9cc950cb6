//! What a designer returns, and why it may refuse.

use crate::codebook::{Codebook, CodebookError};
use crate::measure::sqnr_db;
use crate::source::{Moments, Source, SourceError};

/// A codebook with what it costs on the source it was designed for.
#[derive(Clone, Debug, PartialEq)]
pub struct Design {
    /// Levels and thresholds.
    pub codebook: Codebook,
    /// E (X − Q(X))², in squared units of the source.
    pub mse: f64,
    /// 10·log₁₀(E X² / MSE) in dB.
    pub sqnr_db: f64,
    /// −Σ p_k log₂ p_k of the codes, in bits.
    pub entropy_bits: f64,
    /// Bits per sample: log₂ M for codes of fixed length, the entropy for an entropy-constrained design.
    pub rate: f64,
    /// Outer steps taken; 0 for a closed form.
    pub iterations: usize,
    /// Why the designer stopped.
    pub stop: StopReason,
    /// What was minimised, before each outer step and at the end.
    pub trace: Vec<f64>,
}

/// Why a designer stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StopReason {
    /// The codebook follows from a formula.
    ClosedForm,
    /// The codebook is a global optimum by construction.
    Exact,
    /// The optimality conditions hold within the tolerance.
    Converged,
    /// The step limit came first.
    IterationsMax,
    /// Rounding left nothing to gain before the tolerance was met.
    Stalled,
}

/// Why a design was refused.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum DesignError {
    /// Too few or too many levels.
    #[error("{value} levels asked for; {min} to {max} are possible")]
    LevelCount {
        /// Levels asked for.
        value: usize,
        /// The least.
        min: usize,
        /// The most.
        max: usize,
    },
    /// A parameter of the designer is outside its range.
    #[error("{name} is {value}; it must be {range}")]
    Parameter {
        /// Which one.
        name: &'static str,
        /// Its value.
        value: f64,
        /// Where it may lie.
        range: &'static str,
    },
    /// The designer needs a density, and the source is a set of samples.
    #[error("the {0} designer needs a density; make a histogram of the samples first")]
    NoDensity(&'static str),
    /// Symmetric levels with a zero among them are odd in number.
    #[error("{0} levels cannot be symmetric with a zero level; an odd number can")]
    SymmetricZero(usize),
    /// The source was refused.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The levels do not make a codebook.
    #[error(transparent)]
    Codebook(#[from] CodebookError),
}

impl Design {
    /// Measures a codebook that follows from a formula.
    pub fn closed_form(codebook: Codebook, source: &(impl Source + ?Sized)) -> Self {
        Self::measured(codebook, source, 0, StopReason::ClosedForm, Vec::new())
    }

    /// Measures a codebook that took steps to find.
    pub fn measured(
        codebook: Codebook,
        source: &(impl Source + ?Sized),
        iterations: usize,
        stop: StopReason,
        trace: Vec<f64>,
    ) -> Self {
        let cells = cell_moments(&codebook, source);
        let mse = cells.iter().map(|m| m.second).sum::<f64>().max(0.0);
        let entropy_bits = entropy_bits(cells.iter().map(|m| m.mass));
        let (sqnr_db, rate) = (sqnr_db(source.energy(), mse), (codebook.levels().len() as f64).log2());
        Self { codebook, mse, sqnr_db, entropy_bits, rate, iterations, stop, trace }
    }
}

/// Partial moments of every cell about its level.
pub fn cell_moments(codebook: &Codebook, source: &(impl Source + ?Sized)) -> Vec<Moments> {
    let (levels, thresholds) = (codebook.levels(), codebook.thresholds());
    let low = |k: usize| if k == 0 { f64::NEG_INFINITY } else { thresholds[k - 1] };
    let high = |k: usize| thresholds.get(k).copied().unwrap_or(f64::INFINITY);
    (0..levels.len()).map(|k| source.moments(low(k), high(k), levels[k])).collect()
}

/// −Σ p log₂ p, in bits.
pub(super) fn entropy_bits(masses: impl Iterator<Item = f64>) -> f64 {
    -masses.filter(|&p| p > 0.0).map(|p| p * p.log2()).sum::<f64>() + 0.0
}

/// Refuses a level count outside `min` to 65,536.
pub(super) fn check_level_count(value: usize, min: usize) -> Result<(), DesignError> {
    let max = 65_536;
    if (min..=max).contains(&value) { Ok(()) } else { Err(DesignError::LevelCount { value, min, max }) }
}

/// Refuses a parameter that is not finite and above 0.
pub(super) fn positive(name: &'static str, value: f64) -> Result<f64, DesignError> {
    if value > 0.0 && value.is_finite() {
        Ok(value)
    } else {
        Err(DesignError::Parameter { name, value, range: "finite and above 0" })
    }
}
