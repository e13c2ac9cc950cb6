//! The whole search of groups of up to 64 samples in AVX-512 registers, several groups side by side.
//!
//! Each step is done for all groups of a batch before the next one, so that no instruction waits for the one before.

use super::avx512::{BLOCK, Block, Levels, to_array, totals_narrow};
use super::bounds::{Bounds, LANES, bin_factor};
use super::{Signs, cells, cells::Cells, scale_of_candidate};
use crate::avx512::{load_f32, load_u16, store_u16};
use crate::level::Level;
use crate::samples::load;
use quant_core::reference::{power_of_two, sample_shift};
use quant_core::scale::{REFINE_OFFSETS, ScaleSearch, span};
use quant_core::tensor::Samples;
use std::arch::x86_64::*;

/// Groups that are searched side by side. More of them push the bounds out of the first-level cache.
pub(super) const BATCH: usize = 16;

/// Samples ahead of which others are brought near: eight groups of 32.
const PREFETCH: usize = 256;

/// Places of refined candidates, after those of all others; the winner of the first stage keeps its cost.
const REFINED: u64 = 0x80;

/// What groups of up to 64 samples are searched with.
pub(super) struct Batch<'a> {
    cells: &'a Cells,
    bounds: &'a Bounds,
    search: &'a ScaleSearch,
    len_max: usize,
    /// 32 bits for candidates with sign +, then 32 for sign −.
    candidates: u64,
    groups: [Short; BATCH],
    /// The first `tried_count` are to be tried; three more fill up the last four.
    tried: Box<[Tried; 64 * BATCH + 4]>,
    tried_count: usize,
}

/// A group of up to 64 samples.
#[derive(Clone, Copy)]
struct Short {
    block: Block,
    /// Lower bounds of the costs, with sign + and with sign −.
    sums: [__m512i; 2],
    largest: f32,
    largest_scaled: i32,
    /// Whether it is searched here.
    searched: bool,
    /// Candidates that have been tried.
    tried: u64,
    /// Numerator of the winner of the first stage, and whether its sign is −.
    first: i32,
    minus: bool,
    /// Of the best candidate up to now: four times its cost, then 8 bits that tell its place.
    key: u64,
}

/// A candidate of a group.
#[derive(Clone, Copy, Default)]
struct Tried {
    numerator: i32,
    group: u8,
    minus: bool,
    place: u8,
}

impl<'a> Batch<'a> {
    /// For groups of at most `len_max` samples; none where they have to be searched the long way.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    pub(super) fn new(cells: &'a Cells, bounds: &'a Bounds, search: &'a ScaleSearch, len_max: usize) -> Option<Self> {
        let zero = _mm512_setzero_si512();
        let block = Block::new([zero; 2], 0, 4096, 0, Signs::Plus);
        let (sums, largest, largest_scaled) = ([zero; 2], 0.0, 4096);
        let (searched, tried, first, minus, key) = (false, 0, 0, false, 0);
        let group = Short { block, sums, largest, largest_scaled, searched, tried, first, minus, key };
        let lanes = u64::from(u32::MAX >> (LANES - search.numerators.len()));
        (len_max <= BLOCK && cells.narrow && cells.one_octave).then(|| Self {
            len_max,
            cells,
            bounds,
            search,
            candidates: if search.signed { lanes | lanes << 32 } else { lanes },
            groups: [group; BATCH],
            tried: Box::new([Tried::default(); 64 * BATCH + 4]),
            tried_count: 0,
        })
    }

    /// Scales of up to [`BATCH`] groups; a bit for each that has to be searched the long way.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    pub(super) fn scales_of(&mut self, level: Level, groups: &[Samples<'_>], scales: &mut [f32]) -> u32 {
        let mut long = 0;
        let count = groups.len();
        for (i, &samples) in groups.iter().enumerate() {
            self.prepare(level, i, samples);
            let group = &self.groups[i];
            long |= u32::from(!group.searched && group.largest != 0.0) << i;
        }
        self.try_those();
        for i in 0..count {
            let group = &self.groups[i];
            let rest = up_to(&group.sums, group.limit(self.bounds)) & self.candidates & !group.tried;
            self.try_all(i, rest);
        }
        self.try_those();
        (0..count).for_each(|i| self.try_refined(i));
        self.try_those();
        for (group, scale) in self.groups.iter().zip(scales) {
            *scale = group.scale(self.search);
        }
        long
    }

    /// Loads a group and picks what to try first.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    fn prepare(&mut self, level: Level, index: usize, samples: Samples<'_>) {
        let x = load_block(level, samples);
        let pair = |i: usize| _mm512_max_ps(_mm512_abs_ps(x[i]), _mm512_abs_ps(x[i + 1]));
        let largest = _mm512_reduce_max_ps(_mm512_max_ps(pair(0), pair(2)));
        let group = &mut self.groups[index];
        (group.largest, group.searched) = (largest, cells::holds(largest));
        if !group.searched {
            group.tried = self.candidates;
            return;
        }
        let unit = power_of_two(sample_shift(largest));
        let largest_scaled = (largest * unit).round_ties_even() as i32;
        let scaled = |i: usize| _mm512_cvtepi32_epi16(_mm512_cvtps_epi32(_mm512_mul_ps(x[i], _mm512_set1_ps(unit))));
        let join = |i: usize| _mm512_inserti64x4::<1>(_mm512_castsi256_si512(scaled(i)), scaled(i + 1));
        let x = [join(0), join(2)];
        let octave = self.cells.table(self.search.numerators[0]).octave;
        group.block = Block::new(x, samples.len(), largest_scaled, octave, Signs::Plus);
        group.sums = sums(self.bounds, x, samples.len(), largest_scaled);
        group.largest_scaled = largest_scaled;
        // What is this close to the least bound is nearly always to be tried; the rest waits for a cost.
        let least = least(&group.sums, self.search.signed);
        group.tried = up_to(&group.sums, least.saturating_add(least / 16 + 1)) & self.candidates;
        group.key = u64::MAX;
        let tried = group.tried;
        self.try_all(index, tried);
    }

    /// Adds candidates of a group to those to be tried.
    #[inline]
    fn try_all(&mut self, group: usize, mut candidates: u64) {
        while candidates != 0 {
            // Four at a time, because how often a loop runs is hard to predict.
            for _ in 0..4 {
                let bit = candidates.trailing_zeros() as usize;
                let (lane, minus) = (bit % LANES, (bit / LANES) & 1);
                let numerator = self.search.numerators.get(lane).copied().unwrap_or(0);
                let place = (2 * lane + minus) as u8;
                self.tried[self.tried_count] = Tried { numerator, group: group as u8, minus: minus != 0, place };
                self.tried_count += usize::from(candidates != 0);
                candidates &= candidates.wrapping_sub(1);
            }
        }
    }

    /// Adds the neighbours of a group's winner.
    #[inline]
    fn try_refined(&mut self, index: usize) {
        let group = &mut self.groups[index];
        if !group.searched {
            return;
        }
        group.first = self.search.numerators[(group.key >> 1) as usize % LANES];
        group.minus = group.key & 1 != 0;
        group.key = group.key & !0xff | REFINED;
        for (i, offset) in (1..).zip(REFINE_OFFSETS) {
            let (numerator, place) = (group.first + offset, (REFINED + i) as u8);
            self.tried[self.tried_count] = Tried { numerator, group: index as u8, minus: group.minus, place };
            self.tried_count += 1;
        }
    }

    /// Tries all that are to be tried.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    fn try_those(&mut self) {
        if self.len_max > 32 { self.evaluate::<2>() } else { self.evaluate::<1>() }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    fn evaluate<const REGISTERS: usize>(&mut self) {
        let count = std::mem::take(&mut self.tried_count);
        if count == 0 {
            return;
        }
        let last = self.tried[count - 1];
        self.tried[count..count + 3].fill(last);
        for four in self.tried[..count + 3].as_chunks::<4>().0 {
            let a = self.cost_fourfold::<REGISTERS>(&four[0]);
            let b = self.cost_fourfold::<REGISTERS>(&four[1]);
            let c = self.cost_fourfold::<REGISTERS>(&four[2]);
            let d = self.cost_fourfold::<REGISTERS>(&four[3]);
            for (tried, cost) in four.iter().zip(to_array(totals_narrow([a, b, c, d]))) {
                let key = &mut self.groups[usize::from(tried.group) % BATCH].key;
                *key = (*key).min(u64::from(cost) << 8 | u64::from(tried.place));
            }
        }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    fn cost_fourfold<const REGISTERS: usize>(&self, tried: &Tried) -> __m512i {
        let group = &self.groups[usize::from(tried.group) % BATCH];
        let table = self.cells.table(tried.numerator);
        let levels = Levels::new(&table.low, &table.high, span(group.largest_scaled, tried.numerator));
        let sign = _mm512_set1_epi16(-i16::from(tried.minus));
        levels.cost_fourfold::<REGISTERS, false>(&group.block.signed(sign))
    }
}

impl Short {
    /// The largest bound that a candidate no worse than the best one can have.
    #[inline]
    fn limit(&self, bounds: &Bounds) -> u16 {
        let squared = (self.largest_scaled * self.largest_scaled) as f32;
        // Increased by more than these products round.
        ((self.key >> 8) as f32 * (0.25 * bounds.unit as f32) / squared * 1.000_002) as u16
    }

    /// The scale of the winner, after refinement.
    #[inline]
    fn scale(&self, search: &ScaleSearch) -> f32 {
        if !self.searched {
            return 0.0;
        }
        let refined = (self.key & 0xff).checked_sub(REFINED + 1);
        let numerator = self.first + refined.map_or(0, |i| REFINE_OFFSETS[i as usize]);
        let sign = if self.minus { -1 } else { 1 };
        scale_of_candidate(search, self.largest, self.largest_scaled, numerator, sign)
    }
}

/// Up to 64 samples, and zeros.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn load_block(level: Level, samples: Samples<'_>) -> [__m512; 4] {
    let mut block = [_mm512_setzero_ps(); 4];
    if let Samples::F32(samples) = samples
        && samples.len() % 16 == 0
    {
        for (to, from) in block.iter_mut().zip(samples.as_chunks().0) {
            prefetch(from);
            let x = load_f32(from);
            let normal = _mm512_cmp_ps_mask::<_CMP_GE_OQ>(_mm512_abs_ps(x), _mm512_set1_ps(f32::MIN_POSITIVE));
            *to = _mm512_maskz_mov_ps(normal, x);
        }
        return block;
    }
    let mut tile = [0.0; BLOCK];
    load(level, samples, 0, &mut tile[..samples.len()]);
    for (to, from) in block.iter_mut().zip(tile.as_chunks().0) {
        *to = load_f32(from);
    }
    block
}

/// Has what follows a kilobyte later brought near: the search of a group takes too long for the processor to see so far.
#[inline]
fn prefetch(from: &[f32; 16]) {
    // SAFETY: a prefetch reads nothing that could be noticed, at any address.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(from.as_ptr().wrapping_add(PREFETCH).cast()) };
}

/// Sums of the rows of all samples: for candidates with sign +, and with sign −.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn sums(bounds: &Bounds, x: [__m512i; 2], len: usize, largest_scaled: i32) -> [__m512i; 2] {
    let factor = _mm512_set1_epi16(bin_factor(largest_scaled));
    let mut bins = [0; BLOCK];
    for (bins, x) in bins.as_chunks_mut().0.iter_mut().zip(x) {
        store_u16(bins, _mm512_and_si512(_mm512_mulhi_epi16(x, factor), _mm512_set1_epi16(511)));
    }
    let (mut plus, mut minus) = (_mm512_setzero_si512(), _mm512_setzero_si512());
    for &bin in &bins[..len] {
        let bin = usize::from(bin) & 511;
        plus = _mm512_adds_epu16(plus, load_u16(&bounds.rows[bin].0));
        minus = _mm512_adds_epu16(minus, load_u16(&bounds.rows[bin ^ 511].0));
    }
    [plus, minus]
}

/// The least of all bounds.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn least(sums: &[__m512i; 2], signed: bool) -> u16 {
    let lanes = if signed { _mm512_min_epu16(sums[0], sums[1]) } else { sums[0] };
    let lanes = _mm256_min_epu16(_mm512_castsi512_si256(lanes), _mm512_extracti64x4_epi64::<1>(lanes));
    let lanes = _mm_min_epu16(_mm256_castsi256_si128(lanes), _mm256_extracti128_si256::<1>(lanes));
    _mm_cvtsi128_si32(_mm_minpos_epu16(lanes)) as u16
}

/// The candidates whose bounds are at most `limit`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn up_to(sums: &[__m512i; 2], limit: u16) -> u64 {
    let limit = _mm512_set1_epi16(limit as i16);
    let (plus, minus) = (_mm512_cmple_epu16_mask(sums[0], limit), _mm512_cmple_epu16_mask(sums[1], limit));
    u64::from(plus) | u64::from(minus) << 32
}
