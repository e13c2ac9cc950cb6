//! Has a kernel become dearer? Instructions counted by callgrind, against a record.

use crate::shell;
use anyhow::{Context, Result, bail, ensure};
use serde_json::{Map, Value, json};
use std::process::Command;

/// Count the instructions of kernels and compare with the record
///
/// Runs each kernel under valgrind's callgrind, once and three times, so that start and data cancel, and fails when one
/// takes a tenth more instructions than benches/records/instructions.json says, is not in that record, or is there only.
/// Valgrind knows no AVX-512: counted are the scalar and the AVX2 kernels. Counts belong to one compiler; the record names
/// it.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: cargo xtask instructions\n         cargo xtask instructions --save")]
pub struct Options {
    /// Write the record instead of comparing with it
    #[arg(long)]
    save: bool,
    /// Count only kernels whose name contains this; may be repeated
    #[arg(long, value_name = "WORD", conflicts_with = "save")]
    only: Vec<String>,
}

/// What a count may be above its record.
const GROWTH_MAX: f64 = 1.10;

/// Counts, compares or saves.
pub fn run(options: &Options) -> Result<()> {
    ensure!(
        shell::succeeds(Command::new("valgrind").arg("--version")),
        "valgrind is not installed; on Debian: apt-get install valgrind"
    );
    shell::run(&mut shell::cargo(&["build", "--release", "--locked", "-p", "quant-benches", "--bin", "once"]))?;
    let names = shell::capture(Command::new(shell::root().join("target/release/once")).arg("list"))?;
    let wanted = |name: &&str| options.only.is_empty() || options.only.iter().any(|word| name.contains(word.as_str()));
    let mut counts = Map::new();
    for name in names.lines().filter(wanted) {
        let count = (count(name, 3)? - count(name, 1)?) / 2;
        println!("{name:<32} {count:>14}");
        counts.insert(name.to_owned(), json!(count));
    }
    let path = shell::root().join("benches/records/instructions.json");
    if options.save {
        let compiler = shell::capture(Command::new("rustc").arg("--version"))?;
        let record = json!({
            "command": "cargo xtask instructions --save", "compiler": compiler.trim(), "instructions": counts,
        });
        std::fs::write(&path, format!("{record:#}\n"))?;
        println!("saved: benches/records/instructions.json");
        return Ok(());
    }
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let record: Value = serde_json::from_str(&text)?;
    let mut dearer = dearer(&counts, &record["instructions"])?;
    if options.only.is_empty() {
        dearer.extend(uncounted(&counts, &record["instructions"]));
    }
    if !dearer.is_empty() {
        bail!("not as in the record of {}:\n{}", record["compiler"], dearer.join("\n"));
    }
    println!("no kernel takes a tenth more instructions than in the record");
    Ok(())
}

/// Instructions of the whole process that runs a kernel so often.
fn count(name: &str, repeats: u32) -> Result<i64> {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(shell::root().join("target/release/once"))
        .args([name, &repeats.to_string()])
        .output()?;
    let text = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{name} fails under valgrind: {text}");
    collected(&text).with_context(|| format!("{name}: valgrind told no count: {text}"))
}

/// The count in the line `==1== Collected : 123`.
fn collected(text: &str) -> Option<i64> {
    text.lines().find_map(|line| line.split_once("Collected :")?.1.trim().parse().ok())
}

/// A line for each kernel that takes too many instructions or is not in the record.
fn dearer(counts: &Map<String, Value>, record: &Value) -> Result<Vec<String>> {
    let mut lines = Vec::new();
    for (name, count) in counts {
        let now = count.as_f64().context("a count is a number")?;
        match record[name].as_f64() {
            Some(before) if now <= GROWTH_MAX * before => {}
            Some(before) => {
                lines.push(format!("{name}: {now} against {before}, {:+.1} %", 100.0 * (now / before - 1.0)));
            }
            None => lines.push(format!("{name}: not in the record")),
        }
    }
    Ok(lines)
}

/// A line for each kernel of the record that is there no more.
fn uncounted(counts: &Map<String, Value>, record: &Value) -> Vec<String> {
    let names = record.as_object().into_iter().flat_map(Map::keys).filter(|name| !counts.contains_key(*name));
    names.map(|name| format!("{name}: in the record, but not counted; --save if it was removed")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_is_found_in_what_valgrind_writes() {
        assert_eq!(collected("==7== Events    : Ir\n==7== Collected : 4711\n==7==\n"), Some(4711));
        assert_eq!(collected("==7== I   refs: 3\n"), None);
    }

    #[test]
    fn a_tenth_more_is_too_many() {
        let counts = |n: u32| Map::from_iter([("encode".to_owned(), json!(n))]);
        let record = json!({"encode": 1000});
        assert!(dearer(&counts(1100), &record).expect("numbers").is_empty());
        assert_eq!(dearer(&counts(1101), &record).expect("numbers").len(), 1);
        assert_eq!(dearer(&counts(1), &json!({})).expect("numbers").len(), 1);
    }

    #[test]
    fn a_kernel_that_is_gone_is_missed() {
        let counts = Map::from_iter([("encode".to_owned(), json!(1000))]);
        let record = json!({"encode": 1000, "decode": 1000});
        let missed = uncounted(&counts, &record);
        assert!(matches!(&missed[..], [line] if line.starts_with("decode: ")), "{missed:?}");
        assert!(uncounted(&counts, &json!({"encode": 1})).is_empty());
    }
}
