//! Does every GPU adapter mean what the scalar reference means, and would we notice if not?

use crate::{shell, system};
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::path::PathBuf;

/// Check every adapter against the scalar reference
///
/// Every adapter × every kernel × the conformance workloads, as used and with hostile parameters (pieces of 1 KiB, two
/// workgroups in a row). Prints each kernel with its parity class. A machine without an adapter fails.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: cargo xtask check\n         cargo xtask check --json check.json")]
pub struct Options {
    /// Write the rows as JSON to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// Break kernels on purpose and see that the checks notice
///
/// Each mutation is a mistake that is easily made: a tie rule flipped, a tail off by one, fields swapped, a carry lost.
/// One that no check notices fails the run.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: cargo xtask mutate")]
pub struct MutateOptions {}

/// Runs the checks and prints the table.
pub fn run(options: &Options) -> Result<()> {
    let rows = rows(&[])?;
    if rows.is_empty() {
        bail!("no GPU adapter; `cargo xtask test` installs a software one or says how");
    }
    print!("{}", table(&rows));
    if let Some(path) = &options.json {
        let text = format!("{:#}\n", Value::Array(rows.clone()));
        std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    match rows.iter().filter(|row| row["holds"] != true).count() {
        0 => Ok(()),
        failures => bail!("{failures} of {} checks fail", rows.len()),
    }
}

/// Runs the mutations and prints who caught each.
pub fn mutate(_: &MutateOptions) -> Result<()> {
    let rows = rows(&["mutate"])?;
    let missed = rows.iter().filter(|row| row["caught_by"].is_null()).count();
    for row in &rows {
        let caught_by = row["caught_by"].as_str().unwrap_or("NOBODY");
        println!("{:<56} caught by {caught_by}", row["mutation"].as_str().unwrap_or_default());
    }
    println!("{} of {} mutations caught", rows.len() - missed, rows.len());
    if missed > 0 { bail!("{missed} mutations were not noticed") } else { Ok(()) }
}

fn rows(arguments: &[&str]) -> Result<Vec<Value>> {
    system::install(system::PACKAGES)?;
    let build = ["run", "--release", "--locked", "--quiet", "-p", "quant-benches", "--bin", "check", "--"];
    let output = shell::capture(shell::cargo(&build).args(arguments))?;
    serde_json::from_str(&output).context("the checks printed no JSON")
}

/// A line per kernel and adapter: class, and what each set of parameters gave.
fn table(rows: &[Value]) -> String {
    let text = |row: &Value, key: &str| row[key].as_str().unwrap_or_default().to_owned();
    let mut table = String::new();
    let mut adapter = String::new();
    for row in rows {
        if text(row, "adapter") != adapter {
            adapter = text(row, "adapter");
            table +=
                &format!("{adapter}\n{:<24} {:<12} {:<10} {:>8}  result\n", "kernel", "class", "parameters", "time");
        }
        let result = match row["failure"].as_str() {
            None => "holds".to_owned(),
            Some(failure) => format!("FAILS: {}", failure.lines().next().unwrap_or_default()),
        };
        let seconds = row["seconds"].as_f64().unwrap_or_default();
        let (kernel, class, parameters) = (text(row, "kernel"), text(row, "class"), text(row, "parameters"));
        table += &format!("{kernel:<24} {class:<12} {parameters:<10} {seconds:>6.2} s  {result}\n");
    }
    table
}

#[cfg(test)]
mod tests {
    use super::table;
    use serde_json::json;

    #[test]
    fn failures_are_shown_beside_the_class() {
        let row = |kernel: &str, failure: Option<&str>| {
            json!({"adapter": "A", "kernel": kernel, "class": "exact", "parameters": "normal", "seconds": 0.5,
                "failure": failure})
        };
        let text = table(&[row("encode", None), row("decode", Some("index 3\nmore"))]);
        assert!(text.starts_with("A\nkernel") && text.lines().count() == 4);
        assert!(text.contains("holds") && text.contains("FAILS: index 3\n"), "{text}");
    }
}
