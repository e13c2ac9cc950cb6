//! The first sample that is NaN or infinite.
//!
//! A sample is not finite when all bits of its exponent are set. Class: exact.

use crate::{Cpu, work::chunks};
use quant_core::tensor::{NotFinite, Samples};
use rayon::prelude::*;

pub(crate) fn first_not_finite(cpu: &Cpu, samples: Samples<'_>) -> Option<NotFinite> {
    let ranges: Vec<_> = chunks(0..samples.len(), cpu.chunk_len).collect();
    let in_chunk = |range: &std::ops::Range<usize>| {
        let part = samples.slice(range.clone());
        // The first pass says whether there is one, without a branch per sample; only then is it looked for.
        cpu.level
            .vectorize(
                #[inline(always)]
                || any_not_finite(part),
            )
            .then(|| range.start + position(part))
    };
    let index = cpu.pool.install(|| ranges.par_iter().find_map_first(in_chunk))?;
    Some(NotFinite { index, value: samples.get(index) })
}

#[inline(always)]
fn any_not_finite(samples: Samples<'_>) -> bool {
    match samples {
        Samples::F32(s) => largest(s, |x| x.to_bits() & 0x7fff_ffff) >= 0x7f80_0000,
        Samples::F16(s) => largest(s, |x| x.to_bits() & 0x7fff) >= 0x7c00,
        Samples::Bf16(s) => largest(s, |x| x.to_bits() & 0x7fff) >= 0x7f80,
    }
}

#[inline(always)]
fn largest<T, B: Ord + Default>(samples: &[T], bits: impl Fn(&T) -> B) -> B {
    samples.iter().fold(B::default(), |max, x| max.max(bits(x)))
}

fn position(samples: Samples<'_>) -> usize {
    (0..samples.len()).position(|i| !samples.get(i).is_finite()).expect("the first pass saw one")
}
