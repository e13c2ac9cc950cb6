//! `quant design`: one codebook, with its cost and with theory beside it.

mod blocks;
mod coded;
mod histogram;
mod listing;
mod vectors;

use quant_core::design::StopReason;
use quant_core::design::held_out::{self, HeldOut};
use quant_core::theory::{self, Gaps};
use serde_json::{Value, json};

use self::coded::Coded;
use crate::args::Design as Arguments;
use crate::designer::{self, Outcome};
use crate::json;
use crate::params::Params;
use crate::source::Chosen;

/// Designers that take a file's samples in their order, and have no codebook on the line.
pub const DATA_NAMES: [&str; 10] = {
    let [a, b, c, d] = vectors::NAMES;
    let [e, f, g, h, i, j] = blocks::NAMES;
    [a, b, c, d, e, f, g, h, i, j]
};

/// Runs the command.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let designer = arguments.designer.designer.as_str();
    if vectors::NAMES.contains(&designer) {
        let found = vectors::find(arguments)?;
        return show(arguments, || found.json(), || found.text());
    }
    if arguments.designer.dim.is_some() {
        return Err(quant::Error::Refused(format!("--dim is for vectors; {designer} is scalar")).into());
    }
    if blocks::NAMES.contains(&designer) {
        let found = blocks::find(arguments)?;
        return show(arguments, || found.json(), || found.text());
    }
    let result = find(arguments)?;
    let to_stdout = json::write_if_asked(arguments.json.as_deref(), || result.json())?;
    if !to_stdout {
        print!("{}", listing::text(&result, arguments.digits.map(usize::from)));
        if let Some(samples) = result.chosen.samples() {
            print!("\n{}", histogram::text(samples, &result.outcome.design.codebook));
        }
    }
    Ok(())
}

fn show(arguments: &Arguments, json: impl Fn() -> Value, text: impl Fn() -> String) -> anyhow::Result<()> {
    if !json::write_if_asked(arguments.json.as_deref(), json)? {
        print!("{}", text());
    }
    Ok(())
}

/// Everything that is shown about a design.
pub struct Found {
    chosen: Chosen,
    designer: String,
    outcome: Outcome,
    theory: Gaps,
    bennett: Option<f64>,
    held_out: Option<HeldOut>,
    coded: Option<Coded>,
}

fn find(arguments: &Arguments) -> Result<Found, quant::Error> {
    let params = Params::new(&arguments.source.param);
    let chosen = Chosen::new(&arguments.source, &params, arguments.held_out)?;
    let outcome = designer::run(&arguments.designer, &chosen, &params)?;
    params.finish()?;
    let design = &outcome.design;
    let theory = theory::gaps(chosen.density(), design.codebook.levels().len(), design.rate, design.mse);
    let held_out = chosen.held_out().map(|samples| held_out::measure(design, samples));
    let bennett = theory::bennett_of(&design.codebook, chosen.source());
    let coded = chosen.values().and_then(|values| coded::measure(values, &design.codebook));
    Ok(Found { designer: arguments.designer.designer.clone(), chosen, outcome, theory, bennett, held_out, coded })
}

impl Found {
    fn json(&self) -> Value {
        let design = &self.outcome.design;
        let mut value = json!({
            "source": self.chosen.name,
            "designer": self.designer,
            "levels": design.codebook.levels(),
            "thresholds": design.codebook.thresholds(),
            "mse": design.mse,
            "sqnr_db": design.sqnr_db,
            "entropy_bits": design.entropy_bits,
            "rate_bits": design.rate,
            "iterations": design.iterations,
            "stop": stop(design.stop),
            "theory": {
                "panter_dite_mse": self.theory.panter_dite,
                "panter_dite_gap_db": self.theory.panter_dite_db,
                "shannon_bound_mse": self.theory.shannon_lower_bound,
                "shannon_bound_gap_db": self.theory.shannon_db,
            },
        });
        if let Some(bennett) = self.bennett {
            value["theory"]["bennett_mse"] = json!(bennett);
            value["theory"]["bennett_gap_db"] = json!(10.0 * (design.mse / bennett).log10());
        }
        if let Some(coded) = &self.coded {
            value["entropy_coded"] = coded.json();
        }
        if let Some((key, _, number)) = self.outcome.note {
            value[key] = json!(number);
        }
        if let Some(h) = &self.held_out {
            value["held_out"] = json!({"mse": h.mse, "sqnr_db": h.sqnr_db, "gap_db": h.gap_db});
        }
        value
    }
}

/// Why the designer stopped, in a word.
fn stop(reason: StopReason) -> &'static str {
    match reason {
        StopReason::ClosedForm => "closed form",
        StopReason::Exact => "exact",
        StopReason::Converged => "converged",
        StopReason::IterationsMax => "iterations_max",
        StopReason::Stalled => "stalled",
    }
}
