//! The first sample that is NaN or infinite.

use crate::Gpu;
use crate::error::GpuError;
use crate::job::{Input, Job};
use quant_core::tensor::{NotFinite, Samples};
use quant_shaders::{FIRST_NOT_FINITE, FirstNotFiniteParams};

/// Samples that a workgroup looks at; the kernel says so.
const PER_WORKGROUP: usize = 4096;

pub(crate) fn first_not_finite(gpu: &Gpu, samples: Samples<'_>) -> Result<Option<NotFinite>, GpuError> {
    let found = gpu.each(
        gpu.cut_flat(samples),
        |unit, range| {
            let params = FirstNotFiniteParams { sample_count: range.len() as u32 };
            unit.submit(&Job {
                kernel: &FIRST_NOT_FINITE,
                dtype: Some(samples.dtype()),
                params: bytemuck::bytes_of(&params),
                inputs: &[Input::Samples(samples.slice(range.clone()))],
                output_len: 4,
                scratch_len: 0,
                accumulates: true,
                workgroups: range.len().div_ceil(PER_WORKGROUP),
            })
        },
        |range, bytes| {
            let word: u32 = bytemuck::pod_read_unaligned(bytes);
            (word > 0).then(|| range.start + (u32::MAX - word) as usize)
        },
    )?;
    let index = found.into_iter().flatten().next();
    Ok(index.map(|index| NotFinite { index, value: samples.get(index) }))
}
