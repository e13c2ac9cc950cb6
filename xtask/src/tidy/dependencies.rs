//! Do crates depend downwards only, and is each absence kept?

use super::tree::{Finding, Tree};
use crate::shell;
use anyhow::Result;
use std::collections::BTreeSet;

/// A crate and the packages that its whole tree of normal and build dependencies must not contain.
struct Absence {
    package: &'static str,
    forbidden: &'static [&'static str],
    reason: &'static str,
}

const SERIALIZERS: &[&str] = &["serde", "serde_core", "serde_json", "safetensors", "toml", "bincode"];
const OUTER: &[&str] = &["quant", "quant-cli", "quant-gguf", "candle-core", "clap", "indicatif", "anyhow"];

const ABSENCES: &[Absence] = &[
    Absence {
        package: "quant-core",
        forbidden: &["rayon", "rayon-core", "crossbeam-deque", "tokio", "pollster", "num_cpus"],
        reason: "core knows no thread pool",
    },
    Absence { package: "quant-core", forbidden: &["wgpu", "naga", "ash", "cudarc"], reason: "core knows no GPU" },
    Absence { package: "quant-core", forbidden: &["memmap2", "tempfile", "walkdir"], reason: "core knows no file" },
    Absence { package: "quant-core", forbidden: &["chrono", "time", "web-time"], reason: "core knows no clock" },
    Absence { package: "quant-core", forbidden: &["quant-cpu", "quant-gpu", "quant-shaders"], reason: "core is below" },
    Absence { package: "quant-core", forbidden: SERIALIZERS, reason: "only the outermost crates serialize" },
    Absence { package: "quant-core", forbidden: OUTER, reason: "core is below the façade" },
    Absence {
        package: "quant-cpu",
        forbidden: &["quant-gpu", "quant-shaders", "wgpu"],
        reason: "backends are strangers",
    },
    Absence { package: "quant-cpu", forbidden: SERIALIZERS, reason: "only the outermost crates serialize" },
    Absence { package: "quant-cpu", forbidden: OUTER, reason: "a backend is below the façade" },
    Absence { package: "quant-gpu", forbidden: &["quant-cpu"], reason: "backends are strangers" },
    Absence { package: "quant-gpu", forbidden: OUTER, reason: "a backend is below the façade" },
    Absence {
        package: "quant",
        forbidden: &["quant-cli", "clap", "indicatif", "anyhow", "quant-eval", "faer"],
        reason: "the façade is below the command and runs no model",
    },
    Absence {
        package: "quant-eval",
        forbidden: &["quant-cli", "clap", "indicatif", "anyhow"],
        reason: "what runs models is below the command",
    },
];

/// Asks cargo for the tree of each crate.
pub fn check(_: &Tree) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for package in ABSENCES.iter().map(|a| a.package).collect::<BTreeSet<_>>() {
        let arguments =
            ["tree", "--locked", "--prefix", "none", "--format", "{p}", "-e", "normal,build", "-p", package];
        let output = shell::capture(&mut shell::cargo(&arguments))?;
        findings.extend(present(package, &names(&output)));
    }
    Ok(findings)
}

/// The names in the output of `cargo tree --prefix none --format {p}`.
fn names(tree: &str) -> BTreeSet<&str> {
    tree.lines().filter_map(|line| line.split_whitespace().next()).collect()
}

fn present(package: &str, names: &BTreeSet<&str>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for absence in ABSENCES.iter().filter(|a| a.package == package) {
        for name in absence.forbidden.iter().filter(|n| names.contains(**n)) {
            let place = format!("cargo tree -p {package}");
            findings.push(Finding::file(&place, format!("contains {name}, but {}", absence.reason)));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_forbidden_crate_is_found_wherever_it_is_in_the_tree() {
        let output = "quant-core v0.1.0 (/x)\nhalf v2.7.1\nrayon v1.11.0\nthiserror v2.0.17\nhalf v2.7.1 (*)\n";
        let found: Vec<_> = present("quant-core", &names(output)).iter().map(Finding::to_string).collect();
        assert_eq!(found, ["cargo tree -p quant-core: contains rayon, but core knows no thread pool"]);
    }

    #[test]
    fn what_is_forbidden_to_one_is_free_to_another() {
        assert!(present("quant-cpu", &names("quant-cpu v0.1.0\nrayon v1.11.0\n")).is_empty());
    }
}
