//! Exact 1-D k-means of each row, rows shared out among threads. Class: exact, since every row is fitted alone.

#[cfg(target_arch = "x86_64")]
mod avx512;

use crate::samples::{load, normalise};
use crate::{Cpu, level::Level};
use quant_core::codebook::Codebooks;
use quant_core::design::optimal::{self, FillLayer, Layer};
use quant_core::grouping::Grouping;
use quant_core::reference::row_weights;
use quant_core::tensor::Matrix;
use rayon::prelude::*;

pub(crate) fn fit_rows(
    cpu: &Cpu,
    matrix: Matrix<'_>,
    normalisation: Option<(Grouping, &[f32])>,
    weights: Option<&[f32]>,
    level_count: usize,
) -> Codebooks {
    let columns = matrix.columns();
    let fit = |samples: &mut Vec<f32>, row: usize| {
        load(cpu.level, matrix.samples(), row * columns, samples);
        normalise(samples, row, 0..columns, normalisation);
        optimal::fit_levels_with(&cpu.level, samples, row_weights(weights, row, columns), level_count)
    };
    let levels: Vec<_> =
        cpu.pool.install(|| (0..matrix.rows()).into_par_iter().map_init(|| vec![0.0; columns], fit).collect());
    Codebooks::from_levels(level_count, levels)
}

impl FillLayer for Level {
    fn fill(&self, layer: Layer<'_>, to: &mut [f64], best: &mut [u32]) {
        #[cfg(target_arch = "x86_64")]
        if self.has_avx512() {
            // SAFETY: the level was proved available when it was made.
            return unsafe { avx512::fill(layer, to, best) };
        }
        self.vectorize(
            #[inline(always)]
            || layer.fill(to, best),
        );
    }

    fn vectorize<R>(&self, kernel: impl FnOnce() -> R) -> R {
        (*self).vectorize(kernel)
    }
}
