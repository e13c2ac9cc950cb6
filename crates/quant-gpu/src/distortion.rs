//! Error of the codes against the samples they stand for.
//!
//! The device sums tiles of 1024 samples as reals with 64-bit mantissas; the host adds tiles up in order, in f64.

use crate::Gpu;
use crate::chunk::LocalGroups;
use crate::encode::{CODE_ALIGN, packed_range};
use crate::error::GpuError;
use crate::job::{Input, Job};
use quant_core::backend::Encoding;
use quant_core::measure::Distortion;
use quant_core::tensor::Matrix;
use quant_shaders::{DISTORTION, DistortionParams};

/// Samples of a tile, and words that are kept of it; the kernel says so.
const TILE: usize = 1024;
const TILE_WORDS: usize = 9;
const CODE_COUNT: usize = 256;

pub(crate) fn distortion(
    gpu: &Gpu,
    matrix: Matrix<'_>,
    encoding: &Encoding<'_>,
    packed: &[u8],
) -> Result<Distortion, GpuError> {
    encoding.assert_consistent();
    assert_eq!(packed.len(), encoding.codes_len_bytes(), "every row is there");
    let samples = matrix.samples();
    let is_shared = encoding.codebooks.count() == 1;
    let level_count = encoding.codebooks.level_count();
    let parts = gpu.each(
        gpu.cut(matrix.rows(), matrix.columns(), CODE_ALIGN),
        |unit, chunk| {
            let groups = LocalGroups::new(encoding.grouping, chunk);
            let scales = encoding.scales.map_or(&[][..], |scales| &scales[groups.range.clone()]);
            let books = if is_shared { 0..1 } else { chunk.rows.clone() };
            let levels = &encoding.codebooks.all_levels()[books.start * level_count..books.end * level_count];
            let params = DistortionParams {
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
                kernel: &DISTORTION,
                dtype: Some(samples.dtype()),
                params: bytemuck::bytes_of(&params),
                inputs: &[
                    Input::Samples(samples.slice(chunk.range(matrix.columns()))),
                    Input::numbers(&packed[packed_range(encoding, chunk)]),
                    Input::numbers(levels),
                    Input::numbers(scales),
                ],
                output_len: 4 * (CODE_COUNT + TILE_WORDS * chunk.len().div_ceil(TILE)),
                scratch_len: 0,
                accumulates: true,
                workgroups: chunk.len().div_ceil(TILE),
            })
        },
        |chunk, bytes| part(encoding, chunk.len(), &bytemuck::pod_collect_to_vec::<u8, u32>(bytes)),
    )?;
    let mut sums = Distortion::empty(encoding.bit_width.level_count());
    parts.iter().for_each(|part| sums.merge(part));
    Ok(sums)
}

fn part(encoding: &Encoding<'_>, sample_count: usize, words: &[u32]) -> Distortion {
    let mut sums = Distortion::empty(encoding.bit_width.level_count());
    let (counts, tiles) = words.split_at(CODE_COUNT);
    sums.sample_count = sample_count as u64;
    sums.code_counts.iter_mut().zip(counts).for_each(|(sum, &n)| *sum += u64::from(n));
    for tile in tiles.as_chunks::<TILE_WORDS>().0 {
        sums.squared_error += real(&tile[0..3]);
        sums.energy += real(&tile[3..6]);
        sums.error_max = sums.error_max.max(real(&tile[6..9]));
    }
    sums
}

/// mantissa · 2^exponent, from the words: mantissa low, mantissa high, exponent.
fn real(words: &[u32]) -> f64 {
    let mantissa = u64::from(words[1]) << 32 | u64::from(words[0]);
    if mantissa == 0 { 0.0 } else { mantissa as f64 * 2f64.powi(words[2] as i32) }
}

#[cfg(test)]
mod tests {
    use super::real;

    #[test]
    fn reals_are_read_back() {
        assert_eq!(real(&[0, 0x8000_0000, (-63i32) as u32]), 1.0);
        assert_eq!(real(&[0, 0, (-100_000i32) as u32]), 0.0);
        assert_eq!(real(&[0, 0x8000_0000, 10_000]), f64::INFINITY);
    }
}
