//! Which of a few codebooks does each group of a row use? Switched codebooks: every group *chooses*.
//!
//! A matrix has K *shapes* of L levels, S *steps* and a scale for each row. A group of samples is coded with one of the
//! S·K products, the one of least (weighted) squared error, and stores its number, the *selector*:
//!
//! ```text
//! table_e,l = step_⌊e/K⌋ · shape_{e mod K, l}            ascending in l; reversed where the step is negative
//! x̂         = storable(fl(table_{selector, code} · row_scale))
//! ```
//!
//! With K = 1 this is a codebook with group scales of log₂ S bits; with S = 1, a choice among K codebooks; with both, a
//! product code of gain and shape. A decoder needs one table of S·K·L values. Steps and shapes are f16, so their product
//! is exact in f32; row scales are bf16, whose range is that of f32.
//!
//! # Fit
//!
//! Given selectors and codes the best shapes and the best steps are weighted means, so the three are alternated to a
//! fixed point (Lloyd's argument: no step raises the error). The fit sees about 2¹⁸ samples of evenly spaced rows; the
//! choice of every group then is exhaustive over all S·K codebooks.
//!
//! Source: switched quantizers (Gersho and Gray 1992, chapter 16); group-wise choice for weights of language models:
//! Elangovan et al. 2025, "LO-BCQ".

mod fit;

use half::{bf16, f16};

use crate::codebook::Codebooks;
use crate::codes::BitWidth;
use crate::grouping::{GroupLength, Grouping};
use crate::scale::storable;
use crate::tensor::Matrix;

pub(crate) use fit::fit;

/// How a matrix is encoded whose groups choose among codebooks: everything a decoder needs but codes and selectors.
#[derive(Clone, Copy, Debug)]
pub struct SwitchedEncoding<'a> {
    /// Bits of a code.
    pub bit_width: BitWidth,
    /// Bits of a selector.
    pub selector_width: BitWidth,
    /// Which samples share a selector, and the shape of the matrix.
    pub grouping: Grouping,
    /// One scale per row, at least 0, finite and never subnormal.
    pub row_scales: &'a [f32],
    /// One codebook for each value of a selector.
    pub codebooks: &'a Codebooks,
}

impl SwitchedEncoding<'_> {
    /// Bytes of one row of packed codes.
    pub fn row_len_bytes(&self) -> usize {
        self.bit_width.row_len_bytes(self.grouping.columns())
    }

    /// Bytes of one row of packed selectors.
    pub fn selector_row_len_bytes(&self) -> usize {
        self.selector_width.row_len_bytes(self.grouping.groups_per_row())
    }

    /// The inverse that the samples of `row` are multiplied by: 1/scale in f32, or 0 for a scale of 0.
    pub fn inverse_scale(&self, row: usize) -> f32 {
        let scale = self.row_scales[row];
        if scale == 0.0 { 0.0 } else { 1.0 / scale }
    }

    /// Checks that the parts fit together; backends call it first.
    ///
    /// # Panics
    ///
    /// When scales, codebooks, codes or selectors have the wrong count, or a group is not a run of a row: a bug in the
    /// caller, never a matter of data.
    pub fn assert_consistent(&self, selectors: &[u8], packed: &[u8]) {
        let rows = self.grouping.rows();
        assert!(matches!(self.grouping.length(), GroupLength::Samples(_)), "a group is a run of a row");
        assert_eq!(self.row_scales.len(), rows, "one scale per row");
        assert_eq!(self.codebooks.count(), self.selector_width.level_count(), "one codebook per selector");
        assert!(self.codebooks.level_count() <= self.bit_width.level_count(), "every level has a code");
        assert_eq!(selectors.len(), rows * self.selector_row_len_bytes(), "a selector for each group");
        assert_eq!(packed.len(), rows * self.row_len_bytes(), "every row is there");
    }
}

/// storable(fl(level · row scale)): what a decoder sees.
#[inline(always)]
pub fn decoded(level: f32, row_scale: f32) -> f32 {
    storable(level * row_scale)
}

/// The stored side information of a matrix with switched codebooks.
#[derive(Clone, Debug, PartialEq)]
pub struct Switched {
    /// Bits of a selector.
    pub selector_width: BitWidth,
    /// K shapes of L levels, shape after shape, each ascending.
    pub shapes: Vec<f16>,
    /// S steps.
    pub steps: Vec<f16>,
    /// One scale per row.
    pub row_scales: Vec<bf16>,
    /// Selectors of the groups of each row, packed like codes.
    pub selectors: Vec<u8>,
}

impl Switched {
    /// The row scales as f32.
    pub fn row_scales_f32(&self) -> Vec<f32> {
        self.row_scales.iter().map(|s| s.to_f32()).collect()
    }

    /// The table, see [`table`].
    pub fn codebooks(&self, level_count: usize) -> Codebooks {
        table(&self.steps, &self.shapes, level_count)
    }
}

/// Every step times every shape: codebook s·K + k is step s times shape k, reversed where the step is negative.
///
/// ```
/// use half::f16;
/// let halves = |values: &[f32]| values.iter().map(|&y| f16::from_f32(y)).collect::<Vec<_>>();
/// let table = quant_core::switched::table(&halves(&[1.0, -2.0]), &halves(&[-1.0, 0.0, 1.0, 3.0]), 4);
/// assert_eq!(table.levels(1), [-6.0, -2.0, 0.0, 2.0]);
/// ```
pub fn table(steps: &[f16], shapes: &[f16], level_count: usize) -> Codebooks {
    let products = steps.iter().flat_map(|step| {
        shapes.chunks_exact(level_count).map(move |shape| {
            let times = |y: &f16| step.to_f32() * y.to_f32();
            let mut levels: Vec<f32> = shape.iter().map(times).collect();
            if step.to_f32() < 0.0 {
                levels.reverse();
            }
            levels
        })
    });
    Codebooks::from_levels(level_count, products)
}

/// The scale of each row: the root of its mean square, rounded to bf16, the largest finite bf16 standing for all beyond.
pub fn row_scales(matrix: Matrix<'_>) -> Vec<bf16> {
    let (columns, samples) = (matrix.columns(), matrix.samples());
    let scale = |row: usize| {
        let square = |i: usize| f64::from(samples.get(i)) * f64::from(samples.get(i));
        let sum: f64 = (row * columns..(row + 1) * columns).map(square).sum();
        let root = (sum / columns.max(1) as f64).sqrt() as f32;
        bf16::from_f32(storable(root).min(bf16::MAX.to_f32()))
    };
    (0..matrix.rows()).map(scale).collect()
}
