//! `quant calibrate`.

use std::time::Instant;

use quant_eval::calibration::{self, Calibration};
use quant_eval::fold::open_untransformed;
use quant_eval::model::Model;
use quant_eval::text::{Tokenizer, Windows};

use serde_json::json;

use super::{layers, note_of_tokens, on_threads};
use crate::args::Calibrate;
use crate::json;

/// Runs the command.
pub fn run(arguments: &Calibrate) -> anyhow::Result<()> {
    let start = Instant::now();
    json::check_place(arguments.json.as_deref(), &[&arguments.model, &arguments.output])?;
    let model = open_untransformed(&arguments.model)?;
    if arguments.merge.is_empty() {
        read(arguments, &model)?;
    } else {
        arguments.merge.iter().try_for_each(|part| Calibration::open(part)?.check(&model))?;
        calibration::merge(&arguments.merge, &arguments.output, &mut layers("merging"))?;
    }
    let calibration = Calibration::open(&arguments.output)?;
    let description = calibration.description();
    let (tokens, seconds) = (description.token_count(), start.elapsed().as_secs_f64());
    let report = || {
        json!({
            "output": arguments.output.display().to_string(),
            "model": description.model,
            "layer_count": description.layer_count,
            "widths": description.widths,
            "runs": description.runs.iter().map(|run| &run.id).collect::<Vec<_>>(),
            "token_count": tokens,
            "seconds": seconds,
        })
    };
    if !json::write_if_asked(arguments.json.as_deref(), report)? {
        println!("wrote {}: {tokens} tokens, {seconds:.1} s", arguments.output.display());
    }
    Ok(())
}

fn read(arguments: &Calibrate, model: &Model) -> anyhow::Result<()> {
    let text = arguments.text.as_deref().expect("clap asks for it");
    let tokens = Tokenizer::of(model, arguments.tokenizer.as_deref())?.encode_file(text)?;
    let most = (arguments.tokens / arguments.context).max(1);
    let windows = Windows::new(&tokens, arguments.context, arguments.context, Some(most))?;
    note_of_tokens(&windows, arguments.tokens);
    on_threads(arguments.threads, || {
        calibration::run(model, &windows, &arguments.output, arguments.resume, &mut layers("calibrating"))
    })??;
    Ok(())
}
