//! Codebooks: levels with their thresholds, always sorted.
//!
//! [`Codebook`] is the mathematical object, in f64, as a designer returns it. [`Codebooks`] is the stored form that
//! backends and files use: f32 levels and the f32 thresholds that follow from *those* levels, for one codebook shared
//! by a whole matrix or for one per row.

use crate::tensor::flush;

/// Levels y₀ < … < y₍M−1₎ and thresholds t₁ ≤ … ≤ t₍M−1₎, `y_{k-1} <= t_k <= y_k`.
#[derive(Clone, Debug, PartialEq)]
pub struct Codebook {
    levels: Vec<f64>,
    thresholds: Vec<f64>,
}

/// Why a codebook was refused.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum CodebookError {
    /// There is no level.
    #[error("a codebook needs at least 1 level")]
    Empty,
    /// A level is NaN or infinite.
    #[error("level {index} is {value}; levels must be finite")]
    LevelNotFinite {
        /// Position of the level.
        index: usize,
        /// Its value.
        value: f64,
    },
    /// Levels do not ascend.
    #[error("level {index} is {value}, not above level {} ({previous}); levels must ascend", index - 1)]
    LevelsNotAscending {
        /// Position of the level.
        index: usize,
        /// Its value.
        value: f64,
        /// The level before.
        previous: f64,
    },
    /// A threshold lies outside its two levels.
    #[error("threshold {index} is {value}, outside [{low}, {high}], the levels beside it")]
    ThresholdOutOfPlace {
        /// Position of the threshold, the first being 0.
        index: usize,
        /// Its value.
        value: f64,
        /// Level below.
        low: f64,
        /// Level above.
        high: f64,
    },
    /// Not one threshold between each pair of levels.
    #[error("{thresholds} thresholds given for {levels} levels; {} needed", levels.saturating_sub(1))]
    ThresholdCount {
        /// Levels given.
        levels: usize,
        /// Thresholds given.
        thresholds: usize,
    },
}

impl Codebook {
    /// The nearest-level codebook: thresholds are the midpoints t_k = (y_{k−1} + y_k)/2.
    ///
    /// ```
    /// use quant_core::codebook::Codebook;
    /// let codebook = Codebook::nearest(vec![-1.0, 0.0, 2.0]).unwrap();
    /// assert_eq!(codebook.thresholds(), [-0.5, 1.0]);
    /// assert_eq!(codebook.encode(1.0), 1); // a sample on a threshold belongs to the lower cell
    /// ```
    pub fn nearest(levels: Vec<f64>) -> Result<Self, CodebookError> {
        let thresholds = levels.windows(2).map(|w| w[0] + (w[1] - w[0]) / 2.0).collect();
        Self::with_thresholds(levels, thresholds)
    }

    /// A codebook with thresholds of its own, as entropy-constrained and dead-zone quantizers have.
    pub fn with_thresholds(levels: Vec<f64>, thresholds: Vec<f64>) -> Result<Self, CodebookError> {
        if levels.is_empty() {
            return Err(CodebookError::Empty);
        }
        if thresholds.len() + 1 != levels.len() {
            return Err(CodebookError::ThresholdCount { levels: levels.len(), thresholds: thresholds.len() });
        }
        for (index, &value) in levels.iter().enumerate() {
            if !value.is_finite() {
                return Err(CodebookError::LevelNotFinite { index, value });
            }
            if index > 0 && value <= levels[index - 1] {
                return Err(CodebookError::LevelsNotAscending { index, value, previous: levels[index - 1] });
            }
        }
        for (index, &value) in thresholds.iter().enumerate() {
            let (low, high) = (levels[index], levels[index + 1]);
            if !(low..=high).contains(&value) {
                return Err(CodebookError::ThresholdOutOfPlace { index, value, low, high });
            }
        }
        Ok(Self { levels, thresholds })
    }

    /// Levels and thresholds times a positive `factor`.
    pub fn scaled(&self, factor: f64) -> Result<Self, CodebookError> {
        let times = |x: &[f64]| x.iter().map(|x| x * factor).collect();
        Self::with_thresholds(times(&self.levels), times(&self.thresholds))
    }

    /// The levels, ascending.
    pub fn levels(&self) -> &[f64] {
        &self.levels
    }

    /// The interior thresholds, ascending; one fewer than levels.
    pub fn thresholds(&self) -> &[f64] {
        &self.thresholds
    }

    /// The number of thresholds strictly below `x`.
    pub fn encode(&self, x: f64) -> usize {
        self.thresholds.partition_point(|&t| t < x)
    }

    /// The level of `code`.
    pub fn decode(&self, code: usize) -> f64 {
        self.levels[code]
    }
}

/// Stored codebooks of equal capacity: one for a whole matrix, or one per row.
///
/// A codebook with fewer levels than the capacity repeats its last level; the thresholds that would lead there are
/// +∞, which no finite sample exceeds, so the padding codes are never produced. Thresholds ascend always, equal levels
/// inside a codebook included, and neither levels nor thresholds are subnormal, so that a device that flushes
/// subnormals compares the same numbers.
#[derive(Clone, Debug, PartialEq)]
pub struct Codebooks {
    level_count: usize,
    levels: Vec<f32>,
    thresholds: Vec<f32>,
}

impl Codebooks {
    /// Rounds each codebook to f32 and derives thresholds from the rounded levels; `level_count` is the capacity.
    ///
    /// Nearest-level codebooks only: thresholds are midpoints of the *stored* levels. See [`midpoint_below`].
    ///
    /// # Panics
    ///
    /// When a codebook has no level, more than `level_count`, or levels that descend.
    pub fn from_levels(level_count: usize, codebooks: impl IntoIterator<Item = impl AsRef<[f32]>>) -> Self {
        assert!((1..=65_536).contains(&level_count), "a code has 0 to 16 bits");
        let mut stored = Self { level_count, levels: Vec::new(), thresholds: Vec::new() };
        for codebook in codebooks {
            stored.push(codebook.as_ref());
        }
        stored
    }

    /// One codebook of exactly as many levels as given.
    pub fn shared(codebook: &Codebook) -> Self {
        let levels: Vec<f32> = codebook.levels().iter().map(|&y| y as f32).collect();
        Self::from_levels(levels.len(), [levels])
    }

    fn push(&mut self, levels: &[f32]) {
        assert!(!levels.is_empty() && levels.len() <= self.level_count, "1 to {} levels", self.level_count);
        assert!(levels.windows(2).all(|w| w[0] <= w[1]), "levels ascend");
        let levels: Vec<f32> = levels.iter().map(|&y| flush(y)).collect();
        let last = levels[levels.len() - 1];
        let start = self.thresholds.len();
        self.thresholds.resize(start + self.level_count - 1, f32::INFINITY);
        // From above, so that the threshold between equal levels is the next one up: the lower copy is never produced.
        let mut above = f32::INFINITY;
        for (threshold, pair) in self.thresholds[start..][..levels.len() - 1].iter_mut().zip(levels.windows(2)).rev() {
            if pair[0] < pair[1] {
                above = midpoint_below(pair[0], pair[1]);
            }
            *threshold = above;
        }
        self.levels.extend_from_slice(&levels);
        self.levels.extend(std::iter::repeat_n(last, self.level_count - levels.len()));
    }

    /// Levels that each codebook has room for.
    pub fn level_count(&self) -> usize {
        self.level_count
    }

    /// How many codebooks there are.
    pub fn count(&self) -> usize {
        self.levels.len() / self.level_count
    }

    /// The levels of codebook `index`, ascending, `level_count` of them.
    pub fn levels(&self, index: usize) -> &[f32] {
        &self.levels[index * self.level_count..][..self.level_count]
    }

    /// The thresholds of codebook `index`, ascending, `level_count − 1` of them.
    pub fn thresholds(&self, index: usize) -> &[f32] {
        let count = self.level_count - 1;
        &self.thresholds[index * count..][..count]
    }

    /// The codebook of `row`: the only one, or the row's own.
    pub fn index_of_row(&self, row: usize) -> usize {
        if self.count() == 1 { 0 } else { row }
    }

    /// All levels, codebook after codebook.
    pub fn all_levels(&self) -> &[f32] {
        &self.levels
    }
}

/// The largest f32 not above (a + b)/2 that is 0 or of normal magnitude.
///
/// With it, `x > t` for an f32 sample `x` says exactly whether `x` lies above the true midpoint, so the code is a
/// nearest level, not merely nearest up to the rounding of the threshold. (The f64 sum is exact unless the two levels
/// differ by more than 2²⁹ in magnitude; then the midpoint is rounded once, in f64.)
///
/// ```
/// use quant_core::codebook::midpoint_below;
/// assert_eq!(midpoint_below(1.0, 2.0), 1.5);
/// let up = f32::from_bits(1.0f32.to_bits() + 1);
/// assert_eq!(midpoint_below(1.0, up), 1.0);
/// ```
pub fn midpoint_below(a: f32, b: f32) -> f32 {
    let exact = (f64::from(a) + f64::from(b)) / 2.0;
    let near = exact as f32;
    let below = if f64::from(near) > exact { near.next_down() } else { near };
    // No flushed sample lies strictly between −2⁻¹²⁶, 0 and 2⁻¹²⁶, so moving down to one of them changes no code.
    match below.abs() < f32::MIN_POSITIVE {
        true if below < 0.0 => -f32::MIN_POSITIVE,
        true => 0.0,
        false => below,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_codebook_never_yields_a_padding_code() {
        let codebooks = Codebooks::from_levels(4, [[-1.0f32, 1.0]]);
        assert_eq!(codebooks.levels(0), [-1.0, 1.0, 1.0, 1.0]);
        assert_eq!(codebooks.thresholds(0), [0.0, f32::INFINITY, f32::INFINITY]);
    }

    #[test]
    fn equal_levels_inside_keep_thresholds_ascending() {
        let codebooks = Codebooks::from_levels(5, [[-1.0f32, 0.0, 1e-40, 1.0]]);
        assert_eq!(codebooks.levels(0), [-1.0, 0.0, 0.0, 1.0, 1.0]);
        assert_eq!(codebooks.thresholds(0), [-0.5, 0.5, 0.5, f32::INFINITY]);
    }

    #[test]
    fn no_threshold_is_subnormal() {
        let small = f32::MIN_POSITIVE;
        assert_eq!(midpoint_below(0.0, small), 0.0);
        assert_eq!(midpoint_below(-small, 0.0), -small);
    }

    #[test]
    fn refusals_name_the_place() {
        assert_eq!(Codebook::nearest(vec![]), Err(CodebookError::Empty));
        let error = Codebook::nearest(vec![0.0, 1.0, 1.0]).unwrap_err();
        assert_eq!(error.to_string(), "level 2 is 1, not above level 1 (1); levels must ascend");
        let error = Codebook::with_thresholds(vec![0.0, 1.0], vec![2.0]).unwrap_err();
        assert_eq!(error.to_string(), "threshold 0 is 2, outside [0, 1], the levels beside it");
    }
}
