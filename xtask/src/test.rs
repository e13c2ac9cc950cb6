//! What must pass before a change is done?

use crate::{shell, system};
use anyhow::Result;

/// Install what the tests need, then run all of them
///
/// Every test of every workspace member, documentation examples included, through `cargo test`, so that its output ends
/// with cargo's own closing lines. Words after `--` go to cargo test, for example a package or the name of a test.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: cargo xtask test\n         cargo xtask test -- -p quant-core scale")]
pub struct Options {
    /// Arguments for cargo test instead of `--workspace`
    #[arg(last = true)]
    pub arguments: Vec<String>,
}

/// Installs, then tests.
pub fn run(options: &Options) -> Result<()> {
    system::install(system::PACKAGES)?;
    let mut test = shell::cargo(&["test", "--locked"]);
    if options.arguments.is_empty() {
        test.arg("--workspace");
    }
    let (result, time) = shell::timed(|| shell::run(test.args(&options.arguments)));
    result?;
    eprintln!("all tests passed in {}", shell::seconds(time));
    Ok(())
}
