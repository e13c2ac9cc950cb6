//! `quant calibrate`.

use std::time::Instant;

use quant_eval::calibration;
use quant_eval::fold::open_untransformed;
use quant_eval::text::{Tokenizer, Windows};

use super::{layers, on_threads};
use crate::args::Calibrate;

/// Runs the command.
pub fn run(arguments: &Calibrate) -> anyhow::Result<()> {
    let start = Instant::now();
    if !arguments.merge.is_empty() {
        calibration::merge(&arguments.merge, &arguments.output, &mut layers("merging"))?;
        println!("wrote {}", arguments.output.display());
        return Ok(());
    }
    let model = open_untransformed(&arguments.model)?;
    let text = arguments.text.as_deref().expect("clap asks for it");
    let tokens = Tokenizer::of(&model, arguments.tokenizer.as_deref())?.encode_file(text)?;
    let most = (arguments.tokens / arguments.context).max(1);
    let windows = Windows::new(&tokens, arguments.context, arguments.context, Some(most))?;
    let read = windows.count() * windows.context();
    if read < arguments.tokens {
        eprintln!("note: {read} of {} tokens asked for fit in whole windows of the text", arguments.tokens);
    }
    on_threads(arguments.threads, || {
        calibration::run(&model, &windows, &arguments.output, arguments.resume, &mut layers("calibrating"))
    })??;
    println!("wrote {}: {read} tokens, {:.1} s", arguments.output.display(), start.elapsed().as_secs_f64());
    Ok(())
}
