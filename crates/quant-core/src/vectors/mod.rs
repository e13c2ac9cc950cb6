//! Which codevectors stand for the points of a row? Vector quantization of a matrix.
//!
//! A row is cut into points of d neighbouring samples, the last one filled up with zeros. With S stages of K codevectors
//! each and P parts, point j of a row has the codebooks of part j mod P and stores S indices:
//!
//! ```text
//! y_i = fl(… fl(fl(C_{j mod P, 1, k₁, i} + C_{j mod P, 2, k₂, i}) + C_{j mod P, 3, k₃, i}) …)     i = 0 … d − 1
//! x̂_i = storable(fl(y_i · row_scale))
//! ```
//!
//! S > 1 is a *residual* code, whose codevectors add up; P > 1 is a *product* code, where neighbouring points have
//! codebooks of their own. Codevectors are f16; row scales are bf16, the root of the row's mean square.
//!
//! # Codes
//!
//! With S = 1 the index is that of the nearest codevector. With S > 1 each of the [`STARTS`] nearest codevectors of the first
//! stage is tried, followed by the nearest to what is left over, stage by stage; the sum of least squared error stays, and each
//! stage then looks again at what all others leave, [`REFINEMENTS`] times. Every step is defined to the last rounding,
//! so indices are the same on every backend; GPUs, whose scores may round otherwise, leave them to the processor.
//!
//! # Fit
//!
//! Lloyd's algorithm on at most 2¹⁸ points of each part, spread evenly over the matrix: codevectors are split in two until
//! there are enough of them (Linde, Buzo and Gray 1980), so nothing is drawn at random. A stage is designed on what those
//! before leave over (Juang and Gray 1982); then all codevectors move to the means of what the other stages leave, as long
//! as that helps. A point weighs what its samples weigh in the mean.
//!
//! Source: Gersho and Gray 1992, chapters 10 to 12; for weights of language models: Egiazarian et al. 2024, "AQLM".

mod fit;

use half::{bf16, f16};

use crate::recipe::VectorRule;
use crate::scale::storable;

pub(crate) use fit::fit;

/// Codevectors of the first of several stages that are tried.
pub const STARTS: usize = 4;

/// How often each stage looks again at what the others leave.
pub const REFINEMENTS: usize = 3;

/// How a matrix of points is encoded: everything a decoder needs but the indices.
#[derive(Clone, Copy, Debug)]
pub struct VectorEncoding<'a> {
    /// Points, stages and parts.
    pub rule: VectorRule,
    /// Rows of the matrix.
    pub rows: usize,
    /// Samples of a row.
    pub columns: usize,
    /// One scale per row, at least 0, finite and never subnormal.
    pub row_scales: &'a [f32],
    /// Codevectors: part after part, in each stage after stage; finite.
    pub codevectors: &'a [f32],
}

impl VectorEncoding<'_> {
    /// Bytes of one row of packed indices.
    pub fn row_len_bytes(&self) -> usize {
        self.rule.row_len_bytes(self.columns)
    }

    /// The inverse that the samples of `row` are multiplied by: 1/scale in f32, or 0 for a scale of 0.
    pub fn inverse_scale(&self, row: usize) -> f32 {
        let scale = self.row_scales[row];
        if scale == 0.0 { 0.0 } else { 1.0 / scale }
    }

    /// The codevectors of stage `stage` of part `part`, one after another.
    pub fn stage(&self, part: usize, stage: usize) -> &[f32] {
        let len = self.rule.codevector_count() * self.rule.dimension();
        &self.codevectors[(part * self.rule.stages() + stage) * len..][..len]
    }

    /// Checks that the parts fit together; backends call it first.
    ///
    /// # Panics
    ///
    /// When scales, codevectors or indices have the wrong count: a bug in the caller, never a matter of data.
    pub fn assert_consistent(&self, packed: &[u8]) {
        assert_eq!(self.row_scales.len(), self.rows, "one scale per row");
        assert_eq!(self.codevectors.len(), self.rule.table_len(), "every codevector is there");
        assert_eq!(packed.len(), self.rows * self.row_len_bytes(), "every row is there");
    }
}

/// storable(fl(y · row scale)): what a decoder sees.
#[inline(always)]
pub fn decoded(y: f32, row_scale: f32) -> f32 {
    storable(y * row_scale)
}

/// The stored side information of a matrix of points.
#[derive(Clone, Debug, PartialEq)]
pub struct Vectors {
    /// Points, stages and parts.
    pub rule: VectorRule,
    /// Codevectors as in [`VectorEncoding`].
    pub codevectors: Vec<f16>,
    /// One scale per row.
    pub row_scales: Vec<bf16>,
}

impl Vectors {
    /// The codevectors as f32.
    pub fn codevectors_f32(&self) -> Vec<f32> {
        self.codevectors.iter().map(|y| y.to_f32()).collect()
    }

    /// The row scales as f32.
    pub fn row_scales_f32(&self) -> Vec<f32> {
        self.row_scales.iter().map(|s| s.to_f32()).collect()
    }
}

/// Packs the indices of a row, `bits` each, the lowest bits first; unused high bits of the last byte become 0.
///
/// ```
/// use quant_core::vectors::{pack_indices, unpack_indices};
/// let mut packed = [0; 3];
/// pack_indices(&[0xabc, 0x123], 12, &mut packed);
/// assert_eq!(packed, [0xbc, 0x3a, 0x12]);
/// let mut indices = [0; 2];
/// unpack_indices(&packed, 12, &mut indices);
/// assert_eq!(indices, [0xabc, 0x123]);
/// ```
pub fn pack_indices(indices: &[u16], bits: usize, packed: &mut [u8]) {
    let (mut word, mut filled) = (0u32, 0);
    let mut bytes = packed.iter_mut();
    for &index in indices {
        word |= u32::from(index) << filled;
        filled += bits;
        while filled >= 8 {
            *bytes.next().expect("room for every index") = word as u8;
            (word, filled) = (word >> 8, filled - 8);
        }
    }
    if filled > 0 {
        *bytes.next().expect("room for every index") = word as u8;
    }
}

/// Unpacks the first indices of a row, `bits` each, 1 to 12.
#[inline(always)]
pub fn unpack_indices(packed: &[u8], bits: usize, indices: &mut [u16]) {
    if bits == 8 {
        indices.iter_mut().zip(packed).for_each(|(index, &byte)| *index = byte.into());
        return;
    }
    let (mut word, mut filled, mask) = (0u32, 0, (1u32 << bits) - 1);
    let mut bytes = packed.iter();
    for index in indices {
        while filled < bits {
            word |= u32::from(*bytes.next().expect("every index is there")) << filled;
            filled += 8;
        }
        *index = (word & mask) as u16;
        (word, filled) = (word >> bits, filled - bits);
    }
}
