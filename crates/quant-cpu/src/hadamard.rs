//! A randomized Hadamard rotation of every row.
//!
//! y = (core ⊗ Sylvester)·diag(signs)·x/√d, as [`quant_core::transform::Hadamard`] defines it. Butterflies at distances
//! below 16 stay within an array of 16 samples, which the compiler keeps in a register. Class: bounded product.

use crate::Cpu;
use quant_core::transform::Hadamard;
use rayon::prelude::*;

/// Samples of one array: a register of AVX-512.
const LANES: usize = 16;

pub(crate) fn hadamard(cpu: &Cpu, rows: &mut [f32], rotation: &Hadamard) {
    let width = rotation.width();
    let scale = 1.0 / (width as f64).sqrt();
    let factors: Vec<f32> = rotation.signs().iter().map(|&s| (f64::from(s) * scale) as f32).collect();
    let core: Vec<f32> = rotation.core().entries.iter().map(|&x| x as f32).collect();
    let rows_per_item = (cpu.chunk_len / width).max(1);
    cpu.pool.install(|| {
        rows.par_chunks_mut(rows_per_item * width).for_each(|rows| {
            let mut space = vec![0.0; width];
            cpu.level.vectorize(
                #[inline(always)]
                || rows.chunks_exact_mut(width).for_each(|row| rotate(row, &factors, &core, &mut space)),
            );
        });
    });
}

#[inline(always)]
fn rotate(row: &mut [f32], factors: &[f32], core: &[f32], space: &mut [f32]) {
    let order = core.len().isqrt();
    let run = row.len() / order;
    row.iter_mut().zip(factors).for_each(|(x, f)| *x *= f);
    row.chunks_exact_mut(run).for_each(walsh_hadamard);
    if order == 1 {
        return;
    }
    space.copy_from_slice(row);
    for (sums, entries) in row.chunks_exact_mut(run).zip(core.chunks_exact(order)) {
        sums.fill(0.0);
        for (samples, entry) in space.chunks_exact(run).zip(entries) {
            sums.iter_mut().zip(samples).for_each(|(sum, x)| *sum += entry * x);
        }
    }
}

#[inline(always)]
fn walsh_hadamard(row: &mut [f32]) {
    let (arrays, rest) = row.as_chunks_mut::<LANES>();
    arrays.iter_mut().for_each(within);
    // A power of two below 16 has no array and no distance above it.
    let mut distance = if rest.is_empty() { LANES } else { 1 };
    while distance < row.len() {
        for pair in row.chunks_exact_mut(2 * distance) {
            let (low, high) = pair.split_at_mut(distance);
            low.iter_mut().zip(high).for_each(|(a, b)| (*a, *b) = (*a + *b, *a - *b));
        }
        distance *= 2;
    }
}

/// Distances 1, 2, 4 and 8: sample i becomes `x[i ^ distance] ± x[i]`.
#[inline(always)]
fn within(x: &mut [f32; LANES]) {
    *x = step::<1>(x);
    *x = step::<2>(x);
    *x = step::<4>(x);
    *x = step::<8>(x);
}

#[inline(always)]
fn step<const DISTANCE: usize>(x: &[f32; LANES]) -> [f32; LANES] {
    let mut y = [0.0; LANES];
    for (i, y) in y.iter_mut().enumerate() {
        let signed = if i & DISTANCE == 0 { x[i] } else { -x[i] };
        *y = x[i ^ DISTANCE] + signed;
    }
    y
}
