//! Do calibration, transforms and folding keep what the model computes, and do they change what quantization costs?

mod common;

use common::{NAMES, calibrate, open, quiet, windows};
use quant_core::grid::GridKind;
use quant_eval::analyze::{self, analyze};
use quant_eval::layer::{Input, Layer};
use quant_eval::method::{Build, Method, WeightRule};
use quant_eval::model::Model;
use quant_eval::online::Online;
use quant_eval::perplexity::{self, Plan, Prepared};
use quant_eval::place::Place;
use quant_eval::{calibration::Calibration, fold};

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

/// Transforms at run time, as `quant eval` makes them.
fn prepare(
    model: &Model,
    moments: &Calibration,
    method: Method,
    index: usize,
    input: Input,
    layer: &Layer,
) -> Result<Prepared, quant::Error> {
    let statistics = moments.layer(index)?;
    let place = Place { config: model.config(), layer, index, input };
    let built = Build::default().transform(method, Some(&statistics[input as usize]), &place)?;
    assert!(!built.fell_back, "288 tokens are enough for blocks of 8");
    Ok(Prepared { online: Online::of(built.transform.stages()), weights: Some(built.transform) })
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
            let transforms =
                |index: usize, input: Input, layer: &Layer| prepare(&model, &moments, method, index, input, layer);
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
            let stored = fold::read(&folded).unwrap();
            assert_eq!(stored.is_some(), report.online > 0, "{what}");
            let online = |layer: usize, input: Input, _: &Layer| {
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
fn too_few_tokens_fall_back_to_a_scaling() {
    let (model, ..) = open("llama");
    let folder = tempfile::tempdir().unwrap();
    let moments = calibrate(&model, folder.path());
    let layer = model.layer(0).unwrap();
    let statistics = moments.layer(0).unwrap();
    let build = |block: usize| {
        let method = Method::Cat { block, rotated: true };
        let place = Place { config: model.config(), layer: &layer, index: 0, input: Input::Attention };
        Build::default().transform(method, Some(&statistics[0]), &place).unwrap()
    };
    // 288 tokens are 16 for each of 18 channels.
    assert!(!build(18).fell_back && build(19).fell_back);
    assert_eq!(build(19).transform, build(1).transform);
    let options = analyze::Options {
        methods: vec![Method::Cat { block: 19, rotated: true }],
        build: Build::default(),
        activations: GridKind::asymmetric(4),
        weights: GridKind::symmetric(4),
        layers: Some(vec![0]),
    };
    for report in analyze(&model, &moments, &windows(), &options, &mut quiet).unwrap() {
        let outcome = report.outcome("cat-19").expect("found by what was asked for");
        assert_eq!((outcome.fell_back, outcome.method.as_str()), (true, "cat-1 (too few tokens for cat-19)"));
    }
    let place = folder.path().join("fallen");
    let method = Method::Cat { block: 19, rotated: true };
    let report = fold::fold(&model, Some(&moments), method, &Build::default(), &place, &mut quiet).unwrap();
    assert_eq!((report.fell_back, report.method.as_str()), (8, "cat-1 (too few tokens for cat-19)"));
    assert_eq!(fold::read(&Model::open(&place).unwrap()).unwrap().unwrap().method, report.method);
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

#[test]
fn what_is_evaluated_is_what_is_folded_where_query_heads_share_a_key_head() {
    for name in ["llama", "mistral", "qwen3"] {
        let (model, ..) = open(name);
        let folder = tempfile::tempdir().unwrap();
        let moments = calibrate(&model, folder.path());
        for (index, method) in [
            Method::Smooth { rotated: false },
            Method::Smooth { rotated: true },
            Method::Cat { block: 1, rotated: false },
            Method::Cat { block: 1, rotated: true },
        ]
        .into_iter()
        .enumerate()
        {
            let rounded = |transforms: &dyn Fn(usize, Input, &Layer) -> Result<Prepared, quant::Error>,
                           model: &Model| {
                let weights = Some(WeightRule::named("rtn4", None).unwrap());
                likelihoods(model, &Plan { transforms, weights, activations: Some(GridKind::asymmetric(4)) })
            };
            let transforms =
                |index: usize, input: Input, layer: &Layer| prepare(&model, &moments, method, index, input, layer);
            let evaluated = rounded(&transforms, &model);
            let place = folder.path().join(format!("folded-{index}"));
            fold::fold(&model, Some(&moments), method, &Build::default(), &place, &mut quiet).unwrap();
            let folded = Model::open(&place).unwrap();
            let stored = fold::read(&folded).unwrap();
            let online = |layer: usize, input: Input, _: &Layer| {
                let online = stored.as_ref().map_or_else(Online::identity, |s| s.at(layer, input));
                Ok(Prepared { online, weights: None })
            };
            let folded = rounded(&online, &folded);
            // Rounding to four bits moves a likelihood by tenths; a tie that falls the other way, by hundredths.
            let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
            let (a, b) = (mean(&evaluated), mean(&folded));
            assert!((a - b).abs() < 2e-3, "{name}, {}: {a} evaluated, {b} folded", method.label());
        }
    }
}

#[test]
fn heads_that_read_one_row_of_v_get_the_best_factor_for_all_of_them() {
    let (model, ..) = open("llama");
    let folder = tempfile::tempdir().unwrap();
    let moments = calibrate(&model, folder.path());
    let (layer, statistics) = (model.layer(0).unwrap(), moments.layer(0).unwrap());
    let place = Place { config: model.config(), layer: &layer, index: 0, input: Input::Output };
    let build = Build { damping: 0.0, ..Build::default() };
    let method = Method::Cat { block: 1, rotated: false };
    let built = build.transform(method, Some(&statistics[Input::Output as usize]), &place).unwrap();
    let [quant_core::transform::Stage::Scaling(m)] = built.transform.stages() else { panic!("one scaling") };
    // Four heads of 6 channels, two for each key head: channels 0 to 5 are tied to 6 to 11, 12 to 17 to 18 to 23.
    let x = statistics[Input::Output as usize].moment().diagonal_entries();
    let w: Vec<f64> =
        (0..24).map(|j| layer.output.weight.chunks_exact(24).map(|row| f64::from(row[j]).powi(2)).sum()).collect();
    let energy = |m: &[f64]| -> f64 {
        let (of_x, of_w) = (0..24).fold((0.0, 0.0), |(a, b), j| (a + m[j] * m[j] * x[j], b + w[j] / (m[j] * m[j])));
        of_x * of_w
    };
    let least = energy(m);
    for j in (0..6).chain(12..18) {
        assert_eq!(m[j], m[j + 6], "channels {j} and {}", j + 6);
        for change in [0.99, 1.01] {
            let mut other = m.clone();
            other[j] *= change;
            other[j + 6] *= change;
            assert!(energy(&other) > least, "channel {j} times {change} aligns better");
        }
    }
}

#[test]
fn the_factor_whose_repair_gains_most_limits_a_layer_at_any_width() {
    let (model, ..) = open("qwen2");
    let folder = tempfile::tempdir().unwrap();
    let moments = calibrate(&model, folder.path());
    let reports = |activations: u32, weights: u32| {
        let options = analyze::Options {
            methods: vec![Method::Identity],
            build: Build::default(),
            activations: GridKind::asymmetric(activations),
            weights: GridKind::symmetric(weights),
            layers: None,
        };
        analyze(&model, &moments, &windows(), &options, &mut quiet).unwrap()
    };
    for (activations, weights, idle) in [(8, 4, "input concentration"), (4, 8, "weight concentration")] {
        for report in reports(activations, weights) {
            let gains =
                [report.input_concentration_repair_db, report.weight_concentration_repair_db, report.headroom_db];
            let most = gains.into_iter().fold(0.0, f64::max);
            assert!(most < 1.0 || report.limit.contains(&format!("{most:.1} dB")), "{}: {gains:?}", report.limit);
            assert_ne!(report.limited_by, idle, "{} at W{weights}A{activations}", report.name);
        }
    }
}
