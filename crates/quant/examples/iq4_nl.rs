//! IQ4_NL in memory: weights per second from samples to the blocks of a file, error measured, on one thread.
//!
//! `cargo run --release -p quant --example iq4_nl -- normal|student [rounds]`, on 2048 × 11008 weights of
//! 0.02 · N(0, 1), or of 0.02 · Student-t with 5 degrees of freedom. `xtask/python/iq4_nl.py` runs it beside ggml.

use quant::Recipe;
use quant::outputs::gguf;
use quant_core::quantize::quantize;
use quant_core::source::special::normal_quantile;
use quant_core::tensor::{Matrix, Samples};
use quant_cpu::{Cpu, CpuOptions};
use std::time::Instant;

const ROWS: usize = 2048;
const COLUMNS: usize = 11008;

fn samples(student: bool) -> Vec<f32> {
    let mut state = 7u64;
    let mut normal = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        normal_quantile(((state >> 12) as f64 + 0.5) / (1u64 << 52) as f64)
    };
    let mut sample = || {
        let chi: f64 = if student { (0..5).map(|_| normal().powi(2)).sum() } else { 5.0 };
        (0.02 * normal() / (chi / 5.0).sqrt()) as f32
    };
    (0..ROWS * COLUMNS).map(|_| sample()).collect()
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let samples = samples(args.first().is_some_and(|name| name == "student"));
    let rounds = args.get(1).map_or(5, |rounds| rounds.parse().expect("a round count"));
    let cpu = Cpu::new(CpuOptions { threads: Some(1), ..Default::default() }).expect("a CPU");
    let matrix = Matrix::new(Samples::F32(&samples), ROWS, COLUMNS).expect("rows × columns samples");
    let recipe = Recipe::preset("iq4_nl").expect("a preset");
    for _ in 0..rounds {
        let start = Instant::now();
        let quantized = quantize(&cpu, matrix, &recipe).expect("the samples are finite");
        let sqnr_db = quantized.distortion.sqnr_db();
        let blocks = gguf::bytes(&recipe, &[quantized]);
        let rate = samples.len() as f64 / start.elapsed().as_secs_f64() / 1e6;
        assert_eq!(blocks.len(), samples.len() / 32 * 18, "18 bytes for 32 weights");
        println!("{rate:.1} {sqnr_db:.3}");
    }
}
