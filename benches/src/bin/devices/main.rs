//! Measures the processor and every adapter on the same workloads, rows of 4096 samples:
//! `devices ROUNDS ROWS CHUNK_MIB [--peers PYTHON SCRIPT FOLDER] [WORDS]`.
//!
//! `cargo xtask bench --devices` runs this and shows the figures. Seconds are the host's, from samples in host memory to
//! results in host memory, upload and read-back included; kernel seconds are the device's own, where it can tell. GPUs get
//! pieces of CHUNK_MIB: a short piece would lie in the cache that the upload left it in, and say nothing about memory.
//! Software adapters are measured where there is no other. The host needs about 13 bytes for each sample.

mod data;
mod measure;
mod peers;
mod workloads;

use anyhow::{Context, Result, bail};
use data::{COLUMNS, Data};
use peers::Peers;
use quant_cpu::{Cpu, CpuOptions};
use quant_gpu::{Choice, Gpu, GpuOptions, inventory};
use serde_json::json;
use std::path::Path;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [rounds, rows, chunk_mib, rest @ ..] = arguments.as_slice() else {
        bail!("usage: devices ROUNDS ROWS CHUNK_MIB [--peers PYTHON SCRIPT FOLDER] [WORDS]");
    };
    let number = |text: &String| text.parse::<usize>().with_context(|| format!("{text} is no number"));
    let (round_count, rows, chunk_mib) = (number(rounds)?.max(1), number(rows)?.max(1), number(chunk_mib)?.max(1));
    let (peers, words) = match rest {
        [flag, python, script, folder, words @ ..] if flag == "--peers" => (Some([python, script, folder]), words),
        words => (None, words),
    };
    let data = Data::new(rows, words);
    let peers = peers.map(|p| Peers::start(&data, p.map(Path::new))).transpose()?;
    let cpu = Cpu::new(CpuOptions::default())?;
    let mut devices = vec![measure::cpu(&cpu, &data, round_count, peers.as_ref())?];
    let adapters = inventory();
    let has_hardware = adapters.iter().any(|a| !a.is_software());
    for adapter in adapters {
        if has_hardware && adapter.is_software() {
            eprintln!("not measured, for there is hardware: {adapter}");
            continue;
        }
        let choice = Choice::Index(adapter.index);
        let options = GpuOptions { choice, timed: true, chunk_len_bytes: chunk_mib << 20, ..GpuOptions::default() };
        devices.push(measure::gpu(&Gpu::new(options)?, &data, round_count, peers.as_ref())?);
    }
    let run = json!({
        "round_count": round_count, "rows": rows, "columns": COLUMNS, "chunk_mib": chunk_mib, "devices": devices,
        "peers": peers.map(Peers::finish),
    });
    println!("{run:#}");
    Ok(())
}
