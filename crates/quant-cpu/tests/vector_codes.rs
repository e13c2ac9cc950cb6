//! Matrices coded as points: what they gain on N(0, 1), what bounds them, and what does not change them.

use quant_core::conformance::cases::Noise;
use quant_core::quantize::{Quantized, quantize};
use quant_core::recipe::Recipe;
use quant_core::reference::Reference;
use quant_core::tensor::{Matrix, Samples};
use quant_cpu::{Cpu, CpuOptions, SimdLevel};

const COLUMNS: usize = 1024;

fn normals(count: usize) -> Vec<f32> {
    let mut noise = Noise(11);
    (0..count).map(|_| noise.normal()).collect()
}

fn coded(cpu: &Cpu, samples: &[f32], columns: usize, recipe: &str) -> Quantized {
    let matrix = Matrix::new(Samples::F32(samples), samples.len() / columns, columns).expect("whole rows");
    let recipe: Recipe = recipe.parse().expect("a recipe");
    quantize(cpu, matrix, &recipe).expect("finite samples")
}

/// Scalar optima of 16, 4 and 2 levels have 20.22, 9.30 and 4.40 dB (Max 1960); Shannon's bound is 6.02 dB a bit.
#[test]
fn points_beat_samples_and_stay_below_shannon() {
    let (cpu, samples) = (Cpu::new(CpuOptions::default()).expect("a CPU"), normals(256 * COLUMNS));
    for (recipe, at_least) in [("vq2x8", 20.85), ("vq4x8", 9.95), ("vq8x8", 4.80)] {
        let quantized = coded(&cpu, &samples, COLUMNS, recipe);
        let (sqnr_db, rate) = (quantized.distortion.sqnr_db(), quantized.stored_bits().rate());
        println!("{recipe}: {sqnr_db:.3} dB at {rate:.4} bits");
        assert!(sqnr_db >= at_least && sqnr_db < 6.0206 * rate, "{recipe}: {sqnr_db} dB at {rate} bits");
    }
}

#[test]
fn a_stage_more_is_never_worse() {
    let (cpu, samples) = (Cpu::new(CpuOptions::default()).expect("a CPU"), normals(64 * COLUMNS));
    for plain in ["vq2x3", "vq4x5", "vq8x6"] {
        let error = |recipe: &str| coded(&cpu, &samples, COLUMNS, recipe).distortion.squared_error;
        let errors: Vec<f64> = ["", "x2", "x3"].map(|stages| error(&format!("{plain}{stages}"))).into();
        println!("{plain}: {errors:?}");
        assert!(errors.windows(2).all(|w| w[1] < 0.8 * w[0]), "{plain}: {errors:?}");
    }
}

#[test]
fn parts_pay_where_neighbouring_points_differ() {
    let cpu = Cpu::new(CpuOptions::default()).expect("a CPU");
    // Points of four; every other one is three times as large.
    let loud = |(i, x): (usize, f32)| if (i / 4).is_multiple_of(2) { 3.0 * x } else { x };
    let samples: Vec<f32> = normals(64 * COLUMNS).into_iter().enumerate().map(loud).collect();
    let [one, two] = ["vq4x6", "vq4x6p2"].map(|recipe| coded(&cpu, &samples, COLUMNS, recipe));
    let gain = two.distortion.sqnr_db() - one.distortion.sqnr_db();
    assert!(gain > 0.3, "{gain} dB");
    assert_eq!(two.stored_bits().codebook_bits, 2 * one.stored_bits().codebook_bits);
    assert_eq!(coded(&cpu, &samples, COLUMNS, "vq4x6p1"), one, "one part is no product");
}

#[test]
fn nothing_depends_on_instructions_threads_or_backend() {
    for (recipe, columns) in [("vq2x4", 50), ("vq4x5x2p3", 101), ("vq8x3x2 outliers 0.01", 75), ("vq8x8", 160)] {
        let samples = normals(40 * columns);
        let mut all = Vec::new();
        for level in SimdLevel::ALL.into_iter().filter(|level| level.is_available()) {
            for (threads, chunk_len) in [(1, 1 << 16), (2, 1 << 16), (7, 7)] {
                let options = CpuOptions { threads: Some(threads), chunk_len, level: Some(level) };
                all.push(coded(&Cpu::new(options).expect("a CPU"), &samples, columns, recipe));
            }
        }
        let matrix = Matrix::new(Samples::F32(&samples), 40, columns).expect("whole rows");
        let mut scalar = quantize(&Reference, matrix, &recipe.parse().expect("a recipe")).expect("finite samples");
        // The definition adds errors up in another order: those sums are near, all else is equal.
        let (theirs, ours) = (&mut scalar.distortion, &all[0].distortion);
        for (theirs, ours) in [(&mut theirs.squared_error, ours.squared_error), (&mut theirs.energy, ours.energy)] {
            assert!((*theirs / ours - 1.0).abs() < 1e-12, "{recipe}: {theirs} and {ours}");
            *theirs = ours;
        }
        all.push(scalar);
        assert!(all.windows(2).all(|w| w[0] == w[1]), "{recipe}");
    }
}

#[test]
fn odd_matrices_are_coded_too() {
    let cpu = Cpu::new(CpuOptions::default()).expect("a CPU");
    for recipe in ["vq2x8", "vq8x4x2p8", "vq4x12"] {
        let exact = [vec![0.0; 60], vec![0.5; 60], vec![-2.0]];
        for samples in exact {
            let quantized = coded(&cpu, &samples, samples.len().div_ceil(4), recipe);
            assert_eq!(quantized.distortion.squared_error, 0.0, "{recipe}, {samples:?}");
        }
        // One row among zeros, and a sample a million times its neighbours.
        let mut samples = vec![0.0; 300];
        samples[100..200].copy_from_slice(&normals(100));
        samples[150] = 1e6;
        let quantized = coded(&cpu, &samples, 100, recipe);
        assert!(quantized.distortion.sqnr_db() > 20.0, "{recipe}: {}", quantized.distortion.sqnr_db());
    }
}
