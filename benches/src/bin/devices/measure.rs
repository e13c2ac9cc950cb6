//! How is a device timed, and what is its quality?

use crate::data::{Data, Results};
use crate::peers::Peers;
use crate::workloads::{Workload, fit, must, verbs};
use anyhow::Result;
use quant_benches::rounds::{Contestant, copy, interleave, median};
use quant_core::backend::{Backend, Encoding};
use quant_cpu::Cpu;
use quant_gpu::Gpu;
use serde_json::{Value, json};
use std::cell::RefCell;

/// Measures the processor.
pub fn cpu(cpu: &Cpu, data: &Data, round_count: usize, peers: Option<&Peers>) -> Result<Value> {
    let results = Results::new(data);
    let pool = rayon::ThreadPoolBuilder::new().num_threads(cpu.thread_count()).build()?;
    let copied = || copy(&pool, &data.samples, &mut results.scratch.borrow_mut());
    let mut workloads = vec![Workload::over(data, "memory copy", 8.0, copied)];
    workloads.extend(verbs(cpu, data, &results));
    workloads.push(fit(data, &results, || must(cpu.fit_rows(data.fitted(), None, Some(&data.weights), 16))));
    // A peer on a GPU has no business beside the processor.
    workloads.extend(peers.filter(|p| !p.is_on_gpu()).into_iter().flat_map(|p| p.workloads(data)));
    let mut facts = timed(&mut workloads, data, round_count, &|| None);
    drop(workloads);
    add_quality(&mut facts, cpu, data, &results, peers);
    Ok(json!({"device": cpu.name(), "threads": cpu.thread_count(), "workloads": facts}))
}

/// Measures a GPU.
pub fn gpu(gpu: &Gpu, data: &Data, round_count: usize, peers: Option<&Peers>) -> Result<Value> {
    let results = Results::new(data);
    let mut workloads = memory(gpu, data);
    workloads.extend(verbs(gpu, data, &results));
    let fitted = || must(gpu.fit_rows_batched(data.fitted(), None, Some(&data.weights), 16));
    workloads.push(fit(data, &results, fitted));
    workloads.extend(peers.into_iter().flat_map(|p| p.workloads(data)));
    let kernel_seconds = || {
        let times = gpu.take_kernel_times();
        (!times.is_empty()).then(|| times.values().map(|t| t.seconds).sum())
    };
    let mut facts = timed(&mut workloads, data, round_count, &kernel_seconds);
    drop(workloads);
    add_quality(&mut facts, gpu, data, &results, peers);
    let adapter = gpu.adapters()[0];
    Ok(json!({
        "device": gpu.name(), "index": adapter.index, "driver": adapter.driver, "is_software": adapter.is_software(),
        "workloads": facts,
    }))
}

/// A copy within device memory, which shares are of, and the way there and back; each as long as a piece of the matrix.
fn memory<'a>(gpu: &'a Gpu, data: &'a Data) -> Vec<Workload<'a>> {
    let count = data.samples.len().min(gpu.piece_sample_max());
    let bytes: &[u8] = bytemuck::cast_slice(&data.samples[..count]);
    let mut back = vec![0; bytes.len()];
    vec![
        Workload::told("memory copy", 8.0, count, move || must(gpu.copy_seconds(bytes.len() as u64))),
        Workload::told("upload", 4.0, count, move || must(gpu.upload_seconds(bytes))),
        Workload::told("read-back", 4.0, count, move || must(gpu.read_back_seconds(&mut back))),
    ]
}

/// What other clocks say of one run: seconds in the place of the host's, and seconds of kernels.
type Told = (Option<f64>, Option<f64>);

/// Times the workloads in interleaved rounds; what a device's clock says of each comes with `kernel_seconds`.
fn timed(
    workloads: &mut Vec<Workload<'_>>,
    data: &Data,
    round_count: usize,
    kernel_seconds: &dyn Fn() -> Option<f64>,
) -> Vec<Value> {
    workloads.retain(|w| w.name == "memory copy" || data.is_wanted(w.name));
    let told: Vec<RefCell<Vec<Told>>> = workloads.iter().map(|_| RefCell::default()).collect();
    let mut contestants: Vec<Contestant<'_>> = Vec::new();
    // What kernels did before this is not theirs.
    kernel_seconds();
    for (workload, told) in workloads.iter_mut().zip(&told) {
        contestants.push(Box::new(move || {
            let own = (workload.run)();
            told.borrow_mut().push((own, kernel_seconds()));
        }));
    }
    let seconds = interleave(&mut contestants, round_count);
    drop(contestants);
    let facts = workloads.iter().zip(seconds).zip(&told);
    facts.filter_map(|((workload, seconds), told)| fact(workload, seconds, &told.borrow()[1..])).collect()
}

/// What is known of one workload; nothing where a peer refused it.
fn fact(workload: &Workload<'_>, seconds: Vec<f64>, told: &[Told]) -> Option<Value> {
    let own: Option<Vec<f64>> = told.iter().map(|(own, _)| *own).collect();
    let kernels: Vec<f64> = told.iter().filter_map(|(_, kernels)| *kernels).collect();
    let seconds = own.unwrap_or(seconds);
    let kernel_seconds = (!kernels.is_empty()).then(|| median(&kernels));
    seconds.iter().all(|s| s.is_finite()).then(|| {
        json!({
            "name": workload.name, "peer": workload.peer, "bytes_per_sample": workload.bytes_per_sample,
            "sample_count": workload.sample_count, "seconds": seconds, "kernel_seconds": kernel_seconds,
            "kernels_leave_out": (kernel_seconds.is_some() && workload.name.starts_with("vectors")).then_some("sums"),
        })
    })
}

/// MSE beside the times that have one.
fn add_quality<B: Backend>(facts: &mut [Value], backend: &B, data: &Data, results: &Results, peers: Option<&Peers>) {
    let (grouping, bit_width) = data.block_format();
    let (scales, codebooks) = (results.scales.borrow(), &data.codebooks);
    for fact in facts {
        let name = fact["name"].as_str().unwrap_or_default();
        let mse = match fact["peer"].as_str() {
            Some(peer) => peers.and_then(|p| p.mse(peer, name)),
            None if name.contains("encode") => {
                let encoding = Encoding { bit_width, grouping, scales: Some(&scales), codebooks };
                Some(must(backend.distortion(data.matrix(), &encoding, &results.packed.borrow())).mse())
            }
            None if name.starts_with("W2") => results.fitted.borrow().as_ref().map(|fit| data.weighted_mse(fit)),
            None if name.starts_with("quantize") => *results.whole_mse.borrow(),
            None => results.vector_mse.borrow().get(name).copied(),
        };
        fact["mse"] = json!(mse);
    }
}
