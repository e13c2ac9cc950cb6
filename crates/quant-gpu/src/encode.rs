//! Codes of all samples, packed row by row.

use crate::Gpu;
use crate::chunk::LocalGroups;
use crate::error::GpuError;
use crate::job::{Input, Job};
use crate::packed::{CODE_ALIGN, packed_range};
use quant_core::backend::Encoding;
use quant_core::tensor::Matrix;
use quant_shaders::{ENCODE, EncodeParams};

/// The largest power of 2 that is not above `count`; 0 for none. Where a search for a place among `count` begins.
pub(crate) fn first_step(count: usize) -> u32 {
    count.checked_ilog2().map_or(0, |log| 1 << log)
}

pub(crate) fn encode(
    gpu: &Gpu,
    matrix: Matrix<'_>,
    encoding: &Encoding<'_>,
    packed: &mut [u8],
) -> Result<(), GpuError> {
    encoding.assert_consistent();
    assert_eq!(packed.len(), encoding.codes_len_bytes(), "room for every row");
    let samples = matrix.samples();
    let threshold_count = encoding.codebooks.level_count() - 1;
    let is_shared = encoding.codebooks.count() == 1;
    let mut rest = packed;
    let mut items = Vec::new();
    for chunk in gpu.cut(matrix.rows(), matrix.columns(), CODE_ALIGN) {
        let (part, after) = rest.split_at_mut(packed_range(encoding, &chunk).len());
        items.push((chunk, part));
        rest = after;
    }
    gpu.each(
        items,
        |unit, (chunk, part)| {
            let groups = LocalGroups::new(encoding.grouping, chunk);
            let scales = encoding.scales.map_or(&[][..], |scales| &scales[groups.range.clone()]);
            let books = if is_shared { 0..1 } else { chunk.rows.clone() };
            let thresholds: Vec<f32> = books.flat_map(|i| encoding.codebooks.thresholds(i)).copied().collect();
            let params = EncodeParams {
                columns: chunk.column_count() as u32,
                packed_len: part.len() as u32,
                row_len: encoding.bit_width.row_len_bytes(chunk.column_count()) as u32,
                bits: encoding.bit_width.bits() as u32,
                threshold_count: threshold_count as u32,
                threshold_stride: if is_shared { 0 } else { threshold_count as u32 },
                first_step: first_step(threshold_count),
                is_scaled: u32::from(encoding.scales.is_some()),
                group_len: groups.group_len,
                groups_per_row: groups.groups_per_row,
                column_offset: groups.column_offset,
            };
            unit.submit(&Job {
                kernel: &ENCODE,
                dtype: Some(samples.dtype()),
                params: bytemuck::bytes_of(&params),
                inputs: &[
                    Input::Samples(samples.slice(chunk.range(matrix.columns()))),
                    Input::numbers(&thresholds),
                    Input::numbers(scales),
                ],
                output_len: part.len(),
                scratch_len: 0,
                accumulates: false,
                workgroups: part.len().div_ceil(4 * ENCODE.workgroup_size as usize),
            })
        },
        |(_, part), bytes| part.copy_from_slice(bytes),
    )?;
    Ok(())
}
