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

use super::{layers, note_of_tokens, on_threads, open_calibration, warn_of_fall_back};
use crate::args::Analyze;
use crate::table::Table;
use crate::{json, plot};

/// Runs the command.
pub fn run(arguments: &Analyze) -> anyhow::Result<()> {
    json::check_place(arguments.json.as_deref(), &[&arguments.model, &arguments.calibration])?;
    arguments.plot.as_deref().map_or(Ok(()), plot::check)?;
    let model = open_untransformed(&arguments.model)?;
    let calibration = open_calibration(&arguments.calibration, &model, arguments.allow_other_weights)?;
    let windows = windows(arguments, &model, &calibration)?;
    let options = options(arguments);
    let reports =
        on_threads(arguments.threads, || analyze(&model, &calibration, &windows, &options, &mut layers("analyzing")))??;
    let fell_back = reports.iter().filter(|r| r.outcomes.iter().any(|o| o.fell_back)).count();
    warn_of_fall_back("linear layer(s)", fell_back, &calibration);
    let title = format!("Linear layers at W{}A{}", arguments.weight_bits, arguments.activation_bits);
    if let Some(path) = &arguments.plot {
        plot::analysis(&reports, &title, path)?;
    }
    let value = || {
        json!({
            "calibration_token_count": calibration.description().token_count(),
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
        let context = description.context().min(arguments.context);
        return Ok(Windows::new(&description.tokens(), context, context, most)?);
    };
    let tokens = Tokenizer::of(model, arguments.tokenizer.as_deref())?.encode_file(text)?;
    let windows = Windows::new(&tokens, arguments.context, arguments.context, most)?;
    note_of_tokens(&windows, arguments.tokens);
    Ok(windows)
}

/// Two tables with a row for each linear layer: its factors as it is and what limits it, then the SQNR of each transform.
fn linears(reports: &[LinearReport]) -> String {
    let Some(first) = reports.first() else { return String::new() };
    let head = [
        "linear",
        "C(x)\n(dB)",
        "C(W)\n(dB)",
        "A\n(dB)",
        "headroom\n(dB)",
        "limited by, and what\nits repair would gain",
    ];
    let mut factors = Table::new(&head, true);
    let labels: Vec<String> = (0..first.outcomes.len()).map(|at| column(reports, at)).collect();
    let mut outcomes =
        Table::new(&[&["linear"], &labels.iter().map(String::as_str).collect::<Vec<_>>()[..]].concat(), false);
    for report in reports {
        let bare = &report.outcomes[0];
        let name = report.name.trim_start_matches("model.layers.").trim_end_matches(".weight");
        let numbers =
            [bare.input_concentration_db, bare.weight_concentration_db, report.alignment_db, report.headroom_db];
        let mut cells = vec![name.to_owned()];
        cells.extend(numbers.map(|x| format!("{x:.1}")));
        cells.push(report.limit.clone());
        factors.row(cells);
        let mark = |o: &Outcome| if o.fell_back { "*" } else { "" };
        let pair =
            |o: &Outcome| format!("{:.1}/{:.1}{}", o.predicted_with_product_sqnr_db, o.measured_sqnr_db, mark(o));
        outcomes.row([name.to_owned()].into_iter().chain(report.outcomes.iter().map(pair)).collect());
    }
    let fallen = reports.iter().flat_map(|r| &r.outcomes).any(|o| o.fell_back);
    let note = if fallen { "\n* a scaling instead of blocks, for want of calibration tokens" } else { "" };
    let titles = ["Factors, no transform applied", "SQNR (dB) under each transform, predicted/measured"];
    format!("{}\n\n{}\n{}{note}\n\n{}", titles[0], factors.render(), titles[1], outcomes.render())
}

/// What a column is called: the transform asked for, or the one that was built where all layers got another.
fn column(reports: &[LinearReport], at: usize) -> String {
    let fallen = reports.iter().filter(|r| r.outcomes[at].fell_back).count();
    let outcome = &reports[0].outcomes[at];
    match fallen {
        0 => outcome.asked.clone(),
        all if all == reports.len() => {
            let built = outcome.method.split_once(" (").map_or(outcome.method.as_str(), |(built, _)| built);
            format!("{built}\n(not {})", outcome.asked)
        }
        _ => format!("{}*", outcome.asked),
    }
}

/// A row for each transform: how well it is predicted, and what it gains over the rotation alone.
fn summary(reports: &[LinearReport]) -> String {
    let Some(first) = reports.first() else { return String::new() };
    let head = [
        "transform",
        "mean A\n(dB)",
        "mean SQNR\n(dB)",
        "over Hadamard:\nmean (dB)",
        "least\n(dB)",
        "most\n(dB)",
        "|pred.-meas.|\nmedian (dB)",
        "within\n0.25 dB",
        "within\n0.5 dB",
    ];
    let mut table = Table::new(&head, false);
    for at in 0..first.outcomes.len() {
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
            column(reports, at).replace('\n', " "),
            format!("{:.2}", mean(&|r| r.outcomes[at].alignment_db)),
            format!("{:.2}", mean(&|r| r.outcomes[at].measured_sqnr_db)),
            format!("{:+.2}", mean(&gain)),
            format!("{:+.2}", reports.iter().map(gain).fold(f64::INFINITY, f64::min)),
            format!("{:+.2}", reports.iter().map(gain).fold(f64::NEG_INFINITY, f64::max)),
            format!("{:.3}", errors[errors.len() / 2]),
            format!("{:.1} %", within(0.25)),
            format!("{:.1} %", within(0.5)),
        ]);
    }
    let mut text = table.render();
    let factors = ["alignment", "input concentration", "weight concentration", "bits"];
    let count = |factor: &&str| reports.iter().filter(|r| r.limited_by == **factor).count();
    let counts: Vec<String> = factors.iter().map(|factor| format!("{factor} {}", count(factor))).collect();
    let _ = writeln!(text, "\nlayers limited by: {}", counts.join(", "));
    text
}
