//! Codes that make up for each other's errors, a few rows at a time.
//!
//! Rows are independent; some of them share the pieces of U/diag(U) that are in the cache. Within a block of columns
//! errors spread at once, to the columns behind it after the block, four errors at a time: every weight still sees the
//! same subtractions in the same order, each rounded twice, so codes are those of the scalar definition. Class: exact.

use crate::{Cpu, codes::pack, level::Level};
use quant_core::backend::Encoding;
use quant_core::error_feedback::Feedback;
use quant_core::reference::decoded;
use quant_core::tensor::{Matrix, flush};
use rayon::prelude::*;
use std::ops::Range;

/// Columns of a block.
const BLOCK: usize = 64;
/// Rows that are rounded together: their errors of a block and a piece of U stay in the second-level cache.
const ROWS: usize = 32;
/// Columns of a piece: with the block 128 KiB of U.
const PIECE: usize = 256;
/// Errors that are spread in one pass over the weights.
const AT_ONCE: usize = 4;

pub(crate) fn encode_with_feedback(
    cpu: &Cpu,
    matrix: Matrix<'_>,
    encoding: &Encoding<'_>,
    feedback: &Feedback,
    packed: &mut [u8],
) {
    encoding.assert_consistent();
    assert_eq!(packed.len(), encoding.codes_len_bytes(), "room for every row");
    assert_eq!(feedback.width(), matrix.columns(), "feedback for these columns");
    if matrix.is_empty() {
        return;
    }
    let rows_step = (cpu.chunk_len / matrix.columns()).clamp(1, ROWS);
    let row_len = encoding.row_len_bytes();
    let spread: Vec<&[f64]> = feedback.spread().row_iter().collect();
    let work = Work { matrix, encoding, order: feedback.order(), spread };
    cpu.pool.install(|| {
        packed.par_chunks_mut(rows_step * row_len).enumerate().for_each(|(index, packed)| {
            let start = index * rows_step;
            work.encode_rows(cpu.level, start..start + packed.len() / row_len, packed);
        });
    });
}

struct Work<'a> {
    matrix: Matrix<'a>,
    encoding: &'a Encoding<'a>,
    order: &'a [usize],
    spread: Vec<&'a [f64]>,
}

impl Work<'_> {
    fn encode_rows(&self, level: Level, rows: Range<usize>, packed: &mut [u8]) {
        let width = self.order.len();
        let sample = |row: usize| move |&column: &usize| (row, column);
        let mut rest: Vec<f64> = rows
            .clone()
            .flat_map(|row| self.order.iter().map(sample(row)))
            .map(|(row, column)| f64::from(self.matrix.samples().get(row * width + column)))
            .collect();
        let mut codes = vec![0u8; rest.len()];
        let mut errors = vec![[0.0; BLOCK]; rows.len()];
        for start in (0..width).step_by(BLOCK) {
            let block = start..(start + BLOCK).min(width);
            for (((row, rest), codes), errors) in
                rows.clone().zip(rest.chunks_exact_mut(width)).zip(codes.chunks_exact_mut(width)).zip(&mut errors)
            {
                level.vectorize(
                    #[inline(always)]
                    || self.encode_block(row, block.clone(), rest, codes, errors),
                );
            }
            for left in (block.end..width).step_by(PIECE) {
                let piece = left..(left + PIECE).min(width);
                for (rest, errors) in rest.chunks_exact_mut(width).zip(&errors) {
                    level.vectorize(
                        #[inline(always)]
                        || self.spread_block(&block, &piece, rest, errors),
                    );
                }
            }
        }
        let row_len = self.encoding.row_len_bytes();
        for (codes, packed) in codes.chunks_exact(width).zip(packed.chunks_exact_mut(row_len)) {
            pack(codes, self.encoding.bit_width, packed);
        }
    }

    /// Rounds the columns of a block of one row, and spreads errors inside the block.
    #[inline(always)]
    fn encode_block(
        &self,
        row: usize,
        block: Range<usize>,
        rest: &mut [f64],
        codes: &mut [u8],
        errors: &mut [f64; BLOCK],
    ) {
        let codebooks = self.encoding.codebooks;
        let codebook = codebooks.index_of_row(row);
        let (levels, thresholds) = (codebooks.levels(codebook), codebooks.thresholds(codebook));
        for step in block.clone() {
            let column = self.order[step];
            let scale = self.encoding.scales.map(|s| s[self.encoding.grouping.index_of(row, column)]);
            let code = code(flush(rest[step] as f32), scale, thresholds);
            codes[column] = code as u8;
            let error = rest[step] - f64::from(decoded(levels[code], scale));
            errors[step - block.start] = error;
            let later = step + 1..block.end;
            let spread = &self.spread[step][later.clone()];
            rest[later].iter_mut().zip(spread).for_each(|(w, u)| *w -= error * u);
        }
    }

    /// Spreads the errors of a block over a piece of the columns behind it.
    #[inline(always)]
    fn spread_block(&self, block: &Range<usize>, piece: &Range<usize>, rest: &mut [f64], errors: &[f64; BLOCK]) {
        let weights = &mut rest[piece.clone()];
        let rows = &self.spread[block.clone()];
        let (fours, ones) = errors[..block.len()].as_chunks::<AT_ONCE>();
        let (row_fours, row_ones) = rows.as_chunks::<AT_ONCE>();
        for (e, rows) in fours.iter().zip(row_fours) {
            let [a, b, c, d] = rows.map(|row| &row[piece.clone()]);
            for ((((w, a), b), c), d) in weights.iter_mut().zip(a).zip(b).zip(c).zip(d) {
                *w = *w - e[0] * a - e[1] * b - e[2] * c - e[3] * d;
            }
        }
        for (e, row) in ones.iter().zip(row_ones) {
            weights.iter_mut().zip(&row[piece.clone()]).for_each(|(w, u)| *w -= e * u);
        }
    }
}

/// [`quant_core::reference::code`] by bisection: thresholds ascend, scaled ones too.
#[inline(always)]
fn code(x: f32, scale: Option<f32>, thresholds: &[f32]) -> usize {
    match scale {
        None => thresholds.partition_point(|&t| x > t),
        Some(scale) => {
            let (x, scale) = match scale {
                s if s < 0.0 => (-x, -s),
                0.0 => (x, 1.0),
                s => (x, s),
            };
            thresholds.partition_point(|&t| x > flush(t * scale))
        }
    }
}
