//! How fast is it, as a share of what the machine can copy?

use crate::shell;
use anyhow::Result;

/// Measure the kernels against memory copy
///
/// Runs the workloads of `benches/` in interleaved rounds and prints time beside quality. Claims are ratios taken within
/// one run.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: cargo xtask bench --save before\n         cargo xtask bench --against before")]
pub struct Options {
    /// Arguments for the workloads binary
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

/// Builds and runs the workloads.
pub fn run(options: &Options) -> Result<()> {
    let mut workloads =
        shell::cargo(&["run", "--release", "--locked", "-p", "quant-benches", "--bin", "workloads", "--"]);
    shell::run(workloads.args(&options.arguments))
}
