//! Count and fixed-point sum of the samples of each cell of a codebook.

use crate::Gpu;
use crate::encode::first_step;
use crate::error::GpuError;
use crate::job::{Input, Job};
use quant_core::design::BinSums;
use quant_core::reference::power_of_two;
use quant_core::tensor::Samples;
use quant_shaders::{CELL_STATISTICS, CellStatisticsParams};

/// Samples of a workgroup, and places that its memory has for cells; the kernel says so.
const SPAN: usize = 16_384;
const PLACES: usize = 512;

pub(crate) fn cell_statistics(
    gpu: &Gpu,
    samples: Samples<'_>,
    thresholds: &[f32],
    fraction_bits: i32,
) -> Result<BinSums, GpuError> {
    assert!(thresholds.len() < 256, "a code has 8 bits at most");
    let cell_count = thresholds.len() + 1;
    let parts = gpu.each(
        gpu.cut_flat(samples),
        |unit, range| {
            let params = CellStatisticsParams {
                sample_count: range.len() as u32,
                threshold_count: thresholds.len() as u32,
                first_step: first_step(thresholds.len()),
                replica_count: (PLACES / cell_count).min(32) as u32,
                fraction_unit: power_of_two(fraction_bits),
            };
            unit.submit(&Job {
                kernel: &CELL_STATISTICS,
                dtype: Some(samples.dtype()),
                params: bytemuck::bytes_of(&params),
                inputs: &[Input::Samples(samples.slice(range.clone())), Input::numbers(thresholds)],
                output_len: 4 * 3 * cell_count,
                scratch_len: 0,
                accumulates: true,
                workgroups: range.len().div_ceil(SPAN),
            })
        },
        |_, bytes| bytemuck::pod_collect_to_vec::<u8, u32>(bytes),
    )?;
    let mut sums = BinSums::of(cell_count);
    parts.iter().for_each(|words| crate::histogram::add_words(&mut sums, words));
    Ok(sums)
}
