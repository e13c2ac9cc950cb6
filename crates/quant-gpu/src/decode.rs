//! level · scale of all codes.

use crate::Gpu;
use crate::chunk::LocalGroups;
use crate::encode::{CODE_ALIGN, packed_range};
use crate::error::GpuError;
use crate::job::{Input, Job};
use quant_core::backend::{Encoding, SamplesMut};
use quant_core::tensor::Dtype;
use quant_shaders::{DECODE, DecodeParams};

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
    let is_shared = encoding.codebooks.count() == 1;
    let level_count = encoding.codebooks.level_count();
    gpu.each(
        items.collect(),
        |unit, (chunk, part)| {
            let groups = LocalGroups::new(grouping, chunk);
            let scales = encoding.scales.map_or(&[][..], |scales| &scales[groups.range.clone()]);
            let books = if is_shared { 0..1 } else { chunk.rows.clone() };
            let levels = &encoding.codebooks.all_levels()[books.start * level_count..books.end * level_count];
            let params = DecodeParams {
                columns: chunk.column_count() as u32,
                sample_count: chunk.len() as u32,
                bits: encoding.bit_width.bits() as u32,
                row_len: encoding.bit_width.row_len_bytes(chunk.column_count()) as u32,
                level_count: level_count as u32,
                level_stride: if is_shared { 0 } else { level_count as u32 },
                is_scaled: u32::from(encoding.scales.is_some()),
                group_len: groups.group_len,
                groups_per_row: groups.groups_per_row,
                column_offset: groups.column_offset,
            };
            unit.submit(&Job {
                kernel: &DECODE,
                dtype: Some(dtype),
                params: bytemuck::bytes_of(&params),
                inputs: &[
                    Input::numbers(&packed[packed_range(encoding, chunk)]),
                    Input::numbers(levels),
                    Input::numbers(scales),
                ],
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
