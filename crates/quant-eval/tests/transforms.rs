//! Do calibration, transforms and folding keep what the model computes, and do they change what quantization costs?

mod common;

use std::path::Path;

use common::{NAMES, open};
use quant_core::grid::GridKind;
use quant_eval::analyze::{self, analyze};
use quant_eval::calibration::{self, Calibration};
use quant_eval::fold;
use quant_eval::layer::Input;
use quant_eval::method::{Build, Method};
use quant_eval::model::Model;
use quant_eval::online::Online;
use quant_eval::perplexity::{self, Plan, Prepared};
use quant_eval::text::Windows;

fn quiet(_: usize, _: usize) {}

/// Tokens enough for blocks of 8 channels: 12 windows of 24.
fn tokens() -> Vec<u32> {
    (0..288u32).map(|i| (i * i + 7 * i + i / 5) % 96).collect()
}

fn windows() -> Windows {
    Windows::new(&tokens(), 24, 24, None).unwrap()
}

fn calibrate(model: &Model, folder: &Path) -> Calibration {
    let place = folder.join("moments");
    calibration::run(model, &windows(), &place, false, &mut quiet).unwrap();
    Calibration::open(&place).unwrap()
}

const METHODS: [Method; 8] = [
    Method::Identity,
    Method::Smooth { rotated: false },
    Method::Smooth { rotated: true },
    Method::Hadamard,
    Method::Cat { block: 1, rotated: false },
    Method::Cat { block: 1, rotated: true },
    Method::Cat { block: 8, rotated: true },
    Method::Cat { block: 8, rotated: false },
];

fn likelihoods(model: &Model, plan: &Plan<'_>) -> Vec<f64> {
    perplexity::evaluate(model, &windows(), plan, &mut quiet).unwrap().negative_log_likelihoods
}

fn near(found: &[f64], expected: &[f64], what: &str) {
    let worst = found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    assert!(found.len() == expected.len() && worst < 2e-4, "{what}: likelihoods off by {worst:e}");
}

#[test]
fn transforms_without_quantization_change_nothing() {
    for name in NAMES {
        let (model, ..) = open(name);
        let folder = tempfile::tempdir().unwrap();
        let moments = calibrate(&model, folder.path());
        let expected = likelihoods(&model, &Plan::full_precision());
        for method in METHODS {
            let transforms = |index: usize, input: Input, layer: &quant_eval::layer::Layer| {
                let statistics = moments.layer(index)?;
                let linears = layer.linears(input);
                let built =
                    Build::default().transform(method, Some(&statistics[input as usize]), &linears, index as u64)?;
                assert!(!built.fell_back, "288 tokens are enough for blocks of 8");
                Ok(Prepared { online: Online::of(built.transform.stages()), weights: Some(built.transform) })
            };
            let plan = Plan { transforms: &transforms, weights: None, activations: None };
            near(&likelihoods(&model, &plan), &expected, &format!("{name}, {}", method.label()));
        }
    }
}

#[test]
fn a_folded_checkpoint_computes_what_the_model_computes() {
    for name in NAMES {
        let (model, ..) = open(name);
        let folder = tempfile::tempdir().unwrap();
        let moments = calibrate(&model, folder.path());
        let expected = likelihoods(&model, &Plan::full_precision());
        for (index, method) in METHODS.into_iter().enumerate() {
            let what = format!("{name}, {}", method.label());
            let place = folder.path().join(format!("folded-{index}"));
            let report = fold::fold(&model, Some(&moments), method, &Build::default(), &place, &mut quiet).unwrap();
            let folded = Model::open(&place).unwrap();
            let stored = fold::read(&place).unwrap();
            assert_eq!(stored.is_some(), report.online > 0, "{what}");
            let online = |layer: usize, input: Input, _: &quant_eval::layer::Layer| {
                let online = stored.as_ref().map_or_else(Online::identity, |s| s.at(layer, input));
                Ok(Prepared { online, weights: None })
            };
            let plan = Plan { transforms: &online, weights: None, activations: None };
            near(&likelihoods(&folded, &plan), &expected, &what);
            let folds = matches!(method, Method::Smooth { .. } | Method::Cat { block: 1, .. });
            assert_eq!(report.folded, if folds { 4 * model.config().layer_count } else { 0 }, "{what}");
        }
    }
}

#[test]
fn a_killed_calibration_goes_on_and_ends_in_the_same_bytes() {
    let (model, ..) = open("llama");
    let folder = tempfile::tempdir().unwrap();
    let (whole, broken) = (folder.path().join("whole"), folder.path().join("broken"));
    calibration::run(&model, &windows(), &whole, false, &mut quiet).unwrap();
    // Killed after the first layer.
    let killed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        calibration::run(&model, &windows(), &broken, false, &mut |done, _| assert!(done != 1, "killed"))
    }));
    assert!(killed.is_err() && !broken.exists());
    let again = calibration::run(&model, &windows(), &broken, false, &mut quiet).unwrap_err();
    assert!(again.to_string().contains("--resume"), "{again}");
    let other = Windows::new(&tokens()[1..], 24, 24, None).unwrap();
    let other = calibration::run(&model, &other, &broken, true, &mut quiet).unwrap_err();
    assert!(other.to_string().contains("cannot resume"), "{other}");
    let mut layers = Vec::new();
    calibration::run(&model, &windows(), &broken, true, &mut |done, _| layers.push(done)).unwrap();
    assert_eq!(layers, [2], "only the second layer was left");
    for file in ["layer-000.safetensors", "layer-001.safetensors", "calibration.json"] {
        assert!(std::fs::read(whole.join(file)).unwrap() == std::fs::read(broken.join(file)).unwrap(), "{file}");
    }
    assert_eq!(std::fs::read_dir(&broken).unwrap().count(), 3, "nothing else is left");
}

#[test]
fn calibrations_of_parts_merge_into_that_of_the_whole() {
    let (model, ..) = open("qwen3");
    let folder = tempfile::tempdir().unwrap();
    let part = |name: &str, tokens: &[u32]| {
        let place = folder.path().join(name);
        calibration::run(&model, &Windows::new(tokens, 24, 24, None).unwrap(), &place, false, &mut quiet).unwrap();
        place
    };
    let all = tokens();
    let parts = [part("a", &all[..120]), part("b", &all[120..])];
    let whole = Calibration::open(&part("whole", &all)).unwrap();
    let place = folder.path().join("merged");
    calibration::merge(&parts, &place, &mut quiet).unwrap();
    let merged = Calibration::open(&place).unwrap();
    assert_eq!(merged.description().tokens, all);
    for index in 0..2 {
        for (found, expected) in merged.layer(index).unwrap().iter().zip(&whole.layer(index).unwrap()) {
            assert_eq!((found.token_count(), found.channel_max()), (288, expected.channel_max()));
            let (found, expected) = (found.moment(), expected.moment());
            let scale = expected.values().iter().fold(0.0, |m: f64, x| m.max(x.abs()));
            assert!(found.values().iter().zip(expected.values()).all(|(a, b)| (a - b).abs() < 1e-6 * scale));
        }
    }
    let (other, ..) = open("llama");
    let foreign = folder.path().join("foreign");
    calibration::run(&other, &windows(), &foreign, false, &mut quiet).unwrap();
    let error = calibration::merge(&[parts[0].clone(), foreign], &folder.path().join("mixed"), &mut quiet);
    assert!(error.unwrap_err().to_string().contains("another model"));
    assert!(whole.check(&other).is_err(), "sizes differ");
}

#[test]
fn too_few_tokens_fall_back_to_a_scaling() {
    let (model, ..) = open("llama");
    let folder = tempfile::tempdir().unwrap();
    let moments = calibrate(&model, folder.path());
    let layer = model.layer(0).unwrap();
    let statistics = moments.layer(0).unwrap();
    let build = |block: usize| {
        let method = Method::Cat { block, rotated: true };
        Build::default().transform(method, Some(&statistics[0]), &layer.linears(Input::Attention), 0).unwrap()
    };
    // 288 tokens are 16 for each of 18 channels.
    assert!(!build(18).fell_back && build(19).fell_back);
    assert_eq!(build(19).transform, build(1).transform);
}

#[test]
fn analysis_predicts_and_measures_every_linear_layer() {
    let (model, ..) = open("qwen2");
    let folder = tempfile::tempdir().unwrap();
    let moments = calibrate(&model, folder.path());
    let options = analyze::Options {
        methods: METHODS.to_vec(),
        build: Build::default(),
        activations: GridKind::asymmetric(8),
        weights: GridKind::symmetric(8),
        layers: None,
    };
    let reports = analyze(&model, &moments, &windows(), &options, &mut quiet).unwrap();
    assert_eq!(reports.len(), 14);
    for report in &reports {
        assert!(report.headroom_db >= -1e-6 && report.alignment_max_db <= 1e-6, "{report:?}");
        assert_eq!(report.outcomes.len(), METHODS.len());
        let (bare, rotated) = (&report.outcomes[0], report.outcome("hadamard").unwrap());
        assert!((bare.alignment_db - rotated.alignment_db).abs() < 1e-3, "a rotation leaves alignment alone");
        assert!((bare.alignment_db - report.alignment_db).abs() < 1e-3, "scored on the calibration's own tokens");
        for outcome in &report.outcomes {
            let error = outcome.predicted_with_product_sqnr_db - outcome.measured_sqnr_db;
            assert!(error.abs() < 2.5, "{}, {}: off by {error} dB", report.name, outcome.method);
        }
        assert!(!report.limit.is_empty());
    }
    let mean = |label: &str| reports.iter().map(|r| r.outcome(label).unwrap().alignment_db).sum::<f64>();
    assert!(mean("cat-8") > mean("cat-1") && mean("cat-1") > mean("identity"));
}

#[test]
fn a_model_with_online_transforms_is_not_taken_for_a_plain_one() {
    let folder = tempfile::tempdir().unwrap();
    let (model, ..) = open("llama");
    let place = folder.path().join("rotated");
    fold::fold(&model, None, Method::Hadamard, &Build::default(), &place, &mut quiet).unwrap();
    let error = fold::open_untransformed(&place).unwrap_err();
    assert!(error.is_refused_input() && error.to_string().contains("online"), "{error}");
    assert!(fold::open_untransformed(&common::folder("llama")).is_ok());
}

#[test]
fn a_layer_that_is_not_there_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (model, ..) = open("llama");
    let moments = calibrate(&model, folder.path());
    let options = analyze::Options {
        methods: vec![Method::Identity],
        build: Build::default(),
        activations: GridKind::asymmetric(4),
        weights: GridKind::symmetric(4),
        layers: Some(vec![99]),
    };
    let error = analyze(&model, &moments, &windows(), &options, &mut quiet).unwrap_err();
    assert!(error.is_refused_input() && error.to_string().contains("99"), "{error}");
}
