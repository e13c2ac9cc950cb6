//! How often each of the 65,536 bit patterns occurs among 16-bit samples.

use crate::Gpu;
use crate::error::GpuError;
use crate::job::{Input, Job};
use quant_core::tensor::{Dtype, Samples};
use quant_shaders::{VALUE_HISTOGRAM, ValueHistogramParams};

const PATTERN_COUNT: usize = 1 << 16;

pub(crate) fn value_histogram(gpu: &Gpu, samples: Samples<'_>) -> Result<Vec<u64>, GpuError> {
    assert!(samples.dtype() != Dtype::F32, "f32 samples have no value histogram");
    let parts = gpu.each(
        gpu.cut_flat(samples),
        |unit, range| {
            let params = ValueHistogramParams { sample_count: range.len() as u32 };
            unit.submit(&Job {
                kernel: &VALUE_HISTOGRAM,
                dtype: None,
                params: bytemuck::bytes_of(&params),
                inputs: &[Input::Samples(samples.slice(range.clone()))],
                output_len: 4 * PATTERN_COUNT,
                scratch_len: 0,
                accumulates: true,
                workgroups: range.len().div_ceil(2 * VALUE_HISTOGRAM.workgroup_size as usize),
            })
        },
        |_, bytes| bytemuck::pod_collect_to_vec::<u8, u32>(bytes),
    )?;
    let mut counts = vec![0u64; PATTERN_COUNT];
    for part in parts {
        counts.iter_mut().zip(part).for_each(|(sum, n)| *sum += u64::from(n));
    }
    Ok(counts)
}
