//! Switched codebooks, outliers, sensitivity weights and plans, from file to file; and what is refused.

mod common;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use common::{header, model, options, refused, run, tensor, with_manifest, with_tensor, write_safetensors};
use quant::checkpoint::Checkpoint;
use quant::decoded::DecodedCheckpoint;
use quant::device::Device;
use quant::methods::{Allocation, Goal, allocate, measure};
use quant::sensitivities::Sensitivities;
use quant::{Error, Recipe};
use quant_core::tensor::Dtype as Float;
use safetensors::Dtype;
use tempfile::tempdir;

fn device() -> Device {
    Device::cpu(Some(2)).unwrap()
}

/// One F32 matrix of 64 × 96 with heavy tails, every other column three times as large, as a file.
fn matrix(folder: &Path) -> PathBuf {
    let mut heavy = tensor("a.weight", Dtype::F32, &[64, 96], 3);
    for (i, bytes) in heavy.bytes.chunks_exact_mut(4).enumerate() {
        let x = f32::from_le_bytes(bytes.try_into().unwrap());
        let x = if i.is_multiple_of(2) { 3.0 * x } else { x };
        bytes.copy_from_slice(&(if i % 97 == 5 { 30.0 * x } else { x }).to_le_bytes());
    }
    let path = folder.join("in.safetensors");
    write_safetensors(&path, &[heavy]);
    path
}

fn read(path: &Path) -> Result<(), Error> {
    let decoded = DecodedCheckpoint::open(path)?;
    (0..decoded.tensors().len()).try_for_each(|i| decoded.read(i, Float::F32, &device()).map(drop))
}

#[test]
fn damaged_native_files_are_refused_with_file_tensor_and_reason() {
    let dir = tempdir().unwrap();
    let (input, output) = (matrix(dir.path()), dir.path().join("out.safetensors"));
    run(&input, &output, &options("switched3 outliers 0.01")).unwrap();
    let file = std::fs::read(&output).unwrap();
    let bad = dir.path().join("bad.safetensors");
    let nan16 = |bytes: &mut [u8]| bytes[..2].copy_from_slice(&[0xff, 0x7f]);
    let infinite = |bytes: &mut [u8]| bytes[2..4].copy_from_slice(&[0x80, 0x7f]);
    let negative = |bytes: &mut [u8]| bytes[3] |= 0x80;
    let swapped = |bytes: &mut [u8]| bytes.rotate_left(2);
    let many = |bytes: &mut [u8]| bytes[4] = 200;
    let far = |bytes: &mut [u8]| bytes.fill(0xff);
    let cases: [(&str, Vec<u8>, &str); 14] = [
        ("levels", with_tensor(&file, "a.weight.shapes", swapped), "shape 0 do not ascend"),
        ("a NaN level", with_tensor(&file, "a.weight.shapes", nan16), "value 0 of \"shapes\" is not finite"),
        ("a NaN step", with_tensor(&file, "a.weight.steps", nan16), "value 0 of \"steps\" is not finite"),
        ("an infinite row", with_tensor(&file, "a.weight.scales", infinite), "the scale of row 1 is inf"),
        ("a negative row", with_tensor(&file, "a.weight.scales", negative), "the scale of row 1 is -"),
        ("row starts", with_tensor(&file, "a.weight.outliers.rows", many), "row starts of its outliers"),
        ("columns", with_tensor(&file, "a.weight.outliers.columns", far), "columns of the outliers of row"),
        ("values", with_tensor(&file, "a.weight.outliers.values", far), "outlier 0 is not finite"),
        ("version", with_manifest(&file, "\"version\":2", "\"version\":4"), "reads versions 1 to 3"),
        ("bits", with_manifest(&file, "\"step_bits\":4", "\"step_bits\":5"), "has shape"),
        ("overflow", with_manifest(&file, "\"step_bits\":4", "\"step_bits\":255"), "contradicts itself"),
        ("count", with_manifest(&file, "\"outlier_count\":61", "\"outlier_count\":60"), "shape"),
        (
            "too many",
            with_manifest(&file, "\"outlier_count\":61", "\"outlier_count\":99999999999"),
            "contradicts itself",
        ),
        ("group", with_manifest(&file, "{\"samples\":16}", "\"row\""), "contradicts itself"),
    ];
    for (name, bytes, why) in cases {
        std::fs::write(&bad, bytes).unwrap();
        let error = read(&bad).err().unwrap_or_else(|| panic!("{name} is refused"));
        let message = error.to_string();
        assert!(error.is_refused_input() && message.contains("bad.safetensors"), "{name}: {message}");
        assert!(message.contains(why) && (name == "version" || message.contains("a.weight")), "{name}: {message}");
    }
}

#[test]
fn what_readers_of_version_1_know_is_written_as_version_1() {
    let dir = tempdir().unwrap();
    let input = matrix(dir.path());
    for (recipe, version) in [("nf4", 1), ("kmeans3-row", 1), ("switched4", 2), ("nf4 outliers 0.001", 2), ("vq2x4", 3)]
    {
        let output = dir.path().join(format!("{recipe}.safetensors"));
        run(&input, &output, &options(recipe)).unwrap();
        let (header, _) = header(&std::fs::read(&output).unwrap());
        let manifest: serde_json::Value =
            serde_json::from_str(header["__metadata__"]["quant.manifest"].as_str().unwrap()).unwrap();
        assert_eq!(manifest["version"], version, "{recipe}");
    }
}

#[test]
fn outliers_are_exact_and_pay_on_heavy_tails() {
    let dir = tempdir().unwrap();
    let input = matrix(dir.path());
    for recipe in ["kmeans3-row", "switched3", "nf3", "lloyd3"] {
        let (without, with) = (dir.path().join(format!("{recipe}a.st")), dir.path().join(format!("{recipe}b.st")));
        let before = run(&input, &without, &options(recipe)).unwrap().totals;
        let after = run(&input, &with, &options(&format!("{recipe} outliers 0.02"))).unwrap().totals;
        let pays = after.sqnr_db.unwrap() - before.sqnr_db.unwrap();
        let added = after.rate_bits - before.rate_bits;
        // A row's own codebook gives an outlier a level; all others give it a group.
        let least = if recipe.ends_with("-row") { 0.3 } else { 3.0 };
        assert!(pays > least, "{recipe}: {pays} dB");
        // 48 bits for each of 123, and 65 row starts.
        assert_eq!((added * 6144.0).round(), 123.0 * 48.0 + 65.0 * 32.0, "{recipe}: {added} bits");
    }
}

/// Sensitivities of the matrix: columns that matter 100 times as much, every other one.
fn columns_matter(folder: &Path, name: &str, change: impl Fn(usize, &mut f32)) -> PathBuf {
    let mut weights = tensor("a.weight", Dtype::F32, &[96], 1);
    for (i, bytes) in weights.bytes.chunks_exact_mut(4).enumerate() {
        let mut weight = if i.is_multiple_of(2) { 100.0 } else { 1.0 };
        change(i, &mut weight);
        bytes.copy_from_slice(&weight.to_le_bytes());
    }
    let path = folder.join(name);
    write_safetensors(&path, &[weights]);
    path
}

#[test]
fn weights_lower_the_weighted_error() {
    let dir = tempdir().unwrap();
    let input = matrix(dir.path());
    let weights = columns_matter(dir.path(), "w.safetensors", |_, _| ());
    for recipe in ["kmeans3-row", "lloyd3", "switched3"] {
        let mut wanted = options(recipe);
        let plain = run(&input, &dir.path().join(format!("{recipe}1.st")), &wanted).unwrap();
        assert_eq!(plain.totals.weighted_sqnr_db, None);
        wanted.sensitivities = Some(Sensitivities::open(&weights).unwrap());
        let weighted = run(&input, &dir.path().join(format!("{recipe}2.st")), &wanted).unwrap();
        // What the plain codes are worth under the weights: columns are decoded and summed by hand.
        let codes = DecodedCheckpoint::open(&dir.path().join(format!("{recipe}1.st"))).unwrap();
        let floats = |path: &DecodedCheckpoint| -> Vec<f32> {
            path.read(0, Float::F32, &device())
                .unwrap()
                .as_chunks::<4>()
                .0
                .iter()
                .map(|b| f32::from_le_bytes(*b))
                .collect()
        };
        let (x, y) = (floats(&DecodedCheckpoint::open(&input).unwrap()), floats(&codes));
        let weight = |i: usize| if i.is_multiple_of(2) { 100.0 } else { 1.0 };
        let error: f64 = x.iter().zip(&y).enumerate().map(|(i, (x, y))| weight(i) * f64::from(x - y).powi(2)).sum();
        let energy: f64 = x.iter().enumerate().map(|(i, x)| weight(i) * f64::from(*x).powi(2)).sum();
        let (before, after) = (10.0 * (energy / error).log10(), weighted.totals.weighted_sqnr_db.unwrap());
        assert!(after > before + 0.01, "{recipe}: {before} dB without, {after} dB with weights");
        assert!(weighted.totals.sqnr_db.unwrap() < plain.totals.sqnr_db.unwrap(), "{recipe}: something is paid");
    }
}

#[test]
fn bad_weights_are_refused_with_file_and_tensor() {
    let dir = tempdir().unwrap();
    let input = matrix(dir.path());
    let output = dir.path().join("out.safetensors");
    let with = |path: &Path| {
        let mut wanted = options("kmeans4-row");
        wanted.sensitivities = Some(Sensitivities::open(path)?);
        run(&input, &output, &wanted)
    };
    let negative = columns_matter(dir.path(), "negative.safetensors", |i, w| *w = if i == 7 { -1.0 } else { *w });
    refused(with(&negative), &["negative.safetensors", "a.weight", "weight 7 is -1"]);
    let nan = columns_matter(dir.path(), "nan.safetensors", |i, w| *w = if i == 95 { f32::NAN } else { *w });
    refused(with(&nan), &["nan.safetensors", "a.weight", "weight 95 is NaN"]);
    let shaped = |file: &str, name: &str, dtype, shape: &[usize]| {
        let path = dir.path().join(file);
        write_safetensors(&path, &[tensor(name, dtype, shape, 1)]);
        path
    };
    let long = shaped("long.safetensors", "a.weight", Dtype::F32, &[97]);
    refused(with(&long), &["long.safetensors", "a.weight", "97 weights", "96 input channels"]);
    let turned = shaped("turned.safetensors", "a.weight", Dtype::F32, &[96, 64]);
    refused(with(&turned), &["turned.safetensors", "a.weight", "[96, 64]", "[64, 96]"]);
    let whole = shaped("whole.safetensors", "a.weight", Dtype::I64, &[96]);
    refused(with(&whole), &["whole.safetensors", "a.weight", "I64"]);
    let other = shaped("other.safetensors", "b.weight", Dtype::F32, &[96]);
    refused(with(&other), &["other.safetensors", "no weights for any tensor"]);
    assert!(!output.exists());
}

/// Four matrices, each three times as large as the one before.
fn unequal(folder: &Path) -> PathBuf {
    let scaled = |i: usize| {
        let mut tensor = tensor(&format!("layers.{i}.up_proj.weight"), Dtype::F32, &[40 + 8 * i, 96], i as u64 + 1);
        for bytes in tensor.bytes.chunks_exact_mut(4) {
            let x = f32::from_le_bytes(bytes.try_into().unwrap());
            bytes.copy_from_slice(&(x * 3f32.powi(i as i32)).to_le_bytes());
        }
        tensor
    };
    let path = folder.join("unequal.safetensors");
    write_safetensors(&path, &[0, 1, 2, 3].map(scaled));
    path
}

#[test]
fn a_plan_beats_equal_bits_and_does_as_it_says() {
    let dir = tempdir().unwrap();
    let input = unequal(dir.path());
    let checkpoint = Checkpoint::open(&input).unwrap();
    let wanted = options("switched3 group 16 step-bits 3 shape-bits 0");
    let recipes: Vec<Recipe> = (2..=6).map(|bits| wanted.recipe.with_bits(bits).unwrap()).collect();
    let methods = measure(&checkpoint, &wanted, &recipes, None, &device(), &|_| {}).unwrap();
    assert!(methods.iter().all(|m| m.is_on_front && m.tensors.len() == 4), "each more bits, less error");
    let uniform = &methods[1];
    let plan = allocate(&methods, Goal::RateBits(uniform.rate_bits)).unwrap();
    assert!(plan.rate_bits <= uniform.rate_bits && plan.sqnr_db > uniform.sqnr_db, "{plan:?}");

    let path = dir.path().join("plan.json");
    plan.write(&path).unwrap();
    assert_eq!(Allocation::read(&path).unwrap(), plan);
    let mut planned = options("nf4");
    planned.exceptions = plan.recipes(&path).unwrap();
    let report = run(&input, &dir.path().join("out.safetensors"), &planned).unwrap();
    assert!((report.totals.rate_bits - plan.rate_bits).abs() < 1e-9, "{}", report.totals.rate_bits);
    assert!((report.totals.sqnr_db.unwrap() - plan.sqnr_db.unwrap()).abs() < 1e-9);
    let decoded = DecodedCheckpoint::open(&dir.path().join("out.safetensors")).unwrap();
    for tensor in decoded.tensors().iter().filter(|t| plan.tensors.contains_key(&t.name)) {
        assert_eq!(tensor.method, plan.tensors[&tensor.name], "{}", tensor.name);
    }

    let cheap = allocate(&methods, Goal::SqnrDb(uniform.sqnr_db.unwrap())).unwrap();
    assert!(cheap.sqnr_db >= uniform.sqnr_db && cheap.rate_bits < uniform.rate_bits, "{cheap:?}");
    refused(allocate(&methods, Goal::RateBits(1.0)), &["--rate 1", "at least"]);
    refused(allocate(&methods, Goal::SqnrDb(200.0)), &["--target-sqnr 200", "at most"]);
}

#[test]
fn bad_plans_are_refused() {
    let dir = tempdir().unwrap();
    let input = model(&dir.path().join("in"));
    let path = dir.path().join("plan.json");
    let read = |text: &str| {
        std::fs::write(&path, text).unwrap();
        Allocation::read(&path).and_then(|plan| plan.recipes(&path))
    };
    let plan = |version: u32, tensors: &str| {
        read(&format!("{{\"version\": {version}, \"rate_bits\": 4, \"sqnr_db\": null, \"tensors\": {{{tensors}}}}}"))
    };
    refused(read("[1"), &["plan.json", "not a plan"]);
    refused(plan(2, ""), &["plan.json", "plan version 2"]);
    refused(plan(1, "\"x\": \"nf4 in groups\""), &["plan.json", "\"x\"", "\"in\""]);
    let mut wanted = options("nf4");
    wanted.exceptions = BTreeMap::from([("x".to_owned(), wanted.recipe)]);
    refused(run(&input, &dir.path().join("out"), &wanted), &["the plan names tensor \"x\""]);
    wanted.exceptions = plan(1, "\"model.layers.0.mlp.up_proj.weight\": \"nf3\"").unwrap();
    wanted.target = quant::outputs::Target::Bitsandbytes;
    refused(run(&input, &dir.path().join("out"), &wanted), &["--to bitsandbytes", "holds one recipe"]);
}
