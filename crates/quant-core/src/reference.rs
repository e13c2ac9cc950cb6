//! The scalar definition of every backend verb: slow, plain, and what the others are compared with.
//!
//! [`Reference`] is itself a [`Backend`], so the conformance suite can be run on it and a caller can use it anywhere.

mod errors;
mod row_scales;
mod switched;
mod vectors;

use crate::backend::{Backend, Encoding, SamplesMut};
use crate::codebook::Codebooks;
use crate::codes::{code_at, pack_row};
use crate::design::vector::{Points, VectorCells};
use crate::design::{BinSums, Bins, Gathered, fixed_point, optimal};
use crate::error_feedback::Feedback;
use crate::grouping::Grouping;
use crate::measure::Distortion;
use crate::scale::{REFINE_OFFSETS, ScaleSearch, span, storable};
use crate::tensor::{Matrix, NotFinite, Samples, flush};
use crate::transform::{Blocks, Hadamard};

pub use crate::sensitivity::row_weights;
pub use errors::{assert_one_error_per_sample, errors};
pub use row_scales::{assert_one_search_per_row, search_scales_of_rows};
pub use switched::{decode_switched, encode_switched};
pub use vectors::{decode_vectors, encode_vectors};

/// The scalar backend.
#[derive(Clone, Copy, Debug, Default)]
pub struct Reference;

/// #{k : x > flush(t_k · s)}; for a negative scale both x and s are negated, and a zero scale counts as 1.
///
/// ```
/// use quant_core::reference::code;
/// assert_eq!(code(1.0, Some(2.0), &[-0.5, 0.5]), 1); // on the threshold: the lower cell
/// assert_eq!(code(1.5, Some(-2.0), &[-0.5, 0.5]), 0);
/// ```
pub fn code(x: f32, scale: Option<f32>, thresholds: &[f32]) -> usize {
    let (x, scale) = match scale {
        None => return thresholds.iter().filter(|&&t| x > t).count(),
        Some(s) if s < 0.0 => (-x, -s),
        Some(0.0) => (x, 1.0),
        Some(s) => (x, s),
    };
    thresholds.iter().filter(|&&t| x > flush(t * scale)).count()
}

/// flush(level · scale), or the level itself where there is no scale.
pub fn decoded(level: f32, scale: Option<f32>) -> f32 {
    scale.map_or(level, |s| flush(level * s))
}

/// The inverse that samples of a group are multiplied by: 1/s in f32, or 0 for a scale of 0.
pub fn inverse_scales(scales: &[f32]) -> Vec<f32> {
    scales.iter().map(|&s| if s == 0.0 { 0.0 } else { 1.0 / s }).collect()
}

/// The scale of least squared error of one group; see [`crate::scale`].
pub fn search_scale(samples: &[f32], search: &ScaleSearch) -> f32 {
    let absmax = samples.iter().fold(0.0f32, |max, x| max.max(x.abs()));
    if absmax == 0.0 {
        return 0.0;
    }
    let shift = sample_shift(absmax);
    let scaled: Vec<i32> = samples.iter().map(|x| (x * power_of_two(shift)).round_ties_even() as i32).collect();
    let absmax_scaled = scaled.iter().fold(0, |max, x| max.max(x.abs()));
    let (mut best_cost, mut best_numerator, mut best_sign) = (u64::MAX, 0, 1);
    let mut consider = |numerator: i32, sign: i32| {
        let cost = search_cost(&scaled, sign, span(absmax_scaled, numerator), &search.levels_q15);
        if cost < best_cost {
            (best_cost, best_numerator, best_sign) = (cost, numerator, sign);
        }
        (best_numerator, best_sign)
    };
    let mut winner = (0, 1);
    for &numerator in &search.numerators {
        winner = consider(numerator, 1);
        if search.signed {
            winner = consider(numerator, -1);
        }
    }
    let (first_numerator, first_sign) = winner;
    for offset in REFINE_OFFSETS {
        if first_numerator + offset > 0 {
            winner = consider(first_numerator + offset, first_sign);
        }
    }
    let (numerator, sign) = winner;
    let unit = power_of_two(-shift);
    storable((sign * span(absmax_scaled, numerator)) as f32 * unit * search.level_max_inverse)
}

/// The exponent that brings the largest magnitude into [4096, 8192]: 12 − ⌊log₂ absmax⌋, at most 126.
#[inline]
pub fn sample_shift(absmax: f32) -> i32 {
    let exponent = (absmax.to_bits() >> 23) as i32 - 127;
    (12 - exponent).min(126)
}

/// 2^exponent, for −126 ≤ exponent ≤ 127.
#[inline]
pub fn power_of_two(exponent: i32) -> f32 {
    f32::from_bits(((exponent + 127) as u32) << 23)
}

fn search_cost(scaled: &[i32], sign: i32, span: i32, levels_q15: &[i16]) -> u64 {
    let levels: Vec<i32> = levels_q15.iter().map(|&c| (i32::from(c) * span + (1 << 14)) >> 15).collect();
    let thresholds: Vec<i32> = levels.windows(2).map(|w| (w[0] + w[1]) >> 1).collect();
    let squared_error = |&x: &i32| {
        let x = sign * x;
        let error = i64::from(x - levels[thresholds.iter().filter(|&&t| x > t).count()]);
        (error * error) as u64
    };
    scaled.iter().map(squared_error).sum()
}

/// A sample after normalisation: x, or fl(x · inverse scale of its group), flushed.
pub fn normalised(x: f32, row: usize, column: usize, normalisation: Option<(Grouping, &[f32])>) -> f32 {
    normalisation.map_or(x, |(grouping, inverse)| flush(x * inverse[grouping.index_of(row, column)]))
}

fn group_samples(samples: Samples<'_>, range: std::ops::Range<usize>) -> Vec<f32> {
    range.map(|i| samples.get(i)).collect()
}

impl Backend for Reference {
    type Fault = std::convert::Infallible;

    fn name(&self) -> String {
        "reference".into()
    }

    fn first_not_finite(&self, samples: Samples<'_>) -> Result<Option<NotFinite>, Self::Fault> {
        let value = |index| NotFinite { index, value: samples.get(index) };
        Ok((0..samples.len()).map(value).find(|s| !s.value.is_finite()))
    }

    fn absmax_scales(
        &self,
        matrix: Matrix<'_>,
        grouping: Grouping,
        level_max_inverse: f32,
        scales: &mut [f32],
    ) -> Result<(), Self::Fault> {
        assert_eq!(scales.len(), grouping.group_count(), "one scale per group");
        for (group, scale) in scales.iter_mut().enumerate() {
            let samples = group_samples(matrix.samples(), grouping.range(group));
            *scale = storable(samples.iter().fold(0.0f32, |max, x| max.max(x.abs())) * level_max_inverse);
        }
        Ok(())
    }

    fn search_scales(
        &self,
        matrix: Matrix<'_>,
        grouping: Grouping,
        search: &ScaleSearch,
        scales: &mut [f32],
    ) -> Result<(), Self::Fault> {
        assert_eq!(scales.len(), grouping.group_count(), "one scale per group");
        for (group, scale) in scales.iter_mut().enumerate() {
            *scale = search_scale(&group_samples(matrix.samples(), grouping.range(group)), search);
        }
        Ok(())
    }

    fn search_scales_of_rows(
        &self,
        matrix: Matrix<'_>,
        grouping: Grouping,
        searches: &[Option<ScaleSearch>],
        scales: &mut [f32],
    ) -> Result<(), Self::Fault> {
        search_scales_of_rows(matrix, grouping, searches, scales);
        Ok(())
    }

    fn encode(&self, matrix: Matrix<'_>, encoding: &Encoding<'_>, packed: &mut [u8]) -> Result<(), Self::Fault> {
        encoding.assert_consistent();
        assert_eq!(packed.len(), encoding.codes_len_bytes(), "room for every row");
        for row in 0..matrix.rows() {
            let thresholds = encoding.codebooks.thresholds(encoding.codebooks.index_of_row(row));
            let code_of = |column: usize| {
                let scale = encoding.scales.map(|s| s[encoding.grouping.index_of(row, column)]);
                code(matrix.samples().get(row * matrix.columns() + column), scale, thresholds) as u8
            };
            let codes: Vec<u8> = (0..matrix.columns()).map(code_of).collect();
            let row_len = encoding.row_len_bytes();
            pack_row(&codes, encoding.bit_width, &mut packed[row * row_len..][..row_len]);
        }
        Ok(())
    }

    fn decode(&self, packed: &[u8], encoding: &Encoding<'_>, samples: &mut SamplesMut<'_>) -> Result<(), Self::Fault> {
        encoding.assert_consistent();
        for_each_code(packed, encoding, |row, column, level, _| {
            let scale = encoding.scales.map(|s| s[encoding.grouping.index_of(row, column)]);
            samples.set(row * encoding.grouping.columns() + column, decoded(level, scale));
        });
        Ok(())
    }

    fn distortion(
        &self,
        matrix: Matrix<'_>,
        encoding: &Encoding<'_>,
        packed: &[u8],
    ) -> Result<Distortion, Self::Fault> {
        let mut sums = Distortion::empty(encoding.bit_width.level_count());
        for_each_code(packed, encoding, |row, column, level, code| {
            let x = f64::from(matrix.samples().get(row * matrix.columns() + column));
            let scale = encoding.scales.map(|s| s[encoding.grouping.index_of(row, column)]);
            let error = x - f64::from(decoded(level, scale));
            sums.sample_count += 1;
            sums.squared_error += error * error;
            sums.energy += x * x;
            sums.error_max = sums.error_max.max(error.abs());
            sums.code_counts[usize::from(code)] += 1;
        });
        Ok(sums)
    }

    fn value_histogram(&self, samples: Samples<'_>) -> Result<Vec<u64>, Self::Fault> {
        let mut counts = vec![0; 1 << 16];
        match samples {
            Samples::F32(_) => panic!("f32 samples have no value histogram"),
            Samples::F16(s) => s.iter().for_each(|x| counts[usize::from(x.to_bits())] += 1),
            Samples::Bf16(s) => s.iter().for_each(|x| counts[usize::from(x.to_bits())] += 1),
        }
        Ok(counts)
    }

    fn histogram(
        &self,
        matrix: Matrix<'_>,
        normalisation: Option<(Grouping, &[f32])>,
        bins: &Bins,
    ) -> Result<BinSums, Self::Fault> {
        let mut sums = BinSums::empty(bins);
        for row in 0..matrix.rows() {
            for column in 0..matrix.columns() {
                let x = matrix.samples().get(row * matrix.columns() + column);
                sums.add(bins, normalised(x, row, column, normalisation));
            }
        }
        Ok(sums)
    }

    fn fit_rows(
        &self,
        matrix: Matrix<'_>,
        normalisation: Option<(Grouping, &[f32])>,
        weights: Option<&[f32]>,
        level_count: usize,
    ) -> Result<Codebooks, Self::Fault> {
        let columns = matrix.columns();
        let fit = |row: usize| {
            let sample = |column| normalised(matrix.samples().get(row * columns + column), row, column, normalisation);
            let samples: Vec<f32> = (0..columns).map(sample).collect();
            optimal::fit_levels(&samples, row_weights(weights, row, columns), level_count)
        };
        Ok(Codebooks::from_levels(level_count, (0..matrix.rows()).map(fit)))
    }
}

/// Scalar definition of [`Backend::encode_with_feedback`]: w_k ← w_k − (w_j − q_j)·U_jk/U_jj in f64, two roundings each,
/// column after column; the code is that of w_j rounded to f32.
pub fn encode_with_feedback(matrix: Matrix<'_>, encoding: &Encoding<'_>, feedback: &Feedback, packed: &mut [u8]) {
    encoding.assert_consistent();
    assert_eq!(packed.len(), encoding.codes_len_bytes(), "room for every row");
    assert_eq!(feedback.width(), matrix.columns(), "feedback for these columns");
    let (row_len, columns) = (encoding.row_len_bytes(), matrix.columns());
    for row in 0..matrix.rows() {
        let codebook = encoding.codebooks.index_of_row(row);
        let (levels, thresholds) = (encoding.codebooks.levels(codebook), encoding.codebooks.thresholds(codebook));
        let mut rest: Vec<f64> = (0..columns).map(|c| f64::from(matrix.samples().get(row * columns + c))).collect();
        let mut codes = vec![0; columns];
        for (step, &column) in feedback.order().iter().enumerate() {
            let scale = encoding.scales.map(|s| s[encoding.grouping.index_of(row, column)]);
            let code = code(flush(rest[column] as f32), scale, thresholds);
            codes[column] = code as u8;
            let error = rest[column] - f64::from(decoded(levels[code], scale));
            for (later, &to) in feedback.order().iter().enumerate().skip(step + 1) {
                rest[to] -= error * feedback.spread().get(step, later);
            }
        }
        pack_row(&codes, encoding.bit_width, &mut packed[row * row_len..][..row_len]);
    }
}

/// Scalar definition of [`Backend::cell_statistics`].
pub fn cell_statistics(samples: Samples<'_>, thresholds: &[f32], fraction_bits: i32) -> BinSums {
    let mut sums = BinSums::of(thresholds.len() + 1);
    for x in (0..samples.len()).map(|i| samples.get(i)) {
        let cell = code(x, None, thresholds);
        sums.counts[cell] += 1;
        sums.sums[cell] += fixed_point(x, fraction_bits);
    }
    sums
}

/// Scalar definition of [`Backend::gather`].
pub fn gather(matrix: Matrix<'_>, bins: &Bins, segments: &[u16], centre: f64) -> Gathered {
    assert_eq!(segments.len(), bins.count, "a segment for each bin");
    let last = segments[bins.count - 1];
    let mut gathered = Gathered::empty(last);
    // In parts, so that rounding does not grow with the number of samples.
    for start in (0..matrix.len()).step_by(1 << 16) {
        let mut part = Gathered::empty(last);
        for index in start..matrix.len().min(start + (1 << 16)) {
            let x = matrix.samples().get(index);
            part.add(segments[bins.index(x)], x, centre);
        }
        gathered.merge(&part);
    }
    gathered
}

/// ½‖y‖² − ⟨x, y⟩, which orders codevectors y as their distances from x do: from fl(½‖y‖²), summed in f64, down by
/// x_i·y_i in order, with one rounding each (fused multiply and add).
pub fn score(point: &[f32], codevector: &[f32]) -> f32 {
    point.iter().zip(codevector).fold(half_square(codevector), |score, (x, y)| (-x).mul_add(*y, score))
}

/// fl(½‖y‖²).
pub fn half_square(codevector: &[f32]) -> f32 {
    (0.5 * codevector.iter().map(|&y| f64::from(y) * f64::from(y)).sum::<f64>()) as f32
}

/// Scalar definition of [`Backend::nearest_codevectors`].
pub fn nearest_codevectors(points: Points<'_>, codevectors: Points<'_>, codes: &mut [u32]) {
    assert_eq!(points.dimension(), codevectors.dimension(), "points and codevectors of one space");
    assert_eq!(codes.len(), points.len(), "a code for each point");
    for (code, point) in codes.iter_mut().zip(points.iter()) {
        let (mut best, mut least) = (0, f32::INFINITY);
        for (index, codevector) in codevectors.iter().enumerate() {
            let score = score(point, codevector);
            if score < least {
                (best, least) = (index as u32, score);
            }
        }
        *code = best;
    }
}

/// Scalar definition of [`Backend::vector_cells`].
pub fn vector_cells(
    points: Points<'_>,
    weights: Option<&[f32]>,
    codevectors: Points<'_>,
    codes: &mut [u32],
) -> VectorCells {
    nearest_codevectors(points, codevectors, codes);
    let mut cells = VectorCells::empty(codevectors);
    for (index, (point, &code)) in points.iter().zip(&*codes).enumerate() {
        cells.add(code as usize, point, weights.map_or(1.0, |w| w[index]));
    }
    cells
}

fn for_each_code(packed: &[u8], encoding: &Encoding<'_>, mut visit: impl FnMut(usize, usize, f32, u8)) {
    encoding.assert_consistent();
    assert_eq!(packed.len(), encoding.codes_len_bytes(), "every row is there");
    let row_len = encoding.row_len_bytes();
    for row in 0..encoding.grouping.rows() {
        let levels = encoding.codebooks.levels(encoding.codebooks.index_of_row(row));
        for column in 0..encoding.grouping.columns() {
            let code = code_at(&packed[row * row_len..][..row_len], encoding.bit_width, column);
            visit(row, column, levels[usize::from(code).min(levels.len() - 1)], code);
        }
    }
}

/// Scalar definition of [`Backend::hadamard`]: sums in f64, one rounding at the end.
pub fn hadamard(rows: &mut [f32], rotation: &Hadamard) {
    let mut wide: Vec<f64> = rows.iter().map(|&x| f64::from(x)).collect();
    rotation.apply(&mut wide);
    rows.iter_mut().zip(wide).for_each(|(x, y)| *x = y as f32);
}

/// Scalar definition of [`Backend::block_transform`]: sums in f64, one rounding at the end.
pub fn block_transform(rows: &mut [f32], blocks: &Blocks) {
    for row in rows.chunks_exact_mut(blocks.width()) {
        let mut start = 0;
        for block in blocks.forward() {
            let piece = row[start..start + block.rows()].to_vec();
            for (y, line) in row[start..].iter_mut().zip(block.row_iter()) {
                let product = |(&m, &x): (&f64, &f32)| f64::from(m as f32) * f64::from(x);
                *y = line.iter().zip(&piece).map(product).sum::<f64>() as f32;
            }
            start += block.rows();
        }
    }
}
