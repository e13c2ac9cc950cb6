//! Measures the standing workloads and prints them as JSON: `workloads ROUNDS THREADS [WORDS]`, 0 threads for all.
//!
//! `cargo xtask bench` runs this and shows the figures. With WORDS, only workloads whose name contains one of them run.

use anyhow::{Context, Result};
use quant_benches::case::{Case, Verb};
use quant_benches::kmeans::{Data, WORKLOADS};
use quant_benches::rounds::{Contestant, copy, interleave};
use quant_core::backend::Backend;
use quant_core::recipe::Recipe;
use quant_core::scale::ScaleRule;
use quant_core::tensor::{Matrix, Samples};
use quant_cpu::{Cpu, CpuOptions};
use serde_json::{Value, json};

const ROWS: usize = 4096;
const COLUMNS: usize = 4096;
/// Exact k-means reads a row many times; an eighth of the matrix keeps a round short.
const KMEANS_ROWS: usize = 512;

/// Name, recipe, verb, stored bits, rows.
type Workload = (&'static str, Recipe, Verb, Option<u32>, usize);

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |index: usize| arguments.get(index).map_or(Ok(0), |a| a.parse::<usize>());
    let round_count = number(0).context("ROUNDS is a number")?.max(1);
    let threads = Some(number(1).context("THREADS is a number")?).filter(|&n| n > 0);
    let cpu = Cpu::new(CpuOptions { threads, ..CpuOptions::default() })?;
    let words = arguments.get(2..).unwrap_or_default();
    println!("{:#}", measure(&cpu, round_count, words)?);
    Ok(())
}

fn workloads() -> Result<Vec<Workload>> {
    let preset = |name: &str| Recipe::preset(name);
    let absmax = preset("nf4")?.with_scale(ScaleRule::Absmax)?;
    Ok(vec![
        ("W4 encode, codes as bytes", preset("lloyd4")?, Verb::Encode, Some(8), ROWS),
        ("W4 encode, packed", preset("lloyd4")?, Verb::Encode, None, ROWS),
        ("W4 decode", preset("lloyd4")?, Verb::Decode, None, ROWS),
        ("nf4 absmax, group 64", absmax, Verb::Encode, None, ROWS),
        ("nf4 signed search, group 64", preset("nf4")?, Verb::Encode, None, ROWS),
        ("nf4 decode, group 64", absmax, Verb::Decode, None, ROWS),
        ("kmeans4-row", preset("kmeans4-row")?, Verb::Encode, None, KMEANS_ROWS),
    ])
}

/// Steps of the multiply-adds that others are compared with: some milliseconds.
const MULTIPLY_ADD_STEPS: usize = 1 << 21;

fn measure(cpu: &Cpu, round_count: usize, words: &[String]) -> Result<Value> {
    eprintln!("preparing {ROWS} × {COLUMNS} samples");
    let data = Data::new(ROWS * COLUMNS);
    let samples = data.samples();
    let mut copied = vec![0.0f32; samples.len()];
    let pool = rayon::ThreadPoolBuilder::new().num_threads(cpu.thread_count()).build()?;
    let wanted = |name: &str| words.is_empty() || words.iter().any(|word| name.contains(word.as_str()));
    let mut cases = Vec::new();
    for (name, recipe, verb, bits, rows) in workloads()? {
        if wanted(name) {
            eprintln!("checking {name}");
            let matrix = Matrix::new(Samples::F32(&samples[..rows * COLUMNS]), rows, COLUMNS)?;
            cases.push((name, Case::new(cpu, matrix, recipe, verb, bits)?));
        }
    }
    let fits: Vec<_> = WORKLOADS.iter().filter(|w| wanted(w.name)).collect();
    let mut facts = vec![
        json!({"name": "memory copy", "sample_count": samples.len(), "bytes_per_sample": 8.0}),
        json!({"name": "multiply-adds", "sample_count": 1, "operations": cpu.multiply_adds(MULTIPLY_ADD_STEPS).0}),
    ];
    facts.extend(cases.iter().map(|(name, case)| fact(name, case)));
    for fit in &fits {
        eprintln!("measuring the quality of {}", fit.name);
        let (found, (sample_count, bytes_per_sample)) = (fit.found(cpu, &data)?, fit.traffic(&data));
        facts.push(json!({
            "name": fit.name, "sample_count": sample_count, "bytes_per_sample": bytes_per_sample,
            "operations": fit.operations(&data), "mse": found.mse, "excess_max": found.excess_max,
        }));
    }
    let mut contestants: Vec<Contestant<'_>> = vec![
        Box::new(|| copy(&pool, samples, &mut copied)),
        Box::new(|| {
            std::hint::black_box(cpu.multiply_adds(MULTIPLY_ADD_STEPS));
        }),
    ];
    contestants.extend(cases.iter_mut().map(|(_, case)| -> Contestant<'_> { Box::new(|| case.run()) }));
    contestants.extend(fits.iter().map(|fit| -> Contestant<'_> { Box::new(|| fit.run(cpu, &data)) }));
    eprintln!("{round_count} rounds of {} contestants", contestants.len());
    let seconds = interleave(&mut contestants, round_count);
    drop(contestants);
    facts.iter_mut().zip(seconds).for_each(|(workload, seconds)| workload["seconds"] = json!(seconds));
    Ok(json!({"device": cpu.name(), "round_count": round_count, "workloads": facts}))
}

fn fact(name: &str, case: &Case<'_>) -> Value {
    let quality = case.quality();
    json!({
        "name": name,
        "sample_count": case.sample_count(),
        "bytes_per_sample": case.bytes_per_sample(),
        "rate_bits": quality.rate_bits,
        "mse": quality.mse,
        "sqnr_db": quality.sqnr_db,
    })
}
