//! Error of the codes against the samples they stand for.
//!
//! The device sums tiles of 1024 samples as reals with 64-bit mantissas; the host adds tiles up in order, in f64.

use crate::Gpu;
use crate::error::GpuError;
use crate::job::{Input, Job};
use crate::packed::{CODE_ALIGN, Codes};
use quant_core::backend::Encoding;
use quant_core::measure::Distortion;
use quant_core::tensor::Matrix;
use quant_shaders::DISTORTION;

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
    let parts = gpu.each(
        gpu.cut(matrix.rows(), matrix.columns(), CODE_ALIGN),
        |unit, chunk| {
            let codes = Codes::new(encoding, packed, chunk);
            let [packed, levels, scales] = codes.inputs;
            unit.submit(&Job {
                kernel: &DISTORTION,
                dtype: Some(samples.dtype()),
                params: bytemuck::bytes_of(&codes.params),
                inputs: &[Input::Samples(samples.slice(chunk.range(matrix.columns()))), packed, levels, scales],
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
