//! Which codevectors stand for a matrix, what do they store, and what do they decode to?

use std::ops::Range;

use super::Quantized;
use crate::backend::{Backend, SamplesMut};
use crate::codebook::Codebooks;
use crate::grouping::{GroupLength, Grouping};
use crate::recipe::{Recipe, VectorRule};
use crate::switched::row_scales;
use crate::tensor::Matrix;
use crate::vectors::{self, VectorEncoding, Vectors};

/// Indices and codevectors, not measured yet.
pub(super) fn coded<B: Backend>(
    backend: &B,
    matrix: Matrix<'_>,
    weights: Option<&[f32]>,
    recipe: &Recipe,
    rule: VectorRule,
) -> Result<Quantized, B::Fault> {
    let (rows, columns) = (matrix.rows(), matrix.columns());
    let row_scales = row_scales(matrix);
    let scales: Vec<f32> = row_scales.iter().map(|s| s.to_f32()).collect();
    let codevectors = vectors::fit(backend, matrix, weights, rule, &scales)?;
    let vectors = Vectors { rule, codevectors, row_scales };
    let codevectors = vectors.codevectors_f32();
    let encoding = VectorEncoding { rule, rows, columns, row_scales: &scales, codevectors: &codevectors };
    let mut packed = vec![0; rows * encoding.row_len_bytes()];
    backend.encode_vectors(matrix, &encoding, &mut packed)?;
    let grouping = Grouping::new(rows, columns, GroupLength::Row);
    let no_levels = Codebooks::from_levels(1, [[0.0]]);
    Ok(Quantized { packed, vectors: Some(vectors), ..Quantized::begun(recipe, grouping, no_levels) })
}

/// Bits of indices, of row scales, and of codevectors.
pub(super) fn stored_bits(rule: VectorRule, rows: usize, columns: usize) -> (u64, u64, u64) {
    (8 * (rows * rule.row_len_bytes(columns)) as u64, 16 * rows as u64, 16 * rule.table_len() as u64)
}

/// The samples of rows `rows`.
pub(super) fn decode_rows<B: Backend>(
    quantized: &Quantized,
    vectors: &Vectors,
    backend: &B,
    rows: Range<usize>,
    samples: &mut SamplesMut<'_>,
) -> Result<(), B::Fault> {
    let columns = quantized.grouping.columns();
    let row_len = vectors.rule.row_len_bytes(columns);
    let encoding = VectorEncoding {
        rule: vectors.rule,
        rows: rows.len(),
        columns,
        row_scales: &vectors.row_scales_f32()[rows.clone()],
        codevectors: &vectors.codevectors_f32(),
    };
    backend.decode_vectors(&quantized.packed[rows.start * row_len..rows.end * row_len], &encoding, samples)
}
