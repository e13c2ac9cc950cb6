//! Do the verbs of switched codebooks mean the same?

use super::cases::{Noise, StoredMatrix, noise_bytes};
use super::compare::{exact, within_one_ulp};
use super::{done, for_each_input};
use crate::backend::{Backend, SamplesMut};
use crate::codebook::Codebooks;
use crate::codes::BitWidth;
use crate::grouping::{GroupLength, Grouping};
use crate::reference;
use crate::switched::SwitchedEncoding;

/// Bits of codes and of selectors, and samples of a group: fewer than sixteen codebooks, as many, more; groups of one
/// sample, odd ones, usual ones and one that is longer than a row. One codebook less full than its codes.
const KINDS: [(u32, u32, usize, usize); 6] =
    [(4, 7, 16, 16), (2, 1, 7, 4), (3, 4, 1, 8), (4, 5, 33, 11), (8, 2, 64, 256), (3, 8, 100, 8)];

struct Parts {
    codebooks: Codebooks,
    row_scales: Vec<f32>,
    bit_width: BitWidth,
    selector_width: BitWidth,
    grouping: Grouping,
}

impl Parts {
    fn new(matrix: &StoredMatrix, (bits, selector_bits, length, level_count): (u32, u32, usize, usize)) -> Self {
        let mut noise = Noise(u64::from(bits * 8 + selector_bits));
        let (bit_width, selector_width) = (BitWidth::new(bits), BitWidth::new(selector_bits));
        let (bit_width, selector_width) = (bit_width.expect("1 to 8"), selector_width.expect("1 to 8"));
        let codebook = |index: usize| {
            let mut levels: Vec<f32> = (0..level_count).map(|_| (1 + index % 5) as f32 * noise.normal()).collect();
            levels.sort_unstable_by(f32::total_cmp);
            levels
        };
        // The last codebook equals the first: the first is to be chosen.
        let mut levels: Vec<Vec<f32>> = (0..selector_width.level_count()).map(codebook).collect();
        *levels.last_mut().expect("at least 2") = levels[0].clone();
        let row_scale = |row: usize| match row % 5 {
            3 => 0.0,
            4 => f32::MAX,
            _ => largest(matrix, row) * 0.3,
        };
        Self {
            codebooks: Codebooks::from_levels(level_count, levels),
            row_scales: (0..matrix.rows()).map(row_scale).map(crate::tensor::flush).collect(),
            bit_width,
            selector_width,
            grouping: Grouping::new(matrix.rows(), matrix.columns(), GroupLength::Samples(length)),
        }
    }

    fn encoding(&self) -> SwitchedEncoding<'_> {
        SwitchedEncoding {
            bit_width: self.bit_width,
            selector_width: self.selector_width,
            grouping: self.grouping,
            row_scales: &self.row_scales,
            codebooks: &self.codebooks,
        }
    }
}

fn largest(matrix: &StoredMatrix, row: usize) -> f32 {
    let samples = row * matrix.columns()..(row + 1) * matrix.columns();
    samples.fold(0.0, |most: f32, i| most.max(matrix.samples().get(i).abs()))
}

fn for_each_case(mut visit: impl FnMut(&StoredMatrix, &SwitchedEncoding<'_>, &str)) {
    for_each_input(|matrix| {
        for kind in KINDS {
            visit(matrix, &Parts::new(matrix, kind).encoding(), &format!("{matrix}, {kind:?}"));
        }
    });
}

/// Case of [`Backend::encode_switched`].
pub fn encode_switched<B: Backend>(backends: &[B]) {
    for_each_case(|matrix, encoding, place| {
        let per_sample: Vec<f32> = (0..matrix.len()).map(|i| 0.25 * (i % 7) as f32).collect();
        let lengths = (matrix.rows() * encoding.selector_row_len_bytes(), matrix.rows() * encoding.row_len_bytes());
        for weights in [None, Some(&per_sample[..]), Some(&per_sample[..matrix.columns()])] {
            let (mut selectors, mut packed) = (vec![0xff; lengths.0], vec![0xff; lengths.1]);
            reference::encode_switched(matrix.matrix(), encoding, weights, &mut selectors, &mut packed);
            for backend in backends {
                let (mut found, mut found_packed) = (vec![0xff; lengths.0], vec![0xff; lengths.1]);
                done(backend.encode_switched(matrix.matrix(), encoding, weights, &mut found, &mut found_packed));
                exact(&found, &selectors, &format!("selectors, {} on {place}", backend.name()));
                exact(&found_packed, &packed, &format!("codes, {} on {place}", backend.name()));
            }
        }
    });
}

/// Case of [`Backend::decode_switched`].
pub fn decode_switched<B: Backend>(backends: &[B]) {
    for_each_case(|matrix, encoding, place| {
        let packed = noise_bytes(matrix.rows() * encoding.row_len_bytes());
        let selectors = noise_bytes(matrix.rows() * encoding.selector_row_len_bytes());
        let mut expected = vec![0.0; matrix.len()];
        reference::decode_switched(&packed, &selectors, encoding, &mut SamplesMut::F32(&mut expected));
        for backend in backends {
            let mut bytes = vec![0xffff_ffffu32; matrix.len()];
            let bytes = &mut bytemuck::cast_slice_mut(&mut bytes)[..matrix.len() * matrix.dtype().byte_len()];
            let mut samples = SamplesMut::from_bytes(bytes, matrix.dtype()).expect("a u32 is aligned for all formats");
            done(backend.decode_switched(&packed, &selectors, encoding, &mut samples));
            within_one_ulp(&samples, &expected, &format!("{} on {place}", backend.name()));
        }
    });
}
