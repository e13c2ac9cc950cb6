//! What a run refuses, in one clear line, and what it leaves untouched.

mod common;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use common::{Tensor, model, options, refused, run, tensor, to, tree, weights, write_safetensors};
use quant::decoded::{DecodedCheckpoint, DecodedTensor};
use quant::device::Device;
use quant::outputs::Target;
use quant::select::Selection;
use quant::{Error, Recipe, dequantize};
use quant_core::grouping::GroupLength;
use quant_core::scale::ScaleRule;
use safetensors::Dtype;
use tempfile::tempdir;

fn left_behind(folder: &Path) -> Vec<String> {
    let names = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().to_string_lossy().into_owned());
    let mut names: Vec<String> = names.collect();
    names.sort();
    names
}

#[test]
fn places_that_would_lose_something_are_refused() {
    let dir = tempdir().unwrap();
    let input = model(&dir.path().join("in"));
    let before = tree(&input);
    let at = |name: &str| dir.path().join(name);
    refused(run(&input, &input, &options("nf4")), &["IN and OUT are the same"]);
    refused(run(&input, &dir.path().join("in/../in"), &options("nf4")), &["IN and OUT are the same"]);
    refused(run(&input, &input.join("out"), &options("nf4")), &["OUT lies inside IN"]);
    refused(run(&input, dir.path(), &options("nf4")), &["a folder that holds IN"]);
    refused(run(&input, &at("missing/out"), &options("nf4")), &["does not exist; create it first"]);
    std::fs::create_dir(at("there")).unwrap();
    refused(run(&input, &at("there"), &options("nf4")), &["there", "already exists", "--overwrite"]);
    std::fs::write(at("there/precious.txt"), "x").unwrap();
    let mut overwrite = options("nf4");
    overwrite.overwrite = true;
    refused(run(&input, &at("there"), &overwrite), &["would lose precious.txt"]);
    std::fs::create_dir(at("x.partial")).unwrap();
    refused(run(&input, &at("x"), &overwrite), &["x.partial", "not an unfinished run"]);
    std::fs::remove_dir(at("x.partial")).unwrap();
    std::fs::rename(&input, at("y.partial")).unwrap();
    refused(run(&at("y.partial"), &at("y"), &overwrite), &["IN is what OUT.partial would be"]);
    std::fs::rename(at("y.partial"), &input).unwrap();
    let shard = input.join("model-00001-of-00002.safetensors");
    refused(run(&shard, &shard, &options("nf4")), &["IN and OUT are the same"]);
    assert_eq!(tree(&input), before);
    assert_eq!(left_behind(dir.path()), ["in", "there"], "nothing half written");
}

#[test]
fn overwrite_replaces_an_earlier_output() {
    let dir = tempdir().unwrap();
    let input = model(&dir.path().join("in"));
    let output = dir.path().join("out");
    run(&input, &dir.path().join("out/"), &options("nf3")).unwrap();
    let mut overwrite = options("nf4");
    overwrite.overwrite = true;
    run(&input, &dir.path().join("out/"), &overwrite).unwrap();
    refused(run(&output, &dir.path().join("again"), &options("nf4")), &["already quantized by quant"]);
    run(&input, &dir.path().join("fresh"), &options("nf4")).unwrap();
    assert_eq!(tree(&output), tree(&dir.path().join("fresh")));
    assert_eq!(left_behind(dir.path()), ["fresh", "in", "out"]);
}

#[test]
fn patterns_and_recipes_that_cannot_be_meant_are_refused() {
    let dir = tempdir().unwrap();
    let input = model(&dir.path().join("in"));
    let output = dir.path().join("out");
    let mut nothing = options("nf4");
    nothing.selection = Selection::new(&["*q_porj*".into()], &[], None).unwrap();
    refused(run(&input, &output, &nothing), &["--include \"*q_porj*\" matches no tensor"]);
    nothing.selection = Selection::new(&[], &["*".into()], None).unwrap();
    refused(run(&input, &output, &nothing), &["no tensor is left to quantize", "excluded by *"]);
    let preset = |name: &str| Recipe::preset(name).map_err(Error::from);
    refused(preset("nf44"), &["unknown preset \"nf44\"", "kmeans4-row"]);
    refused(preset("nf4").and_then(|r| Ok(r.with_bits(9)?)), &["9 bits", "2 to 8"]);
    refused(preset("kmeans4-row").and_then(|r| Ok(r.with_double_quant()?)), &["kmeans4-row stores no scales"]);
    let mut by_hand = options("kmeans4-row");
    (by_hand.recipe.group, by_hand.recipe.scale) = (GroupLength::Tensor, Some(ScaleRule::Search));
    refused(run(&input, &output, &by_hand), &["kmeans4-row stores no scales"]);
    for (recipe, why) in [
        (preset("int4").unwrap(), "int4 was asked for"),
        (preset("nf3").unwrap(), "nf3 was asked for"),
        (preset("nf4").unwrap().with_group(GroupLength::Row).unwrap(), "--group"),
    ] {
        let mut wanted = to(options("nf4"), Target::Bitsandbytes);
        wanted.recipe = recipe;
        refused(run(&input, &output, &wanted), &["bitsandbytes", why]);
    }
    let file = dir.path().join("one.safetensors");
    write_safetensors(&file, &[tensor("w", Dtype::F32, &[64, 64], 1)]);
    let file_to_folder = to(options("nf4"), Target::Bitsandbytes);
    refused(run(&file, &output, &file_to_folder), &["one.safetensors", "needs a model folder"]);
    assert_eq!(left_behind(dir.path()), ["in", "one.safetensors"]);
}

#[test]
fn weights_that_are_not_finite_are_named() {
    let dir = tempdir().unwrap();
    for (dtype, transposed) in [(Dtype::F32, false), (Dtype::BF16, false), (Dtype::F32, true)] {
        let (name, shape): (_, &[usize]) =
            if transposed { ("h.0.attn.c_attn.weight", &[64, 192]) } else { ("a.weight", &[64, 64]) };
        let mut bad = tensor(name, dtype, shape, 1);
        let width = dtype.bitsize() / 8;
        let nan = if dtype == Dtype::F32 { f32::NAN.to_le_bytes().to_vec() } else { vec![0x80, 0x7f] };
        bad.bytes[777 * width..][..width].copy_from_slice(&nan);
        let input = dir.path().join("bad.safetensors");
        write_safetensors(&input, &[bad]);
        let value = if dtype == Dtype::F32 { "NaN" } else { "inf" };
        let parts = ["bad.safetensors", name, "weight 777", value, "must be finite"];
        refused(run(&input, &dir.path().join("out.safetensors"), &options("nf4")), &parts);
        assert!(!dir.path().join("out.safetensors").exists());
        assert_eq!(left_behind(dir.path()), ["bad.safetensors"], "resuming could not help");
    }
}

#[test]
fn a_dequantization_that_is_refused_leaves_nothing_and_one_that_stopped_starts_over() {
    let dir = tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    write_safetensors(&at("in.safetensors"), &[scaled_group("a.weight", &[192, 192], 1e8)]);
    run(&at("in.safetensors"), &at("native.safetensors"), &options("nf4")).unwrap();
    let native = DecodedCheckpoint::open(&at("native.safetensors")).unwrap();
    let device = Device::cpu(Some(1)).unwrap();
    let back = |dtype, tell: &dyn Fn(&DecodedTensor)| {
        dequantize::run(&native, &at("back.safetensors"), Some(dtype), false, &device, tell)
    };
    refused(back(quant_core::tensor::Dtype::F16, &|_| {}), &["native.safetensors", "a.weight"]);
    assert_eq!(left_behind(dir.path()), ["in.safetensors", "native.safetensors"]);
    let stop = |_: &DecodedTensor| panic!("stopped on purpose");
    let stopped = catch_unwind(AssertUnwindSafe(|| back(quant_core::tensor::Dtype::F32, &stop)));
    assert!(stopped.is_err() && at("back.safetensors.partial").exists());
    let during = |_: &DecodedTensor| {
        refused(back(quant_core::tensor::Dtype::F32, &|_| {}), &["another run is writing it"]);
    };
    back(quant_core::tensor::Dtype::F32, &during).unwrap();
    std::fs::remove_file(at("back.safetensors")).unwrap();
    let stopped = catch_unwind(AssertUnwindSafe(|| back(quant_core::tensor::Dtype::F32, &stop)));
    assert!(stopped.is_err());
    refused(back(quant_core::tensor::Dtype::Bf16, &|_| {}), &["the unfinished run was", "--overwrite"]);
    back(quant_core::tensor::Dtype::F32, &|_| {}).unwrap();
    assert_eq!(left_behind(dir.path()), ["back.safetensors", "in.safetensors", "native.safetensors"]);
}

/// Weights of the fixture's kind, with one group of 64 times `factor`: the second of row 5.
fn scaled_group(name: &str, shape: &[usize; 2], factor: f32) -> Tensor {
    let mut values = weights(shape[0] * shape[1], 9);
    let (stride, start) = if shape[0] < shape[1] { (shape[1], 64 * shape[1] + 5) } else { (1, 5 * shape[1] + 64) };
    (0..64).for_each(|i| values[start + i * stride] *= factor);
    let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    Tensor { name: name.into(), dtype: Dtype::F32, shape: shape.to_vec(), bytes }
}

#[test]
fn scales_that_their_format_cannot_hold_are_named() {
    let dir = tempdir().unwrap();
    let (input, output) = (dir.path().join("in.safetensors"), dir.path().join("out.safetensors"));
    let f16 = "f16 has 0 and magnitudes from 6e-8 to 65504";
    let plain = "a.weight";
    for (recipe, factor, allowed, instead) in [
        ("nf4 f16-scales", 1e7, f16, "choose --scale-dtype f32"),
        ("nf4 f16-scales", 1e-8, f16, "choose --scale-dtype f32"),
        ("lloyd3 group 64 search f16-scales", 1e-8, f16, "choose --scale-dtype f32"),
        ("nf4 absmax e4m3-scales", 1e-8, "e4m3 has 0 and magnitudes from", "choose --scale-dtype f32"),
        ("iq4_nl group 64", 1e9, f16, "leave the tensor dense with --exclude"),
    ] {
        write_safetensors(
            &input,
            &[tensor("b.weight", Dtype::BF16, &[64, 64], 1), scaled_group(plain, &[128, 128], factor)],
        );
        let parts =
            ["in.safetensors", "\"a.weight\": group 1 of row 5, from weight 704 on, has the scale", allowed, instead];
        refused(run(&input, &output, &options(recipe)), &parts);
        assert_eq!(left_behind(dir.path()), ["in.safetensors"], "{recipe}: nothing is left, resuming could not help");
        let exact = recipe.replace(" f16-scales", "").replace(" e4m3-scales", "").replace("iq4_nl", "nf4");
        run(&input, &output, &options(&exact)).unwrap();
        std::fs::remove_file(&output).unwrap();
    }
    // Stored with output channels as columns: the weight is counted as it is stored.
    write_safetensors(&input, &[scaled_group("h.0.attn.c_attn.weight", &[128, 384], 1e-8)]);
    let parts = ["c_attn", "group 1 of row 5, from weight 24581 on"];
    refused(run(&input, &output, &options("nf4 f16-scales")), &parts);
}

#[test]
fn groups_of_zeros_and_small_blocks_of_llama_cpp_pass() {
    let dir = tempdir().unwrap();
    let (input, output) = (dir.path().join("in.safetensors"), dir.path().join("out.safetensors"));
    let sqnr_db = |recipe: &str, factor| {
        write_safetensors(&input, &[scaled_group("a.weight", &[128, 128], factor)]);
        let overwrite = quant::pipeline::Options { overwrite: true, ..options(recipe) };
        run(&input, &output, &overwrite).unwrap().totals.sqnr_db.unwrap()
    };
    for recipe in ["nf4 f16-scales", "nf4 e4m3-scales", "iq4_nl", "q4_0", "q8_0"] {
        assert!(sqnr_db(recipe, 0.0) > 18.0, "{recipe}");
    }
    for recipe in ["iq4_nl", "q4_0", "q8_0"] {
        assert!(sqnr_db(recipe, 1e-8) > 18.0, "{recipe}: zeros, as llama.cpp has them");
    }
}

#[test]
fn strict_names_the_first_tensor_that_would_stay_dense() {
    let dir = tempdir().unwrap();
    let input = model(&dir.path().join("in"));
    let output = dir.path().join("out");
    let mut strict = to(options("nf4"), Target::Bitsandbytes);
    strict.strict = true;
    let parts = ["model-00001-of-00002.safetensors", "down_proj", "--strict", "72 input channels", "block of 64"];
    refused(run(&input, &output, &strict), &parts);
    strict.strict = false;
    let report = run(&input, &output, &strict).unwrap();
    let reasons: Vec<_> = report.tensors.iter().filter(|t| t.substituted).map(|t| t.reason.clone().unwrap()).collect();
    assert_eq!(reasons.len(), 2, "{reasons:?}");
    assert!(reasons[1].contains("fused expert"), "{reasons:?}");
    let native = Target::Native;
    run(&input, &dir.path().join("native"), &quant::pipeline::Options { strict: true, ..to(options("nf4"), native) })
        .unwrap();
}

#[test]
fn small_and_odd_tensors_pass() {
    let dir = tempdir().unwrap();
    let input = dir.path().join("odd.safetensors");
    let constant = |name: &str, shape: &[usize], value: f32| Tensor {
        name: name.into(),
        dtype: Dtype::F32,
        shape: shape.into(),
        bytes: vec![value; shape.iter().product()].iter().flat_map(|v| v.to_le_bytes()).collect(),
    };
    let tensors = [
        constant("one", &[1, 4096], 3.0),
        constant("zeros", &[50, 70], 0.0),
        constant("equal", &[30, 640], -2.5),
        constant("tiny", &[20, 640], 1e-40),
        constant("huge", &[20, 640], 3.4e38),
        tensor("wide", Dtype::F32, &[1, 10000], 1),
        tensor("tall", Dtype::F32, &[1000, 1], 2),
        tensor("vector", Dtype::F32, &[64], 3),
        tensor("scalar", Dtype::F32, &[], 4),
    ];
    assert!(weights(4, 1).iter().all(|w| w.abs() < 1.0));
    write_safetensors(&input, &tensors);
    for preset in ["nf4", "fp4", "int4", "lloyd4", "kmeans3-row", "nf8", "int2", "ecsq3.5"] {
        let report = run(&input, &dir.path().join(format!("{preset}.safetensors")), &options(preset)).unwrap();
        let mse = |name: &str| report.tensors.iter().find(|t| t.name == name).unwrap().mse;
        assert_eq!(mse("zeros"), 0.0, "{preset}: zeros stay exact");
        let dense: Vec<&str> = report.tensors.iter().filter(|t| !t.is_quantized()).map(|t| t.name.as_str()).collect();
        // One sample per row: a scale or a codebook of its own takes more than the weight.
        let tall: &[&str] = if ["lloyd4", "ecsq3.5"].contains(&preset) { &[] } else { &["tall"] };
        assert_eq!(dense, [tall, &["vector", "scalar"]].concat(), "{preset}");
        assert!(report.totals.mse.is_finite(), "{preset}");
    }
}
