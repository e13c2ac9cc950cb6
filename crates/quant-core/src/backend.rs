//! What a device must be able to do.
//!
//! The verbs are few and each is fused where memory traffic demands it. Every one has a plain scalar definition of the
//! same name in [`mod@crate::reference`] and a case in the conformance suite. Work larger than a device limit is cut up
//! inside the backend; a caller never sees the limit.

use crate::codebook::Codebooks;
use crate::codes::BitWidth;
use crate::design::vector::{Points, VectorCells};
use crate::error_feedback::Feedback;
use crate::grouping::Grouping;
use crate::measure::Distortion;
use crate::scale::ScaleSearch;
use crate::sensitivity::WeightedError;
use crate::switched::SwitchedEncoding;
use crate::tensor::{Dtype, Matrix, NotFinite, Samples};
use crate::transform::{Blocks, Hadamard};
use crate::vectors::VectorEncoding;

/// How a matrix is encoded: everything a decoder needs but the codes.
#[derive(Clone, Copy, Debug)]
pub struct Encoding<'a> {
    /// Bits of a code.
    pub bit_width: BitWidth,
    /// Which samples share a scale, and the shape of the matrix.
    pub grouping: Grouping,
    /// One scale per group, finite and never subnormal; none when levels are in the unit of the samples.
    pub scales: Option<&'a [f32]>,
    /// One codebook for all rows or one per row.
    pub codebooks: &'a Codebooks,
}

impl Encoding<'_> {
    /// Bytes of one packed row.
    pub fn row_len_bytes(&self) -> usize {
        self.bit_width.row_len_bytes(self.grouping.columns())
    }

    /// Bytes of all packed codes.
    pub fn codes_len_bytes(&self) -> usize {
        self.grouping.rows() * self.row_len_bytes()
    }

    /// Checks that the parts fit together; backends call it first.
    ///
    /// # Panics
    ///
    /// When scales, codebooks or codes have the wrong count: a bug in the caller, never a matter of data.
    pub fn assert_consistent(&self) {
        if let Some(scales) = self.scales {
            assert_eq!(scales.len(), self.grouping.group_count(), "one scale per group");
        }
        let count = self.codebooks.count();
        assert!(count == 1 || count == self.grouping.rows(), "one codebook, or one per row");
        assert!(self.codebooks.level_count() <= self.bit_width.level_count(), "every level has a code");
    }
}

/// Where decoded samples go, in one of the three number formats; rounding is to nearest, ties to even.
#[derive(Debug)]
pub enum SamplesMut<'a> {
    /// 32-bit samples.
    F32(&'a mut [f32]),
    /// 16-bit IEEE samples; magnitudes beyond 65504 + ½ ULP become infinite.
    F16(&'a mut [half::f16]),
    /// bfloat16 samples.
    Bf16(&'a mut [half::bf16]),
}

impl<'a> SamplesMut<'a> {
    /// The number of samples.
    pub fn len(&self) -> usize {
        match self {
            Self::F32(s) => s.len(),
            Self::F16(s) => s.len(),
            Self::Bf16(s) => s.len(),
        }
    }

    /// True when there is no sample.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Rounds `value` into place `index`.
    pub fn set(&mut self, index: usize, value: f32) {
        match self {
            Self::F32(s) => s[index] = value,
            Self::F16(s) => s[index] = half::f16::from_f32(value),
            Self::Bf16(s) => s[index] = half::bf16::from_f32(value),
        }
    }

    /// Views bytes as samples; `None` when misaligned or not a whole number of samples.
    pub fn from_bytes(bytes: &'a mut [u8], dtype: Dtype) -> Option<SamplesMut<'a>> {
        match dtype {
            Dtype::F32 => bytemuck::try_cast_slice_mut(bytes).ok().map(SamplesMut::F32),
            Dtype::F16 => bytemuck::try_cast_slice_mut(bytes).ok().map(SamplesMut::F16),
            Dtype::Bf16 => bytemuck::try_cast_slice_mut(bytes).ok().map(SamplesMut::Bf16),
        }
    }
}

/// A device that quantizes. All verbs but the fallible transfer itself are total: inputs are validated at the border.
///
/// Parity classes (see ARCHITECTURE.md): *exact* means equal bit for bit to [`mod@crate::reference`].
pub trait Backend {
    /// A device fault: unavailable, too large, out of memory, device lost.
    type Fault: std::error::Error + Send + Sync + 'static;

    /// What a report calls this device.
    fn name(&self) -> String;

    /// Promises that the samples of `matrix` stay as they are until [`Backend::release`], so that a device may keep a copy
    /// between verbs. Changes no result.
    fn hold(&self, matrix: Matrix<'_>) {
        let _ = matrix;
    }

    /// Ends the promise of [`Backend::hold`].
    fn release(&self) {}

    /// The first sample that is NaN or infinite. Class: exact.
    fn first_not_finite(&self, samples: Samples<'_>) -> Result<Option<NotFinite>, Self::Fault>;

    /// storable(max|x| · `level_max_inverse`) of each group, see [`crate::scale::storable`]. Class: exact.
    fn absmax_scales(
        &self,
        matrix: Matrix<'_>,
        grouping: Grouping,
        level_max_inverse: f32,
        scales: &mut [f32],
    ) -> Result<(), Self::Fault>;

    /// The scale of least squared error of each group, as [`crate::scale`] defines it. Class: exact.
    fn search_scales(
        &self,
        matrix: Matrix<'_>,
        grouping: Grouping,
        search: &ScaleSearch,
        scales: &mut [f32],
    ) -> Result<(), Self::Fault>;

    /// [`Self::search_scales`] with a search of its own for each row; where there is none, scales are 0. Class: exact.
    ///
    /// A backend that has nothing better searches row by row.
    ///
    /// # Panics
    ///
    /// When there is not one search per row, or groups go beyond a row.
    fn search_scales_of_rows(
        &self,
        matrix: Matrix<'_>,
        grouping: Grouping,
        searches: &[Option<ScaleSearch>],
        scales: &mut [f32],
    ) -> Result<(), Self::Fault> {
        let of_row = grouping.of_one_row();
        assert_eq!(searches.len(), matrix.rows(), "one search per row");
        scales.fill(0.0);
        for ((row, search), scales) in searches.iter().enumerate().zip(scales.chunks_mut(of_row.group_count().max(1))) {
            if let Some(search) = search {
                self.search_scales(matrix.row_range(row..row + 1), of_row, search, scales)?;
            }
        }
        Ok(())
    }

    /// Codes of all samples, packed row by row. Class: exact.
    fn encode(&self, matrix: Matrix<'_>, encoding: &Encoding<'_>, packed: &mut [u8]) -> Result<(), Self::Fault>;

    /// Codes of all samples, packed row by row, where each column makes up for the errors of those before it; see
    /// [`crate::error_feedback`]. Class: exact.
    ///
    /// A backend without a kernel of its own uses the scalar definition: matrices are in host memory.
    ///
    /// # Panics
    ///
    /// When `feedback` is for another number of columns.
    fn encode_with_feedback(
        &self,
        matrix: Matrix<'_>,
        encoding: &Encoding<'_>,
        feedback: &Feedback,
        packed: &mut [u8],
    ) -> Result<(), Self::Fault> {
        crate::reference::encode_with_feedback(matrix, encoding, feedback, packed);
        Ok(())
    }

    /// level · scale of all codes. Class: ≤ 1 ULP, expected 0.
    fn decode(&self, packed: &[u8], encoding: &Encoding<'_>, samples: &mut SamplesMut<'_>) -> Result<(), Self::Fault>;

    /// Error of the codes against the samples they stand for. Class: counts exact, f64 sums bounded.
    fn distortion(&self, matrix: Matrix<'_>, encoding: &Encoding<'_>, packed: &[u8])
    -> Result<Distortion, Self::Fault>;

    /// Errors of `decoded`, row-major, against the samples of `matrix`: plain, without counts of codes, and under `weights`,
    /// one per sample or one for each column; sums of 0 where there are none. Class: f64 sums bounded.
    ///
    /// A backend without a kernel of its own uses the scalar definition: all is in host memory.
    ///
    /// # Panics
    ///
    /// When there is not one decoded value per sample.
    fn errors(
        &self,
        matrix: Matrix<'_>,
        decoded: &[f32],
        weights: Option<&[f32]>,
    ) -> Result<(Distortion, WeightedError), Self::Fault> {
        Ok(crate::reference::errors(matrix, decoded, weights))
    }

    /// How often each of the 65,536 bit patterns occurs among 16-bit samples. Class: exact.
    ///
    /// # Panics
    ///
    /// For f32 samples: they have no such histogram.
    fn value_histogram(&self, samples: Samples<'_>) -> Result<Vec<u64>, Self::Fault>;

    /// Counts and sums over equal bins of the samples, each multiplied by its group's inverse scale. Class: exact.
    fn histogram(
        &self,
        matrix: Matrix<'_>,
        normalisation: Option<(Grouping, &[f32])>,
        bins: &crate::design::Bins,
    ) -> Result<crate::design::BinSums, Self::Fault>;

    /// Count and sum of the samples of each cell (t_{k−1}, t_k] of a codebook with ascending `thresholds`: what an iteration
    /// of Lloyd needs. Samples are summed as [`crate::design::fixed_point`] with `fraction_bits`. Class: exact.
    fn cell_statistics(
        &self,
        samples: Samples<'_>,
        thresholds: &[f32],
        fraction_bits: i32,
    ) -> Result<crate::design::BinSums, Self::Fault> {
        Ok(crate::reference::cell_statistics(samples, thresholds, fraction_bits))
    }

    /// The samples of some bins, and sums over the others: `segments` has an ascending number for each bin, odd where
    /// samples are wanted. Class: samples exact but for their order, counts exact, f64 sums bounded.
    ///
    /// A backend without a kernel of its own uses the scalar definition: matrices are in host memory.
    fn gather(
        &self,
        matrix: Matrix<'_>,
        bins: &crate::design::Bins,
        segments: &[u16],
        centre: f64,
    ) -> Result<crate::design::Gathered, Self::Fault> {
        Ok(crate::reference::gather(matrix, bins, segments, centre))
    }

    /// [`crate::design::optimal::fit_points`], compiled for the host's instructions where the backend can. Class: exact.
    fn fit_points(&self, points: &[(f64, f64)], level_count: usize) -> crate::design::optimal::OptimalPartition {
        crate::design::optimal::fit_points(points, level_count)
    }

    /// Exact 1-D k-means of each row: `level_count` levels at most. `weights`, when given, is row-major, one per sample
    /// or one row for all, finite and at least 0: [`crate::design::certified::fit_rows`] checks that. `inverse_scales`,
    /// when given, multiply the samples of their group first. Class: exact.
    fn fit_rows(
        &self,
        matrix: Matrix<'_>,
        normalisation: Option<(Grouping, &[f32])>,
        weights: Option<&[f32]>,
        level_count: usize,
    ) -> Result<Codebooks, Self::Fault>;

    /// The codebook of least squared error for each group, and the codes of its samples: selectors and codes, packed row
    /// by row. With x' = fl(x · inverse row scale) and w the weight of a sample, 1 where there are none, a codebook costs
    ///
    /// ```text
    /// Σ fl(w · fl(d²)),  d = min_l |fl(x' − level_l)|        summed in f32 in the order of the samples
    /// ```
    ///
    /// and of equal ones the first is chosen; a code is the number of thresholds below x'. `weights` are as in
    /// [`Self::fit_rows`]. Class: exact.
    ///
    /// A backend without a kernel of its own uses the scalar definition: matrices are in host memory.
    fn encode_switched(
        &self,
        matrix: Matrix<'_>,
        encoding: &SwitchedEncoding<'_>,
        weights: Option<&[f32]>,
        selectors: &mut [u8],
        packed: &mut [u8],
    ) -> Result<(), Self::Fault> {
        crate::reference::encode_switched(matrix, encoding, weights, selectors, packed);
        Ok(())
    }

    /// [`crate::switched::decoded`] of all codes. Class: ≤ 1 ULP, expected 0.
    ///
    /// A backend without a kernel of its own uses the scalar definition.
    fn decode_switched(
        &self,
        packed: &[u8],
        selectors: &[u8],
        encoding: &SwitchedEncoding<'_>,
        samples: &mut SamplesMut<'_>,
    ) -> Result<(), Self::Fault> {
        crate::reference::decode_switched(packed, selectors, encoding, samples);
        Ok(())
    }

    /// Indices of the codevectors of all points, packed row by row, as [`crate::vectors`] says: of equally near ones the
    /// first, by [`crate::reference::score`]. Class: exact.
    ///
    /// A backend without a kernel of its own uses the scalar definition: matrices are in host memory.
    fn encode_vectors(
        &self,
        matrix: Matrix<'_>,
        encoding: &VectorEncoding<'_>,
        packed: &mut [u8],
    ) -> Result<(), Self::Fault> {
        crate::reference::encode_vectors(matrix, encoding, packed);
        Ok(())
    }

    /// [`crate::vectors::decoded`] of all points. Class: ≤ 1 ULP, expected 0.
    ///
    /// A backend without a kernel of its own uses the scalar definition.
    fn decode_vectors(
        &self,
        packed: &[u8],
        encoding: &VectorEncoding<'_>,
        samples: &mut SamplesMut<'_>,
    ) -> Result<(), Self::Fault> {
        crate::reference::decode_vectors(packed, encoding, samples);
        Ok(())
    }

    /// Replaces each row of `rotation.width()` samples by H·diag(signs)·x/√d. Class: bounded product.
    ///
    /// A backend without a kernel of its own uses the scalar definition.
    fn hadamard(&self, rows: &mut [f32], rotation: &Hadamard) -> Result<(), Self::Fault> {
        crate::reference::hadamard(rows, rotation);
        Ok(())
    }

    /// Replaces each block x_b of each row of `blocks.width()` samples by M_b·x_b, entries of M_b rounded to f32.
    /// Class: bounded product.
    ///
    /// A backend without a kernel of its own uses the scalar definition.
    fn block_transform(&self, rows: &mut [f32], blocks: &Blocks) -> Result<(), Self::Fault> {
        crate::reference::block_transform(rows, blocks);
        Ok(())
    }

    /// The code of a nearest codevector of each point: scores as [`crate::reference::score`] defines them, between
    /// equals the lower code. Class: regret, which the conformance suite bounds.
    ///
    /// A backend without a kernel of its own uses the scalar definition: points are in host memory.
    fn nearest_codevectors(
        &self,
        points: Points<'_>,
        codevectors: Points<'_>,
        codes: &mut [u32],
    ) -> Result<(), Self::Fault> {
        crate::reference::nearest_codevectors(points, codevectors, codes);
        Ok(())
    }

    /// [`Self::nearest_codevectors`], and weight and weighted sum of the points of each cell, each point weighing 1
    /// where no weights are given. Class: sums of the cells that the codes say, bounded; the same for any number of
    /// threads.
    fn vector_cells(
        &self,
        points: Points<'_>,
        weights: Option<&[f32]>,
        codevectors: Points<'_>,
        codes: &mut [u32],
    ) -> Result<VectorCells, Self::Fault> {
        Ok(crate::reference::vector_cells(points, weights, codevectors, codes))
    }
}
