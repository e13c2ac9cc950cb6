//! Costs of many candidates, 32 samples at a time.
//!
//! For the two levels of a sample's bin, the error of the nearer one is e = | |x̂ − (ŷ₀ + ŷ₁)/2| − (ŷ₁ − ŷ₀)/2 |; twice
//! that is an integer of 16 bits, so four times the cost is summed. A negative candidate is the same with −x̂, whose
//! bin is the complement of the bin of x̂.

use super::cells::{Cells, bin_factor};
use super::{Group, Signs};
use crate::avx512::{load_i16, store_u8_16};
use quant_core::scale::span;
use std::arch::x86_64::*;

/// Samples of a block: two registers.
pub(super) const BLOCK: usize = 64;

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub(super) fn add_costs(cells: &Cells, numerators: &[i32], signs: Signs, group: Group<'_>, sums: &mut [u64]) {
    for scaled in group.scaled.chunks(BLOCK) {
        let (x, len) = (load_block(scaled), scaled.len());
        let mut rest = &mut *sums;
        for numerators in numerators.chunk_by(|&a, &b| cells.table(a).octave == cells.table(b).octave) {
            let (sums, after) = rest.split_at_mut(signs.list().len() * numerators.len());
            rest = after;
            let steps = Steps { cells, numerators, signs, largest_scaled: group.largest_scaled };
            let add = |step: usize, fourfold: [__m512i; 4]| {
                let costs = fourfold.map(|lanes| total(lanes) / 4);
                sums[4 * step..].iter_mut().zip(costs).for_each(|(sum, cost)| *sum += cost);
            };
            steps.for_each_four(&steps.block(x, len), add);
        }
    }
}

/// Numerators of one octave, to be tried on a group.
pub(super) struct Steps<'a> {
    pub(super) cells: &'a Cells,
    pub(super) numerators: &'a [i32],
    pub(super) signs: Signs,
    pub(super) largest_scaled: i32,
}

/// A block in registers: 2x̂ and bins of x̂ (of −x̂ for [`Signs::Minus`]), and which lanes hold samples.
#[derive(Clone, Copy)]
pub(super) struct Block {
    doubled: [__m512i; 2],
    bins: [__m512i; 2],
    masks: [__mmask32; 2],
}

impl Block {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    pub(super) fn new(x: [__m512i; 2], len: usize, largest_scaled: i32, octave: u32, signs: Signs) -> Self {
        let mask = if len == BLOCK { u64::MAX } else { (1 << len) - 1 };
        let sign = _mm512_set1_epi16(if signs == Signs::Minus { -1 } else { 0 });
        let x = x.map(|x| _mm512_sub_epi16(_mm512_xor_si512(x, sign), sign));
        Self {
            doubled: x.map(|x| _mm512_add_epi16(x, x)),
            bins: x.map(|x| bins(x, largest_scaled, octave)),
            masks: [mask as u32, (mask >> 32) as u32],
        }
    }

    /// The block of −x̂, for `sign` −1 in all lanes, or of x̂, for 0.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    pub(super) fn signed(&self, sign: __m512i) -> Self {
        let negated = |x| _mm512_sub_epi16(_mm512_xor_si512(x, sign), sign);
        let complement = |bins| _mm512_xor_si512(bins, sign);
        Self {
            doubled: [negated(self.doubled[0]), negated(self.doubled[1])],
            bins: [complement(self.bins[0]), complement(self.bins[1])],
            masks: self.masks,
        }
    }
}

impl Steps<'_> {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    fn block(&self, x: [__m512i; 2], len: usize) -> Block {
        let octave = self.cells.table(self.numerators[0]).octave;
        Block::new(x, len, self.largest_scaled, octave, self.signs)
    }

    /// Visits four times the costs of four candidates at a time, in lanes, with the number of the step.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    fn for_each_four(&self, block: &Block, visit: impl FnMut(usize, [__m512i; 4])) {
        match (self.signs, block.masks[1] != 0) {
            (Signs::Both, true) => self.both_signs::<2>(block, visit),
            (Signs::Both, false) => self.both_signs::<1>(block, visit),
            (_, true) => self.one_sign::<2>(block, visit),
            (_, false) => self.one_sign::<1>(block, visit),
        }
    }

    /// Two numerators with both signs at a time.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    fn both_signs<const REGISTERS: usize>(&self, block: &Block, mut visit: impl FnMut(usize, [__m512i; 4])) {
        for step in 0..self.numerators.len().div_ceil(2) {
            let (first, second) = (self.levels(2 * step), self.levels(2 * step + 1));
            let a = first.cost_fourfold::<REGISTERS, false>(block);
            let b = first.cost_fourfold::<REGISTERS, true>(block);
            let c = second.cost_fourfold::<REGISTERS, false>(block);
            let d = second.cost_fourfold::<REGISTERS, true>(block);
            visit(step, [a, b, c, d]);
        }
    }

    /// Four numerators with one sign at a time.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    fn one_sign<const REGISTERS: usize>(&self, block: &Block, mut visit: impl FnMut(usize, [__m512i; 4])) {
        for step in 0..self.numerators.len().div_ceil(4) {
            let a = self.levels(4 * step).cost_fourfold::<REGISTERS, false>(block);
            let b = self.levels(4 * step + 1).cost_fourfold::<REGISTERS, false>(block);
            let c = self.levels(4 * step + 2).cost_fourfold::<REGISTERS, false>(block);
            let d = self.levels(4 * step + 3).cost_fourfold::<REGISTERS, false>(block);
            visit(step, [a, b, c, d]);
        }
    }

    /// Levels for numerator `index`; beyond the end those of the first, whose cost is found a second time.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    fn levels(&self, index: usize) -> Levels {
        let numerator = *self.numerators.get(index).unwrap_or(&self.numerators[0]);
        let table = self.cells.table(numerator);
        Levels::new(&table.low, &table.high, span(self.largest_scaled, numerator))
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn load_block(scaled: &[i16]) -> [__m512i; 2] {
    let mut padded = [0; BLOCK];
    padded[..scaled.len()].copy_from_slice(scaled);
    let (halves, _) = padded.as_chunks::<32>();
    [load_i16(&halves[0]), load_i16(&halves[1])]
}

/// ⌊x̂ · 2^octave · factor / 65536⌋, beyond the range of the group the outermost bins.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn bins(x: __m512i, largest_scaled: i32, octave: u32) -> __m512i {
    let limit = (largest_scaled >> octave) as i16;
    let inside = _mm512_max_epi16(_mm512_min_epi16(x, _mm512_set1_epi16(limit)), _mm512_set1_epi16(-limit));
    let stretched = _mm512_sll_epi16(inside, _mm_cvtsi32_si128(octave as i32));
    _mm512_mulhi_epi16(stretched, _mm512_set1_epi16(bin_factor(largest_scaled)))
}

/// ŷ₀ + ŷ₁ and ŷ₁ − ŷ₀ of 64 bins.
pub(super) struct Levels {
    sums: [__m512i; 2],
    gaps: [__m512i; 2],
}

impl Levels {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    pub(super) fn new(low: &[i16; 64], high: &[i16; 64], span: i32) -> Self {
        let span = _mm512_set1_epi16(span as i16);
        let mut levels = Self { sums: [span; 2], gaps: [span; 2] };
        for (i, (low, high)) in low.as_chunks::<32>().0.iter().zip(high.as_chunks::<32>().0).enumerate() {
            let (low, high) = (_mm512_mulhrs_epi16(load_i16(low), span), _mm512_mulhrs_epi16(load_i16(high), span));
            levels.sums[i] = _mm512_add_epi16(low, high);
            levels.gaps[i] = _mm512_sub_epi16(high, low);
        }
        levels
    }

    /// 4 · Σ e² in sixteen u32 lanes: each holds four squares of at most (2 · 12480)².
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    pub(super) fn cost_fourfold<const REGISTERS: usize, const NEGATIVE: bool>(&self, block: &Block) -> __m512i {
        let mut lanes = _mm512_setzero_si512();
        for i in 0..REGISTERS {
            let mut bins = block.bins[i];
            if NEGATIVE {
                bins = _mm512_xor_si512(bins, _mm512_set1_epi16(-1));
            }
            let sums = _mm512_permutex2var_epi16(self.sums[0], bins, self.sums[1]);
            let gaps = _mm512_permutex2var_epi16(self.gaps[0], bins, self.gaps[1]);
            let from_middle = if NEGATIVE {
                _mm512_add_epi16(block.doubled[i], sums)
            } else {
                _mm512_sub_epi16(block.doubled[i], sums)
            };
            let errors = _mm512_maskz_sub_epi16(block.masks[i], _mm512_abs_epi16(from_middle), gaps);
            lanes = _mm512_add_epi32(lanes, _mm512_madd_epi16(errors, errors));
        }
        lanes
    }
}

/// The sum of the lanes of each register, where it fits in 32 bits.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub(super) fn totals_narrow([a, b, c, d]: [__m512i; 4]) -> __m128i {
    let ab = _mm512_add_epi32(_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
    let cd = _mm512_add_epi32(_mm512_unpacklo_epi32(c, d), _mm512_unpackhi_epi32(c, d));
    let all = _mm512_add_epi32(_mm512_unpacklo_epi64(ab, cd), _mm512_unpackhi_epi64(ab, cd));
    let half = _mm256_add_epi32(_mm512_castsi512_si256(all), _mm512_extracti64x4_epi64::<1>(all));
    _mm_add_epi32(_mm256_castsi256_si128(half), _mm256_extracti128_si256::<1>(half))
}

/// The sum of the lanes of a register.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn total(lanes: __m512i) -> u64 {
    let low = _mm512_cvtepu32_epi64(_mm512_castsi512_si256(lanes));
    let high = _mm512_cvtepu32_epi64(_mm512_extracti64x4_epi64::<1>(lanes));
    _mm512_reduce_add_epi64(_mm512_add_epi64(low, high)) as u64
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub(super) fn to_array(lanes: __m128i) -> [u32; 4] {
    let mut bytes = [0; 16];
    store_u8_16(&mut bytes, lanes);
    bytemuck::cast(bytes)
}
