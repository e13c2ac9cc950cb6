//! What does a whole checkpoint cost beyond reading, kernels and writing alone?

use crate::bench::Options;
use crate::shell;
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// Of the checkpoint that is made when none is given.
const SYNTHETIC: &str = "synthetic:256";

/// What a checkpoint is quantized to.
const PRESETS: [&str; 2] = ["nf4", "kmeans4-row"];

/// What it is quantized to on each device: one preset whose scales are searched there, one whose codebook is.
const PRESETS_ON_DEVICES: [&str; 2] = ["nf4", "lloyd4"];

/// Measures the checkpoint asked for; nothing where only other workloads are wanted.
pub fn run(options: &Options) -> Result<Value> {
    let is_wanted = options.only.is_empty() || options.only.iter().any(|word| "checkpoint".contains(word.as_str()));
    let model = match options.checkpoint.as_slice() {
        [] if !is_wanted => return Ok(Value::Null),
        [] => PathBuf::from(SYNTHETIC),
        [model] => model.clone(),
        _ => bail!("one --checkpoint at a time, unless with --devices"),
    };
    measure(options, &model, options.checkpoint_rounds(), "cpu", &PRESETS)
}

/// Measures it on `devices`, with commas between.
pub fn run_on(options: &Options, model: &Path, rounds: usize, devices: &str) -> Result<Value> {
    measure(options, model, rounds, devices, &PRESETS_ON_DEVICES)
}

fn measure(options: &Options, model: &Path, rounds: usize, devices: &str, presets: &[&str]) -> Result<Value> {
    let is_synthetic = model.to_string_lossy().starts_with("synthetic:");
    let model = if is_synthetic { model.to_owned() } else { std::path::absolute(model)? };
    let build = ["run", "--release", "--locked", "--quiet", "-p", "quant-benches", "--bin", "checkpoint", "--"];
    let mut command = shell::cargo(&build);
    command.arg(model).arg(shell::root().join("target/bench-checkpoint"));
    command.arg(rounds.to_string()).arg(options.threads.to_string()).arg(devices).args(presets);
    serde_json::from_str(&shell::capture(&mut command)?).context("the checkpoint workload printed no JSON")
}

/// Medians of the whole and of its parts, and the ratio of the two.
pub fn table(run: &Value) -> String {
    let none = Vec::new();
    let results = run["results"].as_array().unwrap_or(&none);
    let gibibytes = run["source_len_bytes"].as_f64().unwrap_or(f64::NAN) / f64::from(1 << 30);
    results.iter().map(|result| line(result, gibibytes)).collect()
}

fn line(result: &Value, gibibytes: f64) -> String {
    let median = |part: &str| {
        let mut seconds: Vec<f64> = result[part].as_array().into_iter().flatten().filter_map(Value::as_f64).collect();
        seconds.sort_by(f64::total_cmp);
        seconds.get(seconds.len() / 2).copied()
    };
    let [whole, reading, kernel, writing] =
        ["whole", "reading", "kernel", "writing"].map(|part| median(part).unwrap_or(f64::NAN));
    let sum = reading + kernel + writing;
    let on_device = median("kernel_on_device")
        .map_or(String::new(), |seconds| format!("; kernels in the whole run by the device's clock {seconds:.3} s"));
    let text_of = |key: &str| result[key].as_str().unwrap_or_default();
    format!(
        "checkpoint {:<12} {:<6} {gibibytes:>5.2} GiB: {whole:>7.3} s whole, {reading:.3} reading + {kernel:.3} quantizing in \
         memory + {writing:.3} writing = {sum:.3} s, {:.2} of the sum, MSE {:.3e}, codes {:.16}{on_device}\n",
        text_of("preset"),
        text_of("device"),
        whole / sum,
        result["mse"].as_f64().unwrap_or(f64::NAN),
        text_of("codes_hash"),
    )
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

    #[test]
    fn a_device_that_can_tell_is_quoted() {
        let result = json!({"preset": "nf4", "device": "gpu:0", "kernel_on_device": [0.5, 0.25, 0.125]});
        let text = table(&json!({"results": [result]}));
        assert!(text.contains("gpu:0") && text.contains("device's clock 0.250 s"), "{text}");
    }
}
