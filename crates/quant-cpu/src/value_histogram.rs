//! How often each 16-bit pattern occurs. Class: exact.

use crate::{Cpu, work::chunks};
use quant_core::tensor::Samples;
use rayon::prelude::*;
use std::ops::Range;

pub(crate) fn value_histogram(cpu: &Cpu, samples: Samples<'_>) -> Vec<u64> {
    let patterns: &[u16] = match samples {
        Samples::F32(_) => panic!("f32 samples have no value histogram"),
        Samples::F16(s) => bytemuck::cast_slice(s),
        Samples::Bf16(s) => bytemuck::cast_slice(s),
    };
    // One part per thread, since a part costs a table; but a table's u32 counts must not overflow.
    let per_thread = patterns.len().div_ceil(cpu.thread_count());
    let ranges: Vec<_> = chunks(0..patterns.len(), per_thread.max(cpu.chunk_len).min(1 << 31)).collect();
    let part = |range: Range<usize>| count(&patterns[range]);
    let add = |mut sums: Vec<u64>, counts: Vec<u32>| {
        sums.iter_mut().zip(counts).for_each(|(sum, n)| *sum += u64::from(n));
        sums
    };
    let parts: Vec<_> = cpu.pool.install(|| ranges.into_par_iter().map(part).collect());
    parts.into_iter().fold(vec![0; 1 << 16], add)
}

/// One counter for each 16-bit pattern, so that a pattern needs no check against the length.
type Table = [u32; 1 << 16];

/// Neighbouring weights are often equal, and an increment must wait for the one before it on the same address: so
/// neighbours have tables of their own. Patterns are read four at a time.
fn count(patterns: &[u16]) -> Vec<u32> {
    let mut tables = vec![0u32; TABLES << 16];
    let (fours, rest) = patterns.as_chunks::<4>();
    let (parts, _) = tables.as_chunks_mut::<{ 1 << 16 }>();
    let [even, odd]: &mut [Table; TABLES] = parts.try_into().expect("as many tables as were made");
    for &[a, b, c, d] in fours {
        even[usize::from(a)] += 1;
        odd[usize::from(b)] += 1;
        even[usize::from(c)] += 1;
        odd[usize::from(d)] += 1;
    }
    rest.iter().for_each(|&a| even[usize::from(a)] += 1);
    even.iter_mut().zip(odd).for_each(|(sum, n)| *sum += *n);
    tables.truncate(1 << 16);
    tables
}

const TABLES: usize = 2;
