//! Which rules would a person otherwise have to remember?
//!
//! Each rule is a function from the [`Tree`] to the places that break it. ARCHITECTURE.md states the rules and their
//! reasons; this folder checks them.

mod commands;
mod dependencies;
mod layout;
mod markdown;
mod rooms;
mod rust;
mod text;
mod tree;

use crate::shell;
use anyhow::{Result, bail};
use tree::{Finding, Tree};

/// Check the rules that ARCHITECTURE.md states
///
/// Dependencies between crates, sizes of files and functions, head lines, forbidden macros, `unsafe`, white space,
/// Markdown titles and links, commands and presets named in the documentation, files that must exist.
#[derive(Debug, Default, clap::Args)]
#[command(after_help = "Example: cargo xtask tidy\n         cargo xtask tidy --list")]
pub struct Options {
    /// Print the rules and stop
    #[arg(long)]
    list: bool,
}

/// A rule: what it demands, and the check.
type Rule = (&'static str, fn(&Tree) -> Result<Vec<Finding>>);

const RULES: &[Rule] = &[
    ("files that must exist are committed", layout::required_files),
    ("shaders say what they compute in their first line", layout::shader_heads),
    ("crates depend downwards only, and core on mathematics alone", dependencies::check),
    ("files and functions fit in one sitting, or have an exception with a reason", rooms::check),
    ("Rust files start with a //! line", rust::heads),
    ("no dbg!, todo!, unimplemented!, #[ignore] or #[should_panic]", rust::forbidden),
    ("`unsafe` only in kernels, after a SAFETY comment", rust::unsafe_code),
    ("no tabs, trailing spaces, carriage returns or missing last newline", text::white_space),
    ("Markdown files have one title", markdown::titles),
    ("links between files lead somewhere", markdown::links),
    ("no measurement is left to fill in", markdown::unfilled),
    ("commands in the documentation exist", commands::known),
    ("presets in the documentation exist", commands::presets),
];

/// Checks every rule and prints each place that breaks one.
pub fn run(options: &Options) -> Result<()> {
    if options.list {
        RULES.iter().for_each(|(demand, _)| println!("{demand}"));
        return Ok(());
    }
    let tree = Tree::read(&shell::root())?;
    let mut finding_count = 0;
    for (demand, check) in RULES {
        let findings = check(&tree)?;
        for finding in &findings {
            println!("{finding}  [{demand}]");
        }
        finding_count += findings.len();
    }
    if finding_count > 0 {
        bail!("{finding_count} places break a rule");
    }
    eprintln!("tidy: {} rules hold over {} files", RULES.len(), tree.files.len());
    Ok(())
}
