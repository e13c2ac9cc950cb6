//! Runs one kernel so many times: `once KERNEL REPEATS`, or `once list`. `cargo xtask instructions` counts what it takes.
//!
//! A kernel is named by its verb and the instruction set; sizes are small, for an emulator runs them.

use anyhow::{Context, Result, bail};
use half::{bf16, f16};
use quant_benches::data;
use quant_core::backend::Backend;
use quant_core::design::certified::fit_finite;
use quant_core::design::vector::Points;
use quant_core::quantize::quantize;
use quant_core::recipe::Recipe;
use quant_core::scale::ScaleRule;
use quant_core::tensor::{Matrix, Samples};
use quant_cpu::{Cpu, CpuOptions, SimdLevel};
use std::hint::black_box;

const VERBS: [&str; 9] = [
    "nf4-absmax",
    "nf4-signed-search",
    "decode",
    "tensor-f32-k16",
    "tensor-f16-k16",
    "tensor-bf16-k16",
    "rows-k16",
    "vectors-d8-k256",
    "vectors-d64-k64",
];

const LEVELS: [(&str, SimdLevel); 2] = [("scalar", SimdLevel::Scalar), ("avx2", SimdLevel::Avx2)];

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.as_slice() {
        [list] if list == "list" => {
            LEVELS.iter().for_each(|(level, _)| VERBS.iter().for_each(|verb| println!("{verb}/{level}")));
            Ok(())
        }
        [kernel, repeats] => {
            let (verb, level) = kernel.split_once('/').context("a kernel is VERB/LEVEL")?;
            let (_, level) = LEVELS.iter().find(|(name, _)| *name == level).context("no such level")?;
            let cpu = Cpu::new(CpuOptions { threads: Some(1), level: Some(*level), ..CpuOptions::default() })?;
            run(&cpu, verb, repeats.parse()?)
        }
        _ => bail!("usage: once KERNEL REPEATS, or once list"),
    }
}

fn run(cpu: &Cpu, verb: &str, repeats: usize) -> Result<()> {
    let samples = data::gaussian(1 << 18, 1.0, 1);
    let matrix = Matrix::new(Samples::F32(&samples[..1 << 16]), 16, 4096)?;
    let nf4 = Recipe::preset("nf4")?;
    let quantized = quantize(cpu, matrix, &nf4.with_scale(ScaleRule::Absmax)?)?;
    let mut decoded = vec![0.0; matrix.len()];
    let f16s: Vec<f16> = samples.iter().map(|&x| f16::from_f32(x)).collect();
    let bf16s: Vec<bf16> = samples.iter().map(|&x| bf16::from_f32(x)).collect();
    let whole = |samples| Matrix::new(samples, 1, 1 << 18);
    let weights: Vec<f32> = samples.iter().map(|x| x * x).collect();
    let mut codes = vec![0; 1 << 13];
    for _ in 0..repeats {
        match verb {
            "nf4-absmax" => drop(black_box(quantize(cpu, matrix, &nf4.with_scale(ScaleRule::Absmax)?)?)),
            "nf4-signed-search" => drop(black_box(quantize(cpu, matrix, &nf4)?)),
            "decode" => quantized.decode(cpu, &mut quant_core::backend::SamplesMut::F32(&mut decoded))?,
            "tensor-f32-k16" => drop(black_box(fit_finite(cpu, whole(Samples::F32(&samples))?, 16)?)),
            "tensor-f16-k16" => drop(black_box(fit_finite(cpu, whole(Samples::F16(&f16s))?, 16)?)),
            "tensor-bf16-k16" => drop(black_box(fit_finite(cpu, whole(Samples::Bf16(&bf16s))?, 16)?)),
            "rows-k16" => {
                drop(black_box(cpu.fit_rows(matrix, None, Some(&weights[..matrix.len()]), 16)?));
            }
            "vectors-d8-k256" => {
                let points = Points::new(&samples[..8 << 13], 8)?;
                let codevectors = Points::new(&samples[..8 * 256], 8)?;
                drop(black_box(cpu.vector_cells(points, None, codevectors, &mut codes)?));
            }
            "vectors-d64-k64" => {
                let points = Points::new(&samples[..64 << 10], 64)?;
                let codevectors = Points::new(&samples[..64 * 64], 64)?;
                drop(black_box(cpu.vector_cells(points, None, codevectors, &mut codes[..1 << 10])?));
            }
            _ => bail!("no kernel is called {verb}"),
        }
    }
    Ok(())
}
