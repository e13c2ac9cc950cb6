//! Matrices coded as points, from file to file: what is kept, what is refused, and what does not change.

mod common;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use common::{model, options, run, run_on, tensor, to, with_manifest, with_tensor, write_safetensors};
use quant::checkpoint::Checkpoint;
use quant::decoded::DecodedCheckpoint;
use quant::device::Device;
use quant::outputs::Target;
use quant::pipeline::{self, Options, Progress};
use quant::report::TensorReport;
use quant::sensitivities::Sensitivities;
use quant::{Error, compare};
use quant_core::tensor::Dtype as Float;
use safetensors::Dtype;
use tempfile::tempdir;

const PRESETS: [&str; 7] =
    ["vq2x8", "vq4x8", "vq8x8", "vq8x8x2", "vq8x6x3p2", "vq2x10 outliers 0.003", "vq4x4p8 outliers 0.01"];

fn device() -> Device {
    Device::cpu(Some(2)).unwrap()
}

/// Two matrices in a file: rows of whole points, and rows whose last point is not whole for any dimension.
fn matrices(folder: &Path) -> PathBuf {
    let path = folder.join("in.safetensors");
    let tensors = [tensor("a.weight", Dtype::F32, &[64, 96], 3), tensor("b.weight", Dtype::F32, &[101, 37], 4)];
    write_safetensors(&path, &tensors);
    path
}

fn decoded(path: &Path) -> Result<Vec<Vec<u8>>, Error> {
    let checkpoint = DecodedCheckpoint::open(path)?;
    (0..checkpoint.tensors().len()).map(|i| Ok(checkpoint.read(i, Float::F32, &device())?.to_vec())).collect()
}

fn compared(a: &Path, b: &Path) -> compare::Comparison {
    let (a, b) = (DecodedCheckpoint::open(a).unwrap(), DecodedCheckpoint::open(b).unwrap());
    compare::run(&a, &b, &device(), &|_| {}).unwrap()
}

#[test]
fn files_decode_to_what_was_measured_whatever_the_threads() {
    let dir = tempdir().unwrap();
    let input = matrices(dir.path());
    for preset in PRESETS {
        let at = |suffix: &str| dir.path().join(format!("{preset}-{suffix}.safetensors"));
        let report = run_on(&input, &at("1"), &options(preset), 1).unwrap();
        for threads in [2, 7] {
            let output = at(&threads.to_string());
            let again = run_on(&input, &output, &options(preset), threads).unwrap();
            assert_eq!(again.totals.codes_hash, report.totals.codes_hash, "{preset}");
            assert!(std::fs::read(output).unwrap() == std::fs::read(at("1")).unwrap(), "{preset} on {threads} threads");
        }
        let dense = Target::Dense { dtype: Some(Float::F32) };
        run(&input, &at("dense"), &to(options(preset), dense)).unwrap();
        assert!(decoded(&at("1")).unwrap() == decoded(&at("dense")).unwrap(), "{preset}");
        let measured = compared(&input, &at("1"));
        for tensor in report.tensors {
            let found = measured.tensors.iter().find(|t| t.name == tensor.name).unwrap().mse.unwrap();
            assert!(tensor.is_quantized(), "{preset} {}", tensor.name);
            assert!((found - tensor.mse).abs() <= 1e-12 * tensor.mse, "{preset} {}", tensor.name);
            assert!(tensor.sums.coded.is_none(), "{preset}: indices of points have no entropy per weight");
        }
        let planned = pipeline::dry_run(&Checkpoint::open(&input).unwrap(), &options(preset)).unwrap();
        assert_eq!(planned.output_len_bytes, report.totals.output_len_bytes, "{preset}: a dry run knows the size");
    }
}

#[test]
fn rates_are_those_of_indices_row_scales_and_codevectors() {
    let dir = tempdir().unwrap();
    let input = matrices(dir.path());
    // Rows of 37 samples are 10 points of 4, with two indices of 6 bits each: 15 bytes.
    let report = run(&input, &dir.path().join("out.safetensors"), &options("vq4x6x2p2")).unwrap();
    let table = 16 * 2 * 2 * 64 * 4;
    let bits: Vec<u64> = report.tensors.iter().map(|t| t.sums.stored_bits).collect();
    assert_eq!(bits, [64 * (24 * 12 + 16) + table, 101 * (15 * 8 + 16) + table]);
}

#[test]
fn damaged_files_are_refused_with_file_tensor_and_reason() {
    let dir = tempdir().unwrap();
    let (input, output) = (matrices(dir.path()), dir.path().join("out.safetensors"));
    run(&input, &output, &options("vq4x5x2p3")).unwrap();
    let file = std::fs::read(&output).unwrap();
    let nan16 = |bytes: &mut [u8]| bytes[2..4].copy_from_slice(&[0xff, 0x7f]);
    let infinite = |bytes: &mut [u8]| bytes[2..4].copy_from_slice(&[0x80, 0x7f]);
    let negative = |bytes: &mut [u8]| bytes[3] |= 0x80;
    let manifest = |from: &str, to: &str| with_manifest(&file, from, to);
    let vectors = "\"vectors\":{\"dimension\":4,\"stages\":2,\"parts\":3}";
    let contradiction = "its description contradicts itself";
    let cases: [(&str, Vec<u8>, &str); 14] = [
        ("a codevector", with_tensor(&file, "a.weight.codevectors", nan16), "value 1 of \"codevectors\" is not finite"),
        ("an infinite row", with_tensor(&file, "a.weight.scales", infinite), "the scale of row 1 is inf"),
        ("a negative row", with_tensor(&file, "a.weight.scales", negative), "the scale of row 1 is -"),
        ("version", manifest("\"version\":3", "\"version\":4"), "reads versions 1 to 3"),
        ("dimension 3", manifest("\"dimension\":4", "\"dimension\":3"), contradiction),
        ("dimension 8", manifest("\"dimension\":4", "\"dimension\":8"), "has shape"),
        ("no stage", manifest("\"stages\":2", "\"stages\":0"), contradiction),
        ("another stage", manifest("\"stages\":2", "\"stages\":3"), contradiction),
        ("many parts", manifest("\"parts\":3", "\"parts\":4294967295"), contradiction),
        ("bits", manifest("\"bit_width\":5", "\"bit_width\":13"), contradiction),
        ("wider", manifest("\"bit_width\":5", "\"bit_width\":6"), "has shape"),
        ("group", manifest("\"group\":\"row\"", "\"group\":\"tensor\""), contradiction),
        ("scales", manifest("\"scales\":\"rows\"", "\"scales\":\"none\""), contradiction),
        (
            "entropy",
            manifest(vectors, &format!("{vectors},\"entropy\":{{\"chunk_rows\":1,\"word_count\":1}}")),
            contradiction,
        ),
    ];
    let bad = dir.path().join("bad.safetensors");
    for (name, bytes, why) in cases {
        std::fs::write(&bad, bytes).unwrap();
        let error = decoded(&bad).err().unwrap_or_else(|| panic!("{name} is refused"));
        let message = error.to_string();
        assert!(error.is_refused_input() && message.contains("bad.safetensors"), "{name}: {message}");
        assert!(message.contains(why) && (name == "version" || message.contains(".weight")), "{name}: {message}");
    }
}

#[test]
fn a_file_cut_or_with_any_byte_changed_never_panics() {
    let dir = tempdir().unwrap();
    let [input, output, bad] = ["in", "out", "bad"].map(|name| dir.path().join(format!("{name}.safetensors")));
    write_safetensors(&input, &[tensor("a.weight", Dtype::F32, &[6, 21], 3)]);
    run(&input, &output, &options("vq4x2x2")).unwrap();
    let file = std::fs::read(&output).unwrap();
    for len in (0..file.len()).step_by(3) {
        std::fs::write(&bad, &file[..len]).unwrap();
        assert!(decoded(&bad).is_err_and(|e| e.is_refused_input()), "cut to {len}");
    }
    for at in 0..file.len() {
        for change in [0x01, 0x80, 0xff] {
            let mut changed = file.clone();
            changed[at] ^= change;
            std::fs::write(&bad, changed).unwrap();
            if let Err(error) = decoded(&bad) {
                assert!(error.is_refused_input(), "byte {at} changed by {change}: {error}");
            }
        }
    }
}

#[test]
fn weights_count_by_the_mean_of_a_point() {
    let dir = tempdir().unwrap();
    let input = matrices(dir.path());
    let weights = dir.path().join("w.safetensors");
    let of_columns = |name: &str, columns: usize| {
        let mut weights = tensor(name, Dtype::F32, &[columns], 1);
        for (i, bytes) in weights.bytes.chunks_exact_mut(4).enumerate() {
            bytes.copy_from_slice(&(if i < columns / 3 { 100.0f32 } else { 1.0 }).to_le_bytes());
        }
        weights
    };
    write_safetensors(&weights, &[of_columns("a.weight", 96), of_columns("b.weight", 37)]);
    for preset in ["vq4x6", "vq8x5x2"] {
        let weighted = |name: &str| {
            let sensitivities = Some(Sensitivities::open(&weights).unwrap());
            let output = dir.path().join(format!("{preset}-{name}.safetensors"));
            (Options { sensitivities, ..options(preset) }, output)
        };
        let (wanted, output) = weighted("weighted");
        let with = run(&input, &output, &wanted).unwrap().totals;
        let without = run(&input, &dir.path().join(format!("{preset}.safetensors")), &options(preset)).unwrap().totals;
        let gain = with.weighted_sqnr_db.unwrap() - without.sqnr_db.unwrap();
        assert!(gain > 0.3, "{preset}: columns that matter gain {gain} dB over what all have without weights");
    }
}

#[test]
fn what_knows_only_levels_is_refused() {
    let dir = tempdir().unwrap();
    let input = model(&dir.path().join("in"));
    let refused = |wanted: Options, parts: &[&str]| {
        let error = run(&input, &dir.path().join("out"), &wanted).expect_err("it is refused");
        let message = error.to_string();
        assert!(error.is_refused_input() && parts.iter().all(|part| message.contains(part)), "{message}");
    };
    refused(to(options("vq2x4"), Target::Bitsandbytes), &["4-bit nf4 and fp4 only", "vq2x4 was asked for"]);
    refused(to(options("vq2x4"), Target::Gguf), &["--to gguf writes the presets iq4_nl", "vq2x4 was asked for"]);
    refused(Options { entropy: true, ..options("vq2x4") }, &["--entropy", "vq2x4 has indices of points"]);
}

/// Stops the run after a tensor, the way a kill would.
struct StopAfterOne;

impl Progress for StopAfterOne {
    fn finished(&self, _: &TensorReport, _: u64) {
        panic!("stopped on purpose");
    }
}

#[test]
fn a_stopped_run_resumes_to_the_same_bytes() {
    let dir = tempdir().unwrap();
    let input = matrices(dir.path());
    let (whole, output) = (dir.path().join("whole.safetensors"), dir.path().join("out.safetensors"));
    let report = run(&input, &whole, &options("vq8x6x2")).unwrap();
    let checkpoint = Checkpoint::open(&input).unwrap();
    let stopped = catch_unwind(AssertUnwindSafe(|| {
        pipeline::run(&checkpoint, &output, &options("vq8x6x2"), &device(), &StopAfterOne)
    }));
    assert!(stopped.is_err() && !output.exists());
    let resumed = run(&input, &output, &Options { resume: true, ..options("vq8x6x2") }).unwrap();
    assert!(std::fs::read(&output).unwrap() == std::fs::read(&whole).unwrap());
    assert_eq!(resumed.tensors, report.tensors);
}
