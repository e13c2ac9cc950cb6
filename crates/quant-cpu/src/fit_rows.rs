//! Exact 1-D k-means of each row, rows shared out among threads. Class: exact, since every row is fitted alone.

#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "x86_64")]
mod rounded_avx512;

use crate::samples::{load, normalise};
use crate::{Cpu, level::Level};
use quant_core::codebook::Codebooks;
use quant_core::design::optimal::{self, FillLayer, Layer, Scratch, rounded};
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
    let fit = |(samples, scratch): &mut (Vec<f32>, Scratch), row: usize| {
        cpu.level.vectorize(
            #[inline(always)]
            || {
                load(cpu.level, matrix.samples(), row * columns, samples);
                normalise(samples, row, 0..columns, normalisation);
            },
        );
        optimal::fit_levels_with(&cpu.level, scratch, samples, row_weights(weights, row, columns), level_count)
    };
    let levels: Vec<_> = cpu.pool.install(|| {
        (0..matrix.rows()).into_par_iter().map_init(|| (vec![0.0; columns], Scratch::default()), fit).collect()
    });
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

    fn gains(&self, sums: rounded::Sums<'_>, table: (usize, usize), to: &mut [f32]) {
        #[cfg(target_arch = "x86_64")]
        if self.has_avx512() {
            // SAFETY: the level was proved available when it was made.
            return unsafe { rounded_avx512::gains(sums, table, to) };
        }
        self.vectorize(
            #[inline(always)]
            || rounded::gains(sums, table, to),
        );
    }

    fn fill_rounded(&self, candidates: rounded::Candidates<'_>, targets: [&[i32]; 2], to: &mut [f32]) {
        #[cfg(target_arch = "x86_64")]
        if self.has_avx512() {
            // SAFETY: the level was proved available when it was made.
            return unsafe { rounded_avx512::fill(candidates, targets, to) };
        }
        self.vectorize(
            #[inline(always)]
            || candidates.fill(targets, to),
        );
    }

    fn vectorize<R>(&self, kernel: impl FnOnce() -> R) -> R {
        (*self).vectorize(kernel)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SimdLevel;
    use quant_core::design::optimal::Portable;
    use quant_core::design::optimal::rounded::{Candidates, LANES, Sums, WIDTH_MAX};

    /// Integers of 31 bits, by xorshift.
    fn integers(count: usize, seed: u64) -> Vec<i32> {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 33) as i32
        };
        (0..count).map(|_| next()).collect()
    }

    fn levels() -> impl Iterator<Item = Level> {
        SimdLevel::ALL.into_iter().filter_map(Level::new)
    }

    #[test]
    fn rounded_layers_are_the_same_at_every_level() {
        for count in [1, 2, 15, 16, 17, 48, 64, 65, 100, 128, 129, WIDTH_MAX] {
            let mut weight = integers(2 * WIDTH_MAX + LANES, count as u64);
            weight.iter_mut().for_each(|weight| *weight >>= 1);
            weight.sort_unstable();
            let moment: Vec<i32> = integers(weight.len(), 7).iter().map(|moment| moment / 2 - (1 << 29)).collect();
            let from: Vec<f32> = integers(count, 3).iter().map(|&cost| -(cost as f32)).collect();
            for (low, len) in [(0, 1), (5, 17), (count / 2, 97), (WIDTH_MAX, 257)] {
                let candidates = Candidates::new(&from, &weight[3..3 + count], &moment[3..3 + count]);
                let targets = [&weight[low..low + len], &moment[low..low + len]];
                let mut expected = vec![0.0; len];
                Portable.fill_rounded(candidates, targets, &mut expected);
                for level in levels() {
                    let mut own = vec![0.0; len];
                    level.fill_rounded(candidates, targets, &mut own);
                    assert_eq!(own, expected, "{count} candidates, {len} targets from {low}, {level:?}");
                }
            }
        }
    }

    #[test]
    fn tables_of_gains_are_the_same_at_every_level() {
        for count in [1, 16, 17, 65usize] {
            let stride = count.next_multiple_of(LANES);
            let mut weight = integers(stride, 5);
            weight.sort_unstable();
            let moment = integers(stride, 6);
            let sums = Sums { weight: &weight, moment: &moment };
            let mut expected = vec![f32::NEG_INFINITY; count * stride + LANES];
            Portable.gains(sums, (count, stride), &mut expected);
            assert!(expected[0] == 0.0 && expected.iter().any(|gain| *gain > 0.0) || count == 1);
            for level in levels() {
                let mut own = vec![f32::NEG_INFINITY; expected.len()];
                level.gains(sums, (count, stride), &mut own);
                assert_eq!(own, expected, "{count}, {level:?}");
            }
        }
    }
}
