//! The main job on a small model: every preset, every target, every dtype, and what must not change.

mod common;

use common::{PRESETS, model, options, run, run_on, tensor, to, tree, write_safetensors};
use quant::decoded::DecodedCheckpoint;
use quant::device::Device;
use quant::outputs::Target;
use quant::{Recipe, compare, dequantize};
use quant_core::grouping::GroupLength;
use quant_core::scale::ScaleRule;
use quant_core::tensor::Dtype;
use tempfile::tempdir;

/// Recipes beyond [`PRESETS`] that store something else, or store it otherwise.
const RECIPES: [&str; 15] = [
    "switched3 group 10 step-bits 3 shape-bits 1",
    "nf4 group 32 step-bits 6 shape-bits 0",
    "switched2 outliers 0.01",
    "kmeans3-row outliers 0.003",
    "ecsq2.75",
    "bnf3 group 32 absmax",
    "nf3 group 64 signed-search double-quant outliers 0.02",
    "squeezellm3",
    "lloyd4 group 32 signed-search double-quant",
    "nf4 group 32 signed-search f16-scales",
    "lloyd3 group 16 search e4m3-scales",
    "any4 f16-scales",
    "q4_0 outliers 0.01",
    "vq2x7",
    "vq4x4x2p2 outliers 0.01",
];

/// All of them, with what is the least SQNR of each in dB, and how many of six tensors do not grow by their codebooks.
fn all() -> impl Iterator<Item = (&'static str, f64, usize)> {
    let of = |preset: &'static str| match preset {
        "vq4x12" | "vq8x10x2" => (preset, 8.0, 2),
        "vq4x10" | "vq8x8x2" => (preset, 8.0, 4),
        // 256 levels beside 1088 samples of bf16.
        "q8_0" => (preset, 8.0, 5),
        "vq8x8" | "vq4x8" | "vq4x8p2" => (preset, 4.0, 5),
        _ => (preset, 8.0, 6),
    };
    PRESETS.into_iter().chain(RECIPES).map(of)
}

#[test]
fn every_preset_of_the_readme_is_among_them() {
    let readme = include_str!("../../../README.md");
    let words = readme.split(|c: char| !(c.is_ascii_alphanumeric() || "_-.".contains(c)));
    let named: Vec<_> = words.map(|word| word.trim_end_matches('.')).filter(|w| Recipe::preset(w).is_ok()).collect();
    assert!(named.len() > 50, "{named:?}");
    let missing: Vec<_> = named.into_iter().filter(|preset| !PRESETS.contains(preset)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

const DENSE: Target = Target::Dense { dtype: None };

fn compared(a: &std::path::Path, b: &std::path::Path) -> compare::Comparison {
    let (a, b) = (DecodedCheckpoint::open(a).unwrap(), DecodedCheckpoint::open(b).unwrap());
    compare::run(&a, &b, &Device::cpu(Some(2)).unwrap(), &|_| {}).unwrap()
}

#[test]
fn native_dense_and_dequantized_agree_for_every_preset() {
    let dir = tempdir().unwrap();
    let input = model(&dir.path().join("in"));
    for (preset, sqnr_min_db, quantized_count) in all() {
        let at = |suffix: &str| dir.path().join(format!("{preset}-{suffix}"));
        let report = run(&input, &at("native"), &options(preset)).unwrap();
        run(&input, &at("dense"), &to(options(preset), DENSE)).unwrap();
        let native = DecodedCheckpoint::open(&at("native")).unwrap();
        let device = Device::cpu(Some(2)).unwrap();
        dequantize::run(&native, &at("back"), None, false, &device, &|_| {}).unwrap();
        let later = compared(&at("dense"), &at("back"));
        assert_eq!((later.error_max, later.weight_count), (0.0, 66_624), "{preset}: decoded later as at once");
        let measured = compared(&input, &at("native"));
        let quantized: Vec<_> = report.tensors.iter().filter(|t| t.is_quantized()).collect();
        assert_eq!(quantized.len(), quantized_count, "{preset}");
        for tensor in quantized {
            let again = measured.tensors.iter().find(|t| t.name == tensor.name).unwrap();
            let difference = (again.mse.unwrap() - tensor.mse).abs();
            assert!(difference <= 1e-12 * tensor.mse, "{preset} {}: {again:?} {}", tensor.name, tensor.mse);
            assert!(tensor.sqnr_db.unwrap() > sqnr_min_db, "{preset} {}: {:?}", tensor.name, tensor.sqnr_db);
        }
    }
}

#[test]
fn threads_change_no_byte() {
    let dir = tempdir().unwrap();
    let input = model(&dir.path().join("in"));
    for (preset, ..) in all() {
        let outputs: Vec<_> = [1, 2, 7]
            .map(|threads| {
                let output = dir.path().join(format!("{preset}-{threads}"));
                let report = run_on(&input, &output, &options(preset), threads).unwrap();
                (tree(&output), report.totals.codes_hash, report.totals.mse, report.tensors)
            })
            .into();
        assert!(outputs.windows(2).all(|w| w[0] == w[1]), "{preset}");
    }
}

#[test]
fn what_is_not_quantized_is_carried_bit_for_bit() {
    let dir = tempdir().unwrap();
    let input = model(&dir.path().join("in"));
    let output = dir.path().join("out");
    let report = run(&input, &output, &options("nf4")).unwrap();
    let (before, after) = (tree(&input), tree(&output));
    for name in ["config.json", "tokenizer.json", "extra/notes.txt"] {
        let find =
            |tree: &[(std::path::PathBuf, Vec<u8>)]| tree.iter().find(|f| f.0.ends_with(name)).unwrap().1.clone();
        assert_eq!(find(&before), find(&after), "{name}");
    }
    let same = compared(&input, &output);
    for tensor in report.tensors.iter().filter(|t| !t.is_quantized()) {
        let found = same.tensors.iter().find(|t| t.name == tensor.name).unwrap();
        assert!(found.error_max == Some(0.0) || found.problem.is_some(), "{}: {found:?}", tensor.name);
    }
    let reason = |name: &str| report.tensors.iter().find(|t| t.name == name).unwrap().reason.clone().unwrap();
    assert_eq!(reason("model.buffer"), "dtype I64");
    assert_eq!(reason("model.empty.weight"), "empty");
    assert_eq!(reason("lm_head.weight"), "skipped by lm_head*");
}

#[test]
fn rates_count_everything_that_is_stored() {
    let dir = tempdir().unwrap();
    let input = model(&dir.path().join("in"));
    for (preset, double) in [
        ("nf4", false),
        ("nf4", true),
        ("kmeans3-row", false),
        ("int4", false),
        ("switched4", false),
        ("switched3 outliers 0.005", false),
        ("vq8x3x3p2 outliers 0.005", false),
        ("nf4 outliers 0.001", true),
    ] {
        let output = dir.path().join(format!("{preset}-{double}"));
        let mut wanted = options(preset);
        if double {
            wanted.recipe = wanted.recipe.with_double_quant().unwrap();
        }
        let report = run(&input, &output, &wanted).unwrap();
        let stored = quant::inspect::run(&DecodedCheckpoint::open(&output).unwrap());
        for tensor in &report.tensors {
            let found = stored.tensors.iter().find(|t| t.name == tensor.name).unwrap();
            assert_eq!(found.rate_bits, tensor.rate_bits, "{preset} {}", tensor.name);
        }
        let planned = quant::pipeline::dry_run(&quant::checkpoint::Checkpoint::open(&input).unwrap(), &wanted).unwrap();
        let rates = |tensors: &[quant::report::TensorReport]| tensors.iter().map(|t| t.rate_bits).collect::<Vec<_>>();
        assert_eq!(rates(&planned.tensors), rates(&report.tensors), "a dry run knows the rates");
        assert_eq!(planned.output_len_bytes, report.totals.output_len_bytes, "a dry run knows the size");
    }
}

#[test]
fn every_axis_of_a_recipe_decodes() {
    let dir = tempdir().unwrap();
    let input = model(&dir.path().join("in"));
    let groups = [GroupLength::Samples(32), GroupLength::Samples(128), GroupLength::Row, GroupLength::Tensor];
    let mut run_count = 0;
    for preset in ["nf2", "fp5", "int8", "lloyd6", "kmeans2-row"] {
        for group in groups {
            for rule in [ScaleRule::Absmax, ScaleRule::Search, ScaleRule::SignedSearch] {
                let recipe = Recipe::preset(preset).unwrap().with_group(group).unwrap();
                let Ok(recipe) = recipe.with_scale(rule) else { continue };
                let mut wanted = options(preset);
                wanted.recipe = recipe.with_double_quant().unwrap();
                let output = dir.path().join(format!("{run_count}"));
                let report = run(&input, &output, &wanted).unwrap();
                let again = compared(&input, &output);
                let sqnr_db = report.totals.sqnr_db.unwrap();
                assert!(sqnr_db > 1.5, "{recipe}: {sqnr_db} dB");
                let tensor = |name: &str| again.tensors.iter().find(|t| t.name == name).unwrap().mse.unwrap();
                for t in report.tensors.iter().filter(|t| t.is_quantized()) {
                    assert!((tensor(&t.name) - t.mse).abs() <= 1e-12 * t.mse, "{recipe} {}", t.name);
                }
                run_count += 1;
            }
        }
    }
    assert_eq!(run_count, 51, "all combinations that have scales");
}

#[test]
fn a_searched_scale_beats_the_largest_magnitude_and_bits_pay() {
    let dir = tempdir().unwrap();
    let input = model(&dir.path().join("in"));
    let sqnr_db = |name: &str, recipe: Recipe| {
        let mut wanted = options("nf4");
        wanted.recipe = recipe;
        run(&input, &dir.path().join(name), &wanted).unwrap().totals.sqnr_db.unwrap()
    };
    for preset in ["nf4", "fp4", "int4"] {
        let recipe = Recipe::preset(preset).unwrap();
        let rule = |rule| sqnr_db(&format!("{preset}{rule:?}"), recipe.with_scale(rule).unwrap());
        let [absmax, search, signed] = [ScaleRule::Absmax, ScaleRule::Search, ScaleRule::SignedSearch].map(rule);
        // The search resolves samples to 13 bits, so a larger candidate set may lose by a hair.
        assert!(absmax + 0.2 < search && search <= signed + 1e-3, "{preset}: {absmax} {search} {signed}");
    }
    // Rows of 64 samples: from 5 bits on their codebooks take more room than their weights.
    let bits: Vec<f64> = (2..=4)
        .map(|bits| sqnr_db(&format!("k{bits}"), Recipe::preset("kmeans4-row").unwrap().with_bits(bits).unwrap()))
        .collect();
    assert!(bits.windows(2).all(|w| w[0] + 4.0 < w[1]), "{bits:?}");
}

#[test]
fn gpt2_weights_are_grouped_along_their_inputs() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("gpt2.safetensors");
    let mut attention = tensor("h.0.attn.c_attn.weight", safetensors::Dtype::F32, &[64, 192], 1);
    // One loud input channel per output: rows of the stored tensor would see it in every group.
    let loud = |i: usize| if i / 192 < 64 && (i / 192) % 64 == 5 { 1.0f32 } else { 0.01 };
    attention.bytes = (0..64 * 192).flat_map(|i| (loud(i) * ((i * 7 % 13) as f32 - 6.0)).to_le_bytes()).collect();
    write_safetensors(&path, &[attention, tensor("h.0.ln_1.weight", safetensors::Dtype::F32, &[64], 2)]);
    let output = dir.path().join("out.safetensors");
    let report = run(&path, &output, &options("kmeans4-row")).unwrap();
    let native = DecodedCheckpoint::open(&output).unwrap();
    assert_eq!(native.tensors().iter().find(|t| t.name.contains("c_attn")).unwrap().shape, [64, 192]);
    // 192 output channels, each with a codebook of its own: 16 levels suffice for its 14 distinct values.
    assert_eq!(report.totals.mse, 0.0);
    assert_eq!(compared(&path, &output).error_max, 0.0);
}

#[test]
fn dense_dtype_is_as_asked() {
    let dir = tempdir().unwrap();
    let input = model(&dir.path().join("in"));
    let output = dir.path().join("out");
    run(&input, &output, &to(options("nf4"), Target::Dense { dtype: Some(Dtype::F32) })).unwrap();
    let native = dir.path().join("native");
    run(&input, &native, &options("nf4")).unwrap();
    assert_eq!(compared(&native, &output).error_max, 0.0, "f32 holds level times scale exactly");
    let dense = DecodedCheckpoint::open(&output).unwrap();
    assert!(dense.tensors().iter().filter(|t| t.name.contains("proj.w")).all(|t| t.dtype == "F32"));
}
