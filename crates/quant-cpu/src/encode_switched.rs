//! The codebook that each group chooses, and its codes.
//!
//! Sixteen codebooks are tried at once, one in each lane: the table is stored level by level across them, four samples meet
//! every level while it is in a register, and the cost of a lane is one chain of additions in the order of the samples.
//! 3 operations per sample, level and sixteen codebooks. Sixteen are given up when each of them costs more after a few
//! samples than the best so far does after all; those that reach about as far as the group are tried first, so that the
//! best so far is good. The choice is that of the definition: costs only grow.
//! Class: exact.

#[cfg(target_arch = "x86_64")]
mod x86;

use crate::Cpu;
use crate::level::Level;
use crate::samples::load;
use quant_core::codebook::Codebooks;
use quant_core::codes::pack_row;
use quant_core::grouping::GroupLength;
use quant_core::switched::SwitchedEncoding;
use quant_core::tensor::{Matrix, flush};
use rayon::prelude::*;

/// Codebooks that are tried at once.
const LANES: usize = 16;

type Lanes = [f32; LANES];

/// The levels of all codebooks, sixteen codebooks after sixteen, level by level.
struct Table {
    level_count: usize,
    selector_count: usize,
    values: Vec<Lanes>,
    /// How far sixteen codebooks reach: the mean of their largest magnitudes.
    reaches: Vec<f32>,
}

impl Table {
    /// The lanes behind the last codebook repeat the first, which costs as much and comes earlier.
    fn new(codebooks: &Codebooks) -> Self {
        let (level_count, selector_count) = (codebooks.level_count(), codebooks.count());
        let lanes = |block: usize, level: usize| {
            std::array::from_fn(|lane| {
                let selector = block * LANES + lane;
                codebooks.levels(if selector < selector_count { selector } else { 0 })[level]
            })
        };
        let blocks = 0..selector_count.div_ceil(LANES);
        let values: Vec<Lanes> =
            blocks.flat_map(|block| (0..level_count).map(move |level| lanes(block, level))).collect();
        let reach = |block: &[Lanes]| {
            let (first, last) = (block[0], block[level_count - 1]);
            first.iter().zip(&last).map(|(a, b)| a.abs().max(b.abs())).sum::<f32>() / LANES as f32
        };
        let reaches = values.chunks_exact(level_count).map(reach).collect();
        Self { level_count, selector_count, values, reaches }
    }

    /// The first codebook of least cost for samples `x` of weights `w`: Σ w · min_l |x − level_l|².
    #[inline(always)]
    fn cheapest(&self, level: Level, x: &[f32], w: &[f32]) -> usize {
        let largest = x.iter().fold(0.0f32, |most, x| most.max(x.abs()));
        let off = |block: &usize| (self.reaches[*block] - largest).abs();
        let first = (0..self.reaches.len()).min_by(|a, b| off(a).total_cmp(&off(b))).expect("there is a codebook");
        let (mut best, mut least) = (0, f32::INFINITY);
        for block in std::iter::once(first).chain((0..self.reaches.len()).filter(|&b| b != first)) {
            let levels = &self.values[block * self.level_count..][..self.level_count];
            let Some(costs) = block_costs(level, levels, x, w, least) else { continue };
            for (selector, cost) in (block * LANES..self.selector_count).zip(costs) {
                if cost < least || (cost == least && selector < best) {
                    (best, least) = (selector, cost);
                }
            }
        }
        best
    }
}

/// The costs of sixteen codebooks; none when each costs more than `most`.
#[inline(always)]
fn block_costs(level: Level, levels: &[Lanes], x: &[f32], w: &[f32], most: f32) -> Option<Lanes> {
    #[cfg(target_arch = "x86_64")]
    if level.has_avx512() {
        // SAFETY: the level was proved available when it was made.
        return unsafe { x86::costs_avx512(levels, x, w, most) };
    }
    #[cfg(target_arch = "x86_64")]
    if level.has_avx2() {
        // SAFETY: all levels but the scalar one have AVX2, and the level was proved available when it was made.
        return unsafe { x86::costs_avx2(levels, x, w, most) };
    }
    let _ = level;
    let mut sum = [0.0; LANES];
    for (&x, &w) in x.iter().zip(w) {
        let mut least = [f32::INFINITY; LANES];
        for values in levels {
            for (least, y) in least.iter_mut().zip(values) {
                let distance = (x - y).abs();
                // As the instruction does it: no care for NaN, which finite samples and levels never give.
                *least = if distance < *least { distance } else { *least };
            }
        }
        sum.iter_mut().zip(&least).for_each(|(sum, d)| *sum += w * (d * d));
        if !sum.iter().any(|cost| *cost <= most) {
            return None;
        }
    }
    Some(sum)
}

/// One row's work: buffers that are used again for the next.
struct Row {
    samples: Vec<f32>,
    weights: Vec<f32>,
    selectors: Vec<u8>,
    codes: Vec<u8>,
}

pub(crate) fn encode_switched(
    cpu: &Cpu,
    matrix: Matrix<'_>,
    encoding: &SwitchedEncoding<'_>,
    weights: Option<&[f32]>,
    selectors: &mut [u8],
    packed: &mut [u8],
) {
    encoding.assert_consistent(selectors, packed);
    let columns = matrix.columns();
    if columns == 0 {
        return;
    }
    let table = Table::new(encoding.codebooks);
    let begin = || Row {
        samples: vec![0.0; columns],
        weights: vec![1.0; columns],
        selectors: vec![0; encoding.grouping.groups_per_row()],
        codes: vec![0; columns],
    };
    let selector_rows = selectors.par_chunks_exact_mut(encoding.selector_row_len_bytes());
    let rows = selector_rows.zip(packed.par_chunks_exact_mut(encoding.row_len_bytes())).enumerate();
    cpu.pool.install(|| {
        rows.for_each_init(begin, |buffers, (row, (selectors, packed))| {
            load(cpu.level, matrix.samples(), row * columns, &mut buffers.samples);
            match weights {
                Some(w) if w.len() == columns => buffers.weights.copy_from_slice(w),
                Some(w) => buffers.weights.copy_from_slice(&w[row * columns..][..columns]),
                None => {}
            }
            choose(cpu.level, &table, encoding, encoding.inverse_scale(row), buffers);
            pack_row(&buffers.selectors, encoding.selector_width, selectors);
            pack_row(&buffers.codes, encoding.bit_width, packed);
        });
    });
}

fn choose(level: Level, table: &Table, encoding: &SwitchedEncoding<'_>, inverse: f32, row: &mut Row) {
    let GroupLength::Samples(length) = encoding.grouping.length() else { unreachable!("asserted to be runs") };
    level.vectorize(
        #[inline(always)]
        || {
            row.samples.iter_mut().for_each(|x| *x = flush(*x * inverse));
            let groups = row.samples.chunks(length).zip(row.weights.chunks(length));
            let places = row.selectors.iter_mut().zip(row.codes.chunks_mut(length));
            for ((x, w), (selector, codes)) in groups.zip(places) {
                let best = table.cheapest(level, x, w);
                *selector = best as u8;
                encode_group(x, encoding.codebooks.thresholds(best), codes);
            }
        },
    );
}

#[inline(always)]
fn encode_group(x: &[f32], thresholds: &[f32], codes: &mut [u8]) {
    codes.fill(0);
    for &threshold in thresholds {
        for (code, &x) in codes.iter_mut().zip(x) {
            *code += u8::from(x > threshold);
        }
    }
}
