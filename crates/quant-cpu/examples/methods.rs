//! What do recipes cost and gain on the two matrices of the records? Rate, SQNR and speed of each.
//!
//! `cargo run --release -p quant-cpu --example methods -- [--rows R] [--columns C] [--threads T] RECIPE…`, where a recipe is
//! written in one line such as `"switched4 group 16 step-bits 4 shape-bits 3"`. The matrices are seeded: N(0, 0.02²) and
//! 0.02 · Student-t with 5 degrees of freedom.

use quant_core::conformance::cases::Noise;
use quant_core::quantize::quantize;
use quant_core::recipe::Recipe;
use quant_core::tensor::{Matrix, Samples};
use quant_cpu::{Cpu, CpuOptions};
use std::time::Instant;

fn gaussian(len: usize) -> Vec<f32> {
    let mut noise = Noise(20_261_122);
    (0..len).map(|_| 0.02 * noise.normal()).collect()
}

/// A normal over the root of a χ² of 5 degrees over 5.
fn student_t(len: usize) -> Vec<f32> {
    let mut noise = Noise(5);
    let mut sample = || {
        let squares: f32 = (0..5).map(|_| noise.normal().powi(2)).sum();
        0.02 * noise.normal() / (squares / 5.0).sqrt()
    };
    (0..len).map(|_| sample()).collect()
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let (mut rows, mut columns, mut threads, mut recipes) = (4096, 11008, 1, Vec::new());
    while let Some(argument) = arguments.next() {
        let mut number = || arguments.next().and_then(|n| n.parse::<usize>().ok()).expect("a number");
        match argument.as_str() {
            "--rows" => rows = number(),
            "--columns" => columns = number(),
            "--threads" => threads = number(),
            recipe => recipes.push(recipe.parse::<Recipe>().unwrap_or_else(|error| panic!("{error}"))),
        }
    }
    let cpu = Cpu::new(CpuOptions { threads: Some(threads), ..CpuOptions::default() }).expect("threads start");
    println!(
        "| matrix | recipe | rate (bits) | SQNR (dB) | Mw/s on {threads} thread(s) |\n| --- | --- | ---: | ---: | ---: |"
    );
    for (name, samples) in [("Gaussian", gaussian(rows * columns)), ("Student-t 5", student_t(rows * columns))] {
        let matrix = Matrix::new(Samples::F32(&samples), rows, columns).expect("as many samples");
        for recipe in &recipes {
            let start = Instant::now();
            let quantized = quantize(&cpu, matrix, recipe).expect("finite samples");
            let speed = samples.len() as f64 / start.elapsed().as_secs_f64() / 1e6;
            let coded = recipe.codebook.is_entropy_coded();
            let bits = if coded { quantized.entropy_coded_bits() } else { quantized.stored_bits() };
            let (rate, sqnr_db) = (bits.rate(), quantized.distortion.sqnr_db());
            println!("| {name} | {recipe} | {rate:.4} | {sqnr_db:.3} | {speed:.1} |");
        }
    }
}
