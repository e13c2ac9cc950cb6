//! Are rows fitted alike by every instruction set and thread count, where rows are long enough for bins?

#[path = "../../quant-core/tests/wu/mod.rs"]
mod wu;

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

/// Σ w (x − nearest level)² in f64.
fn cost(points: &[(f64, f64)], levels: &[f32]) -> f64 {
    let squared = |x: f64| levels.iter().map(|&y| (x - f64::from(y)).powi(2)).fold(f64::INFINITY, f64::min);
    points.iter().map(|&(x, w)| w * squared(x)).sum()
}

/// Levels are f32, and rounding one moves it by 2⁻²⁴ of itself: an excess below 1e-7 for levels that lie apart by a few
/// thousandths of themselves or more.
const EXCESS_MAX: f64 = 1e-7;

/// Compares the rows with what [`wu`] finds, at every level.
fn assert_optimal(place: &str, matrix: Matrix<'_>, weights: Option<&[f32]>, level_count: usize) {
    let columns = matrix.columns();
    let point = |i: usize| (f64::from(matrix.samples().get(i)), weights.map_or(1.0, |w| f64::from(w[i])));
    let rows: Vec<Vec<_>> =
        (0..matrix.rows()).map(|row| (row * columns..(row + 1) * columns).map(point).collect()).collect();
    let least: Vec<f64> = rows.iter().map(|row| wu::least_cost(row.clone(), level_count)).collect();
    for level in SimdLevel::ALL.into_iter().filter(|level| level.is_available()) {
        let options = CpuOptions { threads: Some(2), level: Some(level), ..CpuOptions::default() };
        let Ok(found) = Cpu::new(options).unwrap().fit_rows(matrix, None, weights, level_count);
        for (row, (points, &least)) in rows.iter().zip(&least).enumerate() {
            let ours = cost(points, found.levels(row));
            let is_weighted = weights.is_some();
            assert!(
                ours <= least * (1.0 + EXCESS_MAX),
                "{place}, row {row} of {columns}, weighted {is_weighted}, k = {level_count}, {level}: {ours} against {least}"
            );
        }
    }
}

/// Three hundred rows: sixty by five level counts.
#[test]
fn rows_cost_what_another_programme_finds() {
    let mut noise = Noise(31);
    // Normal, Student's t of 3 degrees, Laplacian, a constant with outliers, few values, and bulk with a few beside it and
    // one far out.
    let mut of_row = |row: usize, column: usize| match row {
        0 => noise.normal(),
        1 => noise.normal() / ((0..3).map(|_| noise.normal().powi(2)).sum::<f32>() / 3.0).sqrt(),
        2 => noise.uniform().ln() as f32 * if noise.uniform() < 0.5 { 1.0 } else { -1.0 },
        3 if noise.uniform() < 5e-3 => 30.0 * noise.normal(),
        3 => 0.25,
        4 => (5.0 * noise.normal()).round(),
        _ => match column {
            0..3 => 1.2 + 0.2 * noise.uniform() as f32,
            3 => 19.0,
            _ => noise.uniform() as f32,
        },
    };
    let rows = 6;
    for columns in [200, 500, 1024, 1777, 3000] {
        let samples: Vec<f32> = (0..rows * columns).map(|i| of_row(i / columns, i % columns)).collect();
        let mut noise = Noise(columns as u64);
        // χ²₁, a tenth of them 0; those beside the bulk are light.
        let mut weight = |i: usize| match (i / columns, i % columns) {
            (5, 0..4) => 0.05,
            _ if noise.uniform() < 0.1 => 0.0,
            _ => noise.normal().powi(2),
        };
        let weights: Vec<f32> = (0..samples.len()).map(&mut weight).collect();
        let matrix = Matrix::new(Samples::F32(&samples), rows, columns).unwrap();
        for level_count in [2, 3, 8, 16, 32] {
            assert_optimal("kinds", matrix, None, level_count);
            assert_optimal("kinds", matrix, Some(&weights), level_count);
        }
    }
}

/// A bulk, four samples beside it and one far out, which has a level of its own in the optimum.
#[test]
fn a_bulk_with_a_light_tail_is_fitted_exactly() {
    let bulk = (0..=254u16).flat_map(|x| [f32::from(x); 88]);
    let samples: Vec<f32> = bulk.chain([290.0, 325.0, 360.0, 4815.0]).collect();
    assert_optimal("bulk", Matrix::new(Samples::F32(&samples), 1, samples.len()).unwrap(), None, 3);
}
