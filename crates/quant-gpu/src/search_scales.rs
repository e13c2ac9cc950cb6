//! The scale of least squared error of each group, searched in integers; see [`quant_core::scale`] for the definition.
//!
//! Groups of up to 4096 samples are searched whole, one by a workgroup. Longer ones are rows for [`crate::search_rows`].

use crate::Gpu;
use crate::encode::first_step;
use crate::error::GpuError;
use crate::job::{Input, Job};
use crate::search_rows::search_rows;
use quant_core::grouping::{GroupLength, Grouping};
use quant_core::scale::ScaleSearch;
use quant_core::tensor::Matrix;
use quant_shaders::{SEARCH_SCALES, SearchScalesParams};

/// Samples that a workgroup's memory has room for; the kernels say so.
pub(crate) const SEGMENT_MAX: usize = 4096;

pub(crate) fn search_scales(
    gpu: &Gpu,
    matrix: Matrix<'_>,
    grouping: Grouping,
    search: &ScaleSearch,
    scales: &mut [f32],
) -> Result<(), GpuError> {
    assert_eq!(scales.len(), grouping.group_count(), "one scale per group");
    let (rows, columns) = (matrix.rows(), matrix.columns());
    let reshaped = |rows: usize, columns: usize| {
        Matrix::new(matrix.samples(), rows, columns).expect("as many samples in another shape")
    };
    match grouping.length() {
        _ if matrix.is_empty() => {
            scales.fill(0.0);
            Ok(())
        }
        GroupLength::Tensor if matrix.len() <= SEGMENT_MAX => {
            search_short(gpu, reshaped(1, matrix.len()), matrix.len(), search, scales)
        }
        GroupLength::Tensor => search_rows(gpu, reshaped(1, matrix.len()), search, scales),
        GroupLength::Row if columns <= SEGMENT_MAX => search_short(gpu, matrix, columns, search, scales),
        GroupLength::Row => search_rows(gpu, matrix, search, scales),
        GroupLength::Samples(n) if n.min(columns) <= SEGMENT_MAX => {
            search_short(gpu, matrix, n.min(columns), search, scales)
        }
        GroupLength::Samples(n) if columns % n == 0 => {
            search_rows(gpu, reshaped(rows * (columns / n), n), search, scales)
        }
        GroupLength::Samples(_) => {
            for (group, scale) in scales.iter_mut().enumerate() {
                let samples = matrix.samples().slice(grouping.range(group));
                let row = Matrix::new(samples, 1, samples.len()).expect("one row");
                search_scales(
                    gpu,
                    row,
                    Grouping::new(1, row.len(), GroupLength::Row),
                    search,
                    std::slice::from_mut(scale),
                )?;
            }
            Ok(())
        }
    }
}

/// Groups of `n` samples at most.
fn search_short(
    gpu: &Gpu,
    matrix: Matrix<'_>,
    n: usize,
    search: &ScaleSearch,
    scales: &mut [f32],
) -> Result<(), GpuError> {
    let samples = matrix.samples();
    let levels: Vec<i32> = search.levels_q15.iter().map(|&c| i32::from(c)).collect();
    let mut rest = scales;
    let mut items = Vec::new();
    for chunk in gpu.cut(matrix.rows(), matrix.columns(), n) {
        let group_count = chunk.row_count() * chunk.column_count().div_ceil(n);
        let (part, after) = rest.split_at_mut(group_count);
        items.push((chunk, part));
        rest = after;
    }
    gpu.each(
        items,
        |unit, (chunk, part)| {
            let candidate_count = search.numerators.len() * if search.signed { 2 } else { 1 };
            let params = SearchScalesParams {
                columns: chunk.column_count() as u32,
                group_count: part.len() as u32,
                group_len: n as u32,
                groups_per_row: chunk.column_count().div_ceil(n) as u32,
                level_count: levels.len() as u32,
                first_step: first_step(levels.len()),
                numerator_count: search.numerators.len() as u32,
                candidate_count: candidate_count as u32,
                is_signed: u32::from(search.signed),
                level_max_inverse: search.level_max_inverse,
            };
            unit.submit(&Job {
                kernel: &SEARCH_SCALES,
                dtype: Some(samples.dtype()),
                params: bytemuck::bytes_of(&params),
                inputs: &[
                    Input::Samples(samples.slice(chunk.range(matrix.columns()))),
                    Input::numbers(&levels),
                    Input::numbers(&search.numerators),
                ],
                output_len: 4 * part.len(),
                scratch_len: 0,
                accumulates: false,
                workgroups: part.len(),
            })
        },
        |(_, part), bytes| part.copy_from_slice(&bytemuck::pod_collect_to_vec::<u8, f32>(bytes)),
    )?;
    Ok(())
}
