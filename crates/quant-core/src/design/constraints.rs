//! What a codebook may be asked to satisfy besides low distortion.

use super::DesignError;
use crate::codebook::Codebook;
use crate::source::{Density, Moments, Source};

/// Constraints on the levels.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Constraints {
    /// All levels lie in [low, high]; samples beyond are in the overload region and take the outer level.
    pub clip: Option<(f64, f64)>,
    /// Levels are symmetric about 0.
    pub symmetric: bool,
    /// One level is exactly 0.
    pub zero: bool,
}

impl Constraints {
    /// Refuses what no codebook of `level_count` levels can satisfy.
    pub(super) fn check(&self, level_count: usize) -> Result<(), DesignError> {
        if let Some((low, high)) = self.clip {
            if !(low < high && low.is_finite() && high.is_finite()) {
                return Err(DesignError::Parameter {
                    name: "clip",
                    value: high,
                    range: "finite and above its low end",
                });
            }
            if self.zero && !(low..=high).contains(&0.0) {
                return Err(DesignError::Parameter { name: "clip", value: low, range: "around 0, which is a level" });
            }
        }
        if self.symmetric && self.zero && level_count.is_multiple_of(2) {
            return Err(DesignError::SymmetricZero(level_count));
        }
        Ok(())
    }

    /// The range that levels may take.
    pub(super) fn range(&self) -> (f64, f64) {
        let (low, high) = self.clip.unwrap_or((f64::NEG_INFINITY, f64::INFINITY));
        if self.symmetric { (low.max(-high), high.min(-low)) } else { (low, high) }
    }

    /// Changes a codebook from a formula as little as the constraints ask: levels are mirrored, clamped, and the one
    /// nearest 0 is moved there; thresholds follow where they would fall outside their levels. Levels that coincide
    /// after clamping become one.
    pub(super) fn apply(&self, codebook: Codebook) -> Result<Codebook, DesignError> {
        self.check(codebook.levels().len())?;
        if *self == Self::default() {
            return Ok(codebook);
        }
        let (mut levels, mut thresholds) = (codebook.levels().to_vec(), codebook.thresholds().to_vec());
        if self.symmetric {
            mirror(&mut levels);
            mirror(&mut thresholds);
        }
        let (low, high) = self.range();
        levels.iter_mut().for_each(|y| *y = y.clamp(low, high));
        if self.zero {
            levels[nearest_to_zero(codebook.levels())] = 0.0;
        }
        for k in (1..levels.len()).rev() {
            if levels[k] <= levels[k - 1] {
                // Of two coinciding levels the outer one goes, and the threshold between them.
                thresholds.remove(k - 1);
                levels.remove(if levels[k] <= low { k - 1 } else { k });
            }
        }
        for (k, t) in thresholds.iter_mut().enumerate() {
            *t = t.clamp(levels[k], levels[k + 1]);
        }
        Ok(Codebook::with_thresholds(levels, thresholds)?)
    }
}

/// x_k ← (x_k − x_{n−1−k})/2.
pub(super) fn mirror(x: &mut [f64]) {
    let n = x.len();
    for k in 0..n.div_ceil(2) {
        let half = 0.5 * (x[n - 1 - k] - x[k]);
        (x[k], x[n - 1 - k]) = (-half, half);
    }
}

/// Index of the level of least magnitude; of two equals the lower.
pub(super) fn nearest_to_zero(levels: &[f64]) -> usize {
    (0..levels.len()).min_by(|&a, &b| levels[a].abs().total_cmp(&levels[b].abs())).expect("a codebook has a level")
}

/// ±X with either sign equally likely. A symmetric codebook does as well on it as on X, so the best symmetric codebook
/// for X is the best codebook for ±X.
pub(super) struct Symmetrised<'a>(pub &'a dyn Source);

impl Source for Symmetrised<'_> {
    fn moments(&self, low: f64, high: f64, centre: f64) -> Moments {
        let (a, b) = (self.0.moments(low, high, centre), self.0.moments(-high, -low, -centre));
        (a + Moments { first: -b.first, ..b }).scaled(0.5, 1.0)
    }

    fn support(&self) -> (f64, f64) {
        let (low, high) = self.0.support();
        let end = high.max(-low);
        (-end, end)
    }

    fn quantile(&self, p: f64) -> f64 {
        let (mut low, mut high) = self.support();
        let start = self.0.variance().sqrt() + self.0.mean().abs();
        (low, high) = (low.max(-1e9 * start), high.min(1e9 * start));
        for _ in 0..100 {
            let middle = 0.5 * (low + high);
            if self.cdf(middle) < p {
                low = middle;
            } else {
                high = middle;
            }
        }
        high
    }

    fn symmetry(&self) -> Option<f64> {
        Some(0.0)
    }

    fn density(&self) -> Option<&dyn Density> {
        self.0.density().map(|_| self as &dyn Density)
    }
}

impl Density for Symmetrised<'_> {
    fn pdf(&self, x: f64) -> f64 {
        self.0.density().map_or(0.0, |f| 0.5 * (f.pdf(x) + f.pdf(-x)))
    }

    fn singular_points(&self) -> Vec<f64> {
        let points = self.0.density().map_or(Vec::new(), |f| f.singular_points());
        points.iter().copied().chain(points.iter().map(|x| -x)).collect()
    }
}
