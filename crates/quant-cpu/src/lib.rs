//! CPU kernels of quant: rayon and SIMD.
//!
//! [`Cpu`] implements [`quant_core::backend::Backend`]. Every verb has a file of its own with a portable kernel, which
//! is always compiled and which the compiler vectorises for the chosen [`SimdLevel`], and where that is not enough a
//! kernel in AVX-512 intrinsics beside it. Results do not depend on the level, the chunk length or the thread count.

#![cfg_attr(not(target_arch = "x86_64"), allow(dead_code, reason = "some helpers serve x86-64 kernels alone"))]

mod absmax_scales;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod block_transform;
mod cell_statistics;
mod codes;
mod decode;
mod decode_switched;
mod decode_vectors;
mod distortion;
mod encode;
mod encode_switched;
mod encode_vectors;
mod encode_with_feedback;
mod errors;
mod first_not_finite;
mod fit_rows;
mod hadamard;
mod histogram;
mod level;
mod multiply_adds;
mod samples;
mod search_scales;
mod value_histogram;
mod vector_cells;
mod work;

use quant_core::backend::{Backend, Encoding, SamplesMut};
use quant_core::codebook::Codebooks;
use quant_core::design::optimal::{OptimalPartition, fit_points_with};
use quant_core::design::vector::{Points, VectorCells};
use quant_core::design::{BinSums, Bins, Gathered};
use quant_core::error_feedback::Feedback;
use quant_core::grouping::Grouping;
use quant_core::measure::Distortion;
use quant_core::scale::ScaleSearch;
use quant_core::sensitivity::WeightedError;
use quant_core::switched::SwitchedEncoding;
use quant_core::tensor::{Matrix, NotFinite, Samples};
use quant_core::transform::{Blocks, Hadamard};
use quant_core::vectors::VectorEncoding;
use std::convert::Infallible;

pub use level::SimdLevel;

/// How a [`Cpu`] works; none of it changes results.
#[derive(Clone, Copy, Debug)]
pub struct CpuOptions {
    /// Threads of its own; none for as many as the machine has.
    pub threads: Option<usize>,
    /// Samples of a work item. Long enough to hide scheduling, short enough to balance; tests set 7.
    pub chunk_len: usize,
    /// Instructions to use; none for the best that the machine has.
    pub level: Option<SimdLevel>,
}

impl Default for CpuOptions {
    fn default() -> Self {
        Self { threads: None, chunk_len: 1 << 16, level: None }
    }
}

/// Why a [`Cpu`] could not be made.
#[derive(Debug, thiserror::Error)]
pub enum CpuError {
    /// The machine lacks the instructions asked for.
    #[error("this machine has no {0} instructions")]
    LevelUnavailable(SimdLevel),
    /// A work item of no samples.
    #[error("chunk length is 0; at least 1 sample is needed")]
    EmptyChunk,
    /// The threads could not be started.
    #[error("threads could not be started")]
    Threads(#[source] rayon::ThreadPoolBuildError),
}

/// The CPU backend.
#[derive(Debug)]
pub struct Cpu {
    pool: rayon::ThreadPool,
    chunk_len: usize,
    level: level::Level,
}

impl Cpu {
    /// Starts the threads.
    pub fn new(options: CpuOptions) -> Result<Self, CpuError> {
        if options.chunk_len == 0 {
            return Err(CpuError::EmptyChunk);
        }
        let wanted = options.level.unwrap_or_else(SimdLevel::best);
        let level = level::Level::new(wanted).ok_or(CpuError::LevelUnavailable(wanted))?;
        let threads = options.threads.unwrap_or(0);
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().map_err(CpuError::Threads)?;
        Ok(Self { pool, chunk_len: options.chunk_len, level })
    }

    /// The instructions in use.
    pub fn level(&self) -> SimdLevel {
        self.level.simd()
    }

    /// The threads in use.
    pub fn thread_count(&self) -> usize {
        self.pool.current_num_threads()
    }

    /// Does nothing but f32 multiply-adds in registers, `steps` times ten on each thread: the most that a kernel could
    /// do in the same time. How many operations that were, a multiply-add counting as two, and a sum that means nothing.
    pub fn multiply_adds(&self, steps: usize) -> (f64, f32) {
        multiply_adds::multiply_adds(self, steps)
    }
}

impl Backend for Cpu {
    type Fault = Infallible;

    fn name(&self) -> String {
        format!("cpu ({}, {} threads)", self.level(), self.thread_count())
    }

    fn first_not_finite(&self, samples: Samples<'_>) -> Result<Option<NotFinite>, Infallible> {
        Ok(first_not_finite::first_not_finite(self, samples))
    }

    fn absmax_scales(
        &self,
        matrix: Matrix<'_>,
        grouping: Grouping,
        level_max_inverse: f32,
        scales: &mut [f32],
    ) -> Result<(), Infallible> {
        absmax_scales::absmax_scales(self, matrix, grouping, level_max_inverse, scales);
        Ok(())
    }

    fn search_scales(
        &self,
        matrix: Matrix<'_>,
        grouping: Grouping,
        search: &ScaleSearch,
        scales: &mut [f32],
    ) -> Result<(), Infallible> {
        search_scales::search_scales(self, matrix, grouping, search, scales);
        Ok(())
    }

    fn search_scales_of_rows(
        &self,
        matrix: Matrix<'_>,
        grouping: Grouping,
        searches: &[Option<ScaleSearch>],
        scales: &mut [f32],
    ) -> Result<(), Infallible> {
        search_scales::search_scales_of_rows(self, matrix, grouping, searches, scales);
        Ok(())
    }

    fn encode(&self, matrix: Matrix<'_>, encoding: &Encoding<'_>, packed: &mut [u8]) -> Result<(), Infallible> {
        encode::encode(self, matrix, encoding, packed);
        Ok(())
    }

    fn encode_with_feedback(
        &self,
        matrix: Matrix<'_>,
        encoding: &Encoding<'_>,
        feedback: &Feedback,
        packed: &mut [u8],
    ) -> Result<(), Infallible> {
        encode_with_feedback::encode_with_feedback(self, matrix, encoding, feedback, packed);
        Ok(())
    }

    fn decode(&self, packed: &[u8], encoding: &Encoding<'_>, samples: &mut SamplesMut<'_>) -> Result<(), Infallible> {
        decode::decode(self, packed, encoding, samples);
        Ok(())
    }

    fn distortion(&self, matrix: Matrix<'_>, encoding: &Encoding<'_>, packed: &[u8]) -> Result<Distortion, Infallible> {
        Ok(distortion::distortion(self, matrix, encoding, packed))
    }

    fn errors(
        &self,
        matrix: Matrix<'_>,
        decoded: &[f32],
        weights: Option<&[f32]>,
    ) -> Result<(Distortion, WeightedError), Infallible> {
        Ok(errors::errors(self, matrix, decoded, weights))
    }

    fn value_histogram(&self, samples: Samples<'_>) -> Result<Vec<u64>, Infallible> {
        Ok(value_histogram::value_histogram(self, samples))
    }

    fn histogram(
        &self,
        matrix: Matrix<'_>,
        normalisation: Option<(Grouping, &[f32])>,
        bins: &Bins,
    ) -> Result<BinSums, Infallible> {
        Ok(histogram::histogram(self, matrix, normalisation, bins))
    }

    fn cell_statistics(&self, samples: Samples<'_>, thresholds: &[f32], bits: i32) -> Result<BinSums, Infallible> {
        Ok(cell_statistics::cell_statistics(self, samples, thresholds, bits))
    }

    fn gather(&self, matrix: Matrix<'_>, bins: &Bins, segments: &[u16], centre: f64) -> Result<Gathered, Infallible> {
        Ok(histogram::gather(self, matrix, bins, segments, centre))
    }

    fn fit_points(&self, points: &[(f64, f64)], level_count: usize) -> OptimalPartition {
        fit_points_with(&self.level, points, level_count)
    }

    fn fit_rows(
        &self,
        matrix: Matrix<'_>,
        normalisation: Option<(Grouping, &[f32])>,
        weights: Option<&[f32]>,
        level_count: usize,
    ) -> Result<Codebooks, Infallible> {
        Ok(fit_rows::fit_rows(self, matrix, normalisation, weights, level_count))
    }

    fn encode_switched(
        &self,
        matrix: Matrix<'_>,
        encoding: &SwitchedEncoding<'_>,
        weights: Option<&[f32]>,
        selectors: &mut [u8],
        packed: &mut [u8],
    ) -> Result<(), Infallible> {
        encode_switched::encode_switched(self, matrix, encoding, weights, selectors, packed);
        Ok(())
    }

    fn decode_switched(
        &self,
        packed: &[u8],
        selectors: &[u8],
        encoding: &SwitchedEncoding<'_>,
        samples: &mut SamplesMut<'_>,
    ) -> Result<(), Infallible> {
        decode_switched::decode_switched(self, packed, selectors, encoding, samples);
        Ok(())
    }

    fn encode_vectors(
        &self,
        matrix: Matrix<'_>,
        encoding: &VectorEncoding<'_>,
        packed: &mut [u8],
    ) -> Result<(), Infallible> {
        encode_vectors::encode_vectors(self, matrix, encoding, packed);
        Ok(())
    }

    fn decode_vectors(
        &self,
        packed: &[u8],
        encoding: &VectorEncoding<'_>,
        samples: &mut SamplesMut<'_>,
    ) -> Result<(), Infallible> {
        decode_vectors::decode_vectors(self, packed, encoding, samples);
        Ok(())
    }

    fn hadamard(&self, rows: &mut [f32], rotation: &Hadamard) -> Result<(), Infallible> {
        hadamard::hadamard(self, rows, rotation);
        Ok(())
    }

    fn block_transform(&self, rows: &mut [f32], blocks: &Blocks) -> Result<(), Infallible> {
        block_transform::block_transform(self, rows, blocks);
        Ok(())
    }

    fn nearest_codevectors(
        &self,
        points: Points<'_>,
        codevectors: Points<'_>,
        codes: &mut [u32],
    ) -> Result<(), Infallible> {
        vector_cells::nearest_codevectors(self, points, codevectors, codes);
        Ok(())
    }

    fn vector_cells(
        &self,
        points: Points<'_>,
        weights: Option<&[f32]>,
        codevectors: Points<'_>,
        codes: &mut [u32],
    ) -> Result<VectorCells, Infallible> {
        Ok(vector_cells::vector_cells(self, points, weights, codevectors, codes))
    }
}
