//! Entropy-coded files: the same weights to the bit, at the entropy of their codes, and no damage that goes unnoticed.

mod common;

use std::path::{Path, PathBuf};

use common::{model, options, run, run_on, tensor, tree, write_safetensors};
use quant::checkpoint::Checkpoint;
use quant::decoded::DecodedCheckpoint;
use quant::device::Device;
use quant::outputs::Target;
use quant::pipeline::Options;
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
    float.map(|(i, t)| (t.name.clone(), opened.read(i, Dtype::F32, &device).unwrap().to_vec())).collect()
}

#[test]
fn weights_are_the_same_and_so_are_all_bytes_for_any_number_of_threads() {
    let dir = tempdir().unwrap();
    let input = model(&dir.path().join("in"));
    for preset in PRESETS {
        let at = |suffix: &str| dir.path().join(format!("{preset}-{suffix}"));
        let plain = run(&input, &at("plain"), &options(preset)).unwrap();
        let report = run_on(&input, &at("coded"), &coded(preset), 1).unwrap();
        run_on(&input, &at("again"), &coded(preset), 7).unwrap();
        assert_eq!(weights(&at("plain")), weights(&at("coded")), "{preset}");
        assert_eq!(tree(&at("coded")), tree(&at("again")), "{preset}");
        assert_eq!(report.totals.codes_hash, plain.totals.codes_hash, "{preset}");
        let index = std::fs::read_to_string(at("coded").join("model.safetensors.index.json")).unwrap();
        assert!(index.contains("codes.words") && !index.contains(".codes\""), "{index}");
    }
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
fn a_run_that_is_continued_writes_the_same_bytes() {
    let dir = tempdir().unwrap();
    let input = one_linear(dir.path());
    let at = |name: &str| dir.path().join(name);
    run(&input, &at("whole.safetensors"), &coded("nf4")).unwrap();
    // A killed run: its codes are packed, and some of the coding is done.
    run(&input, &at("packed.safetensors"), &options("nf4")).unwrap();
    let resumed = Options { resume: true, ..coded("nf4") };
    std::fs::create_dir(at("cut.safetensors.partial")).unwrap();
    std::fs::copy(at("whole.safetensors"), at("cut.safetensors.partial/cut.safetensors")).unwrap();
    let journal = at("cut.safetensors.journal");
    std::fs::write(&journal, "").unwrap();
    assert!(run(&input, &at("cut.safetensors"), &resumed).is_err(), "an empty journal is not ours");
    std::fs::remove_dir_all(at("cut.safetensors.partial")).unwrap();
    std::fs::remove_file(&journal).unwrap();
    run(&input, &at("cut.safetensors"), &resumed).unwrap();
    assert_eq!(std::fs::read(at("cut.safetensors")).unwrap(), std::fs::read(at("whole.safetensors")).unwrap());
    let refused = run(&input, &at("no"), &Options { target: Target::Dense { dtype: None }, ..coded("nf4") });
    assert_eq!(refused.unwrap_err().to_string(), "--entropy is for --to native; dense was asked for");
}

#[test]
fn damage_to_codes_is_one_clear_error() {
    let dir = tempdir().unwrap();
    let input = dir.path().join("small.safetensors");
    write_safetensors(&input, &[tensor("w.weight", Stored::F32, &[24, 40], 3)]);
    let output = dir.path().join("coded.safetensors");
    run(&input, &output, &coded("nf4")).unwrap();
    let bytes = std::fs::read(&output).unwrap();
    let file = Checkpoint::open(&output).unwrap();
    let device = Device::cpu(Some(2)).unwrap();
    let bad = dir.path().join("bad.safetensors");
    for part in ["w.weight.codes.words", "w.weight.codes.chunks", "w.weight.codes.frequencies"] {
        let entry = file.tensors().iter().find(|t| t.name == part).unwrap();
        let header = bytes.len() as u64 - file.tensors().iter().map(|t| t.byte_len).sum::<u64>();
        assert!(entry.offset >= header);
        for at in entry.offset..entry.offset + entry.byte_len {
            let mut damaged = bytes.clone();
            damaged[at as usize] ^= 0x5a;
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
