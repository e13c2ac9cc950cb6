//! 1-D k-means of thousands of rows at once on the device: nearly optimal, where [`crate::host::fit_rows`] is optimal.
//!
//! Sorting, prefix sums and the search for borders happen on the device, one workgroup a row; the host divides the sums of
//! each cell. Class: trajectory.

use crate::Gpu;
use crate::chunk::{Chunk, LocalGroups};
use crate::error::GpuError;
use crate::host;
use crate::job::{Input, Job};
use quant_core::codebook::Codebooks;
use quant_core::grouping::{GroupLength, Grouping};
use quant_core::tensor::Matrix;
use quant_shaders::{FIT_ROWS_BATCHED, FitRowsBatchedParams};

/// Levels that a workgroup's memory has room for; the kernel says so.
const LEVEL_COUNT_MAX: usize = 32;
/// Columns beyond which sorting by one workgroup does not pay.
const COLUMNS_MAX: usize = 1 << 15;
/// Bits of a weight: more for weights is fewer for samples, whose squares share 64 bits with them.
const WEIGHT_BITS: u32 = 14;
/// More would be lost in the conversion from f32.
const SAMPLE_BITS_MAX: u32 = 25;
/// Rows in flight: device memory for tables is about 100 words a column.
const WORK_LEN_MAX: usize = 256 << 20;

impl Gpu {
    /// A codebook of at most `level_count` levels for each row, of nearly the least Σ w (x − nearest level)².
    ///
    /// Takes what [`quant_core::backend::Backend::fit_rows`] takes. Measured on rows of N(0, 1) with χ² weights, 99 % of
    /// rows and more are within 1e-6 of the optimum. The result is the same on every run on one
    /// adapter; between adapters codebooks may differ where two partitions are nearly as good. Rows of more than 32,768
    /// samples, codebooks of more than 32 levels, and rows whose search is too long for every driver, are fitted exactly
    /// on the host.
    pub fn fit_rows_batched(
        &self,
        matrix: Matrix<'_>,
        normalisation: Option<(Grouping, &[f32])>,
        weights: Option<&[f32]>,
        level_count: usize,
    ) -> Result<Codebooks, GpuError> {
        let columns = matrix.columns();
        if level_count > LEVEL_COUNT_MAX || columns > COLUMNS_MAX || columns == 0 {
            return Ok(host::fit_rows(matrix, normalisation, weights, level_count));
        }
        let samples = matrix.samples();
        let shape = Shape::new(columns, level_count, weights.is_some());
        let limit = self.adapters().iter().map(|a| a.binding_len_bytes).min().unwrap_or(0) as usize;
        let row_max = (limit.min(WORK_LEN_MAX) / (4 * (shape.row_words + shape.result_words))).max(1);
        let sample_row_max = (self.sample_max / columns).max(1);
        let step = row_max.min(sample_row_max);
        let chunks = (0..matrix.rows()).step_by(step).map(|top| top..(top + step).min(matrix.rows()));
        let chunks = chunks.map(|rows| Chunk { rows, columns: 0..columns }).collect();
        let found = self.each(
            chunks,
            |unit, chunk| {
                let whole = Grouping::new(matrix.rows(), columns, GroupLength::Tensor);
                let groups = LocalGroups::new(normalisation.map_or(whole, |(grouping, _)| grouping), chunk);
                let inverse_scales = normalisation.map_or(&[][..], |(_, inverse)| &inverse[groups.range.clone()]);
                let is_shared = weights.is_some_and(|w| w.len() == columns);
                let of_chunk = if is_shared { 0..columns } else { chunk.range(columns) };
                let params = shape.params(chunk, &groups, normalisation.is_some(), weights.is_some(), is_shared);
                unit.submit(&Job {
                    kernel: &FIT_ROWS_BATCHED,
                    dtype: Some(samples.dtype()),
                    params: bytemuck::bytes_of(&params),
                    inputs: &[
                        Input::Samples(samples.slice(chunk.range(columns))),
                        Input::numbers(inverse_scales),
                        Input::numbers(weights.map_or(&[][..], |w| &w[of_chunk])),
                    ],
                    output_len: 4 * chunk.row_count() * shape.result_words,
                    scratch_len: 4 * chunk.row_count() * shape.row_words,
                    accumulates: false,
                    workgroups: chunk.row_count(),
                })
            },
            |_, bytes| {
                let words: Vec<u32> = bytemuck::pod_collect_to_vec(bytes);
                words.chunks(shape.result_words).map(levels_of).collect::<Vec<_>>()
            },
        )?;
        let levels = found.into_iter().flatten().enumerate().map(|(row, levels)| {
            levels.unwrap_or_else(|| host::fit_row(matrix, row, normalisation, weights, level_count))
        });
        Ok(Codebooks::from_levels(level_count, levels))
    }
}

/// How many words and bits a row takes.
#[derive(Clone, Copy, Debug)]
struct Shape {
    columns: usize,
    level_count: usize,
    padded_len: usize,
    row_words: usize,
    result_words: usize,
    sample_bits: u32,
    weight_bits: u32,
}

impl Shape {
    fn new(columns: usize, level_count: usize, is_weighted: bool) -> Self {
        let padded_len = columns.next_power_of_two();
        let weight_bits = if is_weighted { WEIGHT_BITS } else { 1 };
        // w x² of all samples must stay below 2⁶³, for |x| up to 2^(sample_bits − 1).
        let sample_bits = ((65 - weight_bits - padded_len.ilog2()) / 2).min(SAMPLE_BITS_MAX);
        Self {
            columns,
            level_count,
            padded_len,
            row_words: 2 * padded_len + (6 + 2 + level_count.saturating_sub(2)) * (columns + 1),
            result_words: 4 * level_count + 2,
            sample_bits,
            weight_bits,
        }
    }

    fn params(
        &self,
        chunk: &Chunk,
        groups: &LocalGroups,
        is_normalised: bool,
        is_weighted: bool,
        is_shared: bool,
    ) -> FitRowsBatchedParams {
        FitRowsBatchedParams {
            columns: self.columns as u32,
            row_count: chunk.row_count() as u32,
            level_count: self.level_count as u32,
            padded_len: self.padded_len as u32,
            row_words: self.row_words as u32,
            result_words: self.result_words as u32,
            sample_bits: self.sample_bits,
            weight_bits: self.weight_bits,
            is_weighted: u32::from(is_weighted),
            weight_stride: if is_shared { 0 } else { self.columns as u32 },
            is_normalised: u32::from(is_normalised),
            group_len: groups.group_len,
            groups_per_row: groups.groups_per_row,
            column_offset: groups.column_offset,
        }
    }
}

/// Means of the cells that have weight; 0 where none has. None where the device gave the row up.
fn levels_of(words: &[u32]) -> Option<Vec<f32>> {
    let (cells, rest) = words.split_at(words.len() - 2);
    let unit = 2f64.powi(-(rest[0] as i32));
    let wide = |high: u32, low: u32| u64::from(high) << 32 | u64::from(low);
    let mean = |cell: &[u32; 4]| {
        let weight = wide(cell[0], cell[1]);
        (weight > 0).then(|| (wide(cell[2], cell[3]) as i64 as f64 / weight as f64 * unit) as f32)
    };
    let mut levels: Vec<f32> = cells.as_chunks::<4>().0.iter().filter_map(mean).collect();
    levels.dedup();
    (rest[1] == 0).then(|| if levels.is_empty() { vec![0.0] } else { levels })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_of_squares_fit_in_64_bits() {
        for (columns, weighted) in [(1, false), (4096, false), (4096, true), (COLUMNS_MAX, true)] {
            let shape = Shape::new(columns, 16, weighted);
            let bits = 2 * (shape.sample_bits - 1) + shape.weight_bits + shape.padded_len.ilog2();
            assert!(bits <= 63, "{columns} columns: {bits} bits");
            assert!(shape.sample_bits >= 17);
        }
    }

    #[test]
    fn cells_without_weight_have_no_level() {
        let exponent = 3u32;
        assert_eq!(levels_of(&[0, 2, 0, 8, 0, 0, 0, 0, 0, 1, 0, 24, exponent, 0]), Some(vec![0.5, 3.0]));
        assert_eq!(levels_of(&[0, 0, 0, 0, exponent, 0]), Some(vec![0.0]));
        assert_eq!(levels_of(&[0, 2, 0, 8, exponent, 1]), None);
    }
}
