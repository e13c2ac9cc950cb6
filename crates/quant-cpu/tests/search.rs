//! Scale search against the reference on many codebooks and groups: what the tables of cells leave out must never be
//! the nearest level.

use quant_core::backend::Backend;
use quant_core::codebook::Codebooks;
use quant_core::conformance::cases::Noise;
use quant_core::conformance::compare::exact_values;
use quant_core::design::{normal_float::NF4_LEVELS, uniform::integer_levels};
use quant_core::grouping::{GroupLength, Grouping};
use quant_core::recipe::IQ4_NL_LEVELS;
use quant_core::reference::Reference;
use quant_core::scale::ScaleSearch;
use quant_core::tensor::{Matrix, Samples};
use quant_cpu::{Cpu, CpuOptions, SimdLevel};

const ROUNDS: u64 = if cfg!(debug_assertions) { 500 } else { 5000 };

/// Levels like NF4, evenly spaced, one-sided or random; 1 to 40 of them.
fn levels(noise: &mut Noise) -> Vec<f32> {
    let count = 1 + noise.bits() as usize % if noise.bits().is_multiple_of(4) { 40 } else { 16 };
    let skew = noise.uniform() as f32;
    let mut levels: Vec<f32> = match noise.bits() % 4 {
        0 => (0..count).map(|_| noise.normal()).collect(),
        1 => (0..count).map(|i| i as f32 - skew * count as f32).collect(),
        2 => (0..count).map(|i| (i as f32 - count as f32 / 2.0) * (1.0 + skew * i as f32)).collect(),
        _ => (0..count).map(|i| ((i as f32 + 0.5) / count as f32 - 0.5).tan() + 0.01 * noise.normal()).collect(),
    };
    levels.sort_by(f32::total_cmp);
    if levels.iter().all(|&y| y == 0.0) { vec![1.0] } else { levels }
}

/// Normal, heavy-tailed, uniform, or multiples of 1/64, at any magnitude.
fn samples(noise: &mut Noise, len: usize) -> Vec<f32> {
    let unit = 2f32.powi((noise.bits() % 60) as i32 - 30) * (1.0 + noise.uniform() as f32);
    let kind = noise.bits() % 4;
    let mut sample = || match kind {
        0 => noise.normal(),
        1 => noise.normal() / (0.05 + noise.uniform() as f32),
        2 => 2.0 * noise.uniform() as f32 - 1.0,
        _ => (noise.bits() % 129) as f32 / 64.0 - 1.0,
    };
    (0..len).map(|_| sample() * unit).collect()
}

#[test]
fn search_agrees_with_the_reference() {
    let available = SimdLevel::ALL.into_iter().filter(|level| level.is_available());
    let options = |level| CpuOptions { threads: Some(1), level: Some(level), ..Default::default() };
    let backends: Vec<_> = available.map(|level| Cpu::new(options(level)).expect("it is available")).collect();
    for seed in 0..ROUNDS {
        let mut noise = Noise(seed);
        let levels = levels(&mut noise);
        let length = [16, 32, 64, 64, 65, 128, 300][noise.bits() as usize % 7];
        let samples = samples(&mut noise, 4 * length);
        let matrix = Matrix::new(Samples::F32(&samples), 1, samples.len()).expect("one row");
        let grouping = Grouping::new(1, samples.len(), GroupLength::Samples(length));
        let codebooks = Codebooks::from_levels(levels.len(), [&levels]);
        let search = ScaleSearch::new(&codebooks, grouping.length(), noise.bits().is_multiple_of(2));
        let mut expected = vec![0.0; grouping.group_count()];
        let Ok(()) = Reference.search_scales(matrix, grouping, &search, &mut expected);
        for backend in &backends {
            let mut scales = vec![0.0; grouping.group_count()];
            let Ok(()) = backend.search_scales(matrix, grouping, &search, &mut scales);
            exact_values(&scales, &expected, &format!("{}, seed {seed}, levels {levels:?}", backend.name()));
        }
    }
}

/// A group where leaving candidates out could go wrong: zeros, ties, one sample, the borders of the number format.
fn odd_group(noise: &mut Noise, len: usize) -> Vec<f32> {
    let kind = noise.bits() % 9;
    let place = noise.bits() as usize % len;
    let sample = |i: usize| match kind {
        0 => 0.0,
        1 => {
            if noise.bits().is_multiple_of(2) {
                0.5
            } else {
                -0.5
            }
        }
        2 => {
            if i == place {
                -3e-5
            } else {
                0.0
            }
        }
        3 => 1e-40 * noise.normal(),
        4 => f32::MIN_POSITIVE * (1.0 + 100.0 * noise.normal().abs()),
        5 => f32::MAX * (2.0 * noise.uniform() as f32 - 1.0),
        6 => (noise.bits() % 17) as f32 / 8.0 - 1.0,
        7 => {
            if i == place {
                1e3
            } else {
                noise.normal()
            }
        }
        _ => 0.02 * noise.normal(),
    };
    (0..len).map(sample).collect()
}

#[test]
fn search_of_odd_groups_agrees_with_the_reference() {
    let lists = [
        NF4_LEVELS.to_vec(),
        IQ4_NL_LEVELS.to_vec(),
        integer_levels(4),
        // A wide cell, whose errors go beyond the range of the bounds: nine levels, or they are searched the long way.
        vec![-1.0, -0.4, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0],
        vec![-0.3, -0.2, -0.1, 0.0, 0.1, 0.2, 0.3, 0.4, 1.0],
        vec![-0.001, 0.0, 1.0],
    ];
    let available = SimdLevel::ALL.into_iter().filter(|level| level.is_available());
    let options = |level| CpuOptions { threads: Some(1), level: Some(level), ..Default::default() };
    let backends: Vec<_> = available.map(|level| Cpu::new(options(level)).expect("it is available")).collect();
    for seed in 0..ROUNDS / 5 {
        let mut noise = Noise(seed);
        let levels = &lists[noise.bits() as usize % lists.len()];
        let length = [1, 7, 31, 32, 33, 48, 63, 64][noise.bits() as usize % 8];
        // A last group of another length, and rows that do not fill whole batches.
        let columns = length * (1 + noise.bits() as usize % 9) + noise.bits() as usize % length;
        let mut samples = Vec::new();
        while samples.len() < 5 * columns {
            samples.extend(odd_group(&mut noise, length));
        }
        samples.truncate(5 * columns);
        let matrix = Matrix::new(Samples::F32(&samples), 5, columns).expect("five rows");
        let grouping = Grouping::new(5, columns, GroupLength::Samples(length));
        let codebooks = Codebooks::from_levels(levels.len(), [levels]);
        let search = ScaleSearch::new(&codebooks, grouping.length(), noise.bits().is_multiple_of(2));
        let mut expected = vec![0.0; grouping.group_count()];
        let Ok(()) = Reference.search_scales(matrix, grouping, &search, &mut expected);
        for backend in &backends {
            let mut scales = vec![1.0; grouping.group_count()];
            let Ok(()) = backend.search_scales(matrix, grouping, &search, &mut scales);
            exact_values(&scales, &expected, &format!("{}, seed {seed}, length {length}", backend.name()));
        }
    }
}
