//! What is applied to activations at run time: the stages of a transform in f32, over all threads.

use faer::linalg::matmul::matmul;
use faer::{Accum, Mat, MatMut, MatRef, Par};
use quant_core::dense::Dense;
use quant_core::grid::GridKind;
use quant_core::transform::{Hadamard, Stage, Transform};
use rayon::prelude::*;

/// Rows of a work item.
const ROWS: usize = 64;

/// One stage in f32.
#[derive(Clone, Debug, PartialEq)]
pub enum OnlineStage {
    /// x_i → m_i·x_i
    Scaling(Vec<f32>),
    /// x_b → M_b·x_b, blocks row-major with their order.
    Blocks(Vec<(usize, Vec<f32>)>),
    /// A randomized Hadamard rotation.
    Rotation(Hadamard),
}

/// The stages at one input, in order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Online {
    /// Applied one after the other.
    pub stages: Vec<OnlineStage>,
}

impl Online {
    /// No stage.
    pub fn identity() -> Self {
        Self::default()
    }

    /// The stages of a transform that are left for run time, rounded to f32.
    pub fn of(stages: &[Stage]) -> Self {
        let values = |block: &Dense| (block.rows(), block.values().iter().map(|&x| x as f32).collect());
        let stage = |stage: &Stage| match stage {
            Stage::Scaling(m) => OnlineStage::Scaling(m.iter().map(|&x| x as f32).collect()),
            Stage::Blocks(blocks) => OnlineStage::Blocks(blocks.forward().iter().map(values).collect()),
            Stage::Rotation(hadamard) => OnlineStage::Rotation(hadamard.clone()),
        };
        Self { stages: stages.iter().map(stage).collect() }
    }

    /// Replaces each row x of `width` samples by T x.
    pub fn apply(&self, rows: &mut [f32], width: usize) {
        if self.stages.is_empty() {
            return;
        }
        rows.par_chunks_mut(ROWS * width).for_each(|rows| {
            for stage in &self.stages {
                match stage {
                    OnlineStage::Scaling(m) => scale(rows, m),
                    OnlineStage::Blocks(blocks) => mix(rows, width, blocks),
                    OnlineStage::Rotation(hadamard) => hadamard.apply(rows),
                }
            }
        });
    }
}

/// Replaces each row w of weights by w T⁻¹, rounded to f32 at the end of each stage.
pub fn transform_weights(rows: &mut [f32], transform: &Transform) {
    let width = transform.width();
    for stage in transform.stages() {
        match stage {
            Stage::Blocks(blocks) => {
                let values = |block: &Dense| {
                    let block = block.transposed();
                    (block.rows(), block.values().iter().map(|&x| x as f32).collect())
                };
                let blocks: Vec<(usize, Vec<f32>)> = blocks.inverse().iter().map(values).collect();
                rows.par_chunks_mut(ROWS * width).for_each(|rows| mix(rows, width, &blocks));
            }
            _ => rows.par_chunks_mut(ROWS * width).for_each(|rows| stage.apply_to_weights(rows)),
        }
    }
}

fn scale(rows: &mut [f32], factors: &[f32]) {
    rows.chunks_exact_mut(factors.len()).for_each(|row| row.iter_mut().zip(factors).for_each(|(x, m)| *x *= m));
}

fn mix(rows: &mut [f32], width: usize, blocks: &[(usize, Vec<f32>)]) {
    let count = rows.len() / width;
    let mut start = 0;
    for (order, block) in blocks {
        let mut out = Mat::<f32>::zeros(count, *order);
        {
            let pieces = MatRef::from_row_major_slice(&*rows, count, width).subcols(start, *order);
            let block = MatRef::from_row_major_slice(block, *order, *order);
            matmul(out.as_mut(), Accum::Replace, pieces, block.transpose(), 1.0, Par::Seq);
        }
        let target = MatMut::from_row_major_slice_mut(rows, count, width);
        target.subcols_mut(start, *order).copy_from(&out);
        start += order;
    }
}

/// Rounds every row to a grid of its own, as a runtime would a token.
pub fn round_rows(rows: &mut [f32], width: usize, kind: GridKind) {
    rows.par_chunks_exact_mut(width).for_each(|row| {
        let grid = kind.fit(row.iter().map(|&x| f64::from(x)));
        row.iter_mut().for_each(|x| *x = grid.round(f64::from(*x)) as f32);
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use quant_core::transform::cat;

    #[test]
    fn f32_stages_are_the_f64_stages_rounded() {
        let moment = |seed: usize| {
            let rows = Dense::from_fn(80, 24, |i, j| ((i * 31 + j * (seed + 3)) as f64 * 0.7).sin());
            quant_core::linear::gram(&rows)
        };
        for block in [1, 8, 10, 24] {
            let transform = cat::transform(&moment(1), &moment(4), cat::Options::new(block), 5).unwrap();
            let exact: Vec<f64> = (0..3 * 24).map(|i| f64::from(i).cos()).collect();
            let (mut inputs, mut weights) = (exact.clone(), exact.clone());
            transform.apply(&mut inputs);
            transform.apply_to_weights(&mut weights);
            let single: Vec<f32> = exact.iter().map(|&x| x as f32).collect();
            let (mut inputs_f32, mut weights_f32) = (single.clone(), single);
            Online::of(transform.stages()).apply(&mut inputs_f32, 24);
            transform_weights(&mut weights_f32, &transform);
            for (found, expected) in [(inputs_f32, inputs), (weights_f32, weights)] {
                let scale = expected.iter().fold(0.0, |m: f64, x| m.max(x.abs()));
                let near = |(a, b): (&f32, &f64)| (f64::from(*a) - b).abs() < 1e-5 * scale;
                assert!(found.iter().zip(&expected).all(near), "blocks of {block}");
            }
        }
    }
}
