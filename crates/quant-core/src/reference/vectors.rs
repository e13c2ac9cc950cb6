//! What do the verbs of points mean?

use crate::backend::SamplesMut;
use crate::tensor::{Matrix, flush};
use crate::vectors::{REFINEMENTS, STARTS, VectorEncoding, decoded, pack_indices, unpack_indices};

use super::half_square;

/// Scalar definition of [`encode_vectors`](crate::backend::Backend::encode_vectors).
pub fn encode_vectors(matrix: Matrix<'_>, encoding: &VectorEncoding<'_>, packed: &mut [u8]) {
    encoding.assert_consistent(packed);
    let (rule, columns, row_len) = (encoding.rule, encoding.columns, encoding.row_len_bytes());
    let halves: Vec<f32> = encoding.codevectors.chunks_exact(rule.dimension()).map(half_square).collect();
    for row in 0..encoding.rows {
        let inverse = encoding.inverse_scale(row);
        let sample = |column: usize| flush(matrix.samples().get(row * columns + column) * inverse);
        let mut indices = Vec::with_capacity(rule.indices_per_row(columns));
        for point in 0..rule.points_per_row(columns) {
            let start = point * rule.dimension();
            let mut x: Vec<f32> = (start..(start + rule.dimension()).min(columns)).map(sample).collect();
            x.resize(rule.dimension(), 0.0);
            indices.extend(point_indices(&x, point % rule.parts(), encoding, &halves));
        }
        pack_indices(&indices, rule.index_bits(), &mut packed[row * row_len..][..row_len]);
    }
}

/// The indices of a point: stage by stage from each start, and again.
fn point_indices(x: &[f32], part: usize, encoding: &VectorEncoding<'_>, halves: &[f32]) -> Vec<u16> {
    let (d, stages, count) = (x.len(), encoding.rule.stages(), encoding.rule.codevector_count());
    let halves_of = |stage: usize| &halves[(part * stages + stage) * count..][..count];
    let left = |indices: &[u16], stage: Option<usize>| {
        let mut rest = x.to_vec();
        for (other, &index) in indices.iter().enumerate().filter(|(other, _)| Some(*other) != stage) {
            let codevector = &encoding.stage(part, other)[usize::from(index) * d..][..d];
            rest.iter_mut().zip(codevector).for_each(|(x, y)| *x -= y);
        }
        rest
    };
    let nearest_to = |indices: &[u16], stage: usize| {
        nearest(&left(indices, Some(stage)), encoding.stage(part, stage), halves_of(stage))[0]
    };
    let starts = nearest(x, encoding.stage(part, 0), halves_of(0));
    if stages == 1 {
        return starts[..1].to_vec();
    }
    let (mut best, mut least) = (Vec::new(), f32::INFINITY);
    for &start in starts.iter().take(STARTS) {
        let mut indices = vec![start];
        (1..stages).for_each(|stage| indices.push(nearest_to(&indices, stage)));
        let cost = left(&indices, None).iter().fold(0.0f32, |sum, x| sum + x * x);
        if cost < least || best.is_empty() {
            (best, least) = (indices, cost);
        }
    }
    for stage in (0..REFINEMENTS).flat_map(|_| 0..stages) {
        best[stage] = nearest_to(&best, stage);
    }
    best
}

/// The [`STARTS`] codevectors of least [`score`](super::score), best first, the first of equal ones first.
fn nearest(x: &[f32], codevectors: &[f32], halves: &[f32]) -> [u16; STARTS] {
    let (mut best, mut least) = ([0; STARTS], [f32::INFINITY; STARTS]);
    for (index, (y, &half)) in codevectors.chunks_exact(x.len()).zip(halves).enumerate() {
        let score = x.iter().zip(y).fold(half, |score, (x, y)| (-x).mul_add(*y, score));
        if let Some(place) = least.iter().position(|&other| score < other) {
            least[place..].rotate_right(1);
            best[place..].rotate_right(1);
            (best[place], least[place]) = (index as u16, score);
        }
    }
    best
}

/// Scalar definition of [`decode_vectors`](crate::backend::Backend::decode_vectors).
pub fn decode_vectors(packed: &[u8], encoding: &VectorEncoding<'_>, samples: &mut SamplesMut<'_>) {
    encoding.assert_consistent(packed);
    let (rule, columns, row_len) = (encoding.rule, encoding.columns, encoding.row_len_bytes());
    let (d, stages) = (rule.dimension(), rule.stages());
    let mut indices = vec![0; rule.indices_per_row(columns)];
    for row in 0..encoding.rows {
        unpack_indices(&packed[row * row_len..][..row_len], rule.index_bits(), &mut indices);
        for column in 0..columns {
            let point = column / d;
            let value = |stage: usize| {
                let index = usize::from(indices[point * stages + stage]);
                encoding.stage(point % rule.parts(), stage)[index * d + column % d]
            };
            let y = (1..stages).fold(value(0), |y, stage| y + value(stage));
            samples.set(row * columns + column, decoded(y, encoding.row_scales[row]));
        }
    }
}
