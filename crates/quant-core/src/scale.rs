//! How a group's scale is chosen: the largest magnitude, or the candidate of least squared error.
//!
//! # Search in integers
//!
//! Choosing the best of several candidate scales compares sums of squares, and sums round. To keep the choice equal on
//! every device the comparison is made in integers. With a = max|x| = m·2^e, 1 ≤ m < 2:
//!
//! ```text
//! x̂     = round_half_even(x · 2^(12 − e))               |x̂| ≤ 8192, exact scaling, one rounding
//! span  = (â · n + 512) >> 10                            candidate n/1024 of the largest magnitude
//! ŷ_k   = (c_k · span + 2¹⁴) >> 15                       c_k = round(32767 · level_k / level_max)
//! t̂_k   = (ŷ_{k−1} + ŷ_k) >> 1
//! cost  = Σ (x̂ − ŷ_{#{k : x̂ > t̂_k}})²                  in u64, any order
//! scale = storable(fl(fl(span · 2^(e − 12)) · fl(1/level_max)))
//! ```
//!
//! A negative candidate is the same computation on −x̂, and its scale is negated. The least cost wins; between equal
//! costs the earlier candidate. The first stage tries every candidate of a fixed list, with both signs if asked; the
//! second tries six neighbours of the winner (±1/64, ±1/128, ±3/128 of the largest magnitude). The result is exact
//! *within this candidate set*. Resolution is 2⁻¹² to 2⁻¹³ of the largest magnitude, which costs less than 0.001 dB at
//! 4 bits.
//!
//! Idea: signed scales as in llama.cpp's `Q4_0` (`d = max / -8`); that searched signed scales also load in stock
//! bitsandbytes is measured in the project's notes.

use crate::codebook::Codebooks;
use crate::grouping::GroupLength;
use crate::tensor::flush;

/// How a group's scale is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ScaleRule {
    /// scale · level_max = max|x|.
    Absmax,
    /// The positive candidate of least squared error.
    Search,
    /// The candidate of least squared error, positive or negative.
    SignedSearch,
}

impl ScaleRule {
    /// `absmax`, `search` or `signed-search`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Absmax => "absmax",
            Self::Search => "search",
            Self::SignedSearch => "signed-search",
        }
    }
}

/// Denominator of candidate numerators.
pub const RATIO_ONE: i32 = 1024;

/// Numerator offsets that the second stage adds to the winner of the first.
pub const REFINE_OFFSETS: [i32; 6] = [-24, -16, -8, 8, 16, 24];

/// Largest magnitude of a scaled sample x̂.
pub const SAMPLE_MAX: i32 = 8192;

/// The candidates and the codebook of a scale search, in the integers that every backend computes with.
#[derive(Clone, Debug, PartialEq)]
pub struct ScaleSearch {
    /// Whether negative scales are tried.
    pub signed: bool,
    /// First-stage numerators, over [`RATIO_ONE`], in the order they are tried.
    pub numerators: Vec<i32>,
    /// c_k = round(32767 · level_k / level_max), ascending.
    pub levels_q15: Vec<i16>,
    /// fl(1 / level_max).
    pub level_max_inverse: f32,
}

/// The largest |level| of a codebook: what the largest magnitude of a group is mapped to by [`ScaleRule::Absmax`].
pub fn level_max(levels: &[f32]) -> f32 {
    levels.iter().fold(0.0, |max: f32, y| max.max(y.abs()))
}

impl ScaleSearch {
    /// The search for a shared codebook.
    ///
    /// Candidates run from 3/2 of the largest magnitude down in steps of 1/32 to 5/8, then geometrically (×15/16). How
    /// far down depends on how heavy clipping can pay: long groups hold outliers, few levels leave room for little else.
    /// The grid is tuned on N(0,1) and Student-t (ν = 5) blocks: twice the steps gain 0.015 dB at block 64, half the
    /// steps lose 0.05 dB.
    ///
    /// # Panics
    ///
    /// When there is not exactly one codebook, or all its levels are 0.
    pub fn new(codebooks: &Codebooks, length: GroupLength, signed: bool) -> Self {
        assert_eq!(codebooks.count(), 1, "a scale is searched for a shared codebook");
        let levels = codebooks.levels(0);
        let max = level_max(levels);
        assert!(max > 0.0, "a codebook to scale has a level other than 0");
        let to_q15 = |&y: &f32| (32767.0 * f64::from(y) / f64::from(max)).round_ties_even() as i16;
        Self {
            signed,
            numerators: numerators(codebooks.level_count(), length),
            levels_q15: levels.iter().map(to_q15).collect(),
            level_max_inverse: 1.0 / max,
        }
    }
}

/// A computed scale as it is stored: flush(s), magnitudes beyond the largest f32 becoming the largest f32.
///
/// ```
/// use quant_core::scale::storable;
/// assert_eq!(storable(f32::NEG_INFINITY), f32::MIN);
/// assert_eq!(storable(1e-40), 0.0);
/// ```
#[inline]
pub fn storable(scale: f32) -> f32 {
    flush(scale.clamp(f32::MIN, f32::MAX))
}

/// The span of a candidate: numerator / 1024 of the largest scaled magnitude, rounded half up.
#[inline]
pub fn span(absmax_scaled: i32, numerator: i32) -> i32 {
    (absmax_scaled * numerator + RATIO_ONE / 2) / RATIO_ONE
}

fn numerators(level_count: usize, length: GroupLength) -> Vec<i32> {
    let low = match (length, level_count) {
        (GroupLength::Samples(n), 9..) if n <= 128 => 608,
        (GroupLength::Samples(n), _) if n <= 128 => 288,
        (GroupLength::Samples(n), 9..) if n <= 1024 => 384,
        _ => 24,
    };
    let mut list: Vec<i32> = (0..29).map(|i| 1536 - 32 * i).filter(|&n| n >= low).collect();
    let mut next = 600;
    while next >= low {
        list.push(next);
        next = next * 15 / 16;
    }
    list
}
