//! How fast is each device, beside the processor and beside its own memory?

use crate::bench::{Options, record_path};
use crate::{bench_checkpoint, bench_peers, shell};
use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use std::path::Path;

/// Packages by the module that is imported, as `pip` knows them.
const PEERS: &[(&str, &str)] =
    &[("torch", "torch"), ("bitsandbytes", "bitsandbytes"), ("flash_kmeans", "flash-kmeans==0.3.1")];

/// Runs the workloads on the processor and every adapter, prints, saves, compares.
pub fn run(options: &Options) -> Result<()> {
    let earlier = options.against.as_ref().map(|name| read(name)).transpose()?;
    let numbers = [options.rounds(), options.rows, options.chunk].map(|n| n.to_string());
    let build = ["run", "--release", "--locked", "--quiet", "-p", "quant-benches", "--bin", "devices", "--"];
    let mut command = shell::cargo(&build);
    command.args(&numbers);
    if options.peers {
        if bench_peers::missing(&options.python, PEERS).contains(&"torch") {
            bail!("no peer runs without torch");
        }
        command.arg("--peers").arg(&options.python).arg(shell::root().join("xtask/python/device_peers.py"));
        command.arg(shell::root().join("target/bench-devices"));
    }
    let output = shell::capture(command.args(&options.only))?;
    let mut run: Value = serde_json::from_str(&output).context("the workloads printed no JSON")?;
    print!("{}", table(&run, earlier.as_ref()));
    let mut checkpoints = Vec::new();
    for model in &options.checkpoint {
        let results = checkpoint(options, model, &run)?;
        println!("{}", last_part(model));
        results.iter().for_each(|result| print!("{}", bench_checkpoint::table(result)));
        checkpoints.push(json!({"model": last_part(model), "parts": results}));
    }
    run["checkpoints"] = Value::Array(checkpoints);
    if let Some(name) = &options.save {
        run["command"] = json!(line_of(options, name));
        let path = record_path(name);
        std::fs::write(&path, format!("{run:#}\n")).with_context(|| format!("cannot write {}", path.display()))?;
        println!("saved: benches/records/{name}.json");
    }
    Ok(())
}

/// The command as it was given, the paths of this machine left out.
fn line_of(options: &Options, name: &str) -> String {
    let (rounds, rows, chunk) = (options.rounds(), options.rows, options.chunk);
    let mut line = format!("cargo xtask bench --devices --rounds {rounds} --rows {rows} --chunk {chunk}");
    line += if options.peers { " --peers" } else { "" };
    options.only.iter().for_each(|word| line += &format!(" --only '{word}'"));
    options.checkpoint.iter().for_each(|model| line += &format!(" --checkpoint {}", last_part(model)));
    format!("{line} --save {name}")
}

/// A model without the folders above it.
fn last_part(model: &Path) -> String {
    model.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

fn read(name: &str) -> Result<Value> {
    let path = record_path(name);
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("{} is not JSON", path.display()))
}

/// Quantizes a checkpoint from end to end on each device, the slow ones once.
fn checkpoint(options: &Options, model: &Path, run: &Value) -> Result<Vec<Value>> {
    let devices = run["devices"].as_array().map_or(&[][..], Vec::as_slice);
    let named = |software: bool| {
        let of_kind = devices.iter().filter(|d| (d["is_software"] == true) == software);
        let names = of_kind.map(|d| d["index"].as_u64().map_or("cpu".to_owned(), |index| format!("gpu:{index}")));
        names.collect::<Vec<_>>().join(",")
    };
    let mut results = Vec::new();
    for (names, rounds) in [(named(false), options.rounds().min(3)), (named(true), 1)] {
        if !names.is_empty() {
            results.push(bench_checkpoint::run_on(options, model, rounds, &names)?);
        }
    }
    Ok(results)
}

/// The workload of that name on a device; the device's own, not a peer's.
fn workload<'a>(device: &'a Value, name: &str) -> Option<&'a Value> {
    device["workloads"].as_array()?.iter().find(|w| w["name"] == name && w["peer"].is_null())
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

fn per_sample(workload: &Value, seconds: f64) -> f64 {
    seconds / workload["sample_count"].as_f64().unwrap_or(f64::NAN)
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
        let workloads = device["workloads"].as_array().unwrap_or(&none);
        for workload in workloads.iter().filter(|w| w["peer"].is_null()) {
            text += &line(device, &devices[0], workload, earlier);
            let name = &workload["name"];
            let peers = workloads.iter().filter(|w| !w["peer"].is_null() && w["name"] == *name);
            peers.for_each(|peer| text += &peer_line(workload, peer));
        }
    }
    text + &peers_line(&run["peers"])
}

/// Where the peers ran, and what they refused.
fn peers_line(peers: &Value) -> String {
    if peers.is_null() {
        return String::new();
    }
    let mut text = format!("peers ran on {}: {}\n", peers["device"].as_str().unwrap_or_default(), peers["versions"]);
    let refused = peers["refused"].as_array().into_iter().flatten().filter_map(Value::as_str);
    refused.for_each(|why| text += &format!("refused: {why}\n"));
    text
}

/// A peer under ours: its time, its error, and how many times as fast ours is.
fn peer_line(ours: &Value, peer: &Value) -> String {
    let theirs = median_seconds(peer).unwrap_or(f64::NAN);
    let ratio = |ours_seconds: f64| per_sample(peer, theirs) / per_sample(ours, ours_seconds);
    let mse = peer["mse"].as_f64().map_or(String::new(), |mse| format!("{mse:.4e}"));
    let kernels = ours["kernel_seconds"].as_f64().map_or(String::new(), |seconds| {
        let without = ours["kernels_leave_out"].as_str().map_or(String::new(), |what| format!(" without {what}"));
        format!(", kernels{without} {:.2} ×", ratio(seconds))
    });
    let (name, clock) =
        (format!("  {}", peer["peer"].as_str().unwrap_or_default()), ratio(median_seconds(ours).unwrap_or(f64::NAN)));
    let rate = 1e-6 / per_sample(peer, theirs);
    format!(
        "{name:<28} {:>10.2} {rate:>10.1} {:>10} {:>8} {mse:>11} ours {clock:.2} × as fast by the clock{kernels}\n",
        1e3 * theirs,
        "",
        ""
    )
}

fn line(device: &Value, cpu: &Value, workload: &Value, earlier: Option<&Value>) -> String {
    let name = workload["name"].as_str().unwrap_or_default();
    let seconds = median_seconds(workload).unwrap_or(f64::NAN);
    let rate = workload["sample_count"].as_f64().unwrap_or(f64::NAN) / seconds / 1e6;
    let kernel = workload["kernel_seconds"].as_f64().map_or("-".into(), |s| format!("{:.2}", 1e3 * s));
    let share = share_of_copy(device, workload);
    let shown = share.map_or("-".into(), |share| format!("{:.1} %", 100.0 * share));
    let mse = workload["mse"].as_f64().map_or(String::new(), |mse| format!("{mse:.4e}"));
    // A copy is as long as a piece of the matrix, so that seconds of a sample are compared.
    let of_cpu = self::workload(cpu, name).and_then(|w| Some(per_sample(w, median_seconds(w)?)));
    let of_cpu = of_cpu.map(|cpu| cpu / per_sample(workload, seconds));
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

    #[test]
    fn a_peer_is_compared_with_the_workload_above_it() {
        let ours = json!({"name": "w", "sample_count": 1000, "seconds": [2.0], "kernel_seconds": 0.5,
            "kernels_leave_out": "sums"});
        let peer = json!({"name": "w", "peer": "torch", "sample_count": 500, "seconds": [3.0, 1.0, 9.0], "mse": 0.25});
        let device = json!({"device": "gpu", "workloads": [peer, ours]});
        let peers = json!({"device": "the processor", "refused": ["flash-kmeans: no CUDA"]});
        let text = table(&json!({"devices": [device], "peers": peers}), None);
        assert!(text.contains("ours 3.00 × as fast by the clock, kernels without sums 12.00 ×"), "{text}");
        assert!(text.contains("peers ran on the processor") && text.ends_with("refused: flash-kmeans: no CUDA\n"));
        assert_eq!(text.lines().count(), 6, "{text}");
    }
}
