//! Samples of points: indices are unpacked, codevectors looked up in a table that stays in a near cache, added and scaled.
//! Class: exact.

use crate::Cpu;
use quant_core::backend::SamplesMut;
use quant_core::vectors::{VectorEncoding, decoded, unpack_indices};
use rayon::prelude::*;

pub(crate) fn decode_vectors(cpu: &Cpu, packed: &[u8], encoding: &VectorEncoding<'_>, samples: &mut SamplesMut<'_>) {
    encoding.assert_consistent(packed);
    assert_eq!(samples.len(), encoding.rows * encoding.columns, "room for every sample");
    if encoding.columns == 0 {
        return;
    }
    match encoding.rule.dimension() {
        2 => of_dimension::<2>(cpu, packed, encoding, samples),
        4 => of_dimension::<4>(cpu, packed, encoding, samples),
        _ => of_dimension::<8>(cpu, packed, encoding, samples),
    }
}

fn of_dimension<const D: usize>(cpu: &Cpu, packed: &[u8], encoding: &VectorEncoding<'_>, samples: &mut SamplesMut<'_>) {
    let (table, []) = encoding.codevectors.as_chunks::<D>() else { unreachable!("asserted to be whole") };
    let rows = Rows { cpu, packed, encoding, table };
    cpu.pool.install(|| match samples {
        SamplesMut::F32(s) => rows.fill(s, |x| x),
        SamplesMut::F16(s) => rows.fill(s, half::f16::from_f32),
        SamplesMut::Bf16(s) => rows.fill(s, half::bf16::from_f32),
    });
}

struct Rows<'a, const D: usize> {
    cpu: &'a Cpu,
    packed: &'a [u8],
    encoding: &'a VectorEncoding<'a>,
    table: &'a [[f32; D]],
}

impl<const D: usize> Rows<'_, D> {
    fn fill<T: Copy + Default + Send>(&self, samples: &mut [T], round: impl Fn(f32) -> T + Sync) {
        let columns = self.encoding.columns;
        let begin = || vec![0u16; self.encoding.rule.indices_per_row(columns)];
        samples.par_chunks_exact_mut(columns).enumerate().for_each_init(begin, |indices, (row, samples)| {
            self.cpu.level.vectorize(
                #[inline(always)]
                || self.row(row, indices, samples, &round),
            );
        });
    }

    #[inline(always)]
    fn row<T: Copy + Default>(&self, row: usize, indices: &mut [u16], samples: &mut [T], round: &impl Fn(f32) -> T) {
        let (rule, row_len) = (self.encoding.rule, self.encoding.row_len_bytes());
        let (stages, parts, count) = (rule.stages(), rule.parts(), rule.codevector_count());
        unpack_indices(&self.packed[row * row_len..][..row_len], rule.index_bits(), indices);
        let scale = self.encoding.row_scales[row];
        let sample = |y: [f32; D]| y.map(|y| round(decoded(y, scale)));
        let point = |place: usize, indices: &[u16]| {
            let table = &self.table[place % parts * stages * count..][..stages * count];
            let mut y = table[usize::from(indices[0])];
            for (stage, &index) in indices.iter().enumerate().skip(1) {
                y.iter_mut().zip(&table[stage * count + usize::from(index)]).for_each(|(y, z)| *y += z);
            }
            sample(y)
        };
        let (whole, rest) = samples.as_chunks_mut::<D>();
        if stages == 1 && parts == 1 {
            whole.iter_mut().zip(&*indices).for_each(|(x, &index)| *x = sample(self.table[usize::from(index)]));
        } else {
            let all = whole.iter_mut().zip(indices.chunks_exact(stages)).enumerate();
            all.for_each(|(place, (x, indices))| *x = point(place, indices));
        }
        if !rest.is_empty() {
            let last = point(whole.len(), &indices[whole.len() * stages..]);
            rest.copy_from_slice(&last[..rest.len()]);
        }
    }
}
