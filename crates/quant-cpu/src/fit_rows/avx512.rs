//! Layers of the exact programme in AVX-512 registers: eight costs at a time, no branch on which of them is least.

use quant_core::design::optimal::{Candidates, Layer};
use std::arch::x86_64::*;

/// [`Layer::fill`]; the same operations on every candidate, and the lower of equals, so the same result.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub(super) fn fill(layer: Layer<'_>, to: &mut [f64], best: &mut [u32]) {
    layer.fill_by(
        to,
        best,
        #[inline(always)]
        |candidates, target| best_of(candidates, target),
        #[inline(always)]
        |candidates, targets, to, best| best_of_each(candidates, targets, to, best),
        #[inline(always)]
        |candidates, targets, to, best| best_of_runs(candidates, targets, to, best),
    );
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn best_of(candidates: Candidates<'_>, target: (f64, f64)) -> (u32, f64) {
    match candidates.from.len() {
        0..=16 => best_of_few::<2>(candidates, target),
        17..=32 => best_of_few::<4>(candidates, target),
        33..=64 => best_of_few::<8>(candidates, target),
        _ => best_of_many(candidates, target),
    }
}

/// The first best of at most 8 · `EIGHTS` candidates, at most 64. How many there are cannot be foreseen, so there is no
/// branch on it; and the first of equals is the lowest bit of all comparisons.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn best_of_few<const EIGHTS: usize>(candidates: Candidates<'_>, target: (f64, f64)) -> (u32, f64) {
    let Candidates { first, from, weight, moment } = candidates;
    let end = (_mm512_set1_pd(target.0), _mm512_set1_pd(target.1));
    let infinity = _mm512_set1_pd(f64::INFINITY);
    let present = u64::MAX >> (64 - from.len());
    let mut costs = [infinity; EIGHTS];
    for (eighth, to) in costs.iter_mut().enumerate() {
        let lanes = (present >> (8 * eighth)) as u8;
        let of = |values: &[f64]| {
            // SAFETY: only lanes of values that are there are read; the address of others is not used.
            unsafe { _mm512_maskz_loadu_pd(lanes, values.as_ptr().wrapping_add(8 * eighth)) }
        };
        let cost = cost(of(from), (of(weight), of(moment)), end);
        *to = _mm512_mask_mov_pd(infinity, lanes, cost);
    }
    let least = costs.iter().fold(infinity, |least, &cost| _mm512_min_pd(cost, least));
    let found = _mm512_reduce_min_pd(least);
    let mut winners = 0;
    for (eighth, &cost) in costs.iter().enumerate() {
        winners |= u64::from(_mm512_cmp_pd_mask::<_CMP_EQ_OQ>(cost, _mm512_set1_pd(found))) << (8 * eighth);
    }
    (first + winners.trailing_zeros(), found)
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn best_of_many(candidates: Candidates<'_>, target: (f64, f64)) -> (u32, f64) {
    let Candidates { first, from, weight, moment } = candidates;
    let end = (_mm512_set1_pd(target.0), _mm512_set1_pd(target.1));
    let (mut least, mut index) = (_mm512_set1_pd(f64::INFINITY), _mm512_setzero_si512());
    let mut here = _mm512_setr_epi64(0, 1, 2, 3, 4, 5, 6, 7);
    for ((from, weight), moment) in from.chunks(8).zip(weight.chunks(8)).zip(moment.chunks(8)) {
        let start = (load(weight), load(moment));
        let cost = cost(load(from), start, end);
        let lanes = 0xffu8 >> (8 - from.len());
        let better = _mm512_mask_cmp_pd_mask::<_CMP_LT_OQ>(lanes, cost, least);
        least = _mm512_mask_mov_pd(least, better, cost);
        index = _mm512_mask_mov_epi64(index, better, here);
        here = _mm512_add_epi64(here, _mm512_set1_epi64(8));
    }
    let found = _mm512_reduce_min_pd(least);
    let winners = _mm512_cmp_pd_mask::<_CMP_EQ_OQ>(least, _mm512_set1_pd(found));
    (first + _mm512_mask_reduce_min_epu64(winners, index) as u32, found)
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn best_of_each(candidates: Candidates<'_>, targets: [&[f64]; 2], to: &mut [f64], best: &mut [u32]) {
    if to.is_empty() {
        return;
    }
    let Candidates { first, from, weight, moment } = candidates;
    let end = (load(targets[0]), load(targets[1]));
    let mut here = _mm512_set1_epi64(i64::from(first));
    let (mut least, mut index) = (_mm512_set1_pd(f64::INFINITY), here);
    for ((&from, &weight), &moment) in from.iter().zip(weight).zip(moment) {
        let start = (_mm512_set1_pd(weight), _mm512_set1_pd(moment));
        let cost = cost(_mm512_set1_pd(from), start, end);
        let better = _mm512_cmp_pd_mask::<_CMP_LT_OQ>(cost, least);
        least = _mm512_min_pd(cost, least);
        index = _mm512_mask_mov_epi64(index, better, here);
        here = _mm512_add_epi64(here, _mm512_set1_epi64(1));
    }
    let lanes = 0xffu8 >> (8 - to.len());
    let best = &mut best[..to.len()];
    // SAFETY: only the first `to.len()` lanes are written, at most eight, to slices of as many elements.
    unsafe {
        _mm512_mask_storeu_pd(to.as_mut_ptr(), lanes, least);
        _mm256_mask_storeu_epi32(best.as_mut_ptr().cast(), lanes, _mm512_cvtepi64_epi32(index));
    }
}

/// Runs whose bounds are looked at together.
const RUNS: usize = 64;

/// The seven targets between eighth ones, and the eighth ones again, to the same result. A run has about eight
/// candidates, and how many cannot be foreseen: so runs follow one another in one loop that has no branch between them.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn best_of_runs(candidates: Candidates<'_>, targets: [&[f64]; 2], to: &mut [f64], best: &mut [u32]) -> usize {
    let Candidates { first: _, from, weight, moment } = candidates;
    let len = to.len().min(best.len()).min(targets[0].len()).min(targets[1].len());
    let candidate_count = from.len().min(weight.len()).min(moment.len());
    let mut done = 0;
    loop {
        let mut ends = [0; RUNS + 1];
        let count = ((len - 1 - done) / 8).min(RUNS);
        for (run, end) in ends[..=count].iter_mut().enumerate() {
            *end = best[done + 8 * run] as usize;
        }
        if count == 0 || ends[count] >= candidate_count || !ends[..=count].is_sorted() {
            return done;
        }
        let (mut i, mut run, mut fresh) = (ends[0], 0, 0xff);
        let (mut least, mut index) = (_mm512_set1_pd(f64::INFINITY), _mm256_setzero_si256());
        while run < count {
            let place = done + 8 * run + 1;
            // SAFETY: i ≤ ends[count] < candidate_count, and place + 8 ≤ done + 8 · count + 1 ≤ len.
            unsafe {
                let end =
                    (_mm512_loadu_pd(targets[0].as_ptr().add(place)), _mm512_loadu_pd(targets[1].as_ptr().add(place)));
                let start = (_mm512_set1_pd(*weight.get_unchecked(i)), _mm512_set1_pd(*moment.get_unchecked(i)));
                let cost = cost(_mm512_set1_pd(*from.get_unchecked(i)), start, end);
                let better = _mm512_cmp_pd_mask::<_CMP_LT_OQ>(cost, least) | fresh;
                least = _mm512_mask_mov_pd(least, better, cost);
                index = _mm256_mask_mov_epi32(index, better, _mm256_set1_epi32(i as i32));
                _mm512_storeu_pd(to.as_mut_ptr().add(place), least);
                _mm256_storeu_si256(best.as_mut_ptr().add(place).cast(), index);
            }
            // The last candidate of a run is the first of the next.
            let is_last = i == ends[run + 1];
            fresh = 0u8.wrapping_sub(u8::from(is_last));
            run += usize::from(is_last);
            i += usize::from(!is_last);
        }
        done += 8 * count;
    }
}

/// from − moment² / weight of the cell (start, end); infinite where the start is not before the end.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn cost(from: __m512d, start: (__m512d, __m512d), end: (__m512d, __m512d)) -> __m512d {
    let (weight, moment) = (_mm512_sub_pd(end.0, start.0), _mm512_sub_pd(end.1, start.1));
    let is_cell = _mm512_cmp_pd_mask::<_CMP_GT_OQ>(weight, _mm512_setzero_pd());
    let gain = _mm512_div_pd(_mm512_mul_pd(moment, moment), weight);
    _mm512_mask_sub_pd(_mm512_set1_pd(f64::INFINITY), is_cell, from, gain)
}

/// Up to eight values; the lanes behind them are zero.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn load(values: &[f64]) -> __m512d {
    if let Some(eight) = values.first_chunk::<8>() {
        // SAFETY: the array is 64 readable bytes, and the load needs no alignment.
        return unsafe { _mm512_loadu_pd(eight.as_ptr()) };
    }
    let lanes = 0xffu8 >> (8 - values.len());
    // SAFETY: only the first `values.len()` lanes are read.
    unsafe { _mm512_maskz_loadu_pd(lanes, values.as_ptr()) }
}
