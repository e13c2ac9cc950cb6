//! The commands that run a model: from arguments to `quant-eval` and back to text.

pub mod analyze;
pub mod calibrate;
pub mod eval;
pub mod transform;

use std::io::IsTerminal;
use std::path::Path;
use std::time::{Duration, Instant};

use quant::Error;
use quant_core::transform::cat::Weighting;
use quant_eval::calibration::Calibration;
use quant_eval::method::{Build, Method};
use quant_eval::model::Model;
use quant_eval::text::Windows;

use crate::args::MethodArguments;

/// Time between plain lines.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// Runs `work` on `threads` threads of its own, or on all of the machine's.
fn on_threads<T: Send>(threads: Option<usize>, work: impl FnOnce() -> T + Send) -> anyhow::Result<T> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads.unwrap_or(0)).build()?;
    Ok(pool.install(work))
}

/// Tells on stderr which layer is done: one line that changes on a terminal, a line now and then elsewhere.
fn layers(what: &'static str) -> impl FnMut(usize, usize) {
    let (start, mut told) = (Instant::now(), Instant::now());
    let is_terminal = std::io::stderr().is_terminal();
    move |done, count| {
        let seconds = start.elapsed().as_secs_f64();
        let left = seconds / done as f64 * (count - done) as f64;
        if is_terminal {
            eprint!("\r{what}: layer {done} of {count}, {left:.0} s left   {}", if done == count { "\n" } else { "" });
        } else if told.elapsed() >= LINE_EVERY || done == count {
            told = Instant::now();
            eprintln!("{what}: layer {done} of {count}, {seconds:.0} s, {left:.0} s left");
        }
    }
}

/// Opens a calibration of the model, or with `allow_other` of one of the same sizes.
fn open_calibration(path: &Path, model: &Model, allow_other: bool) -> Result<Calibration, Error> {
    let calibration = Calibration::open(path)?;
    match calibration.check(model) {
        Err(error) if allow_other => {
            calibration.check_sizes(model)?;
            eprintln!("warning: {error}");
        }
        other => other?,
    }
    Ok(calibration)
}

/// The calibration that a method is given, if one is.
fn calibration_of(method: &MethodArguments, model: &Model) -> Result<Option<Calibration>, Error> {
    method.calibration.as_deref().map(|path| open_calibration(path, model, method.allow_other_weights)).transpose()
}

/// Says how many tokens are read when they are not as many as were asked for.
fn note_of_tokens(windows: &Windows, asked: usize) {
    let (count, context) = (windows.count(), windows.context());
    let read = count * context;
    if read != asked {
        eprintln!("note: {read} tokens are read, {count} whole window(s) of {context}; {asked} were asked for");
    }
}

impl MethodArguments {
    /// The method asked for, and `otherwise` if none was.
    fn chosen(&self, otherwise: Method) -> Result<Method, Error> {
        let method = self.method.as_deref().map_or(Ok(otherwise), |name| Method::named(name, self.block.0))?;
        if method.needs_calibration() && self.calibration.is_none() {
            return Err(Error::Refused(format!("{} needs second moments; give --calibration", method.label())));
        }
        Ok(method)
    }

    fn build(&self) -> Build {
        let weighting = if self.plain_sum { Weighting::Plain } else { Weighting::OutputEnergy };
        Build { damping: self.damping, weighting, seed: self.seed }
    }
}

/// Says that some blocks became scalings.
fn warn_of_fall_back(what: &str, count: usize, calibration: &Calibration) {
    if count > 0 {
        let tokens = calibration.description().token_count();
        let needed = quant_core::transform::cat::TOKENS_PER_CHANNEL;
        eprintln!(
            "warning: {tokens} calibration tokens are too few for the blocks of {count} {what}, which got a scaling \
             instead; {needed} for each channel of a block are needed"
        );
    }
}
