//! What do all devices work on?

use quant_benches::data;
use quant_core::codebook::Codebooks;
use quant_core::codes::BitWidth;
use quant_core::design::normal_float::NF4_LEVELS;
use quant_core::grouping::{GroupLength, Grouping};
use quant_core::tensor::{Matrix, Samples};
use std::cell::RefCell;
use std::collections::BTreeMap;

/// Samples of a row.
pub const COLUMNS: usize = 4096;

/// Rows of W2 and samples / 4096 of W3: both read a sample many times.
const FITTED_ROWS_MAX: usize = 4096;

/// Samples of N(0, 1), weights χ²₁ for some of them, and the codebook NF4.
pub struct Data {
    pub rows: usize,
    pub samples: Vec<f32>,
    pub weights: Vec<f32>,
    pub codebooks: Codebooks,
    /// Only workloads whose name contains one of them; all where there is none.
    words: Vec<String>,
}

impl Data {
    pub fn new(rows: usize, words: &[String]) -> Self {
        eprintln!("preparing {rows} × {COLUMNS} samples");
        let samples = data::gaussian(rows * COLUMNS, 1.0, 1);
        let weights = data::gaussian(rows.min(FITTED_ROWS_MAX) * COLUMNS, 1.0, 2).iter().map(|w| w * w).collect();
        Self { rows, samples, weights, codebooks: Codebooks::from_levels(16, [NF4_LEVELS]), words: words.into() }
    }

    pub fn matrix(&self) -> Matrix<'_> {
        Matrix::new(Samples::F32(&self.samples), self.rows, COLUMNS).expect("whole rows")
    }

    /// The first rows, which codebooks and codevectors are fitted to.
    pub fn fitted(&self) -> Matrix<'_> {
        self.matrix().row_range(0..self.rows.min(FITTED_ROWS_MAX))
    }

    /// Groups of 64 samples, at 4 bits.
    pub fn block_format(&self) -> (Grouping, BitWidth) {
        (Grouping::new(self.rows, COLUMNS, GroupLength::Samples(64)), BitWidth::new(4).expect("4 is allowed"))
    }

    pub fn is_wanted(&self, name: &str) -> bool {
        self.words.is_empty() || self.words.iter().any(|word| name.contains(word.as_str()))
    }

    /// Σ w (x − nearest level)² / Σ w over the fitted rows.
    pub fn weighted_mse(&self, fitted: &Codebooks) -> f64 {
        let (mut error, mut weight) = (0.0, 0.0);
        for row in 0..fitted.count() {
            let (thresholds, levels) = (fitted.thresholds(row), fitted.levels(row));
            for index in row * COLUMNS..(row + 1) * COLUMNS {
                let (x, w) = (self.samples[index], f64::from(self.weights[index]));
                let level = levels[thresholds.partition_point(|&t| t < x)];
                error += w * (f64::from(x) - f64::from(level)).powi(2);
                weight += w;
            }
        }
        error / weight
    }
}

/// What workloads of one device write: quality is told from the last.
pub struct Results {
    pub scales: RefCell<Vec<f32>>,
    pub packed: RefCell<Vec<u8>>,
    /// As many samples as there are: decoded, copied, transformed, in place and one after the other, because they may be
    /// most of the memory.
    pub scratch: RefCell<Vec<f32>>,
    pub fitted: RefCell<Option<Codebooks>>,
    pub whole_mse: RefCell<Option<f64>>,
    /// By the name of the workload.
    pub vector_mse: RefCell<BTreeMap<&'static str, f64>>,
}

impl Results {
    pub fn new(data: &Data) -> Self {
        let (grouping, bit_width) = data.block_format();
        Self {
            scales: vec![0.0; grouping.group_count()].into(),
            packed: vec![0; data.rows * bit_width.row_len_bytes(COLUMNS)].into(),
            scratch: data.samples.clone().into(),
            fitted: None.into(),
            whole_mse: None.into(),
            vector_mse: RefCell::default(),
        }
    }
}
