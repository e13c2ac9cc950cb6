//! What does CI run, and in which order?

use crate::{shell, test, tidy};
use anyhow::{Result, bail};
use clap::ValueEnum;
use std::time::Duration;

/// Run everything that CI runs
///
/// Steps run from the quickest to the slowest; the first that fails ends the run.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: cargo xtask ci\n         cargo xtask ci --keep-going --skip tests")]
pub struct Options {
    /// Run the remaining steps after one has failed
    #[arg(long)]
    keep_going: bool,
    /// Leave a step out; may be repeated
    #[arg(long, value_name = "STEP")]
    skip: Vec<Step>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Step {
    Format,
    Tidy,
    Clippy,
    Docs,
    Tests,
}

/// Runs the steps and prints what each took.
pub fn run(options: &Options) -> Result<()> {
    let mut done: Vec<(Step, Result<()>, Duration)> = Vec::new();
    for &step in Step::value_variants().iter().filter(|s| !options.skip.contains(s)) {
        eprintln!("\n== {}", step.name());
        let (result, time) = shell::timed(|| step.run());
        let failed = result.is_err();
        eprintln!("== {}: {}, {}", step.name(), if failed { "FAILED" } else { "ok" }, shell::seconds(time));
        done.push((step, result, time));
        if failed && !options.keep_going {
            break;
        }
    }
    summarise(&done, &options.skip)
}

fn summarise(done: &[(Step, Result<()>, Duration)], skipped: &[Step]) -> Result<()> {
    eprintln!("\n{:<8} {:<8} time", "step", "result");
    for &step in Step::value_variants() {
        let (result, time) = match done.iter().find(|(s, ..)| *s == step) {
            Some((_, result, time)) => (if result.is_ok() { "ok" } else { "FAILED" }, shell::seconds(*time)),
            None => (if skipped.contains(&step) { "skipped" } else { "not run" }, String::new()),
        };
        eprintln!("{:<8} {result:<8} {time}", step.name());
    }
    for (step, result, _) in done {
        if let Err(error) = result {
            eprintln!("{}: {error:#}", step.name());
        }
    }
    match done.iter().filter(|(_, result, _)| result.is_err()).count() {
        0 => Ok(()),
        failures => bail!("{failures} of {} steps failed", done.len()),
    }
}

impl Step {
    fn name(self) -> &'static str {
        match self {
            Step::Format => "format",
            Step::Tidy => "tidy",
            Step::Clippy => "clippy",
            Step::Docs => "docs",
            Step::Tests => "tests",
        }
    }

    fn run(self) -> Result<()> {
        let clippy = ["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"];
        match self {
            Step::Format => {
                shell::run(&mut shell::cargo(&["fmt", "--all", "--check"]))?;
                // A workspace of its own.
                shell::run(&mut shell::cargo(&["fmt", "--check", "--manifest-path", "fuzz/Cargo.toml"]))
            }
            Step::Tidy => tidy::run(&tidy::Options::default()),
            Step::Clippy => shell::run(&mut shell::cargo(&clippy)),
            Step::Docs => {
                let mut docs = shell::cargo(&["doc", "--workspace", "--no-deps", "--locked"]);
                shell::run(docs.env("RUSTDOCFLAGS", "-D warnings"))
            }
            Step::Tests => test::run(&test::Options { arguments: Vec::new() }),
        }
    }
}
