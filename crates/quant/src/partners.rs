//! A GPU with the processor beside it: for exact programmes in f64, and for going on where the GPU fails.
//!
//! Every verb means the same on both, so that a run may change over in the middle of a tensor.

use std::sync::OnceLock;

use quant_core::backend::{Backend, Encoding, SamplesMut};
use quant_core::codebook::Codebooks;
use quant_core::design::optimal::OptimalPartition;
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
use quant_cpu::Cpu;
use quant_gpu::{Gpu, GpuError};

/// GPU and processor.
#[derive(Debug)]
pub struct Partners {
    gpu: Gpu,
    cpu: Cpu,
    falls_back: bool,
    /// Why the processor took over.
    fault: OnceLock<GpuError>,
}

impl Partners {
    /// With `falls_back`, a fault of the GPU is noted in the name and the processor goes on.
    pub fn new(gpu: Gpu, cpu: Cpu, falls_back: bool) -> Self {
        Self { gpu, cpu, falls_back, fault: OnceLock::new() }
    }

    /// Threads of the processor.
    pub fn thread_count(&self) -> usize {
        self.cpu.thread_count()
    }

    /// Seconds of kernels since last asked; see [`quant_gpu::Gpu::take_kernel_times`].
    pub fn take_kernel_seconds(&self) -> Option<f64> {
        let times = self.gpu.take_kernel_times();
        (!times.is_empty()).then(|| times.values().map(|time| time.seconds).sum())
    }

    fn either<T>(
        &self,
        on_gpu: impl FnOnce() -> Result<T, GpuError>,
        on_cpu: impl FnOnce() -> T,
    ) -> Result<T, GpuError> {
        if self.fault.get().is_some() {
            return Ok(on_cpu());
        }
        match on_gpu() {
            Err(fault) if self.falls_back => {
                // A second fault in another thread has nothing to add.
                let _ = self.fault.set(fault);
                Ok(on_cpu())
            }
            result => result,
        }
    }
}

/// The value of a verb of the processor, which cannot fail.
fn certain<T>(result: Result<T, std::convert::Infallible>) -> T {
    let Ok(value) = result;
    value
}

impl Backend for Partners {
    type Fault = GpuError;

    fn name(&self) -> String {
        match self.fault.get() {
            None => self.gpu.name(),
            Some(fault) => format!("{}, then {} because {fault}", self.gpu.name(), self.cpu.name()),
        }
    }

    fn hold(&self, matrix: Matrix<'_>) {
        self.gpu.hold(matrix);
    }

    fn release(&self) {
        self.gpu.release();
    }

    fn first_not_finite(&self, samples: Samples<'_>) -> Result<Option<NotFinite>, GpuError> {
        self.either(|| self.gpu.first_not_finite(samples), || certain(self.cpu.first_not_finite(samples)))
    }

    fn absmax_scales(
        &self,
        matrix: Matrix<'_>,
        grouping: Grouping,
        level_max_inverse: f32,
        scales: &mut [f32],
    ) -> Result<(), GpuError> {
        let scales = std::cell::RefCell::new(scales);
        self.either(
            || self.gpu.absmax_scales(matrix, grouping, level_max_inverse, &mut scales.borrow_mut()),
            || certain(self.cpu.absmax_scales(matrix, grouping, level_max_inverse, &mut scales.borrow_mut())),
        )
    }

    fn search_scales(
        &self,
        matrix: Matrix<'_>,
        grouping: Grouping,
        search: &ScaleSearch,
        scales: &mut [f32],
    ) -> Result<(), GpuError> {
        let scales = std::cell::RefCell::new(scales);
        self.either(
            || self.gpu.search_scales(matrix, grouping, search, &mut scales.borrow_mut()),
            || certain(self.cpu.search_scales(matrix, grouping, search, &mut scales.borrow_mut())),
        )
    }

    fn search_scales_of_rows(
        &self,
        matrix: Matrix<'_>,
        grouping: Grouping,
        searches: &[Option<ScaleSearch>],
        scales: &mut [f32],
    ) -> Result<(), GpuError> {
        certain(self.cpu.search_scales_of_rows(matrix, grouping, searches, scales));
        Ok(())
    }

    fn encode(&self, matrix: Matrix<'_>, encoding: &Encoding<'_>, packed: &mut [u8]) -> Result<(), GpuError> {
        let packed = std::cell::RefCell::new(packed);
        self.either(
            || self.gpu.encode(matrix, encoding, &mut packed.borrow_mut()),
            || certain(self.cpu.encode(matrix, encoding, &mut packed.borrow_mut())),
        )
    }

    fn decode(&self, packed: &[u8], encoding: &Encoding<'_>, samples: &mut SamplesMut<'_>) -> Result<(), GpuError> {
        let samples = std::cell::RefCell::new(samples);
        self.either(
            || self.gpu.decode(packed, encoding, &mut samples.borrow_mut()),
            || certain(self.cpu.decode(packed, encoding, &mut samples.borrow_mut())),
        )
    }

    fn distortion(&self, matrix: Matrix<'_>, encoding: &Encoding<'_>, packed: &[u8]) -> Result<Distortion, GpuError> {
        self.either(
            || self.gpu.distortion(matrix, encoding, packed),
            || certain(self.cpu.distortion(matrix, encoding, packed)),
        )
    }

    fn errors(
        &self,
        matrix: Matrix<'_>,
        decoded: &[f32],
        weights: Option<&[f32]>,
    ) -> Result<(Distortion, WeightedError), GpuError> {
        Ok(certain(self.cpu.errors(matrix, decoded, weights)))
    }

    fn value_histogram(&self, samples: Samples<'_>) -> Result<Vec<u64>, GpuError> {
        self.either(|| self.gpu.value_histogram(samples), || certain(self.cpu.value_histogram(samples)))
    }

    fn histogram(
        &self,
        matrix: Matrix<'_>,
        normalisation: Option<(Grouping, &[f32])>,
        bins: &Bins,
    ) -> Result<BinSums, GpuError> {
        self.either(
            || self.gpu.histogram(matrix, normalisation, bins),
            || certain(self.cpu.histogram(matrix, normalisation, bins)),
        )
    }

    fn cell_statistics(&self, samples: Samples<'_>, thresholds: &[f32], bits: i32) -> Result<BinSums, GpuError> {
        self.either(
            || self.gpu.cell_statistics(samples, thresholds, bits),
            || certain(self.cpu.cell_statistics(samples, thresholds, bits)),
        )
    }

    fn gather(&self, matrix: Matrix<'_>, bins: &Bins, segments: &[u16], centre: f64) -> Result<Gathered, GpuError> {
        Ok(certain(self.cpu.gather(matrix, bins, segments, centre)))
    }

    fn fit_points(&self, points: &[(f64, f64)], level_count: usize) -> OptimalPartition {
        self.cpu.fit_points(points, level_count)
    }

    fn fit_rows(
        &self,
        matrix: Matrix<'_>,
        normalisation: Option<(Grouping, &[f32])>,
        weights: Option<&[f32]>,
        level_count: usize,
    ) -> Result<Codebooks, GpuError> {
        Ok(certain(self.cpu.fit_rows(matrix, normalisation, weights, level_count)))
    }

    // No kernels for these four on GPUs yet.

    fn encode_switched(
        &self,
        matrix: Matrix<'_>,
        encoding: &SwitchedEncoding<'_>,
        weights: Option<&[f32]>,
        selectors: &mut [u8],
        packed: &mut [u8],
    ) -> Result<(), GpuError> {
        certain(self.cpu.encode_switched(matrix, encoding, weights, selectors, packed));
        Ok(())
    }

    fn decode_switched(
        &self,
        packed: &[u8],
        selectors: &[u8],
        encoding: &SwitchedEncoding<'_>,
        samples: &mut SamplesMut<'_>,
    ) -> Result<(), GpuError> {
        certain(self.cpu.decode_switched(packed, selectors, encoding, samples));
        Ok(())
    }

    fn encode_vectors(
        &self,
        matrix: Matrix<'_>,
        encoding: &VectorEncoding<'_>,
        packed: &mut [u8],
    ) -> Result<(), GpuError> {
        certain(self.cpu.encode_vectors(matrix, encoding, packed));
        Ok(())
    }

    fn decode_vectors(
        &self,
        packed: &[u8],
        encoding: &VectorEncoding<'_>,
        samples: &mut SamplesMut<'_>,
    ) -> Result<(), GpuError> {
        certain(self.cpu.decode_vectors(packed, encoding, samples));
        Ok(())
    }

    fn hadamard(&self, rows: &mut [f32], rotation: &Hadamard) -> Result<(), GpuError> {
        let rows = std::cell::RefCell::new(rows);
        self.either(
            || self.gpu.hadamard(&mut rows.borrow_mut(), rotation),
            || certain(self.cpu.hadamard(&mut rows.borrow_mut(), rotation)),
        )
    }

    fn block_transform(&self, rows: &mut [f32], blocks: &Blocks) -> Result<(), GpuError> {
        let rows = std::cell::RefCell::new(rows);
        self.either(
            || self.gpu.block_transform(&mut rows.borrow_mut(), blocks),
            || certain(self.cpu.block_transform(&mut rows.borrow_mut(), blocks)),
        )
    }

    fn encode_with_feedback(
        &self,
        matrix: Matrix<'_>,
        encoding: &Encoding<'_>,
        feedback: &Feedback,
        packed: &mut [u8],
    ) -> Result<(), GpuError> {
        certain(self.cpu.encode_with_feedback(matrix, encoding, feedback, packed));
        Ok(())
    }

    fn nearest_codevectors(
        &self,
        points: Points<'_>,
        codevectors: Points<'_>,
        codes: &mut [u32],
    ) -> Result<(), GpuError> {
        let codes = std::cell::RefCell::new(codes);
        self.either(
            || self.gpu.nearest_codevectors(points, codevectors, &mut codes.borrow_mut()),
            || certain(self.cpu.nearest_codevectors(points, codevectors, &mut codes.borrow_mut())),
        )
    }

    fn vector_cells(
        &self,
        points: Points<'_>,
        weights: Option<&[f32]>,
        codevectors: Points<'_>,
        codes: &mut [u32],
    ) -> Result<VectorCells, GpuError> {
        let codes = std::cell::RefCell::new(codes);
        self.either(
            || self.gpu.vector_cells(points, weights, codevectors, &mut codes.borrow_mut()),
            || certain(self.cpu.vector_cells(points, weights, codevectors, &mut codes.borrow_mut())),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quant_core::quantize::{QuantizeError, quantize};
    use quant_core::recipe::Recipe;
    use quant_cpu::CpuOptions;
    use quant_gpu::GpuOptions;

    fn partners(falls_back: bool) -> Partners {
        let gpu = Gpu::new(GpuOptions::default()).expect("an adapter, if only a software one");
        Partners::new(gpu, Cpu::new(CpuOptions::default()).expect("threads can be started"), falls_back)
    }

    /// Quantizes twice, the second time without the GPU.
    fn before_and_after(partners: &Partners) -> [Result<Vec<u8>, QuantizeError<GpuError>>; 2] {
        let samples: Vec<f32> = (0..64 * 256).map(|i| (i as f32 * 0.37).sin()).collect();
        let matrix = Matrix::new(Samples::F32(&samples), 64, 256).expect("whole rows");
        let recipe = Recipe::preset("nf4").expect("a preset");
        let codes = || quantize(partners, matrix, &recipe).map(|quantized| quantized.packed);
        let before = codes();
        partners.gpu.lose();
        [before, codes()]
    }

    #[test]
    fn the_processor_takes_over_from_a_lost_device_and_says_so() {
        let partners = partners(true);
        let [before, after] = before_and_after(&partners).map(|codes| codes.expect("one of the two works"));
        assert_eq!(before, after);
        assert!(partners.name().contains(", then cpu"), "{}", partners.name());
        let mut rows = vec![1.0; 8];
        partners.hadamard(&mut rows, &Hadamard::with_signs(vec![1; 8])).expect("the processor works");
        assert!((rows[0] - 8f32.sqrt()).abs() < 1e-6 && rows[1] == 0.0, "{rows:?}");
    }

    #[test]
    fn without_leave_a_lost_device_is_a_fault() {
        let [before, after] = before_and_after(&partners(false));
        assert!(before.is_ok() && matches!(after, Err(QuantizeError::Fault(GpuError::DeviceLost { .. }))), "{after:?}");
    }
}
