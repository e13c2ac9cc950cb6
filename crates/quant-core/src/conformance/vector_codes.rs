//! Do the verbs of matrices of points mean the same?

use super::cases::{Noise, StoredMatrix, noise_bytes};
use super::compare::{exact, within_one_ulp};
use super::{done, for_each_input};
use crate::backend::{Backend, SamplesMut};
use crate::recipe::VectorRule;
use crate::reference;
use crate::vectors::VectorEncoding;

/// Samples of a point, bits, stages and parts: few codevectors and enough for every kernel, indices across bytes, sums of
/// several, more parts than some rows have points.
const KINDS: [(u32, u32, u32, u32); 7] =
    [(2, 8, 1, 1), (4, 8, 2, 1), (8, 8, 1, 2), (8, 3, 3, 1), (2, 11, 1, 1), (4, 5, 4, 8), (8, 2, 1, 1)];

struct Parts {
    rule: VectorRule,
    row_scales: Vec<f32>,
    codevectors: Vec<f32>,
}

impl Parts {
    fn new(matrix: &StoredMatrix, (dimension, bits, stages, parts): (u32, u32, u32, u32)) -> Self {
        let rule = VectorRule::new(dimension, bits, stages, parts).expect("in range");
        let mut noise = Noise(u64::from(dimension * 100 + bits));
        let mut codevectors: Vec<f32> = (0..rule.table_len()).map(|_| noise.normal()).collect();
        // The last codevector equals the first: the first is to be chosen.
        let last = (rule.codevector_count() - 1) * rule.dimension();
        codevectors.copy_within(..rule.dimension(), last);
        let row_scale = |row: usize| match row % 5 {
            3 => 0.0,
            4 => f32::MAX,
            _ => largest(matrix, row) * 0.3,
        };
        Self { rule, row_scales: (0..matrix.rows()).map(row_scale).map(crate::tensor::flush).collect(), codevectors }
    }

    fn encoding(&self, matrix: &StoredMatrix) -> VectorEncoding<'_> {
        VectorEncoding {
            rule: self.rule,
            rows: matrix.rows(),
            columns: matrix.columns(),
            row_scales: &self.row_scales,
            codevectors: &self.codevectors,
        }
    }
}

fn largest(matrix: &StoredMatrix, row: usize) -> f32 {
    let samples = row * matrix.columns()..(row + 1) * matrix.columns();
    samples.fold(0.0, |most: f32, i| most.max(matrix.samples().get(i).abs()))
}

fn for_each_case(mut visit: impl FnMut(&StoredMatrix, &VectorEncoding<'_>, &str)) {
    for_each_input(|matrix| {
        for kind in KINDS {
            let parts = Parts::new(matrix, kind);
            visit(matrix, &parts.encoding(matrix), &format!("{matrix}, {}", parts.rule));
        }
    });
}

/// Case of [`Backend::encode_vectors`].
pub fn encode_vectors<B: Backend>(backends: &[B]) {
    for_each_case(|matrix, encoding, place| {
        let mut packed = vec![0xff; matrix.rows() * encoding.row_len_bytes()];
        reference::encode_vectors(matrix.matrix(), encoding, &mut packed);
        for backend in backends {
            let mut found = vec![0xff; packed.len()];
            done(backend.encode_vectors(matrix.matrix(), encoding, &mut found));
            exact(&found, &packed, &format!("{} on {place}", backend.name()));
        }
    });
}

/// Case of [`Backend::decode_vectors`].
pub fn decode_vectors<B: Backend>(backends: &[B]) {
    for_each_case(|matrix, encoding, place| {
        let packed = noise_bytes(matrix.rows() * encoding.row_len_bytes());
        let mut expected = vec![0.0; matrix.len()];
        reference::decode_vectors(&packed, encoding, &mut SamplesMut::F32(&mut expected));
        for backend in backends {
            let mut bytes = vec![0xffff_ffffu32; matrix.len()];
            let bytes = &mut bytemuck::cast_slice_mut(&mut bytes)[..matrix.len() * matrix.dtype().byte_len()];
            let mut samples = SamplesMut::from_bytes(bytes, matrix.dtype()).expect("a u32 is aligned for all formats");
            done(backend.decode_vectors(&packed, encoding, &mut samples));
            within_one_ulp(&samples, &expected, &format!("{} on {place}", backend.name()));
        }
    });
}
