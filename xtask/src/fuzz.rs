//! How are the checkpoint readers fuzzed, and for how long?

use crate::shell;
use anyhow::{Result, bail};
use std::process::Command;

/// Fuzz the checkpoint readers
///
/// Runs every target of `fuzz/` in turn, each for an equal share of the time. See fuzz/README.md for what they check.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: cargo xtask fuzz --minutes 10")]
pub struct Options {
    /// Time for all targets together
    #[arg(long, default_value_t = 10, value_name = "N")]
    minutes: u64,
}

/// Fuzzes.
pub fn run(options: &Options) -> Result<()> {
    let folder = shell::root().join("fuzz");
    if !folder.join("Cargo.toml").exists() {
        bail!("there is no fuzz/Cargo.toml: nothing to fuzz");
    }
    let mut list = shell::cargo(&["fuzz", "list"]);
    let names = shell::capture(list.current_dir(&folder))?;
    let targets: Vec<&str> = names.split_whitespace().collect();
    let seconds = 60 * options.minutes / targets.len().max(1) as u64;
    for target in targets {
        let mut fuzz: Command = shell::cargo(&["fuzz", "run", target, "--"]);
        shell::run(fuzz.arg(format!("-max_total_time={seconds}")).current_dir(&folder))?;
    }
    Ok(())
}
