//! level · scale of all codes.

use crate::Gpu;
use crate::error::GpuError;
use crate::job::Job;
use crate::packed::{CODE_ALIGN, Codes};
use quant_core::backend::{Encoding, SamplesMut};
use quant_core::tensor::Dtype;
use quant_shaders::DECODE;

pub(crate) fn decode(
    gpu: &Gpu,
    packed: &[u8],
    encoding: &Encoding<'_>,
    samples: &mut SamplesMut<'_>,
) -> Result<(), GpuError> {
    encoding.assert_consistent();
    assert_eq!(packed.len(), encoding.codes_len_bytes(), "every row is there");
    let grouping = encoding.grouping;
    assert_eq!(samples.len(), grouping.rows() * grouping.columns(), "room for every sample");
    let (dtype, mut rest): (Dtype, &mut [u8]) = match samples {
        SamplesMut::F32(s) => (Dtype::F32, bytemuck::cast_slice_mut(s)),
        SamplesMut::F16(s) => (Dtype::F16, bytemuck::cast_slice_mut(s)),
        SamplesMut::Bf16(s) => (Dtype::Bf16, bytemuck::cast_slice_mut(s)),
    };
    let chunks = gpu.cut(grouping.rows(), grouping.columns(), CODE_ALIGN).into_iter();
    let items = chunks.map(|chunk| {
        let part = rest.split_off_mut(..chunk.len() * dtype.byte_len()).expect("room for every sample");
        (chunk, part)
    });
    gpu.each(
        items.collect(),
        |unit, (chunk, part)| {
            let codes = Codes::new(encoding, packed, chunk);
            unit.submit(&Job {
                kernel: &DECODE,
                dtype: Some(dtype),
                params: bytemuck::bytes_of(&codes.params),
                inputs: &codes.inputs,
                output_len: part.len(),
                scratch_len: 0,
                accumulates: false,
                workgroups: part.len().div_ceil(4 * DECODE.workgroup_size as usize),
            })
        },
        |(_, part), bytes| part.copy_from_slice(bytes),
    )?;
    Ok(())
}
