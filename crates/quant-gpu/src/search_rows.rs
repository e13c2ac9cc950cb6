//! Scale search for groups that are whole rows, of any length: costs come from the device, the host chooses.

use crate::Gpu;
use crate::absmax_scales::absmax;
use crate::encode::first_step;
use crate::error::GpuError;
use crate::job::{Input, Job};
use crate::search_scales::SEGMENT_MAX;
use quant_core::grouping::{GroupLength, Grouping};
use quant_core::reference::{power_of_two, sample_shift};
use quant_core::scale::{REFINE_OFFSETS, ScaleSearch, span, storable};
use quant_core::tensor::Matrix;
use quant_shaders::{SEARCH_COSTS, SearchCostsParams};

/// What is known of a row before the search: shift and largest magnitude in integers.
#[derive(Clone, Copy, Debug)]
struct Row {
    shift: i32,
    largest: i32,
}

impl Row {
    /// Of the bits of max|x|; none for a row of zeros.
    fn new(magnitude: u32) -> Option<Self> {
        let absmax = f32::from_bits(magnitude);
        let shift = sample_shift(absmax);
        let largest = (absmax * power_of_two(shift)).round_ties_even() as i32;
        (magnitude > 0).then_some(Self { shift, largest })
    }

    /// The span of a numerator, negative for a negative scale.
    fn span(self, numerator: i32) -> i32 {
        numerator.signum() * span(self.largest, numerator.abs())
    }

    fn scale(self, numerator: i32, search: &ScaleSearch) -> f32 {
        storable(self.span(numerator) as f32 * power_of_two(-self.shift) * search.level_max_inverse)
    }
}

/// One scale per row.
pub(crate) fn search_rows(
    gpu: &Gpu,
    matrix: Matrix<'_>,
    search: &ScaleSearch,
    scales: &mut [f32],
) -> Result<(), GpuError> {
    let grouping = Grouping::new(matrix.rows(), matrix.columns(), GroupLength::Row);
    let rows: Vec<Option<Row>> = absmax(gpu, matrix, grouping)?.into_iter().map(Row::new).collect();
    let both = |&n: &i32| [n, -n].into_iter().take(if search.signed { 2 } else { 1 });
    let first: Vec<i32> = search.numerators.iter().flat_map(both).collect();
    let stage = |numerators: &(dyn Fn(usize) -> Vec<i32> + Sync)| costs(gpu, matrix, search, &rows, numerators);
    let first_costs = stage(&|_| first.clone())?;
    let winners: Vec<(u64, i32)> = first_costs.iter().map(|costs| cheapest((u64::MAX, 0), costs, &first)).collect();
    let neighbours = |row: usize| -> Vec<i32> {
        let (_, winner) = winners[row];
        let beside =
            |offset: i32| if winner.abs() + offset > 0 { winner.signum() * (winner.abs() + offset) } else { 0 };
        REFINE_OFFSETS.map(beside).into()
    };
    let second_costs = stage(&neighbours)?;
    for (index, scale) in scales.iter_mut().enumerate() {
        let (_, winner) = cheapest(winners[index], &second_costs[index], &neighbours(index));
        *scale = rows[index].map_or(0.0, |row| row.scale(winner, search));
    }
    Ok(())
}

/// The cheapest of `best` and candidates that are not 0; the earlier one of equals.
fn cheapest(best: (u64, i32), costs: &[u64], numerators: &[i32]) -> (u64, i32) {
    let candidates = costs.iter().copied().zip(numerators.iter().copied()).filter(|&(_, numerator)| numerator != 0);
    candidates.fold(best, |best, candidate| if candidate.0 < best.0 { candidate } else { best })
}

/// The cost of each candidate of each row.
fn costs(
    gpu: &Gpu,
    matrix: Matrix<'_>,
    search: &ScaleSearch,
    rows: &[Option<Row>],
    numerators: &(dyn Fn(usize) -> Vec<i32> + Sync),
) -> Result<Vec<Vec<u64>>, GpuError> {
    let samples = matrix.samples();
    let levels: Vec<i32> = search.levels_q15.iter().map(|&c| i32::from(c)).collect();
    let candidate_count = numerators(0).len();
    let parts = gpu.each(
        gpu.cut(matrix.rows(), matrix.columns(), 1),
        |unit, chunk| {
            let spans_of = |index: usize| {
                let row = rows[index].unwrap_or(Row { shift: 0, largest: 0 });
                std::iter::once(row.shift).chain(numerators(index).into_iter().map(move |n| row.span(n)))
            };
            let spans: Vec<i32> = chunk.rows.clone().flat_map(spans_of).collect();
            let segments_per_row = chunk.column_count().div_ceil(SEGMENT_MAX);
            let segment_count = chunk.row_count() * segments_per_row;
            let params = SearchCostsParams {
                columns: chunk.column_count() as u32,
                segment_count: segment_count as u32,
                segments_per_row: segments_per_row as u32,
                segment_len: SEGMENT_MAX as u32,
                level_count: levels.len() as u32,
                first_step: first_step(levels.len()),
                candidate_count: candidate_count as u32,
            };
            unit.submit(&Job {
                kernel: &SEARCH_COSTS,
                dtype: Some(samples.dtype()),
                params: bytemuck::bytes_of(&params),
                inputs: &[
                    Input::Samples(samples.slice(chunk.range(matrix.columns()))),
                    Input::numbers(&levels),
                    Input::numbers(&spans),
                ],
                output_len: 8 * segment_count * candidate_count,
                scratch_len: 0,
                accumulates: false,
                workgroups: segment_count,
            })
        },
        |chunk, bytes| (chunk, bytemuck::pod_collect_to_vec::<u8, u64>(bytes)),
    )?;
    let mut sums = vec![vec![0u64; candidate_count]; matrix.rows()];
    for (chunk, costs) in parts {
        let per_row = costs.len() / chunk.row_count();
        for (row, of_row) in chunk.rows.clone().zip(costs.chunks(per_row)) {
            for segment in of_row.chunks(candidate_count) {
                sums[row].iter_mut().zip(segment).for_each(|(sum, cost)| *sum += cost);
            }
        }
    }
    Ok(sums)
}
