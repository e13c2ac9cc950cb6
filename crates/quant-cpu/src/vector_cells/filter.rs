//! Which codevector is nearest, by scores in 16-bit integers?
//!
//! Points and codevectors are rounded to 16 bits, and a multiply-add of pairs (VNNI) does two coordinates at once in
//! exact integers. A bound on what the rounding can do tells the points for which more than one codevector may be the
//! nearest; for those, a few in a hundred, all groups that may hold it are compared by f32 scores, which are those of the
//! definition. So codes are the same as without.

use super::avx512::{store_codes, within_group};
use super::integers::{absmax, fill};
use super::{BLOCK, GROUP, Groups};
use crate::avx512::{load_i32, load_padded};
use std::arch::x86_64::*;

/// Powers of two up to this: in more dimensions scores have fewer bits for each product.
const DIMENSION_MAX: usize = 128;

/// Below this many codevectors a point costs more than its scores.
const CODEVECTORS_MIN: usize = 64;

/// Scores keep below half of the range of i32.
const SCORE_MAX: f32 = (1u32 << 30) as f32;

/// A score no codevector has: what fills up the last group.
const NEVER: f32 = 1.5 * SCORE_MAX;

/// Codevectors are multiplied so that coordinates reach this; points then may reach about as much.
const COORDINATE: f32 = 16_384.0;

/// The same where many products add up: points have fewer bits then, and both roundings are to weigh alike.
const COORDINATE_OF_MANY: f32 = 4096.0;

/// From so many dimensions on.
const MANY: usize = 32;

/// Points may reach this.
const COORDINATE_MAX: f32 = 32_000.0;

/// Up to this share of ambiguous points of a block, of 32, are they looked at one by one.
const AMBIGUOUS_MAX: u32 = 12;

/// Blocks done without the filter after one where it failed.
const PAUSE: u32 = 31;

/// A scale of points is kept from block to block while it is at least this share of what it could be.
const SCALE_KEPT: f32 = 0.75;

/// Rounding to the nearest integer and that of the product before: |fl(x·a)| < 2¹⁵.
const HALF: f32 = 0.502;

/// Codevectors in integers, negated, two coordinates in 32 bits.
pub(super) struct Coarse {
    /// One for each pair of coordinates of each group.
    pairs: Vec<[i32; GROUP]>,
    /// What they were multiplied by.
    scale: f32,
    /// The largest ½‖y‖².
    half_square_max: f32,
    /// The largest Σ |y|.
    sum_max: f32,
    /// The lowest bits of a score, which hold the number of its group.
    group_bits: i32,
}

/// What a thread works with.
pub(super) struct Scratch {
    /// Pairs of coordinates of the points of a block.
    pairs: Vec<[i32; BLOCK]>,
    half_squares: Vec<i32>,
    /// What those were multiplied by.
    scale: f32,
    /// A block that is not full, with zeros.
    padded: Vec<f32>,
    /// The least score of each group for each point.
    minima: Vec<[u32; BLOCK]>,
    /// Blocks to be done without the filter.
    pause: u32,
}

impl Coarse {
    /// None where the filter does not serve.
    pub(super) fn new(dimension: usize, samples: &[f32], groups: &Groups) -> Option<Self> {
        let count = samples.len() / dimension;
        if !is_x86_feature_detected!("avx512vnni")
            || !(2..=DIMENSION_MAX).contains(&dimension)
            || !dimension.is_power_of_two()
            || count < CODEVECTORS_MIN
        {
            return None;
        }
        let largest = |values: &mut dyn Iterator<Item = f32>| values.fold(0.0f32, f32::max);
        let absmax = largest(&mut samples.iter().map(|y| y.abs()));
        let half_square_max = largest(&mut groups.half_squares[..count].iter().copied());
        let sum_max = largest(&mut samples.chunks_exact(dimension).map(|y| y.iter().map(|y| y.abs()).sum()));
        let scale = if dimension < MANY { COORDINATE } else { COORDINATE_OF_MANY } / absmax;
        // Where squares overflow or vanish, or scales would, f32 scores decide alone: SCORE_MAX / 1e-28 is below 1e38.
        let is_ordinary = |x: f32| (1e-28..1e28).contains(&x);
        if ![absmax, half_square_max, sum_max, scale].into_iter().all(is_ordinary) {
            return None;
        }
        let integer = |y: f32| -(y * scale).round_ties_even() as i16;
        let pair = |a: f32, b: f32| i32::from(integer(a) as u16) | i32::from(integer(b)) << 16;
        let (rows, _) = groups.values.as_chunks::<GROUP>();
        let pairs = rows.chunks_exact(2).map(|two| std::array::from_fn(|j| pair(two[0][j], two[1][j]))).collect();
        let group_bits = (groups.half_squares.len() / GROUP).next_power_of_two() as i32 - 1;
        Some(Self { pairs, scale, half_square_max, sum_max, group_bits })
    }

    pub(super) fn scratch(&self, groups: &Groups) -> Scratch {
        Scratch {
            pairs: vec![[0; BLOCK]; groups.dimension / 2],
            half_squares: vec![0; groups.half_squares.len()],
            scale: 0.0,
            padded: vec![0.0; BLOCK * groups.dimension],
            minima: vec![[0; BLOCK]; groups.half_squares.len() / GROUP],
            pause: 0,
        }
    }

    /// What points up to `absmax` are multiplied by so that no score leaves its range, by Cauchy and Schwarz.
    fn scale_of_points(&self, absmax: f32, dimension: usize) -> f32 {
        let length = (dimension as f32).sqrt() * absmax * (2.0 * self.half_square_max).sqrt();
        let product = SCORE_MAX / (1.001 * (self.half_square_max + length));
        (product / self.scale).min(COORDINATE_MAX / absmax)
    }

    /// The part of the error of a score that is the same for all points: rounding of coordinates, of ½‖y‖², and of the
    /// f32 chain of the definition, and the bits that the number of the group takes.
    fn error(&self, absmax: f32, scale: f32, dimension: usize) -> f32 {
        let chain = scale * self.scale * (self.half_square_max + absmax * self.sum_max);
        let rounding = HALF * (self.scale * self.sum_max + dimension as f32) + 256.0;
        rounding + self.group_bits as f32 + 2.0 * f32::EPSILON * dimension as f32 * chain
    }
}

/// The codes of a block of points, or none where too many are ambiguous or the filter pauses.
#[inline]
#[target_feature(enable = "avx2,fma,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
pub(super) fn nearest(
    samples: &[f32],
    groups: &Groups,
    coarse: &Coarse,
    scratch: &mut Scratch,
) -> Option<[u32; BLOCK]> {
    if scratch.pause > 0 {
        scratch.pause -= 1;
        return None;
    }
    match groups.dimension {
        2 => nearest_of::<1, 2>(samples, groups, coarse, scratch),
        4 => nearest_of::<2, 4>(samples, groups, coarse, scratch),
        8 => nearest_of::<4, 8>(samples, groups, coarse, scratch),
        16 => nearest_of::<8, 16>(samples, groups, coarse, scratch),
        32 => nearest_of::<16, 32>(samples, groups, coarse, scratch),
        64 => nearest_of::<32, 64>(samples, groups, coarse, scratch),
        _ => nearest_of::<64, 128>(samples, groups, coarse, scratch),
    }
}

/// [`nearest`] for a dimension that the compiler knows, and half of it.
#[inline]
#[target_feature(enable = "avx2,fma,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
fn nearest_of<const PAIRS: usize, const D: usize>(
    samples: &[f32],
    groups: &Groups,
    coarse: &Coarse,
    scratch: &mut Scratch,
) -> Option<[u32; BLOCK]> {
    let points = samples.as_chunks::<D>().0;
    let error = if points.len() == BLOCK {
        scratch.take::<PAIRS>(samples, groups, coarse)?
    } else {
        let mut padded = std::mem::take(&mut scratch.padded);
        padded.fill(0.0);
        padded[..samples.len()].copy_from_slice(samples);
        let error = scratch.take::<PAIRS>(&padded, groups, coarse);
        scratch.padded = padded;
        error?
    };
    prefetch(samples);
    let Clearest { winners, limits, ambiguous } = least_of_groups::<PAIRS>(coarse, scratch, error);
    let (mut codes, several) = codes_in_groups::<PAIRS>(&winners, &limits, coarse, scratch);
    let mut ambiguous = (ambiguous | several) & (u32::MAX >> (BLOCK - points.len()));
    if ambiguous.count_ones() > AMBIGUOUS_MAX {
        scratch.pause = PAUSE;
        return None;
    }
    let (half_squares, values) = (groups.half_squares.as_chunks().0, groups.values.as_chunks().0.as_chunks::<D>().0);
    while ambiguous != 0 {
        let place = ambiguous.trailing_zeros() as usize;
        ambiguous &= ambiguous - 1;
        // The first code of least score among the groups whose least score is at most the limit.
        let mut best = (0, f32::INFINITY);
        for group in (0..values.len()).filter(|&group| scratch.minima[group][place] as i32 <= limits[place] as i32) {
            let (code, score) = within_group(&points[place], &half_squares[group], &values[group]);
            if score < best.1 {
                best = ((group * GROUP) as u32 + code, score);
            }
        }
        codes[place] = best.0;
    }
    Some(codes)
}

/// Asks for the samples after these, which come next as a rule.
#[inline]
fn prefetch(samples: &[f32]) {
    for line in (0..samples.len()).step_by(16) {
        // SAFETY: asking for a line reads nothing, whatever is there.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(samples.as_ptr().wrapping_add(samples.len() + line).cast()) };
    }
}

impl Scratch {
    /// Takes `BLOCK` points; the part of the error of their scores that is the same for all, or none where they are too
    /// small or too large.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    fn take<const PAIRS: usize>(&mut self, samples: &[f32], groups: &Groups, coarse: &Coarse) -> Option<f32> {
        let absmax = absmax(samples);
        let scale = coarse.scale_of_points(absmax, 2 * PAIRS);
        if !(scale > 1e-28 && scale < 1e28) {
            return None;
        }
        // The scale of the block before serves where it is not much less, and ½‖y‖² need not be multiplied again.
        if !(self.scale <= scale && self.scale >= SCALE_KEPT * scale) {
            self.scale = scale;
            self.scale_half_squares(&groups.half_squares, scale * coarse.scale);
        }
        fill::<PAIRS>(samples, self.scale, self.pairs.first_chunk_mut().expect("the dimension was matched"));
        Some(coarse.error(absmax, self.scale, 2 * PAIRS))
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    fn scale_half_squares(&mut self, half_squares: &[f32], scale: f32) {
        for (to, from) in self.half_squares.chunks_mut(16).zip(half_squares.chunks(16)) {
            let scaled = _mm512_mul_ps(load_padded(from, 0.0), _mm512_set1_ps(scale));
            let rounded = _mm512_cvtps_epi32(_mm512_min_ps(scaled, _mm512_set1_ps(NEVER)));
            let lanes = 0xffffu16 >> (16 - to.len());
            // SAFETY: only the first `to.len()` lanes are written.
            unsafe { _mm512_mask_storeu_epi32(to.as_mut_ptr(), lanes, rounded) };
        }
    }
}

/// What the scores of a block of points tell.
struct Clearest {
    /// The group of least score of each point.
    winners: [u32; BLOCK],
    /// That score and twice the error, as an i32: what is above it is not the nearest codevector.
    limits: [u32; BLOCK],
    /// The points of which another group is within the limit.
    ambiguous: u32,
}

/// The group of least score of each point; the least scores of all groups go to the scratch.
#[inline]
#[target_feature(enable = "avx2,fma,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
fn least_of_groups<const PAIRS: usize>(coarse: &Coarse, scratch: &mut Scratch, error: f32) -> Clearest {
    let mut least = [_mm512_set1_epi32(i32::MAX); 2];
    let mut second = [_mm512_set1_epi32(i32::MAX); 2];
    let group_bits = _mm512_set1_epi32(coarse.group_bits);
    let mut group = _mm512_setzero_si512();
    let (half_squares, _) = scratch.half_squares.as_chunks::<GROUP>();
    let points: &[_; PAIRS] = scratch.pairs.first_chunk().expect("the dimension was matched");
    let values = coarse.pairs.as_chunks::<PAIRS>().0;
    for ((half_squares, values), minima) in half_squares.iter().zip(values).zip(&mut scratch.minima) {
        let scores = scores_of_group(points, half_squares, values);
        let mut both = [_mm512_setzero_si512(); 2];
        for half in 0..2 {
            let pair = |j: usize| _mm512_min_epi32(scores[j][half], scores[j + 1][half]);
            let own = _mm512_min_epi32(_mm512_min_epi32(pair(0), pair(2)), _mm512_min_epi32(pair(4), pair(6)));
            // The number of the group takes the place of the lowest bits: `(own & !group_bits) | group`.
            let own = _mm512_ternarylogic_epi32::<0b1011_1010>(own, group_bits, group);
            second[half] = _mm512_min_epi32(second[half], _mm512_max_epi32(own, least[half]));
            least[half] = _mm512_min_epi32(own, least[half]);
            both[half] = own;
        }
        *minima = store_codes(both);
        group = _mm512_add_epi32(group, _mm512_set1_epi32(1));
    }
    let (mut ambiguous, mut limits) = (0, least);
    for half in 0..2 {
        limits[half] = _mm512_add_epi32(least[half], margin(&scratch.pairs, half, error));
        ambiguous |= u32::from(_mm512_cmple_epi32_mask(second[half], limits[half])) << (16 * half);
    }
    let winners = [_mm512_and_si512(least[0], group_bits), _mm512_and_si512(least[1], group_bits)];
    Clearest { winners: store_codes(winners), limits: store_codes(limits), ambiguous }
}

/// The only code within the limit in the group of least score of each point, and the points that have several.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
fn codes_in_groups<const PAIRS: usize>(
    winners: &[u32; BLOCK],
    limits: &[u32; BLOCK],
    coarse: &Coarse,
    scratch: &Scratch,
) -> ([u32; BLOCK], u32) {
    // SAFETY: arrays of eight i32 are 32 readable bytes, and the loads need no alignment.
    let load = |from: &[i32; GROUP]| unsafe { _mm256_loadu_si256(from.as_ptr().cast()) };
    let (half_squares, values) = (scratch.half_squares.as_chunks().0, coarse.pairs.as_chunks::<PAIRS>().0);
    let points: &[_; PAIRS] = scratch.pairs.first_chunk().expect("the dimension was matched");
    let (mut codes, mut several) = ([0; BLOCK], 0);
    for place in 0..BLOCK {
        let group = winners[place] as usize;
        let mut scores = load(&half_squares[group]);
        for (x, y) in points.iter().zip(&values[group]) {
            scores = _mm256_dpwssds_epi32(scores, _mm256_set1_epi32(x[place]), load(y));
        }
        let within = u32::from(_mm256_cmple_epi32_mask(scores, _mm256_set1_epi32(limits[place] as i32)));
        codes[place] = winners[place] * GROUP as u32 + within.trailing_zeros();
        several |= u32::from(within & within.wrapping_sub(1) != 0) << place;
    }
    (codes, several)
}

/// Twice the error of the scores of each point: the integers of a point take part by Σ |x|.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
fn margin(pairs: &[[i32; BLOCK]], half: usize, error: f32) -> __m512i {
    let mut sum = _mm512_setzero_si512();
    for pair in pairs {
        sum =
            _mm512_dpwssd_epi32(sum, _mm512_abs_epi16(load_i32(&pair.as_chunks::<16>().0[half])), _mm512_set1_epi16(1));
    }
    let twice = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum), _mm512_set1_ps(2.0 * HALF), _mm512_set1_ps(2.0 * error + 2.0));
    _mm512_cvtps_epi32(_mm512_min_ps(twice, _mm512_set1_ps(SCORE_MAX / 4.0)))
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
fn scores_of_group<const PAIRS: usize>(
    points: &[[i32; BLOCK]; PAIRS],
    half_squares: &[i32; GROUP],
    values: &[[i32; GROUP]; PAIRS],
) -> [[__m512i; 2]; GROUP] {
    let mut scores = [[_mm512_setzero_si512(); 2]; GROUP];
    for j in 0..GROUP {
        scores[j] = [_mm512_set1_epi32(half_squares[j]); 2];
    }
    for (x, y) in points.iter().zip(values) {
        let (halves, _) = x.as_chunks::<16>();
        let x = [load_i32(&halves[0]), load_i32(&halves[1])];
        for j in 0..GROUP {
            let y = _mm512_set1_epi32(y[j]);
            // The form that saturates, which no score reaches: the other one is taken apart by the compiler, into a
            // multiplication and an addition.
            scores[j] = [_mm512_dpwssds_epi32(scores[j][0], x[0], y), _mm512_dpwssds_epi32(scores[j][1], x[1], y)];
        }
    }
    scores
}
