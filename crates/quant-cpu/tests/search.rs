//! Scale search against the reference on many codebooks and groups: what the tables of cells leave out must never be
//! the nearest level.

use quant_core::backend::Backend;
use quant_core::codebook::Codebooks;
use quant_core::conformance::cases::Noise;
use quant_core::conformance::compare::exact_values;
use quant_core::grouping::{GroupLength, Grouping};
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
