//! IQ4_NL in memory: weights per second of finite check, scales, codes and measured error together, on one thread.
//!
//! `cargo run --release -p quant-cpu --example iq4_nl -- normal|student [rounds]`, on 2048 × 11008 weights of
//! 0.02 · N(0, 1), or of 0.02 · Student-t with 5 degrees of freedom. `xtask/python/iq4_nl.py` runs it beside ggml.

use quant_core::backend::{Backend, Encoding};
use quant_core::codebook::Codebooks;
use quant_core::codes::BitWidth;
use quant_core::conformance::cases::Noise;
use quant_core::grouping::{GroupLength, Grouping};
use quant_core::recipe::{GGML_BLOCK_LEN, IQ4_NL_LEVELS};
use quant_core::scale::ScaleSearch;
use quant_core::tensor::{Matrix, Samples};
use quant_cpu::{Cpu, CpuOptions};
use std::time::Instant;

const ROWS: usize = 2048;
const COLUMNS: usize = 11008;

fn samples(student: bool) -> Vec<f32> {
    let mut noise = Noise(7);
    let mut sample = || {
        let normal = 0.02 * noise.normal();
        if !student {
            return normal;
        }
        let chi: f32 = (0..5).map(|_| noise.normal().powi(2)).sum();
        normal / (chi / 5.0).sqrt()
    };
    (0..ROWS * COLUMNS).map(|_| sample()).collect()
}

/// The SQNR in dB.
fn quantize(cpu: &Cpu, matrix: Matrix<'_>, scales: &mut [f32], packed: &mut [u8]) -> f64 {
    let grouping = Grouping::new(ROWS, COLUMNS, GroupLength::Samples(GGML_BLOCK_LEN));
    let codebooks = Codebooks::from_levels(16, [IQ4_NL_LEVELS]);
    let search = ScaleSearch::new(&codebooks, grouping.length(), true);
    let Ok(None) = cpu.first_not_finite(matrix.samples()) else { panic!("the samples are finite") };
    let Ok(()) = cpu.search_scales(matrix, grouping, &search, scales);
    let bit_width = BitWidth::new(4).expect("4 is allowed");
    let encoding = Encoding { bit_width, grouping, scales: Some(scales), codebooks: &codebooks };
    let Ok(()) = cpu.encode(matrix, &encoding, packed);
    let Ok(sums) = cpu.distortion(matrix, &encoding, packed);
    sums.sqnr_db()
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let samples = samples(args.first().is_some_and(|name| name == "student"));
    let rounds = args.get(1).map_or(5, |rounds| rounds.parse().expect("a round count"));
    let cpu = Cpu::new(CpuOptions { threads: Some(1), ..Default::default() }).expect("a CPU");
    let matrix = Matrix::new(Samples::F32(&samples), ROWS, COLUMNS).expect("rows × columns samples");
    let (mut scales, mut packed) = (vec![1.0; samples.len() / GGML_BLOCK_LEN], vec![1; samples.len() / 2]);
    for _ in 0..rounds {
        let start = Instant::now();
        let sqnr_db = quantize(&cpu, matrix, &mut scales, &mut packed);
        println!("{:.1} {sqnr_db:.3}", samples.len() as f64 / start.elapsed().as_secs_f64() / 1e6);
    }
}
