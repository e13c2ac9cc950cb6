//! Entropy-coded files: the same weights to the bit, at the entropy of their codes, and no damage that goes unnoticed.

mod common;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use common::{model, options, place_of, run, run_on, tensor, tree, write_safetensors};
use quant::checkpoint::Checkpoint;
use quant::decoded::{DecodedCheckpoint, DecodedTensor};
use quant::device::Device;
use quant::outputs::Target;
use quant::pipeline::{self, Options, Progress};
use quant::report::TensorReport;
use quant_core::entropy_coding::ideal_bits;
use quant_core::tensor::Dtype;
use safetensors::Dtype as Stored;
use tempfile::tempdir;

const PRESETS: [&str; 5] = ["nf4", "int8", "lloyd3", "kmeans4-row", "nf2"];

fn coded(preset: &str) -> Options {
    Options { entropy: true, ..options(preset) }
}

/// All weights, by name.
fn weights(path: &Path) -> Vec<(String, Vec<u8>)> {
    let opened = DecodedCheckpoint::open(path).unwrap();
    let device = Device::cpu(Some(2)).unwrap();
    let float = opened.tensors().iter().enumerate().filter(|(_, t)| t.decoded_dtype.is_some());
    let read =
        |(i, t): (usize, &DecodedTensor)| (t.name.clone(), opened.read(i, Dtype::F32, &device).unwrap().to_vec());
    let mut weights: Vec<_> = float.map(read).collect();
    // Words are not where codes were, and tensors come as they are stored.
    weights.sort();
    weights
}

#[test]
fn weights_are_the_same_and_so_are_all_bytes_for_any_number_of_threads() {
    let dir = tempdir().unwrap();
    let input = model(&dir.path().join("in"));
    let mut coded_presets = 0;
    for preset in PRESETS {
        let at = |suffix: &str| dir.path().join(format!("{preset}-{suffix}"));
        let plain = run(&input, &at("plain"), &options(preset)).unwrap();
        let report = run_on(&input, &at("coded"), &coded(preset), 1).unwrap();
        run_on(&input, &at("again"), &coded(preset), 7).unwrap();
        assert!(weights(&at("plain")) == weights(&at("coded")), "{preset}");
        assert!(tree(&at("coded")) == tree(&at("again")), "{preset}");
        assert_eq!(report.totals.codes_hash, plain.totals.codes_hash, "{preset}");
        let index = std::fs::read_to_string(at("coded").join("model.safetensors.index.json")).unwrap();
        let any_coded = report.tensors.iter().any(|t| t.method.ends_with("entropy-coded"));
        assert_eq!(index.contains("codes.words"), any_coded, "{preset}: {index}");
        coded_presets += usize::from(any_coded);
        let tensors = report.tensors.iter().filter_map(|t| Some((t.sums.weight_count as f64, t.entropy_bits?)));
        let (count, bits) = tensors.fold((0.0, 0.0), |sum, (n, h)| (sum.0 + n, sum.1 + n * h));
        let mean = report.totals.entropy_bits.unwrap();
        assert!((mean - bits / count).abs() < 1e-12, "{preset}: each tensor's codes have a meaning of their own");
        for (coded, plain) in report.tensors.iter().zip(&plain.tensors) {
            let (ours, packed) = (coded.sums.stored_bits, plain.sums.stored_bits);
            let says_so = coded.method.ends_with("entropy-coded");
            assert!(
                says_so == (ours < packed) && ours <= packed,
                "{} {}: {ours} of {packed}",
                coded.name,
                coded.method
            );
        }
    }
    assert!(coded_presets > 2, "{coded_presets}");
}

#[test]
fn codes_that_a_table_would_enlarge_stay_packed() {
    let dir = tempdir().unwrap();
    let input = dir.path().join("small.safetensors");
    write_safetensors(&input, &[tensor("w.weight", Stored::F32, &[4, 64], 3)]);
    let (plain, output) = (dir.path().join("plain.safetensors"), dir.path().join("coded.safetensors"));
    let packed = run(&input, &plain, &options("int4")).unwrap();
    let report = run(&input, &output, &coded("int4")).unwrap();
    assert_eq!(report.tensors[0].sums.stored_bits, packed.tensors[0].sums.stored_bits);
    assert_eq!(report.totals.output_len_bytes, packed.totals.output_len_bytes);
    assert!(weights(&plain) == weights(&output));
}

/// One linear of 512 × 1024 in a file of its own.
fn one_linear(folder: &Path) -> PathBuf {
    let path = folder.join("linear.safetensors");
    write_safetensors(&path, &[tensor("w.weight", Stored::F32, &[512, 1024], 3)]);
    path
}

#[test]
fn size_is_that_of_the_entropy_and_the_rate_is_that_of_the_file() {
    let dir = tempdir().unwrap();
    let input = one_linear(dir.path());
    for preset in ["lloyd4", "nf3", "kmeans3-row", "int8"] {
        let output = dir.path().join(format!("{preset}.safetensors"));
        let report = run(&input, &output, &coded(preset)).unwrap();
        let sums = &report.tensors[0].sums;
        let file = Checkpoint::open(&output).unwrap();
        let stored: u64 = file.tensors().iter().map(|t| t.byte_len).sum();
        assert_eq!((sums.stored_bits, report.totals.output_len_bytes), (8 * stored, stored), "{preset}");
        let codes: u64 = file.tensors().iter().filter(|t| t.name.contains(".codes.")).map(|t| t.byte_len).sum();
        let ideal = ideal_bits(&sums.code_counts) + 32.0 * sums.code_counts.len() as f64;
        let ratio = 8.0 * codes as f64 / ideal;
        assert!((1.0..1.005).contains(&ratio), "{preset}: {ratio} of n·H and the model");
    }
}

#[test]
fn entropy_constrained_presets_are_coded_without_being_asked() {
    let dir = tempdir().unwrap();
    let input = one_linear(dir.path());
    let [output, dense] = ["ecsq.safetensors", "dense.safetensors"].map(|name| dir.path().join(name));
    let report = run(&input, &output, &options("ecsq2.5")).unwrap();
    let sums = &report.tensors[0].sums;
    assert_eq!(report.tensors[0].method, "ecsq2.5 entropy-coded");
    let stored: u64 = Checkpoint::open(&output).unwrap().tensors().iter().map(|t| t.byte_len).sum();
    assert_eq!(sums.stored_bits, 8 * stored);
    // Two tables of 32 entries, and what the coder adds to each chunk.
    let excess = sums.stored_bits as f64 / (512.0 * 1024.0) - 2.5 - 2.0 * 32.0 * 32.0 / (512.0 * 1024.0);
    assert!(excess.abs() < 0.01, "{excess} bits");
    let decoded = run(&input, &dense, &common::to(options("ecsq2.5"), Target::Dense { dtype: None })).unwrap();
    assert_eq!(decoded.totals.codes_hash, report.totals.codes_hash);
    let apart = decoded.totals.rate_bits / report.totals.rate_bits - 1.0;
    assert!(apart.abs() < 0.005, "{apart}: dense output states the rate of the native form");
    assert!(weights(&output) == weights(&dense));
    let folder = model(&dir.path().join("in"));
    let refused = run(&folder, &dir.path().join("no"), &common::to(options("ecsq2.5"), Target::Bitsandbytes));
    assert!(refused.unwrap_err().to_string().contains("ecsq2.5"));
}

/// Stops the run when some tensors are done, the way a kill would.
struct StopAfter(AtomicUsize);

impl Progress for StopAfter {
    fn finished(&self, _: &TensorReport, _: u64) {
        assert!(self.0.fetch_sub(1, Ordering::Relaxed) != 1, "stopped on purpose");
    }
}

#[test]
fn a_run_that_is_continued_writes_the_same_bytes() {
    let dir = tempdir().unwrap();
    let input = model(&dir.path().join("in"));
    let (whole, output) = (dir.path().join("whole"), dir.path().join("out"));
    let report = run(&input, &whole, &coded("nf4")).unwrap();
    let stop = |tensors: usize| {
        let (checkpoint, device) = (Checkpoint::open(&input).unwrap(), Device::cpu(Some(1)).unwrap());
        let progress = StopAfter(AtomicUsize::new(tensors));
        let run = || pipeline::run(&checkpoint, &output, &coded("nf4"), &device, &progress);
        assert!(catch_unwind(AssertUnwindSafe(run)).is_err());
    };
    // As if it had been killed when one of the two files was coded and the other was not.
    stop(11);
    let shard = "model-00001-of-00002.safetensors";
    std::fs::copy(whole.join(shard), dir.path().join("out.partial").join(shard)).unwrap();
    let again = run(&input, &output, &Options { resume: true, ..coded("nf4") }).unwrap();
    assert!(tree(&output) == tree(&whole));
    assert_eq!((again.tensors, again.totals.output_len_bytes), (report.tensors, report.totals.output_len_bytes));
}

#[test]
fn other_targets_are_refused() {
    let dir = tempdir().unwrap();
    let input = one_linear(dir.path());
    let dense = Options { target: Target::Dense { dtype: None }, ..coded("nf4") };
    let refused = run(&input, &dir.path().join("no.safetensors"), &dense);
    assert_eq!(refused.unwrap_err().to_string(), "--entropy is for --to native; dense was asked for");
}

#[test]
fn damage_to_codes_is_one_clear_error() {
    let dir = tempdir().unwrap();
    let input = dir.path().join("small.safetensors");
    write_safetensors(&input, &[tensor("w.weight", Stored::F32, &[24, 200], 3)]);
    let output = dir.path().join("coded.safetensors");
    run(&input, &output, &coded("int4")).unwrap();
    let bytes = std::fs::read(&output).unwrap();
    let device = Device::cpu(Some(2)).unwrap();
    let bad = dir.path().join("bad.safetensors");
    for part in ["w.weight.codes.words", "w.weight.codes.chunks", "w.weight.codes.frequencies"] {
        for at in place_of(&bytes, part) {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x5a;
            std::fs::write(&bad, &damaged).unwrap();
            let opened = DecodedCheckpoint::open(&bad).unwrap();
            let error = opened.read(0, Dtype::F32, &device).unwrap_err();
            let text = error.to_string();
            assert!(
                error.is_refused_input() && text.contains("\"w.weight\": the coded data are damaged"),
                "{part}: {text}"
            );
        }
    }
    std::fs::write(&bad, &bytes[..bytes.len() - 4]).unwrap();
    assert!(DecodedCheckpoint::open(&bad).unwrap_err().is_refused_input());
}

#[test]
fn unlike_experts_have_frequencies_of_their_own() {
    let dir = tempdir().unwrap();
    let input = dir.path().join("in.safetensors");
    let mut experts = tensor("mlp.experts.gate_up_proj", Stored::F32, &[2, 256, 256], 7);
    // Codes of the second are those of a tensor that is nearly all zeros.
    let second = experts.bytes.len() / 2;
    experts.bytes[second..].chunks_exact_mut(4).enumerate().filter(|(i, _)| i % 16 > 0).for_each(|(_, x)| x.fill(0));
    write_safetensors(&input, &[experts]);
    let report = run(&input, &dir.path().join("out.safetensors"), &options("int4")).unwrap();
    let packed = run(&input, &dir.path().join("coded.safetensors"), &coded("int4")).unwrap();
    let shared_entropy = report.totals.entropy_bits.unwrap();
    // One table for both would take their joint entropy, and scales half a bit.
    assert!(packed.totals.rate_bits < shared_entropy + 0.5 - 0.3, "{} of {shared_entropy}", packed.totals.rate_bits);
    assert!(weights(&dir.path().join("out.safetensors")) == weights(&dir.path().join("coded.safetensors")));
    let opened = Checkpoint::open(&dir.path().join("coded.safetensors")).unwrap();
    let table = opened.tensors().iter().find(|t| t.name.ends_with("codes.frequencies")).unwrap();
    assert_eq!(table.shape, [2, 16]);
}

#[test]
fn names_that_end_in_a_point_keep_their_codes() {
    let dir = tempdir().unwrap();
    let input = dir.path().join("in.safetensors");
    write_safetensors(&input, &[tensor("w", Stored::F32, &[64, 256], 1), tensor("w.", Stored::F32, &[64, 256], 2)]);
    for options in [options("int4"), coded("int4")] {
        let entropy = options.entropy;
        run(&input, &dir.path().join(format!("{entropy}.safetensors")), &options).unwrap();
    }
    let [packed, coded] = ["false", "true"].map(|name| weights(&dir.path().join(format!("{name}.safetensors"))));
    assert!(packed.len() == 2 && packed == coded);
}

/// As files were written before each matrix had its own table.
#[test]
fn matrices_that_share_a_table_are_read() {
    let dir = tempdir().unwrap();
    let input = dir.path().join("in.safetensors");
    let mut experts = tensor("experts", Stored::F32, &[2, 64, 256], 7);
    // Twice the same matrix, so that one table is both.
    let half = experts.bytes.len() / 2;
    experts.bytes.copy_within(..half, half);
    write_safetensors(&input, &[experts]);
    let (new, old) = (dir.path().join("new.safetensors"), dir.path().join("old.safetensors"));
    run(&input, &new, &coded("int4")).unwrap();
    let opened = Checkpoint::open(&new).unwrap();
    let mut metadata = opened.shards()[0].metadata.clone();
    let manifest = metadata.get_mut("quant.manifest").unwrap();
    assert!(manifest.contains(",\"own_frequencies\":true"));
    *manifest = manifest.replace(",\"own_frequencies\":true", "");
    let mut layout = quant::checkpoint::layout::SafetensorsLayout::new(metadata);
    let mut parts = Vec::new();
    for (index, entry) in opened.tensors().iter().enumerate() {
        let quant::checkpoint::StoredDtype::Safetensors(dtype) = entry.dtype else { panic!("safetensors") };
        let bytes = opened.read_raw(index).unwrap();
        let is_table = entry.name.ends_with("frequencies");
        let shape = if is_table { &entry.shape[1..] } else { &entry.shape[..] };
        layout.add(&entry.name, dtype, shape).unwrap();
        parts.push(if is_table { bytes[..bytes.len() / 2].to_vec() } else { bytes.to_vec() });
    }
    let file = layout.finish().unwrap();
    let mut bytes = file.header.clone();
    bytes.resize(file.byte_len as usize, 0);
    for (slot, part) in file.slots.iter().zip(parts) {
        bytes[slot.offset as usize..][..part.len()].copy_from_slice(&part);
    }
    std::fs::write(&old, bytes).unwrap();
    assert!(weights(&old) == weights(&new));
}
