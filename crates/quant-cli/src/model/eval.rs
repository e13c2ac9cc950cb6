//! `quant eval`.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use quant::Error;
use quant_core::grid::GridKind;
use quant_eval::calibration::Calibration;
use quant_eval::fold::{self, StoredTransforms};
use quant_eval::layer::{Input, Layer};
use quant_eval::method::{Build, Method, WeightRule};
use quant_eval::model::Model;
use quant_eval::online::Online;
use quant_eval::perplexity::{self, Plan, Prepared, Score};
use quant_eval::place::Place;
use quant_eval::text::{Tokenizer, Windows};
use serde_json::{Value, json};

use super::{calibration_of, layers, on_threads, warn_of_fall_back};
use crate::args::Eval;
use crate::json;

/// Runs the command.
pub fn run(arguments: &Eval) -> anyhow::Result<()> {
    let start = Instant::now();
    let method = arguments.method.chosen(Method::Identity)?;
    let weights = arguments.weights.as_deref().map(|name| WeightRule::named(name, arguments.group)).transpose()?;
    let activations = arguments.activations.as_deref().map(grid).transpose()?;
    json::check_place(arguments.json.as_deref(), &[&arguments.model])?;
    let model = Model::open(&arguments.model)?;
    let stored = fold::read(&model)?;
    if stored.is_some() && method != Method::Identity {
        return Err(Error::Refused("the model is transformed already; leave --method out".into()).into());
    }
    let calibration = calibration_of(&arguments.method, &model)?;
    let windows = windows(arguments, &model)?;
    let maker = Maker {
        model: &model,
        method,
        build: arguments.method.build(),
        calibration: calibration.as_ref(),
        stored: stored.as_ref(),
        fell_back: AtomicUsize::new(0),
    };
    let prepare = |index: usize, input: Input, layer: &Layer| maker.prepare(index, input, layer);
    let score = on_threads(arguments.threads, || {
        let plan = Plan { transforms: &prepare, weights, activations };
        perplexity::evaluate(&model, &windows, &plan, &mut layers("evaluating"))
    })??;
    let fell_back = maker.fell_back.load(Ordering::Relaxed);
    if let Some(calibration) = &calibration {
        warn_of_fall_back("input(s)", fell_back, calibration);
    }
    let built = method.label_of_result(fell_back, model.config().layer_count * Input::ALL.len());
    let label = stored.as_ref().map_or(built, |s| format!("{}, in the model", s.method));
    let report = report(arguments, &windows, &label, &score, start.elapsed().as_secs_f64());
    if !json::write_if_asked(arguments.json.as_deref(), || report.clone())? {
        print(&report);
    }
    Ok(())
}

/// Makes the transform of each input when its layer is read.
struct Maker<'a> {
    model: &'a Model,
    method: Method,
    build: Build,
    calibration: Option<&'a Calibration>,
    stored: Option<&'a StoredTransforms>,
    fell_back: AtomicUsize,
}

impl Maker<'_> {
    fn prepare(&self, index: usize, input: Input, layer: &Layer) -> Result<Prepared, Error> {
        if let Some(stored) = self.stored {
            return Ok(Prepared { online: stored.at(index, input), weights: None });
        }
        // The four inputs of a layer are asked for one by one; a layer's moments are read for each, which is cheap
        // beside building a transform from them.
        let needed = self.calibration.filter(|_| self.method.needs_calibration());
        let statistics = needed.map(|c| c.layer(index)).transpose()?;
        let of_input = statistics.as_ref().map(|s| &s[input as usize]);
        let place = Place { config: self.model.config(), layer, index, input };
        let built = self.build.transform(self.method, of_input, &place)?;
        self.fell_back.fetch_add(usize::from(built.fell_back), Ordering::Relaxed);
        Ok(Prepared { online: Online::of(built.transform.stages()), weights: Some(built.transform) })
    }
}

fn windows(arguments: &Eval, model: &Model) -> anyhow::Result<Windows> {
    let tokens = match (&arguments.text, &arguments.token_file) {
        (Some(text), _) => Tokenizer::of(model, arguments.tokenizer.as_deref())?.encode_file(text)?,
        (None, Some(file)) => {
            let refuse = |why: String| Error::Refused(format!("{}: {why}", file.display()));
            let text = std::fs::read_to_string(file).map_err(|e| refuse(e.to_string()))?;
            serde_json::from_str(&text).map_err(|e| refuse(format!("not a JSON list of token numbers: {e}")))?
        }
        (None, None) => unreachable!("clap asks for one of them"),
    };
    let stride = arguments.stride.unwrap_or(arguments.context);
    Ok(Windows::new(&tokens, arguments.context, stride, arguments.windows)?)
}

/// `int4`, `int8-sym`, …
fn grid(name: &str) -> Result<GridKind, Error> {
    let (bare, symmetric) = name.strip_suffix("-sym").map_or((name, false), |bare| (bare, true));
    let bits = bare.strip_prefix("int").and_then(|b| b.parse().ok()).filter(|b| (2..=8).contains(b));
    let refuse = || Error::Refused(format!("unknown activations \"{name}\"; int2 to int8, int4-sym expected"));
    let bits = bits.ok_or_else(refuse)?;
    Ok(if symmetric { GridKind::symmetric(bits) } else { GridKind::asymmetric(bits) })
}

fn report(arguments: &Eval, windows: &Windows, method: &str, score: &Score, seconds: f64) -> Value {
    json!({
        "model": arguments.model.display().to_string(),
        "method": method,
        "weights": arguments.weights.as_deref().unwrap_or("as they are"),
        "activations": arguments.activations.as_deref().unwrap_or("as they are"),
        "context": windows.context(),
        "stride": windows.stride(),
        "windows": windows.count(),
        "token_count": score.token_count(),
        "nats_per_token": score.mean(),
        "perplexity": score.perplexity(),
        "seconds": seconds,
        "negative_log_likelihoods": score.negative_log_likelihoods,
    })
}

fn print(report: &Value) {
    let text = |key: &str| report[key].as_str().unwrap_or_default().to_owned();
    let number = |key: &str| report[key].as_f64().unwrap_or(f64::NAN);
    println!("model         {}", text("model"));
    println!("weights       {}", text("weights"));
    println!("activations   {}", text("activations"));
    println!("transform     {}", text("method"));
    println!("windows       {} of {} tokens, stride {}", report["windows"], report["context"], report["stride"]);
    println!("scored        {} tokens in {:.1} s", report["token_count"], number("seconds"));
    println!("likelihood    {:.5} nats per token", number("nats_per_token"));
    println!("perplexity    {:.3}", number("perplexity"));
}
