//! The scale that maps the largest magnitude of a group to the largest level.
//!
//! The device finds the bits of max|x| in pieces of groups; the host takes the largest of each group and multiplies.

use crate::Gpu;
use crate::chunk::LocalGroups;
use crate::error::GpuError;
use crate::job::{Input, Job};
use quant_core::grouping::Grouping;
use quant_core::scale::storable;
use quant_core::tensor::Matrix;
use quant_shaders::{ABSMAX, AbsmaxParams};

/// Samples of a piece: a long group is shared out to several workgroups.
const PIECE_LEN: usize = 4096;

pub(crate) fn absmax_scales(
    gpu: &Gpu,
    matrix: Matrix<'_>,
    grouping: Grouping,
    level_max_inverse: f32,
    scales: &mut [f32],
) -> Result<(), GpuError> {
    assert_eq!(scales.len(), grouping.group_count(), "one scale per group");
    let magnitudes = absmax(gpu, matrix, grouping)?;
    let scale = |&magnitude: &u32| storable(f32::from_bits(magnitude) * level_max_inverse);
    scales.iter_mut().zip(&magnitudes).for_each(|(to, magnitude)| *to = scale(magnitude));
    Ok(())
}

/// The bits of max|x| of each group; 0 for a group of no samples.
pub(crate) fn absmax(gpu: &Gpu, matrix: Matrix<'_>, grouping: Grouping) -> Result<Vec<u32>, GpuError> {
    let samples = matrix.samples();
    let parts = gpu.each(
        gpu.cut(matrix.rows(), matrix.columns(), 1),
        |unit, chunk| {
            let groups = LocalGroups::new(grouping, chunk);
            let groups_per_row = (groups.groups_per_row as usize).max(1);
            let group_len = (groups.group_len as usize).min(chunk.column_count());
            let pieces = group_len.div_ceil(PIECE_LEN);
            let segment_count = chunk.row_count() * groups_per_row * pieces;
            let lanes = lanes_for(group_len.min(PIECE_LEN));
            let params = AbsmaxParams {
                columns: chunk.column_count() as u32,
                segment_count: segment_count as u32,
                group_len: groups.group_len,
                groups_per_row: groups_per_row as u32,
                column_offset: groups.column_offset,
                piece_len: PIECE_LEN as u32,
                pieces: pieces as u32,
                lanes: lanes as u32,
            };
            unit.submit(&Job {
                kernel: &ABSMAX,
                dtype: Some(samples.dtype()),
                params: bytemuck::bytes_of(&params),
                inputs: &[Input::Samples(samples.slice(chunk.range(matrix.columns())))],
                output_len: 4 * segment_count,
                scratch_len: 0,
                accumulates: false,
                workgroups: segment_count.div_ceil(ABSMAX.workgroup_size as usize / lanes),
            })
        },
        |chunk, bytes| (chunk, bytemuck::pod_collect_to_vec::<u8, u32>(bytes)),
    )?;
    let mut magnitudes = vec![0u32; grouping.group_count()];
    for (chunk, segments) in parts {
        let groups = LocalGroups::new(grouping, &chunk);
        let groups_per_row = (groups.groups_per_row as usize).max(1);
        let pieces = segments.len() / (chunk.row_count() * groups_per_row);
        for (index, piece) in segments.iter().enumerate() {
            let local = index / pieces;
            let row_groups = if groups.groups_per_row == 0 { 0 } else { local };
            let magnitude = &mut magnitudes[groups.range.start + row_groups];
            *magnitude = (*magnitude).max(*piece);
        }
    }
    Ok(magnitudes)
}

/// Invocations that share a segment: at least eight samples each, a power of 2, at most a workgroup.
fn lanes_for(segment_len: usize) -> usize {
    (segment_len / 8).max(1).next_power_of_two().min(ABSMAX.workgroup_size as usize)
}
