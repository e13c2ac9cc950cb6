//! A block-diagonal map of every row.
//!
//! y_b = M_b·x_b, entries of M_b rounded to f32. M_b is held transposed, so that a sample of x scales a contiguous line and
//! all sums of a block grow side by side. Class: bounded product.

use crate::Cpu;
use quant_core::transform::Blocks;
use rayon::prelude::*;

pub(crate) fn block_transform(cpu: &Cpu, rows: &mut [f32], blocks: &Blocks) {
    let width = blocks.width();
    let transposed = |block: &quant_core::dense::Dense| {
        let order = block.rows();
        (0..order * order).map(|at| block.get(at % order, at / order) as f32).collect()
    };
    let lines: Vec<Vec<f32>> = blocks.forward().iter().map(transposed).collect();
    let rows_per_item = (cpu.chunk_len / width).max(1);
    cpu.pool.install(|| {
        rows.par_chunks_mut(rows_per_item * width).for_each(|rows| {
            let mut sums = vec![0.0; width];
            cpu.level.vectorize(
                #[inline(always)]
                || rows.chunks_exact_mut(width).for_each(|row| map(row, &lines, &mut sums)),
            );
        });
    });
}

#[inline(always)]
fn map(row: &mut [f32], lines: &[Vec<f32>], sums: &mut [f32]) {
    sums.fill(0.0);
    let mut start = 0;
    for lines in lines {
        let order = lines.len().isqrt();
        let sums = &mut sums[start..start + order];
        for (x, line) in row[start..start + order].iter().zip(lines.chunks_exact(order)) {
            sums.iter_mut().zip(line).for_each(|(sum, m)| *sum += x * m);
        }
        start += order;
    }
    row.copy_from_slice(sums);
}
