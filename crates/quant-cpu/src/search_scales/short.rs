//! The whole search of a group of up to 64 samples in AVX-512 registers.

use super::avx512::{BLOCK, Block, Steps, Tried, costs_fourfold, least_fourfold};
use super::bounds::{Bounds, LANES, bin_factor};
use super::{Signs, cells, cells::Cells, scale_of_candidate};
use crate::avx512::{load_f32, load_u16, store_u16};
use crate::level::Level;
use crate::samples::load;
use quant_core::reference::{power_of_two, sample_shift};
use quant_core::scale::{REFINE_OFFSETS, ScaleSearch};
use quant_core::tensor::Samples;
use std::arch::x86_64::*;

/// The scale of a group; none where the group has to be searched the long way.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub(super) fn scale_of(
    level: Level,
    cells: &Cells,
    bounds: Option<&Bounds>,
    search: &ScaleSearch,
    samples: Samples<'_>,
) -> Option<f32> {
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
    let group = ShortGroup { cells, search, largest_scaled, len: samples.len() };
    let (numerator, sign) = match bounds {
        Some(bounds) if group.len > 32 => group.choose_bounded::<2>(bounds, x),
        Some(bounds) => group.choose_bounded::<1>(bounds, x),
        None => group.choose(x),
    };
    Some(scale_of_candidate(search, largest, largest_scaled, numerator, sign))
}

/// A group of up to 64 samples.
struct ShortGroup<'a> {
    cells: &'a Cells,
    search: &'a ScaleSearch,
    largest_scaled: i32,
    len: usize,
}

/// Lower bounds of the costs of a group: of the candidates with sign +, and of those with sign −.
struct Sums {
    plus: __m512i,
    minus: __m512i,
    /// Which lanes are of candidates: 32 bits for sign +, then 32 for sign −.
    lanes: u64,
}

impl ShortGroup<'_> {
    /// Numerator and sign of the winner, all candidates tried.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    fn choose(&self, x: [__m512i; 2]) -> (i32, i32) {
        let (cells, largest_scaled) = (self.cells, self.largest_scaled);
        let signs = if self.search.signed { Signs::Both } else { Signs::Plus };
        let first = Steps { cells, numerators: &self.search.numerators, signs, largest_scaled };
        let (cost, place) = least_fourfold(&first, x, self.len);
        let (numerator, sign) = signs.candidate(&self.search.numerators, place);
        let refined = REFINE_OFFSETS.map(|offset| numerator + offset);
        let second = Steps { cells, numerators: &refined, signs: Signs::of(sign), largest_scaled };
        let (refined_cost, place) = least_fourfold(&second, x, self.len);
        (if refined_cost < cost { refined[place] } else { numerator }, sign)
    }

    /// The same, and candidates left out that cannot win.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    fn choose_bounded<const REGISTERS: usize>(&self, bounds: &Bounds, x: [__m512i; 2]) -> (i32, i32) {
        let octave = self.cells.table(self.search.numerators[0]).octave;
        let block = |signs| Block::new(x, self.len, self.largest_scaled, octave, signs);
        let blocks = [block(Signs::Plus), block(Signs::Minus)];
        let sums = self.sums(bounds, x);
        // Bounds are about an eighth below the costs: with these tried, hardly ever any is left.
        let least = sums.least();
        let tried = sums.up_to(least.saturating_add(least / 8 + 1));
        let key = self.least_key::<REGISTERS>(&blocks, tried, u64::MAX);
        let key = self.least_key::<REGISTERS>(&blocks, sums.up_to(self.limit(bounds, key)) & !tried, key);
        let minus = (key & 1) as usize;
        let first = self.search.numerators[(key >> 1) as usize % LANES];
        (self.refined::<REGISTERS>(&blocks[minus], first, key), [1, -1][minus])
    }

    /// Sums of the rows of all samples.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    fn sums(&self, bounds: &Bounds, x: [__m512i; 2]) -> Sums {
        let factor = _mm512_set1_epi16(bin_factor(self.largest_scaled));
        let mut bins = [0; BLOCK];
        for (bins, x) in bins.as_chunks_mut().0.iter_mut().zip(x) {
            store_u16(bins, _mm512_and_si512(_mm512_mulhi_epi16(x, factor), _mm512_set1_epi16(511)));
        }
        let zero = _mm512_setzero_si512();
        let (mut plus, mut minus) = (zero, zero);
        for &bin in &bins[..self.len] {
            let bin = usize::from(bin) & 511;
            plus = _mm512_adds_epu16(plus, load_u16(&bounds.rows[bin].0));
            minus = _mm512_adds_epu16(minus, load_u16(&bounds.rows[bin ^ 511].0));
        }
        let lanes = u64::from(u32::MAX >> (LANES - self.search.numerators.len()));
        if self.search.signed {
            return Sums { plus, minus, lanes: lanes | lanes << 32 };
        }
        Sums { plus, minus: _mm512_set1_epi16(-1), lanes }
    }

    /// The largest bound that a candidate no worse than the one of `key` can have.
    #[inline]
    fn limit(&self, bounds: &Bounds, key: u64) -> u16 {
        let cost = (key >> 8) as f64 * 0.25;
        // Rounded up by more than the three products round.
        (cost * bounds.unit / f64::from(self.largest_scaled * self.largest_scaled) * 1.000_001) as u16
    }

    /// The least of `key` and the keys of `candidates`. A key is four times a cost, then 8 bits that tell the order.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    fn least_key<const REGISTERS: usize>(&self, blocks: &[Block; 2], mut candidates: u64, mut key: u64) -> u64 {
        while candidates != 0 {
            let mut tried = [Tried { numerator: 0, block: &blocks[0] }; 4];
            let mut places = [0; 4];
            let mut bit = 0;
            for (tried, place) in tried.iter_mut().zip(&mut places) {
                // After the last one, that again.
                bit = if candidates == 0 { bit } else { candidates.trailing_zeros() as usize };
                candidates &= candidates.wrapping_sub(1);
                let (lane, minus) = (bit % LANES, bit / LANES & 1);
                *tried = Tried { numerator: self.search.numerators[lane], block: &blocks[minus] };
                *place = (2 * lane + minus) as u64;
            }
            let costs = costs_fourfold::<REGISTERS>(self.cells, self.largest_scaled, tried);
            let keys = [0, 1, 2, 3].map(|i| u64::from(costs[i]) << 8 | places[i]);
            key = key.min(keys[0].min(keys[1])).min(keys[2].min(keys[3]));
        }
        key
    }

    /// The numerator of least cost among `first`, whose key is given, and its neighbours.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    fn refined<const REGISTERS: usize>(&self, block: &Block, first: i32, key: u64) -> i32 {
        let mut key = key & !0xff | 0x80;
        for (half, offsets) in REFINE_OFFSETS.as_chunks::<3>().0.iter().enumerate() {
            let tried = [offsets[0], offsets[1], offsets[2], offsets[2]].map(|o| Tried { numerator: first + o, block });
            let costs = costs_fourfold::<REGISTERS>(self.cells, self.largest_scaled, tried);
            for (i, cost) in costs[..3].iter().enumerate() {
                key = key.min(u64::from(*cost) << 8 | (0x81 + 3 * half + i) as u64);
            }
        }
        (key & 7).checked_sub(1).map_or(first, |i| first + REFINE_OFFSETS[i as usize])
    }
}

impl Sums {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    fn least(&self) -> u16 {
        let lanes = _mm512_min_epu16(self.plus, self.minus);
        let lanes = _mm256_min_epu16(_mm512_castsi512_si256(lanes), _mm512_extracti64x4_epi64::<1>(lanes));
        let lanes = _mm_min_epu16(_mm256_castsi256_si128(lanes), _mm256_extracti128_si256::<1>(lanes));
        _mm_cvtsi128_si32(_mm_minpos_epu16(lanes)) as u16
    }

    /// The candidates whose bounds are at most `limit`, as bits of [`Self::lanes`].
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    fn up_to(&self, limit: u16) -> u64 {
        let limit = _mm512_set1_epi16(limit as i16);
        let (plus, minus) = (_mm512_cmple_epu16_mask(self.plus, limit), _mm512_cmple_epu16_mask(self.minus, limit));
        (u64::from(plus) | u64::from(minus) << 32) & self.lanes
    }
}
