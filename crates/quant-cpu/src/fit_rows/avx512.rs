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
    );
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn best_of(candidates: Candidates<'_>, target: (f64, f64)) -> (u32, f64) {
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
