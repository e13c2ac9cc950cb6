//! `quant design`: one codebook, with its cost and with theory beside it.

mod histogram;
mod listing;

use quant_core::design::StopReason;
use quant_core::design::held_out::{self, HeldOut};
use quant_core::theory::{self, Gaps};
use serde_json::{Value, json};

use crate::args::Design as Arguments;
use crate::designer::{self, Outcome};
use crate::json;
use crate::params::Params;
use crate::source::Chosen;

/// Runs the command.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
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

/// Everything that is shown about a design.
pub struct Found {
    chosen: Chosen,
    designer: String,
    outcome: Outcome,
    theory: Gaps,
    held_out: Option<HeldOut>,
}

fn find(arguments: &Arguments) -> Result<Found, quant::Error> {
    let params = Params::new(&arguments.source.param);
    let chosen = Chosen::new(&arguments.source, &params, arguments.held_out)?;
    let outcome = designer::run(&arguments.designer, &chosen, &params)?;
    params.finish()?;
    let design = &outcome.design;
    let theory = theory::gaps(chosen.density(), design.codebook.levels().len(), design.rate, design.mse);
    let held_out = chosen.held_out().map(|samples| held_out::measure(design, samples));
    Ok(Found { designer: arguments.designer.designer.clone(), chosen, outcome, theory, held_out })
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
