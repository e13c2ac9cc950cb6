//! The standing workloads of k-means: one tensor (W1), rows (W2), vectors (W3), codes included.

#[path = "../../crates/quant-core/tests/wu/mod.rs"]
mod wu;

use anyhow::{Result, ensure};
use half::{bf16, f16};
use quant_core::backend::{Backend, Encoding};
use quant_core::codebook::Codebooks;
use quant_core::codes::BitWidth;
use quant_core::design::certified::fit_finite;
use quant_core::design::vector::Points;
use quant_core::grouping::{GroupLength, Grouping};
use quant_core::tensor::{Matrix, Samples};
use quant_cpu::Cpu;

/// What the workloads are made of; as many samples as W1 has, 2²⁴ in a measurement.
#[derive(Debug)]
pub struct Data {
    f32: Vec<f32>,
    f16: Vec<f16>,
    bf16: Vec<bf16>,
    /// χ²₁.
    weights: Vec<f32>,
}

impl Data {
    /// Samples of N(0, 1) in three formats, and weights.
    pub fn new(sample_count: usize) -> Self {
        let f32 = crate::data::gaussian(sample_count, 1.0, 1);
        let f16 = f32.iter().map(|&x| f16::from_f32(x)).collect();
        let bf16 = f32.iter().map(|&x| bf16::from_f32(x)).collect();
        let weights = crate::data::gaussian(sample_count, 1.0, 2).iter().map(|x| x * x).collect();
        Self { f32, f16, bf16, weights }
    }

    /// The samples as they are before they are rounded to 16 bits.
    pub fn samples(&self) -> &[f32] {
        &self.f32
    }
}

/// Which samples are fitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// All samples as one tensor.
    F32,
    /// The same in 16 bits.
    F16,
    /// The same in the other 16 bits.
    Bf16,
    /// A sixteenth of them.
    Few,
    /// Weighted rows of 4096.
    Rows,
    /// Points of so many samples, so many of them.
    Vectors { dimension: usize, count: usize, steps: usize },
}

/// One of W1 to W3.
#[derive(Debug)]
pub struct Workload {
    /// Its name.
    pub name: &'static str,
    kind: Kind,
    level_count: usize,
}

const fn workload(name: &'static str, kind: Kind, level_count: usize) -> Workload {
    Workload { name, kind, level_count }
}

/// All of them. W3 of d = 128 has one of Lloyd's steps, over an eighth of the points that peers are given elsewhere.
pub const WORKLOADS: &[Workload] = &[
    workload("W1 f32 16.7M k=16", Kind::F32, 16),
    workload("W1 f16 16.7M k=16", Kind::F16, 16),
    workload("W1 bf16 16.7M k=16", Kind::Bf16, 16),
    workload("W1 f32 1M k=16", Kind::Few, 16),
    workload("W1 f32 1M k=256", Kind::Few, 256),
    workload("W2 rows k=8", Kind::Rows, 8),
    workload("W2 rows k=16", Kind::Rows, 16),
    workload("W3 d=8 k=256", Kind::Vectors { dimension: 8, count: 1_000_000, steps: 10 }, 256),
    workload("W3 d=128 k=1024", Kind::Vectors { dimension: 128, count: 1 << 17, steps: 1 }, 1024),
];

/// How long rows are.
const COLUMNS: usize = 4096;

/// What a run found beside its codes.
#[derive(Clone, Copy, Debug)]
pub struct Found {
    /// Mean squared error over the weights.
    pub mse: f64,
    /// The most that the error can be above the least possible, as a share of it: proved of a tensor, measured on
    /// eight of the rows; none where it is not known.
    pub excess_max: Option<f64>,
}

impl Workload {
    fn matrix<'a>(&self, data: &'a Data) -> Matrix<'a> {
        let samples = match self.kind {
            Kind::F16 => Samples::F16(&data.f16),
            Kind::Bf16 => Samples::Bf16(&data.bf16),
            Kind::Few => Samples::F32(&data.f32[..data.f32.len() / 16]),
            _ => Samples::F32(&data.f32),
        };
        let rows = if self.kind == Kind::Rows { samples.len() / COLUMNS } else { 1 };
        Matrix::new(samples, rows, samples.len() / rows).expect("whole rows")
    }

    fn points<'a>(&self, data: &'a Data) -> (Points<'a>, usize) {
        let Kind::Vectors { dimension, count, steps } = self.kind else { panic!("{} has no points", self.name) };
        let count = count.min(data.f32.len() / dimension);
        let points = Points::new(&data.f32[..count * dimension], dimension).expect("noise is finite");
        (points, steps)
    }

    /// Samples that a run reads, and bytes per sample read and written at least.
    pub fn traffic(&self, data: &Data) -> (usize, f64) {
        match self.kind {
            Kind::Vectors { .. } => {
                let (points, steps) = self.points(data);
                (points.samples().len() * steps, 4.0 + 4.0 / points.dimension() as f64)
            }
            Kind::Rows => (data.f32.len(), 8.5),
            Kind::F16 | Kind::Bf16 => (data.f32.len(), 2.5),
            Kind::Few => (data.f32.len() / 16, 4.5 + f64::from(u8::from(self.level_count > 16)) * 0.5),
            Kind::F32 => (data.f32.len(), 4.5),
        }
    }

    /// Multiplications and additions of all scores, where they are what a run is bound by.
    pub fn operations(&self, data: &Data) -> Option<f64> {
        matches!(self.kind, Kind::Vectors { .. }).then(|| 2.0 * self.traffic(data).0 as f64 * self.level_count as f64)
    }

    /// Does the work once.
    pub fn run(&self, cpu: &Cpu, data: &Data) {
        std::hint::black_box(match self.kind {
            Kind::Vectors { .. } => self.vectors(cpu, data).len(),
            Kind::Rows => self.rows(cpu, data).all_levels().len(),
            _ => self.whole(cpu, data).1.len(),
        });
    }

    /// Does it once more and measures what comes out.
    pub fn found(&self, cpu: &Cpu, data: &Data) -> Result<Found> {
        match self.kind {
            Kind::Vectors { .. } => {
                let (points, _) = self.points(data);
                let codevectors = self.vectors(cpu, data);
                let own = Points::new(&codevectors, points.dimension())?;
                let Ok(cells) = cpu.vector_cells(points, None, own, &mut vec![0; points.len()]);
                Ok(Found { mse: cells.cost(points.energy(), own) / points.samples().len() as f64, excess_max: None })
            }
            Kind::Rows => {
                let codebooks = self.rows(cpu, data);
                ensure!(codebooks.all_levels().iter().all(|y| y.is_finite()), "levels are finite");
                let excess_max = rows_excess(data, &codebooks, self.level_count);
                Ok(Found { mse: rows_mse(data, &codebooks), excess_max: Some(excess_max) })
            }
            _ => {
                let (found, _) = self.whole(cpu, data);
                Ok(found)
            }
        }
    }

    fn whole(&self, cpu: &Cpu, data: &Data) -> (Found, Vec<u8>) {
        let matrix = self.matrix(data);
        let Ok(fit) = fit_finite(cpu, matrix, self.level_count);
        let levels: Vec<f32> = fit.levels.iter().map(|&y| y as f32).collect();
        let packed = encode(cpu, matrix, &Codebooks::from_levels(self.level_count, [levels]));
        (Found { mse: fit.mse, excess_max: Some(fit.gap) }, packed)
    }

    fn rows(&self, cpu: &Cpu, data: &Data) -> Codebooks {
        let matrix = self.matrix(data);
        let Ok(codebooks) = cpu.fit_rows(matrix, None, Some(&data.weights), self.level_count);
        std::hint::black_box(encode(cpu, matrix, &codebooks));
        codebooks
    }

    /// Some of Lloyd's steps from the first points on.
    fn vectors(&self, cpu: &Cpu, data: &Data) -> Vec<f32> {
        let (points, steps) = self.points(data);
        let dimension = points.dimension();
        let mut codevectors = points.samples()[..self.level_count.min(points.len()) * dimension].to_vec();
        let mut codes = vec![0; points.len()];
        for _ in 0..steps {
            let own = Points::new(&codevectors, dimension).expect("finite centroids");
            let Ok(cells) = cpu.vector_cells(points, None, own, &mut codes);
            let moved = codevectors.chunks_exact_mut(dimension).enumerate().filter(|(c, _)| cells.weights[*c] > 0.0);
            for (code, y) in moved {
                y.iter_mut().zip(cells.sum(code)).for_each(|(y, sum)| *y = (sum / cells.weights[code]) as f32);
            }
        }
        codevectors
    }
}

fn encode(cpu: &Cpu, matrix: Matrix<'_>, codebooks: &Codebooks) -> Vec<u8> {
    let bits = codebooks.level_count().next_power_of_two().ilog2().max(1);
    let encoding = Encoding {
        bit_width: BitWidth::new(bits).expect("at most 256 levels"),
        grouping: Grouping::new(matrix.rows(), matrix.columns(), GroupLength::Row),
        scales: None,
        codebooks,
    };
    let mut packed = vec![0; encoding.codes_len_bytes()];
    let Ok(()) = cpu.encode(matrix, &encoding, &mut packed);
    packed
}

/// Rows that are compared with the other programme, evenly spaced.
const COMPARED_ROWS: usize = 8;

/// How far the dearest of [`COMPARED_ROWS`] is above what [`wu`] finds in f64, as a share of that. Levels that are rounded
/// to f32 make less than 1e-12 of it.
fn rows_excess(data: &Data, codebooks: &Codebooks, level_count: usize) -> f64 {
    let row_count = data.f32.len() / COLUMNS;
    let excess = |row: usize| {
        let of_row = row * COLUMNS..(row + 1) * COLUMNS;
        let (x, w) = (&data.f32[of_row.clone()], &data.weights[of_row]);
        let points = x.iter().zip(w).map(|(&x, &w)| (f64::from(x), f64::from(w))).collect();
        let total: f64 = w.iter().map(|&w| f64::from(w)).sum();
        (row_mse(row, x, w, codebooks) * total / wu::least_cost(points, level_count) - 1.0).max(0.0)
    };
    (0..row_count).step_by(row_count.div_ceil(COMPARED_ROWS).max(1)).map(excess).fold(0.0, f64::max)
}

/// Σ w (x − nearest level)² / Σ w of a row.
fn row_mse(row: usize, x: &[f32], w: &[f32], codebooks: &Codebooks) -> f64 {
    let (levels, thresholds) = (codebooks.levels(row), codebooks.thresholds(row));
    let error = |x: f32| f64::from(x) - f64::from(levels[thresholds.partition_point(|&t| t < x)]);
    let sum: f64 = x.iter().zip(w).map(|(&x, &w)| f64::from(w) * error(x).powi(2)).sum();
    sum / w.iter().map(|&w| f64::from(w)).sum::<f64>()
}

/// Mean of [`row_mse`] over rows.
fn rows_mse(data: &Data, codebooks: &Codebooks) -> f64 {
    let pairs = data.f32.chunks_exact(COLUMNS).zip(data.weights.chunks_exact(COLUMNS));
    let count = pairs.len() as f64;
    pairs.enumerate().map(|(row, (x, w))| row_mse(row, x, w, codebooks)).sum::<f64>() / count
}
