//! Are rows fitted alike by every instruction set and thread count, where rows are long enough for bins?

use quant_core::backend::Backend;
use quant_core::conformance::cases::Noise;
use quant_core::reference::Reference;
use quant_core::tensor::{Matrix, Samples};
use quant_cpu::{Cpu, CpuOptions, SimdLevel};

#[test]
fn long_rows_do_not_depend_on_instructions_or_threads() {
    let (rows, columns) = (5, 3000);
    let mut noise = Noise(3);
    // Gaussian; with an outlier; heavy tails; few values; constant.
    let mut of_row = |row: usize, column: usize| match row {
        0 => noise.normal(),
        1 => noise.normal() + if column == 17 { 1e4 } else { 0.0 },
        2 => noise.normal() / noise.uniform().sqrt() as f32,
        3 => (noise.normal() * 8.0).round(),
        _ => 0.25,
    };
    let samples: Vec<f32> = (0..rows * columns).map(|i| of_row(i / columns, i % columns)).collect();
    let mut noise = Noise(4);
    let weights: Vec<f32> = samples.iter().map(|_| noise.normal().powi(2)).collect();
    let matrix = Matrix::new(Samples::F32(&samples), rows, columns).unwrap();
    for (weights, level_count) in [(None, 16), (Some(&weights[..]), 16), (Some(&weights[..]), 5)] {
        let Ok(expected) = Reference.fit_rows(matrix, None, weights, level_count);
        for level in SimdLevel::ALL.into_iter().filter(|level| level.is_available()) {
            for threads in [1, 2, 7] {
                let options = CpuOptions { threads: Some(threads), level: Some(level), ..CpuOptions::default() };
                let Ok(found) = Cpu::new(options).unwrap().fit_rows(matrix, None, weights, level_count);
                assert_eq!(found.all_levels(), expected.all_levels(), "{level}, {threads} threads");
            }
        }
    }
}

/// Far from zero costs differ by less than they are rounded, and equal ones have any order.
#[test]
fn rows_far_from_zero_are_fitted_alike() {
    for columns in [40, 48, 64, 100, 200, 600] {
        for far in [1e6, 1e8, 1e15] {
            let mut noise = Noise(11);
            let mut of_row = |row: usize, column: usize| match row % 2 {
                0 => noise.normal() + if column < columns / 2 { far } else { 0.0 },
                _ => noise.normal() + if column == 0 { far } else { 0.0 },
            };
            let samples: Vec<f32> = (0..32 * columns).map(|i| of_row(i / columns, i % columns)).collect();
            let matrix = Matrix::new(Samples::F32(&samples), 32, columns).unwrap();
            for level_count in [4, 8, 16] {
                let Ok(expected) = Reference.fit_rows(matrix, None, None, level_count);
                for level in SimdLevel::ALL.into_iter().filter(|level| level.is_available()) {
                    let options = CpuOptions { level: Some(level), ..CpuOptions::default() };
                    let Ok(found) = Cpu::new(options).unwrap().fit_rows(matrix, None, None, level_count);
                    assert_eq!(found.all_levels(), expected.all_levels(), "{level}, {columns} columns, {far:e}");
                }
            }
        }
    }
}
