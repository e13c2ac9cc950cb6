//! `quant analyze`.

use std::fmt::Write;

use quant_core::grid::GridKind;
use quant_eval::analyze::{LinearReport, Options, Outcome, analyze};
use quant_eval::calibration::Calibration;
use quant_eval::fold::open_untransformed;
use quant_eval::method::{Build, Method};
use quant_eval::model::Model;
use quant_eval::text::{Tokenizer, Windows};
use serde_json::json;

use super::{layers, on_threads, open_calibration, warn_of_fall_back};
use crate::args::Analyze;
use crate::table::Table;
use crate::{json, plot};

/// Runs the command.
pub fn run(arguments: &Analyze) -> anyhow::Result<()> {
    json::check_place(arguments.json.as_deref(), &[&arguments.model, &arguments.calibration])?;
    arguments.plot.as_deref().map_or(Ok(()), plot::check)?;
    let model = open_untransformed(&arguments.model)?;
    let calibration = open_calibration(&arguments.calibration, &model)?;
    let windows = windows(arguments, &model, &calibration)?;
    let options = options(arguments);
    let reports =
        on_threads(arguments.threads, || analyze(&model, &calibration, &windows, &options, &mut layers("analyzing")))??;
    let fell_back = reports.iter().filter(|r| r.outcomes.iter().any(|o| o.fell_back)).count();
    warn_of_fall_back(fell_back, &calibration);
    let title = format!("Linear layers at W{}A{}", arguments.weight_bits, arguments.activation_bits);
    if let Some(path) = &arguments.plot {
        plot::analysis(&reports, &title, path)?;
    }
    let value = || {
        json!({
            "calibration_token_count": calibration.description().tokens.len(),
            "scored_token_count": windows.count() * windows.context(),
            "weight_bits": arguments.weight_bits,
            "activation_bits": arguments.activation_bits,
            "linears": json::plain(&reports),
        })
    };
    if !json::write_if_asked(arguments.json.as_deref(), value)? {
        print!("{}", linears(&reports));
        print!("\n{}", summary(&reports));
    }
    Ok(())
}

fn options(arguments: &Analyze) -> Options {
    let cat = |block| Method::Cat { block, rotated: true };
    Options {
        methods: vec![
            Method::Identity,
            Method::Smooth { rotated: false },
            Method::Hadamard,
            cat(1),
            cat(arguments.block),
            cat(usize::MAX),
        ],
        build: Build { damping: arguments.damping, seed: arguments.seed, ..Build::default() },
        activations: GridKind::asymmetric(arguments.activation_bits),
        weights: GridKind::symmetric(arguments.weight_bits),
        layers: (!arguments.layer.is_empty()).then(|| arguments.layer.clone()),
    }
}

fn windows(arguments: &Analyze, model: &Model, calibration: &Calibration) -> anyhow::Result<Windows> {
    let most = Some((arguments.tokens / arguments.context).max(1));
    let Some(text) = &arguments.text else {
        eprintln!("note: scored on the calibration's own tokens; --text gives others, which is the honest score");
        let description = calibration.description();
        let context = description.context.min(arguments.context);
        return Ok(Windows::new(&description.tokens, context, context, most)?);
    };
    let tokens = Tokenizer::of(model, arguments.tokenizer.as_deref())?.encode_file(text)?;
    Ok(Windows::new(&tokens, arguments.context, arguments.context, most)?)
}

/// A row for each linear layer: its factors as it is, then predicted and measured SQNR of each transform.
fn linears(reports: &[LinearReport]) -> String {
    let Some(first) = reports.first() else { return String::new() };
    let labels: Vec<String> = first.outcomes.iter().map(|o| o.method.clone()).collect();
    let mut head = vec!["linear", "C(x) (dB)", "C(W) (dB)", "A (dB)", "headroom (dB)"];
    head.extend(labels.iter().map(String::as_str));
    head.push("limited by");
    let mut table = Table::new(&head, true);
    for report in reports {
        let bare = &report.outcomes[0];
        let name = report.name.trim_start_matches("model.layers.").trim_end_matches(".weight");
        let mut cells = vec![name.to_owned()];
        let factors =
            [bare.input_concentration_db, bare.weight_concentration_db, report.alignment_db, report.headroom_db];
        cells.extend(factors.map(|x| format!("{x:.1}")));
        let mark = |fell_back: bool| if fell_back { "*" } else { "" };
        let pair = |o: &Outcome| {
            format!("{:.1}/{:.1}{}", o.predicted_with_product_sqnr_db, o.measured_sqnr_db, mark(o.fell_back))
        };
        cells.extend(report.outcomes.iter().map(pair));
        cells.push(report.limit.clone());
        table.row(cells);
    }
    let mut text =
        String::from("SQNR in dB for each transform, predicted/measured; * a scaling instead, for lack of tokens\n\n");
    let _ = write!(text, "{}", table.render());
    text
}

/// A row for each transform: how well it is predicted, and what it gains over the rotation alone.
fn summary(reports: &[LinearReport]) -> String {
    let Some(first) = reports.first() else { return String::new() };
    let head = [
        "transform",
        "mean A (dB)",
        "mean SQNR (dB)",
        "over Hadamard: mean",
        "least",
        "most (dB)",
        "|predicted - measured|: median",
        "within 0.25 dB",
        "within 0.5 dB",
    ];
    let mut table = Table::new(&head, false);
    for (at, outcome) in first.outcomes.iter().enumerate() {
        let mean = |f: &dyn Fn(&LinearReport) -> f64| reports.iter().map(f).sum::<f64>() / reports.len() as f64;
        let gain = |r: &LinearReport| {
            r.outcome("hadamard").map_or(f64::NAN, |h| r.outcomes[at].measured_sqnr_db - h.measured_sqnr_db)
        };
        let mut errors: Vec<f64> = reports
            .iter()
            .map(|r| (r.outcomes[at].predicted_with_product_sqnr_db - r.outcomes[at].measured_sqnr_db).abs())
            .collect();
        errors.sort_by(f64::total_cmp);
        let within = |limit: f64| 100.0 * errors.iter().filter(|e| **e <= limit).count() as f64 / errors.len() as f64;
        table.row(vec![
            outcome.method.clone(),
            format!("{:.2}", mean(&|r| r.outcomes[at].alignment_db)),
            format!("{:.2}", mean(&|r| r.outcomes[at].measured_sqnr_db)),
            format!("{:+.2}", mean(&gain)),
            format!("{:+.2}", reports.iter().map(gain).fold(f64::INFINITY, f64::min)),
            format!("{:+.2}", reports.iter().map(gain).fold(f64::NEG_INFINITY, f64::max)),
            format!("{:.3} dB", errors[errors.len() / 2]),
            format!("{:.1} %", within(0.25)),
            format!("{:.1} %", within(0.5)),
        ]);
    }
    table.render()
}
