//! What does a whole checkpoint cost beyond its parts? `checkpoint MODEL FOLDER ROUNDS THREADS DEVICES PRESET…`
//!
//! MODEL is a folder, a `.safetensors` file, or `synthetic:MIB`, a file of bf16 noise made in FOLDER and removed at the
//! end; DEVICES are `cpu`, `gpu:0`, …, with commas between. Each round quantizes it from the page cache to files, and
//! beside that measures the parts alone: reading every tensor, the kernels on tensors that lie in memory (scales, codes,
//! distortion; on a GPU with the way there and back, and what of it its own clock saw of kernels), and writing files of
//! the same sizes, to the disk's last acknowledgement as the whole run does. Prints JSON: seconds of each, per device,
//! preset and round.

use anyhow::{Context, Result, bail};
use quant::checkpoint::{Checkpoint, TensorEntry};
use quant::device::{Device, DeviceChoice};
use quant::pipeline::{Options, Silent, run};
use quant::report::Report;
use quant_benches::data;
use quant_core::backend::Backend;
use quant_core::quantize::quantize;
use quant_core::recipe::Recipe;
use quant_core::tensor::{Matrix, Samples};
use serde_json::{Value, json};
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Shape of the tensors of a synthetic checkpoint, 22 MiB of bf16 each.
const SHAPE: [usize; 2] = [5632, 2048];

/// Bytes written at a time.
const PART_LEN: usize = 8 << 20;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [model, folder, rounds, threads, devices, presets @ ..] = arguments.as_slice() else {
        bail!("usage: checkpoint MODEL FOLDER ROUNDS THREADS DEVICES PRESET…");
    };
    let folder = Path::new(folder);
    fs::create_dir_all(folder)?;
    let threads = Some(threads.parse::<usize>()?).filter(|&n| n > 0);
    let synthetic = model.strip_prefix("synthetic:").map(|mib| synthetic(folder, mib.parse()?)).transpose()?;
    let model = synthetic.clone().unwrap_or_else(|| PathBuf::from(model));
    let devices: Vec<&str> = devices.split(',').collect();
    let result = measure(&model, folder, rounds.parse::<usize>()?.max(1), threads, &devices, presets);
    if let Some(file) = synthetic {
        fs::remove_file(file)?;
    }
    println!("{:#}", result?);
    Ok(())
}

/// A file of about so many MiB of bf16 tensors, all of the same noise: time does not depend on it.
fn synthetic(folder: &Path, mib: usize) -> Result<PathBuf> {
    let path = folder.join("synthetic.safetensors");
    let samples = data::gaussian(SHAPE[0] * SHAPE[1], 0.02, 1);
    let bytes: Vec<u8> =
        samples.iter().flat_map(|&x| ((x.to_bits() + 0x8000) >> 16).to_le_bytes()[..2].to_vec()).collect();
    let count = ((mib << 20) / bytes.len()).max(1);
    let entry = |layer: usize| {
        let offsets = [layer * bytes.len(), (layer + 1) * bytes.len()];
        let facts = json!({"dtype": "BF16", "shape": SHAPE, "data_offsets": offsets});
        (format!("model.layers.{layer}.mlp.up_proj.weight"), facts)
    };
    let header = serde_json::Map::from_iter((0..count).map(entry));
    let mut header = serde_json::to_vec(&header)?;
    header.resize(header.len().next_multiple_of(8), b' ');
    let mut file = BufWriter::new(File::create(&path)?);
    file.write_all(&(header.len() as u64).to_le_bytes())?;
    file.write_all(&header)?;
    (0..count).try_for_each(|_| file.write_all(&bytes))?;
    file.into_inner().context("the file is written")?.sync_all()?;
    Ok(path)
}

fn measure(
    model: &Path,
    folder: &Path,
    rounds: usize,
    threads: Option<usize>,
    devices: &[&str],
    presets: &[String],
) -> Result<Value> {
    let checkpoint = Checkpoint::open(model)?;
    let output = folder.join(if model.is_dir() { "output" } else { "output.safetensors" });
    let mut results = Vec::new();
    // Once unmeasured: into the page cache.
    read(&checkpoint)?;
    for name in devices {
        let choice: DeviceChoice = name.parse().map_err(anyhow::Error::msg)?;
        let device = Device::open_timed(&choice, threads)?;
        for preset in presets {
            let options = Options { overwrite: true, ..Options::new(Recipe::preset(preset)?) };
            let mut result = rounds_of(&checkpoint, &output, &options, &device, rounds)?;
            result["device"] = json!(name);
            result["preset"] = json!(preset);
            results.push(result);
        }
    }
    let source_len: u64 = checkpoint.tensors().iter().map(|t| t.byte_len).sum();
    Ok(json!({"source_len_bytes": source_len, "results": results}))
}

/// Some rounds of the whole and of its parts.
fn rounds_of(
    checkpoint: &Checkpoint,
    output: &Path,
    options: &Options,
    device: &Device,
    rounds: usize,
) -> Result<Value> {
    let mut seconds = [const { Vec::new() }; 4];
    let mut on_device = Vec::new();
    let mut report = None;
    for _ in 0..rounds {
        // What kernels took before this is not the run's.
        device.take_kernel_seconds();
        let start = Instant::now();
        let of_round = run(checkpoint, output, options, device, &Silent)?;
        seconds[0].push(start.elapsed().as_secs_f64());
        on_device.extend(device.take_kernel_seconds());
        seconds[1].push(read(checkpoint)?);
        let recipe = &options.recipe;
        seconds[2].push(match device {
            Device::Cpu(cpu) => kernels(checkpoint, &of_round, recipe, cpu)?,
            Device::Gpu(partners) => kernels(checkpoint, &of_round, recipe, &**partners)?,
        });
        seconds[3].push(write(output)?);
        report = Some(of_round);
    }
    remove(output)?;
    let totals = report.expect("at least one round").totals;
    let [whole, reading, kernel, writing] = seconds;
    Ok(json!({
        "weight_count": totals.weight_count, "mse": totals.mse, "sqnr_db": totals.sqnr_db,
        "codes_hash": totals.codes_hash, "whole": whole, "reading": reading, "kernel": kernel, "writing": writing,
        "kernel_on_device": on_device,
    }))
}

/// Seconds to read every tensor.
fn read(checkpoint: &Checkpoint) -> Result<f64> {
    let start = Instant::now();
    for index in 0..checkpoint.tensors().len() {
        std::hint::black_box(checkpoint.read_raw(index)?);
    }
    Ok(start.elapsed().as_secs_f64())
}

/// Seconds of a device for the tensors that the run quantized, reading not counted.
fn kernels<B: Backend>(checkpoint: &Checkpoint, report: &Report, recipe: &Recipe, backend: &B) -> Result<f64> {
    let mut seconds = 0.0;
    for (index, tensor) in report.tensors.iter().enumerate().filter(|(_, t)| t.method != "dense") {
        let entry: &TensorEntry = &checkpoint.tensors()[index];
        let bytes = checkpoint.read_samples(index)?;
        let dtype = entry.dtype.float().context("a quantized tensor holds floats")?;
        let samples = Samples::from_bytes(&bytes, dtype).context("tensors are aligned")?;
        let columns = *tensor.shape.last().context("a quantized tensor has a shape")?;
        let matrix = Matrix::new(samples, samples.len() / columns, columns)?;
        let start = Instant::now();
        std::hint::black_box(quantize(backend, matrix, recipe).map_err(|fault| anyhow::anyhow!("{fault}"))?);
        seconds += start.elapsed().as_secs_f64();
    }
    Ok(seconds)
}

/// Seconds to write files as large as those of `output`, and to see them on the disk.
fn write(output: &Path) -> Result<f64> {
    let mut lengths = Vec::new();
    let files = if output.is_dir() {
        fs::read_dir(output)?.map(|e| Ok(e?.path())).collect::<Result<_>>()?
    } else {
        vec![output.to_owned()]
    };
    for file in files {
        lengths.push(fs::metadata(file)?.len() as usize);
    }
    let copies = output.with_file_name("writing");
    fs::create_dir_all(&copies)?;
    let part = vec![0x5a; PART_LEN];
    let start = Instant::now();
    for (index, &length) in lengths.iter().enumerate() {
        let mut file = File::create(copies.join(index.to_string()))?;
        for done in (0..length).step_by(PART_LEN) {
            file.write_all(&part[..PART_LEN.min(length - done)])?;
        }
        file.sync_all()?;
    }
    let seconds = start.elapsed().as_secs_f64();
    remove(&copies)?;
    Ok(seconds)
}

fn remove(path: &Path) -> Result<()> {
    if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }.context("an output can be removed")
}
