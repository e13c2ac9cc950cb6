//! How are the checkpoint readers fuzzed, and for how long?

use crate::shell;
use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Fuzz the checkpoint readers
///
/// Runs every target of fuzz/ in turn, each for an equal share of the time, and says how many inputs its corpus then holds.
/// An input that fails is kept in fuzz/artifacts. fuzz/README.md tells what the targets promise.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: cargo xtask fuzz --minutes 10\n         \
                        cargo xtask fuzz --minutes 1 --only index_json")]
pub struct Options {
    /// Time for all targets together
    #[arg(long, default_value_t = 10, value_name = "N")]
    minutes: u64,
    /// Run this target only; may be repeated
    #[arg(long, value_name = "TARGET")]
    only: Vec<String>,
}

/// Builds all targets, then runs one after the other.
pub fn run(options: &Options) -> Result<()> {
    let folder = shell::root().join("fuzz");
    let targets = chosen(targets(&folder.join("fuzz_targets"))?, &options.only)?;
    let seconds = (60 * options.minutes / targets.len() as u64).max(1);
    let host = host()?;
    shell::run(shell::cargo(&["build", "--release", "--target", &host]).current_dir(&folder))?;
    for target in &targets {
        fuzz(&folder, &host, target, seconds)?;
    }
    Ok(())
}

fn fuzz(folder: &Path, host: &str, target: &str, seconds: u64) -> Result<()> {
    let corpus = folder.join("corpus").join(target);
    for path in [&corpus, &folder.join("artifacts")] {
        std::fs::create_dir_all(path).with_context(|| format!("cannot create {}", path.display()))?;
    }
    let mut command = Command::new(folder.join("target").join(host).join("release").join(target));
    command.arg(&corpus).arg(format!("-max_total_time={seconds}")).current_dir(folder);
    command.args(["-print_final_stats=1", "-artifact_prefix=artifacts/"]);
    let (result, time) = shell::timed(|| shell::run(&mut command));
    result.with_context(|| format!("{target} found something; the input is in fuzz/artifacts"))?;
    let input_count = std::fs::read_dir(&corpus)?.count();
    println!("{target}: clean for {}, {input_count} inputs in the corpus", shell::seconds(time));
    Ok(())
}

/// The targets by name: one file each.
fn targets(folder: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))? {
        let path: PathBuf = entry?.path();
        if path.extension().is_some_and(|extension| extension == "rs") {
            names.extend(path.file_stem().map(|stem| stem.to_string_lossy().into_owned()));
        }
    }
    names.sort();
    Ok(names)
}

fn chosen(all: Vec<String>, only: &[String]) -> Result<Vec<String>> {
    if let Some(unknown) = only.iter().find(|name| !all.contains(name)) {
        bail!("no target is called {unknown}; there are {}", all.join(", "));
    }
    let chosen: Vec<String> = all.into_iter().filter(|name| only.is_empty() || only.contains(name)).collect();
    if chosen.is_empty() {
        bail!("there is nothing to fuzz");
    }
    Ok(chosen)
}

/// The triple of this machine. Naming it as the target keeps build scripts from being instrumented.
fn host() -> Result<String> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let version = shell::capture(Command::new(rustc).arg("-vV"))?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("rustc -vV names no host")?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_target_is_refused_with_the_known_ones() {
        let all = || vec!["a".to_owned(), "b".to_owned()];
        assert_eq!(chosen(all(), &[]).expect("all"), ["a", "b"]);
        assert_eq!(chosen(all(), &["b".to_owned()]).expect("one"), ["b"]);
        let error = chosen(all(), &["c".to_owned()]).expect_err("there is no c").to_string();
        assert_eq!(error, "no target is called c; there are a, b");
        assert!(chosen(Vec::new(), &[]).is_err());
    }

    #[test]
    fn the_host_is_a_triple() {
        assert!(host().expect("rustc answers").split('-').count() >= 3);
    }
}
