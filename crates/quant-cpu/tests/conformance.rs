//! The conformance suite at every SIMD level, as used and with chunks of 7 samples, with 1, 2 and 7 threads.

use quant_cpu::{Cpu, CpuOptions, SimdLevel};

fn backends(level: SimdLevel) -> Vec<Cpu> {
    if !level.is_available() {
        println!("skipped: this machine has no {level}");
        return Vec::new();
    }
    let options = |chunk_len, threads| CpuOptions { threads: Some(threads), chunk_len, level: Some(level) };
    let normal = CpuOptions::default().chunk_len;
    let all = [(normal, 1), (normal, 2), (normal, 7), (7, 1), (7, 2), (7, 7)];
    all.map(|(chunk_len, threads)| Cpu::new(options(chunk_len, threads)).expect("the level is available")).into()
}

macro_rules! suite_at {
    ($module:ident, $level:ident) => {
        mod $module {
            fn backends() -> Vec<quant_cpu::Cpu> {
                super::backends(quant_cpu::SimdLevel::$level)
            }

            quant_core::conformance_suite!(backends);
        }
    };
}

suite_at!(scalar, Scalar);
suite_at!(avx2, Avx2);
suite_at!(avx512, Avx512);

#[test]
fn skipped_levels_are_counted() {
    let skipped = SimdLevel::ALL.iter().filter(|level| !level.is_available()).count();
    println!("{skipped} of {} SIMD levels skipped", SimdLevel::ALL.len());
    assert!(SimdLevel::Scalar.is_available() && skipped < SimdLevel::ALL.len());
}
