//! Error of the codes against the samples they stand for.
//!
//! Σ(x − y)², Σx², max|x − y| in f64 and the count of each code. A tile of 1024 columns is summed in 16 lanes, lanes
//! pairwise, tiles in row-major order: the order is fixed, so the sums are equal for all levels, chunks and thread
//! counts. Class: counts exact, f64 sums bounded.

use crate::decode::decode_tile;
use crate::samples::load;
use crate::work::{Region, TILE, regions, tiles};
use crate::{Cpu, level::Level};
use quant_core::backend::Encoding;
use quant_core::codes::{BitWidth, add_codes_of_bytes};
use quant_core::measure::Distortion;
use quant_core::tensor::Matrix;
use rayon::prelude::*;

/// Sums of a tile side by side.
pub(crate) const LANES: usize = 16;

pub(crate) fn distortion(cpu: &Cpu, matrix: Matrix<'_>, encoding: &Encoding<'_>, packed: &[u8]) -> Distortion {
    encoding.assert_consistent();
    assert_eq!(packed.len(), encoding.codes_len_bytes(), "every row is there");
    let regions = regions(matrix.rows(), matrix.columns(), cpu.chunk_len, TILE);
    let part = |region: &Region| measure_region(cpu.level, matrix, encoding, packed, region);
    let parts: Vec<Part> = cpu.pool.install(|| regions.par_iter().map(part).collect());
    let mut sums = Distortion::empty(encoding.bit_width.level_count());
    sums.sample_count = matrix.len() as u64;
    for part in parts {
        for tile in part.tiles {
            tile.add_to(&mut sums);
        }
        sums.code_counts.iter_mut().zip(part.code_counts).for_each(|(sum, n)| *sum += n);
    }
    sums
}

struct Part {
    tiles: Vec<TileSums>,
    code_counts: [u64; 256],
}

#[derive(Clone, Copy)]
pub(crate) struct TileSums {
    squared_error: f64,
    energy: f64,
    error_max: f64,
}

impl TileSums {
    pub(crate) fn add_to(&self, sums: &mut Distortion) {
        sums.squared_error += self.squared_error;
        sums.energy += self.energy;
        sums.error_max = sums.error_max.max(self.error_max);
    }
}

fn measure_region(level: Level, matrix: Matrix<'_>, encoding: &Encoding<'_>, packed: &[u8], region: &Region) -> Part {
    let (mut codes, mut x, mut y) = ([0; TILE], [0.0; TILE], [0.0; TILE]);
    let mut counts = ByteCounts::new(encoding.bit_width);
    let mut part = Part { tiles: Vec::new(), code_counts: [0; 256] };
    for row in region.rows.clone() {
        for columns in tiles(region.columns.clone()) {
            let len = columns.len();
            let (codes, x, y) = (&mut codes[..len], &mut x[..len], &mut y[..len]);
            let sums = level.vectorize(
                #[inline(always)]
                || {
                    load(level, matrix.samples(), row * matrix.columns() + columns.start, x);
                    decode_tile(level, packed, encoding, row, columns.clone(), codes, y);
                    sum_tile(x, y)
                },
            );
            part.tiles.push(sums);
            let first_byte = row * encoding.row_len_bytes() + columns.start / 8 * encoding.bit_width.bits();
            counts.add(codes, &packed[first_byte..], &mut part.code_counts);
        }
    }
    counts.unpack_into(&mut part.code_counts);
    part
}

#[inline(always)]
pub(crate) fn sum_tile(x: &[f32], y: &[f32]) -> TileSums {
    let mut lanes = [[0.0f64; LANES]; 3];
    let ((x16, x_rest), (y16, y_rest)) = (x.as_chunks::<LANES>(), y.as_chunks::<LANES>());
    for (x, y) in x16.iter().zip(y16) {
        add_lanes(x, y, &mut lanes);
    }
    let (mut x_last, mut y_last) = ([0.0; LANES], [0.0; LANES]);
    x_last[..x_rest.len()].copy_from_slice(x_rest);
    y_last[..y_rest.len()].copy_from_slice(y_rest);
    add_lanes(&x_last, &y_last, &mut lanes);
    TileSums {
        squared_error: fold_lanes(lanes[0], |a, b| a + b),
        energy: fold_lanes(lanes[1], |a, b| a + b),
        error_max: fold_lanes(lanes[2], f64::max),
    }
}

#[inline(always)]
fn add_lanes(x: &[f32; LANES], y: &[f32; LANES], [squared_error, energy, error_max]: &mut [[f64; LANES]; 3]) {
    for i in 0..LANES {
        let (x, y) = (f64::from(x[i]), f64::from(y[i]));
        let error = x - y;
        squared_error[i] += error * error;
        energy[i] += x * x;
        error_max[i] = if error.abs() > error_max[i] { error.abs() } else { error_max[i] };
    }
}

pub(crate) fn fold_lanes(mut lanes: [f64; LANES], join: impl Fn(f64, f64) -> f64) -> f64 {
    let mut width = LANES / 2;
    while width > 0 {
        (0..width).for_each(|i| lanes[i] = join(lanes[i], lanes[i + width]));
        width /= 2;
    }
    lanes[0]
}

/// How often each byte occurs: packed codes where a byte holds whole codes, else codes.
struct ByteCounts {
    /// Four tables, because an increment must wait for the one before it on the same address.
    tables: [[u64; 256]; 4],
    /// Of codes.
    width: BitWidth,
}

impl ByteCounts {
    fn new(width: BitWidth) -> Self {
        Self { tables: [[0; 256]; 4], width }
    }

    /// Counts `codes`, which lie in `packed`.
    fn add(&mut self, codes: &[u8], packed: &[u8], single: &mut [u64; 256]) {
        let codes_per_byte = self.width.codes_per_byte().max(1);
        let byte_count = codes.len() / codes_per_byte;
        let (fours, rest) = if codes_per_byte == 1 { codes } else { &packed[..byte_count] }.as_chunks::<4>();
        for &[a, b, c, d] in fours {
            self.tables[0][usize::from(a)] += 1;
            self.tables[1][usize::from(b)] += 1;
            self.tables[2][usize::from(c)] += 1;
            self.tables[3][usize::from(d)] += 1;
        }
        rest.iter().for_each(|&byte| self.tables[0][usize::from(byte)] += 1);
        codes[byte_count * codes_per_byte..].iter().for_each(|&code| single[usize::from(code)] += 1);
    }

    /// Adds the codes of the bytes counted.
    fn unpack_into(&self, code_counts: &mut [u64; 256]) {
        let counts: [u64; 256] = std::array::from_fn(|byte| self.tables.iter().map(|table| table[byte]).sum());
        match self.width.codes_per_byte() {
            0 => code_counts.iter_mut().zip(counts).for_each(|(sum, n)| *sum += n),
            _ => add_codes_of_bytes(&counts, self.width, code_counts),
        }
    }
}
