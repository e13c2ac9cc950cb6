//! How fast is each device, beside the processor and beside its own memory?

use crate::bench::{Options, record_path};
use crate::shell;
use anyhow::{Context, Result};
use serde_json::{Value, json};

/// Runs the workloads on the processor and every adapter, prints, saves, compares.
pub fn run(options: &Options) -> Result<()> {
    let earlier = options.against.as_ref().map(|name| read(name)).transpose()?;
    let (rounds, rows) = (options.rounds.to_string(), options.rows.to_string());
    let build = ["run", "--release", "--locked", "--quiet", "-p", "quant-benches", "--bin", "devices", "--"];
    let output = shell::capture(shell::cargo(&build).arg(rounds).arg(rows).args(&options.only))?;
    let mut run: Value = serde_json::from_str(&output).context("the workloads printed no JSON")?;
    if let Some(model) = &options.checkpoint {
        run["checkpoint"] = checkpoint(model, &run)?;
    }
    print!("{}", table(&run, earlier.as_ref()));
    if let Some(name) = &options.save {
        let command = format!("cargo xtask bench --devices --rounds {} --rows {}", options.rounds, options.rows);
        run["command"] = json!(format!("{command} --save {name}"));
        let path = record_path(name);
        std::fs::write(&path, format!("{run:#}\n")).with_context(|| format!("cannot write {}", path.display()))?;
        println!("saved: benches/records/{name}.json");
    }
    Ok(())
}

fn read(name: &str) -> Result<Value> {
    let path = record_path(name);
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("{} is not JSON", path.display()))
}

/// Quantizes a checkpoint from end to end on each device: seconds, and a hash of all codes.
fn checkpoint(model: &std::path::Path, run: &Value) -> Result<Value> {
    let folder = shell::root().join("target/bench-devices");
    std::fs::create_dir_all(&folder)?;
    let model = std::path::absolute(model)?;
    let gpu_count = run["devices"].as_array().map_or(0, Vec::len).saturating_sub(1);
    let devices = std::iter::once("cpu".to_owned()).chain((0..gpu_count).map(|i| format!("gpu:{i}")));
    let mut results = Vec::new();
    for device in devices {
        for preset in ["nf4", "lloyd4"] {
            let output = folder.join(format!("{preset}-{}", device.replace(':', "-")));
            let build = ["run", "--release", "--locked", "--quiet", "-p", "quant-cli", "--", "quantize"];
            let mut command = shell::cargo(&build);
            command.arg(&model).arg(&output).args(["--overwrite", "--preset", preset, "--device", &device]);
            let report: Value = serde_json::from_str(&shell::capture(command.args(["--json", "-"]))?)?;
            let totals = &report["totals"];
            results.push(json!({
                "device": device, "preset": preset, "seconds": totals["seconds"], "sqnr_db": totals["sqnr_db"],
                "weight_count": totals["weight_count"], "codes_hash": totals["codes_hash"],
            }));
        }
    }
    Ok(Value::Array(results))
}

/// The workload of that name on a device.
fn workload<'a>(device: &'a Value, name: &str) -> Option<&'a Value> {
    device["workloads"].as_array()?.iter().find(|w| w["name"] == name)
}

fn median_seconds(workload: &Value) -> Option<f64> {
    let mut seconds: Vec<f64> = workload["seconds"].as_array()?.iter().filter_map(Value::as_f64).collect();
    seconds.sort_by(f64::total_cmp);
    seconds.get(seconds.len() / 2).copied()
}

/// Bytes that must move, a second.
fn bytes_per_second(workload: &Value, seconds: f64) -> f64 {
    workload["sample_count"].as_f64().unwrap_or(0.0) * workload["bytes_per_sample"].as_f64().unwrap_or(0.0) / seconds
}

/// The share of the copy bandwidth: of kernel time where it is known.
fn share_of_copy(device: &Value, workload: &Value) -> Option<f64> {
    let copy = self::workload(device, "memory copy")?;
    let seconds = workload["kernel_seconds"].as_f64().or_else(|| median_seconds(workload))?;
    Some(bytes_per_second(workload, seconds) / bytes_per_second(copy, median_seconds(copy)?))
}

fn table(run: &Value, earlier: Option<&Value>) -> String {
    let none = Vec::new();
    let devices = run["devices"].as_array().unwrap_or(&none);
    let mut text = String::new();
    for device in devices {
        text += &format!("{}\n", device["device"].as_str().unwrap_or_default());
        text += &format!(
            "{:<28} {:>10} {:>10} {:>10} {:>8} {:>11} {:>7}{}\n",
            "workload",
            "median ms",
            "Msample/s",
            "kernel ms",
            "of copy",
            "MSE",
            "to CPU",
            if earlier.is_some() { "   share now / before" } else { "" }
        );
        for workload in device["workloads"].as_array().unwrap_or(&none) {
            text += &line(device, &devices[0], workload, earlier);
        }
    }
    for result in run["checkpoint"].as_array().unwrap_or(&none) {
        let text_of = |key: &str| result[key].as_str().unwrap_or_default();
        let (seconds, weights) = (result["seconds"].as_f64(), result["weight_count"].as_f64());
        let (seconds, weights) = (seconds.unwrap_or(f64::NAN), weights.unwrap_or(f64::NAN));
        let (device, preset, hash) = (text_of("device"), text_of("preset"), text_of("codes_hash"));
        let rate = weights / seconds / 1e6;
        text +=
            &format!("checkpoint {preset:<8} {device:<8} {seconds:>8.2} s {rate:>8.1} Mweight/s  codes {hash:.16}\n");
    }
    text
}

fn line(device: &Value, cpu: &Value, workload: &Value, earlier: Option<&Value>) -> String {
    let name = workload["name"].as_str().unwrap_or_default();
    let seconds = median_seconds(workload).unwrap_or(f64::NAN);
    let rate = workload["sample_count"].as_f64().unwrap_or(f64::NAN) / seconds / 1e6;
    let kernel = workload["kernel_seconds"].as_f64().map_or("-".into(), |s| format!("{:.2}", 1e3 * s));
    let share = share_of_copy(device, workload);
    let shown = share.map_or("-".into(), |share| format!("{:.1} %", 100.0 * share));
    let mse = workload["mse"].as_f64().map_or(String::new(), |mse| format!("{mse:.4e}"));
    let of_cpu = self::workload(cpu, name).and_then(median_seconds).map(|cpu| cpu / seconds);
    let ratio = of_cpu.map_or("-".into(), |ratio| format!("{ratio:.2}"));
    let before = earlier.and_then(|run| {
        let same = run["devices"].as_array()?.iter().find(|d| d["device"] == device["device"])?;
        share_of_copy(same, self::workload(same, name)?)
    });
    let change = match (share, before) {
        (Some(now), Some(before)) => format!("   {:.2}", now / before),
        _ => String::new(),
    };
    format!("{name:<28} {:>10.2} {rate:>10.1} {kernel:>10} {shown:>8} {mse:>11} {ratio:>7}{change}\n", 1e3 * seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_of_kernel_time_and_ratios_of_the_processor() {
        let device = |name: &str, seconds: f64, kernel: Option<f64>| {
            json!({"device": name, "workloads": [
                {"name": "memory copy", "sample_count": 1000, "bytes_per_sample": 8.0, "seconds": [1.0]},
                {"name": "w", "sample_count": 1000, "bytes_per_sample": 4.0, "seconds": [seconds],
                    "kernel_seconds": kernel, "mse": 0.25},
            ]})
        };
        let run = json!({"devices": [device("cpu", 4.0, None), device("gpu", 2.0, Some(1.0))]});
        let text = table(&run, Some(&run));
        assert!(text.contains("50.0 %") && text.contains("12.5 %"), "{text}");
        assert!(text.lines().last().is_some_and(|l| l.contains("2.00") && l.ends_with("1.00")), "{text}");
    }
}
