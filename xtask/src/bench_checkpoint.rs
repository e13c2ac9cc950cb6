//! What does a whole checkpoint cost beyond reading, kernels and writing alone?

use crate::bench::Options;
use crate::shell;
use anyhow::{Context, Result};
use serde_json::Value;

/// Of the checkpoint that is made when none is given.
const SYNTHETIC: &str = "synthetic:256";

/// What a checkpoint is quantized to.
const PRESETS: [&str; 2] = ["nf4", "kmeans4-row"];

/// Measures the checkpoint asked for; nothing where only other workloads are wanted.
pub fn run(options: &Options) -> Result<Value> {
    let is_wanted = options.only.is_empty() || options.only.iter().any(|word| "checkpoint".contains(word.as_str()));
    if options.checkpoint.is_none() && !is_wanted {
        return Ok(Value::Null);
    }
    let model = match &options.checkpoint {
        Some(model) if model.to_string_lossy().starts_with("synthetic:") => model.clone(),
        Some(model) => std::path::absolute(model)?,
        None => SYNTHETIC.into(),
    };
    let build = ["run", "--release", "--locked", "--quiet", "-p", "quant-benches", "--bin", "checkpoint", "--"];
    let mut command = shell::cargo(&build);
    command.arg(model).arg(shell::root().join("target/bench-checkpoint"));
    command.arg(options.rounds.min(5).to_string()).arg(options.threads.to_string()).args(PRESETS);
    serde_json::from_str(&shell::capture(&mut command)?).context("the checkpoint workload printed no JSON")
}

/// Medians of the whole and of its parts, and the ratio of the two.
pub fn table(run: &Value) -> String {
    let none = Vec::new();
    let results = run["results"].as_array().unwrap_or(&none);
    let mut text = String::new();
    for result in results {
        let median = |part: &str| {
            let mut seconds: Vec<f64> =
                result[part].as_array().into_iter().flatten().filter_map(Value::as_f64).collect();
            seconds.sort_by(f64::total_cmp);
            seconds.get(seconds.len() / 2).copied().unwrap_or(f64::NAN)
        };
        let (whole, parts) = (median("whole"), ["reading", "kernel", "writing"].map(median));
        let sum: f64 = parts.iter().sum();
        let gibibytes = run["source_len_bytes"].as_f64().unwrap_or(f64::NAN) / f64::from(1 << 30);
        text += &format!(
            "checkpoint {:<12} {gibibytes:>5.2} GiB: {whole:>7.3} s whole, {:.3} reading + {:.3} kernels + {:.3} writing \
             = {sum:.3} s, {:.2} of the sum, MSE {:.3e}\n",
            result["preset"].as_str().unwrap_or_default(),
            parts[0],
            parts[1],
            parts[2],
            whole / sum,
            result["mse"].as_f64().unwrap_or(f64::NAN),
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_whole_is_compared_with_the_sum_of_its_parts() {
        let result = json!({"preset": "nf4", "whole": [3.0, 9.0, 1.0], "reading": [1.0], "kernel": [0.5],
            "writing": [0.5], "mse": 0.25});
        let text = table(&json!({"source_len_bytes": 1u64 << 30, "results": [result]}));
        assert!(text.contains("1.00 GiB:   3.000 s whole") && text.contains("1.50 of the sum"), "{text}");
        assert_eq!(table(&Value::Null), "");
    }
}
