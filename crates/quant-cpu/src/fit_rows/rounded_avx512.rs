//! Layers of the exact programme's bounds in AVX-512 registers: sixteen costs at a time, in integers and f32.

use crate::avx512::{load_i32, store_f32};
use quant_core::design::optimal::rounded::{Candidates, LANES, Sums, WIDTH_MAX};
use std::arch::x86_64::*;

/// [`rounded::gains`](quant_core::design::optimal::rounded::gains); the same operations, so the same result.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub(super) fn gains(sums: Sums<'_>, (count, stride): (usize, usize), to: &mut [f32]) {
    for (start, to) in to.chunks_exact_mut(stride).take(count).enumerate() {
        let first = broadcast((sums.weight[start], sums.moment[start]));
        let ends = start / LANES * LANES..stride;
        let (weights, moments) = (&sums.weight[ends.clone()], &sums.moment[ends.clone()]);
        let of_ends = weights.as_chunks().0.iter().zip(moments.as_chunks().0);
        for (to, (weight, moment)) in to[ends].as_chunks_mut().0.iter_mut().zip(of_ends) {
            let weight = _mm512_sub_epi32(load_i32(weight), first.0);
            let is_cell = _mm512_cmpge_epi32_mask(weight, _mm512_setzero_si512());
            let gain = gain(weight, _mm512_sub_epi32(load_i32(moment), first.1));
            store_f32(to, _mm512_mask_mov_ps(_mm512_set1_ps(f32::NEG_INFINITY), is_cell, gain));
        }
    }
}

/// [`Candidates::fill`], to the same result.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub(super) fn fill(candidates: Candidates<'_>, targets: [&[i32]; 2], to: &mut [f32]) {
    match candidates.from.len().div_ceil(LANES) {
        1 => fill_among::<1>(candidates, targets, to),
        2 => fill_among::<2>(candidates, targets, to),
        3 => fill_among::<3>(candidates, targets, to),
        4 => fill_among::<4>(candidates, targets, to),
        5 => fill_among::<5>(candidates, targets, to),
        6 => fill_among::<6>(candidates, targets, to),
        7 | 8 => fill_among::<8>(candidates, targets, to),
        _ => fill_among::<{ WIDTH_MAX / LANES }>(candidates, targets, to),
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn fill_among<const VECTORS: usize>(candidates: Candidates<'_>, targets: [&[i32]; 2], to: &mut [f32]) {
    let mut anchors = [(0, 0); WIDTH_MAX / LANES + 1];
    to[0] = find_anchors::<VECTORS>(candidates, targets, &mut anchors[..=(to.len() - 1) / LANES]);
    let runs = to[1..].as_chunks_mut::<LANES>().0.iter_mut();
    let [weights, moments] = targets.map(|sums| sums[1..].as_chunks::<LANES>().0);
    for ((to, pair), (weight, moment)) in runs.zip(anchors.windows(2)).zip(weights.iter().zip(moments)) {
        let range = pair[0].0..pair[0].1.max(pair[1].1) + 1;
        let end = (load_i32(weight), load_i32(moment));
        let starts = candidates.weight[range.clone()].iter().zip(&candidates.moment[range.clone()]);
        let mut least = _mm512_set1_ps(f32::INFINITY);
        for (&from, (&weight, &moment)) in candidates.from[range].iter().zip(starts) {
            least = _mm512_min_ps(cost(_mm512_set1_ps(from), broadcast((weight, moment)), end), least);
        }
        store_f32(to, least);
    }
}

/// For every sixteenth target the first and the last of at most 16 · `VECTORS` candidates that may be the best; returns the
/// least cost of the first target.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn find_anchors<const VECTORS: usize>(
    candidates: Candidates<'_>,
    targets: [&[i32]; 2],
    anchors: &mut [(usize, usize)],
) -> f32 {
    let Candidates { from, weight, moment, .. } = candidates;
    let count = from.len().min(weight.len()).min(moment.len());
    let infinity = _mm512_set1_ps(f32::INFINITY);
    let lanes: [u16; VECTORS] = std::array::from_fn(
        #[inline(always)]
        |vector| ((1u32 << count.saturating_sub(LANES * vector).min(LANES)) - 1) as u16,
    );
    let mut first_cost = f32::INFINITY;
    for (place, anchor) in anchors.iter_mut().enumerate().rev() {
        let end = broadcast((targets[0][LANES * place], targets[1][LANES * place]));
        let mut costs = [infinity; VECTORS];
        for vector in 0..VECTORS {
            // SAFETY: only lanes of candidates that are there are read; the address of others is not used.
            let (from, weight, moment) = unsafe {
                (
                    _mm512_mask_loadu_ps(infinity, lanes[vector], from.as_ptr().wrapping_add(LANES * vector)),
                    _mm512_maskz_loadu_epi32(lanes[vector], weight.as_ptr().wrapping_add(LANES * vector)),
                    _mm512_maskz_loadu_epi32(lanes[vector], moment.as_ptr().wrapping_add(LANES * vector)),
                )
            };
            costs[vector] = cost(from, (weight, moment), end);
        }
        let mut least = infinity;
        for &cost in &costs {
            least = _mm512_min_ps(cost, least);
        }
        first_cost = _mm512_reduce_min_ps(least);
        let limit = _mm512_set1_ps(candidates.limit(first_cost));
        let mut winners = [0u64; WIDTH_MAX / 64];
        for (vector, &cost) in costs.iter().enumerate() {
            winners[vector / 4] |= u64::from(_mm512_cmp_ps_mask::<_CMP_LE_OQ>(cost, limit)) << (LANES * (vector % 4));
        }
        *anchor = first_and_last(winners, count);
    }
    first_cost
}

/// The first and the last of `count` bits that is set.
#[inline]
fn first_and_last(bits: [u64; WIDTH_MAX / 64], count: usize) -> (usize, usize) {
    let (mut first, mut last) = (count - 1, 0);
    for (i, &bits) in bits.iter().enumerate() {
        last = if bits != 0 { 64 * i + 63 - bits.leading_zeros() as usize } else { last };
    }
    for (i, &bits) in bits.iter().enumerate().rev() {
        first = if bits != 0 { 64 * i + bits.trailing_zeros() as usize } else { first };
    }
    // Lanes that have no candidate cost as much as those that cannot be reached.
    (first.min(count - 1), last.min(count - 1))
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn broadcast(sums: (i32, i32)) -> (__m512i, __m512i) {
    (_mm512_set1_epi32(sums.0), _mm512_set1_epi32(sums.1))
}

/// from − moment² / weight of the cell (start, end); infinite where it ends before it starts.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn cost(from: __m512, start: (__m512i, __m512i), end: (__m512i, __m512i)) -> __m512 {
    let (weight, moment) = (_mm512_sub_epi32(end.0, start.0), _mm512_sub_epi32(end.1, start.1));
    let is_cell = _mm512_cmpge_epi32_mask(weight, _mm512_setzero_si512());
    _mm512_mask_sub_ps(_mm512_set1_ps(f32::INFINITY), is_cell, from, gain(weight, moment))
}

/// moment² / weight; 0 of an empty cell.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn gain(weight: __m512i, moment: __m512i) -> __m512 {
    let weight = _mm512_cvtepi32_ps(_mm512_max_epi32(weight, _mm512_set1_epi32(1)));
    let moment = _mm512_cvtepi32_ps(moment);
    _mm512_div_ps(_mm512_mul_ps(moment, moment), weight)
}
