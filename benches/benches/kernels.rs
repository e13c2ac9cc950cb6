//! The kernels under criterion: `cargo bench -p quant-benches`. As a test, each runs once on a small matrix.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use quant_benches::case::{Case, Verb};
use quant_benches::data;
use quant_benches::kmeans::{Data, WORKLOADS};
use quant_core::recipe::Recipe;
use quant_core::scale::ScaleRule;
use quant_core::tensor::{Matrix, Samples};
use quant_cpu::{Cpu, CpuOptions};

const COLUMNS: usize = 1024;

/// Cargo passes `--bench` for a measurement and not for a test.
fn rows() -> usize {
    if std::env::args().any(|argument| argument == "--bench") { 4096 } else { 3 }
}

fn recipes() -> Vec<Recipe> {
    let preset = |name| Recipe::preset(name).expect("the preset exists");
    let absmax = |name| preset(name).with_scale(ScaleRule::Absmax).expect("a fixed codebook has scales");
    vec![absmax("nf4"), preset("nf4"), preset("int4"), preset("nf3"), preset("lloyd4"), preset("kmeans4-row")]
}

fn kernels(criterion: &mut Criterion) {
    let cpu = Cpu::new(CpuOptions::default()).expect("the machine has threads");
    let rows = rows();
    let samples = data::student_t(rows * COLUMNS, 0.02, 1);
    let matrix = Matrix::new(Samples::F32(&samples), rows, COLUMNS).expect("the samples were made for this shape");
    for (verb, name) in [(Verb::Encode, "encode"), (Verb::Decode, "decode")] {
        let mut group = criterion.benchmark_group(name);
        group.throughput(Throughput::Elements(matrix.len() as u64));
        group.sample_size(10);
        for recipe in recipes() {
            let mut case = Case::new(&cpu, matrix, recipe, verb, None).expect("the case agrees with the reference");
            let label = format!("{recipe} ({:.2} dB)", case.quality().sqnr_db);
            group.bench_function(label, |bencher| bencher.iter(|| case.run()));
        }
    }
}

/// W1 to W3, on so few samples in a test that each takes milliseconds.
fn kmeans(criterion: &mut Criterion) {
    let cpu = Cpu::new(CpuOptions::default()).expect("the machine has threads");
    let data = Data::new(if rows() > 3 { 1 << 24 } else { 1 << 16 });
    let mut group = criterion.benchmark_group("kmeans");
    group.sample_size(10);
    for workload in WORKLOADS {
        let found = workload.found(&cpu, &data).expect("the workload can be measured");
        assert!(
            found.mse > 0.0 && found.excess_max.is_none_or(|excess| excess <= 1e-9),
            "{}: {found:?}",
            workload.name
        );
        group.throughput(Throughput::Elements(workload.traffic(&data).0 as u64));
        let label = format!("{} (MSE {:.3e})", workload.name, found.mse);
        group.bench_function(label, |bencher| bencher.iter(|| workload.run(&cpu, &data)));
    }
}

criterion_group!(benches, kernels, kmeans);
criterion_main!(benches);
