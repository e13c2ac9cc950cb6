//! Samples of codes whose groups chose among codebooks: two look-ups in one table that stays in the first-level cache.
//! Class: exact.

use crate::Cpu;
use quant_core::backend::SamplesMut;
use quant_core::codes::unpack_row;
use quant_core::grouping::GroupLength;
use quant_core::switched::{SwitchedEncoding, decoded};
use rayon::prelude::*;

pub(crate) fn decode_switched(
    cpu: &Cpu,
    packed: &[u8],
    selectors: &[u8],
    encoding: &SwitchedEncoding<'_>,
    samples: &mut SamplesMut<'_>,
) {
    encoding.assert_consistent(selectors, packed);
    let columns = encoding.grouping.columns();
    assert_eq!(samples.len(), encoding.grouping.rows() * columns, "room for every sample");
    if columns == 0 {
        return;
    }
    let rows = Rows { encoding, packed, selectors };
    cpu.pool.install(|| match samples {
        SamplesMut::F32(s) => rows.fill(s, |x| x),
        SamplesMut::F16(s) => rows.fill(s, half::f16::from_f32),
        SamplesMut::Bf16(s) => rows.fill(s, half::bf16::from_f32),
    });
}

struct Rows<'a> {
    encoding: &'a SwitchedEncoding<'a>,
    packed: &'a [u8],
    selectors: &'a [u8],
}

impl Rows<'_> {
    fn fill<T: Send>(&self, samples: &mut [T], round: impl Fn(f32) -> T + Sync) {
        let (columns, groups) = (self.encoding.grouping.columns(), self.encoding.grouping.groups_per_row());
        let begin = || (vec![0u8; columns], vec![0u8; groups]);
        samples.par_chunks_exact_mut(columns).enumerate().for_each_init(begin, |(codes, chosen), (row, samples)| {
            self.row(row, codes, chosen, samples, &round);
        });
    }

    fn row<T>(&self, row: usize, codes: &mut [u8], chosen: &mut [u8], samples: &mut [T], round: &impl Fn(f32) -> T) {
        let encoding = self.encoding;
        let GroupLength::Samples(length) = encoding.grouping.length() else { unreachable!("asserted to be runs") };
        let (row_len, selector_len) = (encoding.row_len_bytes(), encoding.selector_row_len_bytes());
        unpack_row(&self.packed[row * row_len..][..row_len], encoding.bit_width, codes);
        unpack_row(&self.selectors[row * selector_len..][..selector_len], encoding.selector_width, chosen);
        let scale = encoding.row_scales[row];
        for ((codes, samples), &selector) in codes.chunks(length).zip(samples.chunks_mut(length)).zip(&*chosen) {
            let levels = encoding.codebooks.levels(usize::from(selector));
            for (code, sample) in codes.iter().zip(samples) {
                *sample = round(decoded(levels[usize::from(*code).min(levels.len() - 1)], scale));
            }
        }
    }
}
