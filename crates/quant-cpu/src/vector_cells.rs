//! Nearest codevectors, and the sums that Lloyd's step needs.
//!
//! Scores ½‖y‖² − ⟨x, y⟩ of a block of points and a group of codevectors stay in registers and are compared at once, so
//! no distance is ever stored. Each score is one chain of fused multiply-adds in the order of the coordinates, whatever
//! the instruction set, and sums are taken over tiles that depend on the shape alone: results do not depend on either.
//! Class: codes exact (of the class regret), sums bounded.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "x86_64")]
mod filter;
#[cfg(target_arch = "x86_64")]
mod integers;

use crate::{Cpu, level::Level};
use quant_core::design::vector::{Points, VectorCells};
use quant_core::reference::half_square;
use quant_core::vectors::STARTS;
use rayon::prelude::*;

/// Points of a block: two AVX-512 registers.
const BLOCK: usize = 32;

/// Codevectors of a group: with two registers of points, 16 sums at a time, of 32 registers.
const GROUP: usize = 8;

/// Points of a tile at least, and tiles at most: sums of a tile take as much room as its codevectors in f64.
const TILE_POINTS_MIN: usize = 4096;
const TILES_MAX: usize = 64;

/// Codevectors in groups, coordinate after coordinate, the last group filled up with some that are never nearest.
pub(crate) struct Groups {
    dimension: usize,
    /// `GROUP` values for each coordinate of each group.
    values: Vec<f32>,
    /// ½‖y‖².
    half_squares: Vec<f32>,
    /// The same in integers, where that pays.
    #[cfg(target_arch = "x86_64")]
    coarse: Option<filter::Coarse>,
}

impl Groups {
    pub(crate) fn new(level: Level, codevectors: Points<'_>) -> Self {
        let dimension = codevectors.dimension();
        let group_count = codevectors.len().div_ceil(GROUP);
        let mut groups = Self {
            dimension,
            values: vec![0.0; group_count * GROUP * dimension],
            half_squares: vec![f32::INFINITY; group_count * GROUP],
            #[cfg(target_arch = "x86_64")]
            coarse: None,
        };
        for (code, codevector) in codevectors.iter().enumerate() {
            let group = &mut groups.values[code / GROUP * GROUP * dimension..];
            codevector.iter().enumerate().for_each(|(i, &y)| group[i * GROUP + code % GROUP] = y);
            groups.half_squares[code] = half_square(codevector);
        }
        #[cfg(target_arch = "x86_64")]
        if level.has_avx512() {
            groups.coarse = filter::Coarse::new(dimension, codevectors.samples(), &groups);
        }
        let _ = level;
        groups
    }

    /// ½‖y‖² and coordinates of a group.
    #[inline(always)]
    fn get(&self, group: usize) -> (&[f32; GROUP], &[[f32; GROUP]]) {
        let values = &self.values.as_chunks::<GROUP>().0[group * self.dimension..][..self.dimension];
        (&self.half_squares.as_chunks::<GROUP>().0[group], values)
    }

    /// [`Self::get`] of all groups.
    fn iter(&self) -> impl Iterator<Item = (&[f32; GROUP], &[[f32; GROUP]])> {
        let values = self.values.as_chunks::<GROUP>().0.chunks_exact(self.dimension);
        self.half_squares.as_chunks::<GROUP>().0.iter().zip(values)
    }
}

/// What a thread works with: a block of points, coordinate after coordinate.
struct Block {
    coordinates: Vec<[f32; BLOCK]>,
    #[cfg(target_arch = "x86_64")]
    scratch: Option<filter::Scratch>,
}

impl Block {
    fn new(groups: &Groups) -> Self {
        Self {
            coordinates: vec![[0.0; BLOCK]; groups.dimension],
            #[cfg(target_arch = "x86_64")]
            scratch: groups.coarse.as_ref().map(|coarse| coarse.scratch(groups)),
        }
    }

    /// Takes up to `BLOCK` points; the places of others keep what they had. Never inlined: compiled for AVX-512 it
    /// becomes scatters, which take twice as long.
    #[inline(never)]
    fn fill(&mut self, samples: &[f32]) {
        let dimension = self.coordinates.len();
        for (place, point) in samples.chunks_exact(dimension).enumerate() {
            self.coordinates.iter_mut().zip(point).for_each(|(coordinate, &x)| coordinate[place] = x);
        }
    }

    /// The codes of up to `BLOCK` points.
    #[inline(always)]
    fn nearest(&mut self, level: Level, groups: &Groups, samples: &[f32]) -> [u32; BLOCK] {
        #[cfg(target_arch = "x86_64")]
        if let (Some(coarse), Some(scratch)) = (&groups.coarse, &mut self.scratch)
            // SAFETY: there are coarse codevectors only where AVX-512 and VNNI were found.
            && let Some(codes) = unsafe { filter::nearest(samples, groups, coarse, scratch) }
        {
            return codes;
        }
        self.fill(samples);
        #[cfg(target_arch = "x86_64")]
        if level.has_avx512() {
            // SAFETY: the level was proved available when it was made.
            return unsafe { avx512::nearest(&self.coordinates, groups, samples) };
        } else if level.has_avx2() {
            // SAFETY: the level was proved available when it was made.
            return unsafe { avx2::nearest(&self.coordinates, groups) };
        }
        let _ = level;
        nearest_portable(&self.coordinates, groups)
    }
}

#[inline(always)]
fn nearest_portable(coordinates: &[[f32; BLOCK]], groups: &Groups) -> [u32; BLOCK] {
    let (mut least, mut codes) = ([f32::INFINITY; BLOCK], [0u32; BLOCK]);
    for (group, (half_squares, values)) in groups.iter().enumerate() {
        for (j, &half_square) in half_squares.iter().enumerate() {
            let mut scores = [half_square; BLOCK];
            for (x, y) in coordinates.iter().zip(values) {
                scores.iter_mut().zip(x).for_each(|(score, x)| *score = (-x).mul_add(y[j], *score));
            }
            for ((least, code), score) in least.iter_mut().zip(&mut codes).zip(scores) {
                if score < *least {
                    (*least, *code) = (score, (group * GROUP + j) as u32);
                }
            }
        }
    }
    codes
}

/// The codes of the [`STARTS`] codevectors of least score of each point, best first, the lower of equal ones first.
pub(crate) fn nearest_few(level: Level, groups: &Groups, samples: &[f32], codes: &mut [[u32; STARTS]]) {
    let mut block = Block::new(groups);
    level.vectorize(
        #[inline(always)]
        || {
            let parts = codes.chunks_mut(BLOCK).zip(samples.chunks(BLOCK * groups.dimension));
            for (codes, samples) in parts {
                block.fill(samples);
                let few = few_portable(&block.coordinates, groups);
                codes.iter_mut().enumerate().for_each(|(i, codes)| *codes = few.map(|codes| codes[i]));
            }
        },
    );
}

/// Each score goes down a list that is sorted by score and code, and takes the place of those that come after it.
#[inline(always)]
fn few_portable(coordinates: &[[f32; BLOCK]], groups: &Groups) -> [[u32; BLOCK]; STARTS] {
    let (mut least, mut codes) = ([[f32::INFINITY; BLOCK]; STARTS], [[0u32; BLOCK]; STARTS]);
    for (group, (half_squares, values)) in groups.iter().enumerate() {
        for (j, &half_square) in half_squares.iter().enumerate() {
            let (mut scores, mut fresh) = ([half_square; BLOCK], [(group * GROUP + j) as u32; BLOCK]);
            for (x, y) in coordinates.iter().zip(values) {
                scores.iter_mut().zip(x).for_each(|(score, x)| *score = (-x).mul_add(y[j], *score));
            }
            for (least, codes) in least.iter_mut().zip(&mut codes) {
                for i in 0..BLOCK {
                    let comes_first = (scores[i] < least[i]) | ((scores[i] == least[i]) & (fresh[i] < codes[i]));
                    let (score, code) = (least[i], codes[i]);
                    (least[i], codes[i]) = if comes_first { (scores[i], fresh[i]) } else { (score, code) };
                    (scores[i], fresh[i]) = if comes_first { (score, code) } else { (scores[i], fresh[i]) };
                }
            }
        }
    }
    codes
}

pub(crate) fn nearest_codevectors(cpu: &Cpu, points: Points<'_>, codevectors: Points<'_>, codes: &mut [u32]) {
    let groups = checked(cpu.level, points, codevectors, codes);
    let d = points.dimension();
    let len = (cpu.chunk_len / d).max(1).next_multiple_of(BLOCK);
    let parts = codes.par_chunks_mut(len).zip(points.samples().par_chunks(len * d));
    cpu.pool.install(|| parts.for_each(|(codes, samples)| encode(cpu.level, &groups, samples, codes, |_, _| {})));
}

pub(crate) fn vector_cells(
    cpu: &Cpu,
    points: Points<'_>,
    weights: Option<&[f32]>,
    codevectors: Points<'_>,
    codes: &mut [u32],
) -> VectorCells {
    assert!(weights.is_none_or(|w| w.len() == points.len()), "one weight per point");
    let groups = checked(cpu.level, points, codevectors, codes);
    let d = points.dimension();
    let tile_len = points.len().div_ceil(TILES_MAX).max(TILE_POINTS_MIN).max(4 * codevectors.len());
    let of_tile = |(tile, (codes, samples)): (usize, (&mut [u32], &[f32]))| {
        let mut cells = VectorCells::empty(codevectors);
        let first = tile * tile_len;
        encode(
            cpu.level,
            &groups,
            samples,
            codes,
            #[inline(always)]
            |place, codes| {
                let weights = weights.map(|w| &w[first + place..][..codes.len()]);
                add(&mut cells, codes, &samples[place * d..][..codes.len() * d], weights);
            },
        );
        cells
    };
    let tiles = codes.par_chunks_mut(tile_len).zip(points.samples().par_chunks(tile_len * d)).enumerate();
    // One by one: threads that are done earlier then take what is left of the others.
    let parts: Vec<VectorCells> = cpu.pool.install(|| tiles.with_max_len(1).map(of_tile).collect());
    let mut parts = parts.into_iter();
    let mut cells = parts.next().expect("at least one point");
    parts.for_each(|part| cells.merge(&part));
    cells
}

/// [`VectorCells::add`] of points one after another; common dimensions are known to the compiler.
#[inline(always)]
fn add(cells: &mut VectorCells, codes: &[u32], samples: &[f32], weights: Option<&[f32]>) {
    match (samples.len() / codes.len(), weights) {
        (2, None) => add_unweighted::<2>(cells, codes, samples),
        (4, None) => add_unweighted::<4>(cells, codes, samples),
        (8, None) => add_unweighted::<8>(cells, codes, samples),
        (d, _) => {
            for (i, (&code, point)) in codes.iter().zip(samples.chunks_exact(d)).enumerate() {
                cells.add(code as usize, point, weights.map_or(1.0, |w| w[i]));
            }
        }
    }
}

#[inline(always)]
fn add_unweighted<const D: usize>(cells: &mut VectorCells, codes: &[u32], samples: &[f32]) {
    let (sums, _) = cells.sums.as_chunks_mut::<D>();
    for (&code, point) in codes.iter().zip(samples.as_chunks::<D>().0) {
        cells.weights[code as usize] += 1.0;
        let sums = &mut sums[code as usize];
        (0..D).for_each(|i| sums[i] += f64::from(point[i]));
    }
}

fn checked(level: Level, points: Points<'_>, codevectors: Points<'_>, codes: &[u32]) -> Groups {
    assert_eq!(points.dimension(), codevectors.dimension(), "points and codevectors of one space");
    assert_eq!(codes.len(), points.len(), "a code for each point");
    Groups::new(level, codevectors)
}

/// Encodes points block by block and tells each block's first place and codes.
#[inline(always)]
pub(crate) fn encode(
    level: Level,
    groups: &Groups,
    samples: &[f32],
    codes: &mut [u32],
    mut then: impl FnMut(usize, &[u32]),
) {
    let mut block = Block::new(groups);
    level.vectorize(
        #[inline(always)]
        || {
            let parts = codes.chunks_mut(BLOCK).zip(samples.chunks(BLOCK * groups.dimension));
            for (index, (codes, samples)) in parts.enumerate() {
                let found = block.nearest(level, groups, samples);
                match codes.first_chunk_mut() {
                    Some(codes) => *codes = found,
                    None => codes.copy_from_slice(&found[..codes.len()]),
                }
                then(index * BLOCK, codes);
            }
        },
    );
}
