//! Where an iterative designer starts.

use super::companded::Compander;
use crate::source::Source;

/// The levels before the first step.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Start {
    /// Equally spaced between the quantiles 1/2M and 1 − 1/2M.
    Uniform,
    /// The quantiles (k + ½)/M: every cell equally likely.
    Quantile,
    /// The high-rate compander of the density, or quantiles where there is none. Within a few percent of the optimum.
    #[default]
    Compander,
    /// These levels, ascending.
    Levels(Vec<f64>),
}

impl Start {
    /// Ascending levels; fewer than `level_count` where the source has too few distinct values.
    pub(super) fn levels(&self, source: &dyn Source, level_count: usize) -> Vec<f64> {
        let at = |k: usize| (k as f64 + 0.5) / level_count as f64;
        let mut levels: Vec<f64> = match self {
            Self::Levels(levels) => levels.clone(),
            Self::Uniform => {
                let (low, high) = (source.quantile(at(0)), source.quantile(at(level_count - 1)));
                (0..level_count).map(|k| low + (high - low) * k as f64 / (level_count - 1).max(1) as f64).collect()
            }
            Self::Compander => match source.density() {
                Some(density) => Compander::new(density).expand_all(&(0..level_count).map(at).collect::<Vec<_>>()),
                None => (0..level_count).map(|k| source.quantile(at(k))).collect(),
            },
            Self::Quantile => (0..level_count).map(|k| source.quantile(at(k))).collect(),
        };
        levels.retain(|y| y.is_finite());
        levels.dedup_by(|next, kept| *next <= *kept);
        levels
    }
}
