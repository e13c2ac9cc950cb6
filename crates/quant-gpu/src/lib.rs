//! GPU backend of quant: WGSL through wgpu, on Vulkan, Metal and DX12.
//!
//! [`Gpu`] implements [`quant_core::backend::Backend`] with the codes, scales and codebooks of every other backend, bit for
//! bit. It uses one adapter or several at once. Matrices larger than a binding, or than the device's memory, are cut up;
//! a few pieces are under way at a time, so that one is transferred while another is computed.
//!
//! ```no_run
//! use quant_core::{quantize::quantize, recipe::Recipe, tensor::{Matrix, Samples}};
//! use quant_gpu::{Gpu, GpuOptions};
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let weights = vec![0.5f32; 4096];
//! let matrix = Matrix::new(Samples::F32(&weights), 32, 128)?;
//! let quantized = quantize(&Gpu::new(GpuOptions::default())?, matrix, &Recipe::preset("nf4")?)?;
//! println!("{:.2} dB", quantized.distortion.sqnr_db());
//! # Ok(()) }
//! ```

mod absmax_scales;
mod adapter;
mod buffers;
mod cell_statistics;
mod chunk;
mod copy;
mod decode;
mod distortion;
mod encode;
mod error;
mod first_not_finite;
mod fit_rows_batched;
mod flow;
mod held;
mod histogram;
mod host;
mod job;
mod nearest_codevectors;
mod packed;
mod probe;
mod search_rows;
mod search_scales;
mod times;
mod transforms;
mod unit;
mod value_histogram;

use quant_core::backend::{Backend, Encoding, SamplesMut};
use quant_core::codebook::Codebooks;
use quant_core::design::vector::{Points, VectorCells};
use quant_core::design::{BinSums, Bins, Gathered};
use quant_core::grouping::Grouping;
use quant_core::measure::Distortion;
use quant_core::scale::ScaleSearch;
use quant_core::tensor::{Matrix, NotFinite, Samples};
use quant_core::transform::{Blocks, Hadamard};
use std::collections::BTreeMap;
use std::sync::Mutex;

pub use adapter::{AdapterFacts, AdapterKind, CHOICE_VARIABLE, Choice, inventory};
pub use error::GpuError;
pub use times::KernelTime;

/// How a [`Gpu`] works; none of it changes results.
#[derive(Clone, Debug)]
pub struct GpuOptions {
    /// Which adapters.
    pub choice: Choice,
    /// Bytes of a piece of a matrix, as f32; the adapter's own limit holds too. Long enough to hide the cost of a
    /// dispatch, short enough for several to be under way in device memory; tests set 1 KiB.
    pub chunk_len_bytes: usize,
    /// Workgroups in one direction of a dispatch; tests set 2.
    pub grid_width_max: u32,
    /// Pieces under way at a time on one adapter.
    pub depth: usize,
    /// Measure what kernels take on the device; see [`Gpu::take_kernel_times`].
    pub timed: bool,
    /// Replacements in the WGSL of kernels, each of a text that occurs in it: mutations, which tests must catch.
    #[doc(hidden)]
    pub edits: Vec<(String, String)>,
}

impl Default for GpuOptions {
    fn default() -> Self {
        let choice = Choice::FromEnvironment;
        Self { choice, chunk_len_bytes: 32 << 20, grid_width_max: 65_535, depth: 3, timed: false, edits: Vec::new() }
    }
}

/// The GPU backend: one adapter, or several that share the work.
#[derive(Debug)]
pub struct Gpu {
    units: Vec<unit::Unit>,
    sample_max: usize,
    depth: usize,
    promise: Mutex<Option<flow::Promise>>,
}

impl Gpu {
    /// Opens the adapters chosen, and checks that they compute as all others do.
    pub fn new(options: GpuOptions) -> Result<Self, GpuError> {
        let adapters = adapter::adapters();
        let facts: Vec<AdapterFacts> = adapters.iter().map(|(facts, _)| facts.clone()).collect();
        let places = options.choice.choose(&facts)?;
        Self::open(places.iter().map(|&i| &adapters[i]), &options)
    }

    /// Opens the adapter chosen `count` times, as if there were as many: for tests of sharing on machines with one.
    pub fn repeated(options: GpuOptions, count: usize) -> Result<Self, GpuError> {
        let adapters = adapter::adapters();
        let facts: Vec<AdapterFacts> = adapters.iter().map(|(facts, _)| facts.clone()).collect();
        let place = options.choice.choose(&facts)?[0];
        Self::open(std::iter::repeat_n(&adapters[place], count.max(1)), &options)
    }

    fn open<'a>(
        adapters: impl Iterator<Item = &'a (AdapterFacts, wgpu::Adapter)>,
        options: &GpuOptions,
    ) -> Result<Self, GpuError> {
        let mut units = Vec::new();
        for (facts, adapter) in adapters {
            let unit = unit::Unit::open(facts.clone(), adapter, options)?;
            probe::probe(&unit)?;
            units.push(unit);
        }
        let limit = units.iter().map(|unit| unit.facts.binding_len_bytes).min().unwrap_or(0);
        // Kernels count bits of packed codes in 32 bits.
        let len = options.chunk_len_bytes.min(1 << 28).min(usize::try_from(limit).unwrap_or(usize::MAX));
        Ok(Self { units, sample_max: (len / 4).max(1), depth: options.depth.max(1), promise: Mutex::default() })
    }

    /// The adapters in use.
    pub fn adapters(&self) -> Vec<&AdapterFacts> {
        self.units.iter().map(|unit| &unit.facts).collect()
    }

    /// Samples of the largest piece that a matrix is cut into.
    pub fn piece_sample_max(&self) -> usize {
        self.sample_max
    }

    /// Loses the devices, as when they are unplugged: for tests of what comes after.
    #[doc(hidden)]
    pub fn lose(&self) {
        self.units.iter().for_each(|unit| unit.device.destroy());
    }

    /// What each kernel took on the device since this was last asked; empty unless [`GpuOptions::timed`] and the adapter
    /// can tell.
    pub fn take_kernel_times(&self) -> BTreeMap<&'static str, KernelTime> {
        let mut all: BTreeMap<&'static str, KernelTime> = BTreeMap::new();
        for times in self.units.iter().filter_map(|unit| unit.times.as_ref()) {
            for (kernel, time) in times.take() {
                let sum = all.entry(kernel).or_default();
                sum.seconds += time.seconds;
                sum.dispatch_count += time.dispatch_count;
            }
        }
        all
    }
}

impl Backend for Gpu {
    type Fault = GpuError;

    fn name(&self) -> String {
        let names: Vec<String> = self.units.iter().map(|unit| unit.facts.to_string()).collect();
        format!("gpu: {}", names.join(" + "))
    }

    fn hold(&self, matrix: Matrix<'_>) {
        flow::hold(self, matrix);
    }

    fn release(&self) {
        flow::release(self);
    }

    fn first_not_finite(&self, samples: Samples<'_>) -> Result<Option<NotFinite>, GpuError> {
        first_not_finite::first_not_finite(self, samples)
    }

    fn absmax_scales(
        &self,
        matrix: Matrix<'_>,
        grouping: Grouping,
        level_max_inverse: f32,
        scales: &mut [f32],
    ) -> Result<(), GpuError> {
        absmax_scales::absmax_scales(self, matrix, grouping, level_max_inverse, scales)
    }

    fn search_scales(
        &self,
        matrix: Matrix<'_>,
        grouping: Grouping,
        search: &ScaleSearch,
        scales: &mut [f32],
    ) -> Result<(), GpuError> {
        search_scales::search_scales(self, matrix, grouping, search, scales)
    }

    fn encode(&self, matrix: Matrix<'_>, encoding: &Encoding<'_>, packed: &mut [u8]) -> Result<(), GpuError> {
        encode::encode(self, matrix, encoding, packed)
    }

    fn decode(&self, packed: &[u8], encoding: &Encoding<'_>, samples: &mut SamplesMut<'_>) -> Result<(), GpuError> {
        decode::decode(self, packed, encoding, samples)
    }

    fn distortion(&self, matrix: Matrix<'_>, encoding: &Encoding<'_>, packed: &[u8]) -> Result<Distortion, GpuError> {
        distortion::distortion(self, matrix, encoding, packed)
    }

    fn value_histogram(&self, samples: Samples<'_>) -> Result<Vec<u64>, GpuError> {
        value_histogram::value_histogram(self, samples)
    }

    fn histogram(
        &self,
        matrix: Matrix<'_>,
        normalisation: Option<(Grouping, &[f32])>,
        bins: &Bins,
    ) -> Result<BinSums, GpuError> {
        histogram::histogram(self, matrix, normalisation, bins)
    }

    fn cell_statistics(&self, samples: Samples<'_>, thresholds: &[f32], bits: i32) -> Result<BinSums, GpuError> {
        cell_statistics::cell_statistics(self, samples, thresholds, bits)
    }

    fn gather(&self, matrix: Matrix<'_>, bins: &Bins, segments: &[u16], centre: f64) -> Result<Gathered, GpuError> {
        Ok(host::gather(matrix, bins, segments, centre))
    }

    fn fit_rows(
        &self,
        matrix: Matrix<'_>,
        normalisation: Option<(Grouping, &[f32])>,
        weights: Option<&[f32]>,
        level_count: usize,
    ) -> Result<Codebooks, GpuError> {
        Ok(host::fit_rows(matrix, normalisation, weights, level_count))
    }

    fn hadamard(&self, rows: &mut [f32], rotation: &Hadamard) -> Result<(), GpuError> {
        transforms::hadamard(self, rows, rotation)
    }

    fn block_transform(&self, rows: &mut [f32], blocks: &Blocks) -> Result<(), GpuError> {
        transforms::block_transform(self, rows, blocks)
    }

    fn nearest_codevectors(
        &self,
        points: Points<'_>,
        codevectors: Points<'_>,
        codes: &mut [u32],
    ) -> Result<(), GpuError> {
        nearest_codevectors::nearest_codevectors(self, points, codevectors, codes)
    }

    fn vector_cells(
        &self,
        points: Points<'_>,
        weights: Option<&[f32]>,
        codevectors: Points<'_>,
        codes: &mut [u32],
    ) -> Result<VectorCells, GpuError> {
        nearest_codevectors::vector_cells(self, points, weights, codevectors, codes)
    }
}
