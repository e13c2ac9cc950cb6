//! Does every adapter mean what the scalar reference means? `check` prints JSON: adapter × kernel × parameters, with the
//! parity class; `check mutate` breaks kernels on purpose and says whether the suite noticed.
//!
//! `cargo xtask check` and `cargo xtask mutate` run this and show tables.

use anyhow::{Context, Result};
use quant_benches::mutations::{MUTATIONS, Mutation};
use quant_benches::verbs::{VERBS, Verb};
use quant_gpu::{Choice, Gpu, GpuOptions, inventory};
use serde_json::{Value, json};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

fn main() -> Result<()> {
    // Failures are results here: each is reported in its row.
    std::panic::set_hook(Box::new(|_| {}));
    let rows = match std::env::args().nth(1).as_deref() {
        Some("mutate") => mutate()?,
        _ => check()?,
    };
    println!("{:#}", Value::Array(rows));
    Ok(())
}

/// As used, and with pieces of 1 KiB, two workgroups in a row and one piece at a time.
fn parameters() -> [(&'static str, GpuOptions); 2] {
    let hostile = GpuOptions { chunk_len_bytes: 1024, grid_width_max: 2, depth: 1, ..GpuOptions::default() };
    [("normal", GpuOptions::default()), ("hostile", hostile)]
}

/// Runs a verb's cases: the message of the first that fails.
fn failure(verb: &Verb, gpus: &[Gpu]) -> Option<String> {
    let panic = catch_unwind(AssertUnwindSafe(|| (verb.run)(gpus))).err()?;
    let text =
        panic.downcast_ref::<String>().cloned().or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned()));
    Some(text.unwrap_or_else(|| "panicked without a message".into()))
}

fn check() -> Result<Vec<Value>> {
    let mut rows = Vec::new();
    for adapter in inventory() {
        for (name, options) in parameters() {
            let options = GpuOptions { choice: Choice::Index(adapter.index), ..options };
            let gpus = [Gpu::new(options).with_context(|| format!("{adapter}"))?];
            for verb in VERBS {
                let start = Instant::now();
                let failure = failure(verb, &gpus);
                rows.push(json!({
                    "adapter": adapter.to_string(), "kernel": verb.name, "class": verb.class, "parameters": name,
                    "holds": failure.is_none(), "failure": failure, "seconds": start.elapsed().as_secs_f64(),
                }));
            }
        }
    }
    Ok(rows)
}

fn mutate() -> Result<Vec<Value>> {
    MUTATIONS.iter().map(|mutation| Ok(json!({"mutation": mutation.name, "caught_by": caught_by(mutation)?}))).collect()
}

/// Who noticed: the probe, or a verb with its parameters.
fn caught_by(mutation: &Mutation) -> Result<Option<String>> {
    mutation.check_applies()?;
    let verb = VERBS.iter().find(|v| v.name == mutation.verb).context("a mutation names a verb")?;
    for (name, options) in parameters() {
        let edits = vec![(mutation.from.to_owned(), mutation.to.to_owned())];
        let Ok(gpu) = Gpu::new(GpuOptions { edits, ..options }) else {
            return Ok(Some("the probe at start".into()));
        };
        if failure(verb, &[gpu]).is_some() {
            return Ok(Some(format!("{}, {name}", verb.name)));
        }
    }
    Ok(None)
}
