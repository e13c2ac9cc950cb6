//! Is the codebook of a whole tensor the same for every instruction set and thread count, where bins are in use?

use half::{bf16, f16};
use quant_core::backend::Backend;
use quant_core::conformance::cases::Noise;
use quant_core::design::certified::fit_samples;
use quant_core::tensor::{Matrix, Samples};
use quant_cpu::{Cpu, CpuOptions, SimdLevel};

/// More than are sorted, and no whole number of tiles.
const COUNT: usize = 150_001;

fn cpus() -> impl Iterator<Item = Cpu> {
    let levels = SimdLevel::ALL.into_iter().filter(|level| level.is_available());
    let options = levels.flat_map(|level| [1, 2, 7].map(|threads| (level, threads)));
    options.map(|(level, threads)| {
        let options = CpuOptions { threads: Some(threads), level: Some(level), ..CpuOptions::default() };
        Cpu::new(options).expect("the level is available")
    })
}

fn assert_alike(place: &str, samples: Samples<'_>, weights: Option<&[f32]>, level_count: usize) {
    let matrix = Matrix::new(samples, 1, samples.len()).unwrap();
    let mut fits = cpus().map(|cpu| (cpu.name(), fit_samples(&cpu, matrix, weights, level_count).unwrap()));
    let (_, first) = fits.next().unwrap();
    for (name, fit) in fits {
        assert_eq!(fit, first, "{place}, k = {level_count}, {name}");
        let bits = |levels: &[f64]| levels.iter().map(|y| y.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&fit.levels), bits(&first.levels), "{place}, k = {level_count}, {name}");
    }
}

#[test]
fn tensors_do_not_depend_on_instructions_or_threads() {
    let mut noise = Noise(21);
    let normal: Vec<f32> = (0..COUNT).map(|_| noise.normal()).collect();
    let heavy: Vec<f32> = normal.iter().map(|x| x / noise.uniform().sqrt() as f32).collect();
    let spiked: Vec<f32> =
        normal.iter().enumerate().map(|(i, x)| if i % 50_000 == 17 { 1e4 * x } else { *x }).collect();
    for (name, samples) in [("normal", &normal), ("heavy tails", &heavy), ("outliers", &spiked)] {
        for level_count in [2, 16, 181] {
            assert_alike(name, Samples::F32(samples), None, level_count);
        }
        let f16s: Vec<f16> = samples.iter().map(|&x| f16::from_f32(x)).collect();
        assert_alike(name, Samples::F16(&f16s), None, 16);
        let bf16s: Vec<bf16> = samples.iter().map(|&x| bf16::from_f32(x)).collect();
        assert_alike(name, Samples::Bf16(&bf16s), None, 16);
    }
    let weights: Vec<f32> = heavy.iter().map(|x| x * x).collect();
    assert_alike("weighted", Samples::F32(&normal), Some(&weights), 16);
}
