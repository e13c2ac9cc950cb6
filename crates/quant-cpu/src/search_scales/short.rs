//! The whole search of a group of up to 64 samples in AVX-512 registers.

use super::avx512::{BLOCK, Steps, least_fourfold};
use super::{Signs, cells, cells::Cells, scale_of_candidate};
use crate::avx512::load_f32;
use crate::level::Level;
use crate::samples::load;
use quant_core::reference::{power_of_two, sample_shift};
use quant_core::scale::{REFINE_OFFSETS, ScaleSearch};
use quant_core::tensor::Samples;
use std::arch::x86_64::*;

/// The scale of a group; none where the group has to be searched the long way.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub(super) fn scale_of(level: Level, cells: &Cells, search: &ScaleSearch, samples: Samples<'_>) -> Option<f32> {
    if samples.len() > BLOCK || !cells.narrow || !cells.one_octave {
        return None;
    }
    let mut tile = [0.0; BLOCK];
    load(level, samples, 0, &mut tile[..samples.len()]);
    let (quarters, _) = tile.as_chunks::<16>();
    let x = [0, 1, 2, 3].map(|i| load_f32(&quarters[i]));
    let pair = |i: usize| _mm512_max_ps(_mm512_abs_ps(x[i]), _mm512_abs_ps(x[i + 1]));
    let largest = _mm512_reduce_max_ps(_mm512_max_ps(pair(0), pair(2)));
    if !cells::holds(largest) {
        return (largest == 0.0).then_some(0.0);
    }
    let unit = power_of_two(sample_shift(largest));
    let largest_scaled = (largest * unit).round_ties_even() as i32;
    let scaled = |i: usize| _mm512_cvtepi32_epi16(_mm512_cvtps_epi32(_mm512_mul_ps(x[i], _mm512_set1_ps(unit))));
    let join = |i: usize| _mm512_inserti64x4::<1>(_mm512_castsi256_si512(scaled(i)), scaled(i + 1));
    let x = [join(0), join(2)];

    let signs = if search.signed { Signs::Both } else { Signs::Plus };
    let first = Steps { cells, numerators: &search.numerators, signs, largest_scaled };
    let (cost, place) = least_fourfold(&first, x, samples.len());
    let (numerator, sign) = signs.candidate(&search.numerators, place);
    let refined = REFINE_OFFSETS.map(|offset| numerator + offset);
    let second = Steps { cells, numerators: &refined, signs: Signs::of(sign), largest_scaled };
    let (refined_cost, place) = least_fourfold(&second, x, samples.len());
    let numerator = if refined_cost < cost { refined[place] } else { numerator };
    Some(scale_of_candidate(search, largest, largest_scaled, numerator, sign))
}
