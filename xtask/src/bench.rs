//! How fast is it, as a share of what the machine can copy?

use crate::{bench_checkpoint, bench_devices, bench_peers, shell};
use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use std::path::PathBuf;

/// Measure the kernels against memory copy and against multiply-adds in registers
///
/// Runs the workloads of benches/ in interleaved rounds, after checking their results against the scalar reference, and
/// prints time beside quality. Claims are ratios taken within one run: "bound" is the share of the copy's bytes per
/// second, each sample counted once read and once written, or of the multiply-adds per second where `FMA` stands behind
/// it. "excess" is the most that the MSE can be above the least possible. At last a checkpoint is quantized as a whole and
/// in parts: `--checkpoint`, or a synthetic one.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example: cargo xtask bench --save before\n         cargo xtask bench --against before --only nf4\n         \
                  cargo xtask bench --devices --rounds 11 --rows 262144 --checkpoint synthetic:13312\n         \
                  cargo xtask bench --devices --peers --python ~/env/bin/python\n         \
                  cargo xtask bench --peers --python ~/env/bin/python --only 'W3 d=8'"
)]
pub struct Options {
    /// Rounds; each runs every workload once. 11 by default, and 3 for a checkpoint, which takes 5 at most: one round of it
    /// is a whole run and its three parts
    #[arg(long, value_name = "N")]
    rounds: Option<usize>,
    /// Threads; as many as the machine has by default
    #[arg(long, default_value_t = 0, hide_default_value = true)]
    pub threads: usize,
    /// Run only workloads whose name contains this; may be repeated
    #[arg(long, value_name = "WORD")]
    pub only: Vec<String>,
    /// Write the figures to benches/records/NAME.json; with --peers, and without --devices, commands and what they printed to
    /// benches/records/NAME.txt
    #[arg(long, value_name = "NAME")]
    pub save: Option<String>,
    /// Compare with benches/records/NAME.json; not for --peers without --devices
    #[arg(long, value_name = "NAME")]
    pub against: Option<String>,
    /// Measure the processor and every GPU adapter on the same workloads
    #[arg(long)]
    devices: bool,
    /// Rows of 4096 samples, with --devices; the host needs 52 KiB for each. 16384 leave the caches of a GPU, 262144 are a
    /// billion samples
    #[arg(long, value_name = "N", default_value_t = 1024)]
    pub rows: usize,
    /// MiB of the pieces that GPUs get, with --devices; a checkpoint is cut as ever
    #[arg(long, value_name = "MIB", default_value_t = 256)]
    pub chunk: usize,
    /// Quantize this checkpoint from end to end beside its parts alone; `synthetic:MIB` is a file of bf16 noise, and 13312
    /// of a size with 7 billion weights. With --devices on each device, and may be repeated
    #[arg(long, value_name = "MODEL")]
    pub checkpoint: Vec<PathBuf>,
    /// Run W1 to W3 beside the Python packages that solve the same; with --devices its workloads, beside those on GPUs
    #[arg(long)]
    pub peers: bool,
    /// The Python that has them
    #[arg(long, value_name = "PATH", default_value = "python3")]
    pub python: PathBuf,
}

impl Options {
    /// Rounds of workloads that take a moment each.
    pub fn rounds(&self) -> usize {
        self.rounds.unwrap_or(11)
    }

    /// Rounds of a whole checkpoint: 3 have a median, and at 13 GB one takes minutes.
    pub fn checkpoint_rounds(&self) -> usize {
        self.rounds.map_or(3, |rounds| rounds.min(5))
    }
}

/// One workload of one run.
#[derive(Debug)]
struct Figures {
    name: String,
    /// Median seconds, fastest and slowest.
    median: f64,
    fastest: f64,
    slowest: f64,
    sample_count: f64,
    /// Share of the bytes per second of the memory copy of the same run, or of its multiply-adds per second.
    of_bound: f64,
    /// Whether it is the latter.
    is_of_multiply_adds: bool,
    mse: Option<f64>,
    excess_max: Option<f64>,
    sqnr_db: Option<f64>,
}

/// Measures, prints, saves, compares.
pub fn run(options: &Options) -> Result<()> {
    if options.devices {
        return bench_devices::run(options);
    }
    if options.peers {
        return bench_peers::run(options);
    }
    let earlier = options.against.as_ref().map(|name| read(name)).transpose()?;
    let (rounds, threads) = (options.rounds().to_string(), options.threads.to_string());
    let build = ["run", "--release", "--locked", "--quiet", "-p", "quant-benches", "--bin", "workloads", "--"];
    let mut workloads = shell::cargo(&build);
    let output = shell::capture(workloads.arg(rounds).arg(threads).args(&options.only))?;
    let mut run: Value = serde_json::from_str(&output).context("the workloads printed no JSON")?;
    run["checkpoint"] = bench_checkpoint::run(options)?;
    let figures = figures(&run)?;
    println!("{}, {} rounds", run["device"].as_str().unwrap_or("unknown device"), options.rounds());
    print!("{}", table(&figures));
    print!("{}", bench_checkpoint::table(&run["checkpoint"]));
    if let Some(earlier) = earlier {
        print!("{}", comparison(&figures, &earlier));
    }
    if let Some(name) = &options.save {
        let rounds = options.rounds.map_or(String::new(), |rounds| format!(" --rounds {rounds}"));
        run["command"] = json!(format!("cargo xtask bench{rounds} --save {name}"));
        run["cpu"] = json!(cpu_model());
        let path = record_path(name);
        std::fs::create_dir_all(path.parent().expect("a record lies in a folder"))?;
        std::fs::write(&path, format!("{run:#}\n")).with_context(|| format!("cannot write {}", path.display()))?;
        println!("saved: benches/records/{name}.json");
    }
    Ok(())
}

/// Where the record of that name lies.
pub fn record_path(name: &str) -> PathBuf {
    shell::root().join("benches/records").join(format!("{name}.json"))
}

fn read(name: &str) -> Result<Vec<Figures>> {
    let path = record_path(name);
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    figures(&serde_json::from_str(&text).with_context(|| format!("{} is not JSON", path.display()))?)
}

/// What the machine calls its processor, where it tells.
fn cpu_model() -> Option<String> {
    let info = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = info.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split(':').nth(1)?.trim().to_owned())
}

/// The figures of a run, whose first workload is the memory copy and whose second is the multiply-adds.
fn figures(run: &Value) -> Result<Vec<Figures>> {
    let workloads = run["workloads"].as_array().context("a run has workloads")?;
    let mut list: Vec<Figures> = Vec::new();
    let (mut copy, mut multiply_adds) = (None, None);
    for workload in workloads {
        let mut seconds: Vec<f64> =
            workload["seconds"].as_array().into_iter().flatten().filter_map(Value::as_f64).collect();
        let (bytes, operations) = (workload["bytes_per_sample"].as_f64(), workload["operations"].as_f64());
        let (false, Some(sample_count)) = (seconds.is_empty(), workload["sample_count"].as_f64()) else {
            bail!("a workload lacks times or counts: {workload}");
        };
        seconds.sort_by(f64::total_cmp);
        let median = seconds[seconds.len() / 2];
        let of = |work: f64, bound: &mut Option<f64>| work / median / *bound.get_or_insert(work / median);
        let of_bound = match (operations, bytes) {
            (Some(operations), _) => of(operations, &mut multiply_adds),
            (None, Some(bytes)) => of(sample_count * bytes, &mut copy),
            _ => bail!("a workload has neither bytes nor operations: {workload}"),
        };
        list.push(Figures {
            name: workload["name"].as_str().unwrap_or_default().to_owned(),
            median,
            fastest: seconds[0],
            slowest: seconds[seconds.len() - 1],
            sample_count,
            of_bound,
            is_of_multiply_adds: operations.is_some(),
            mse: workload["mse"].as_f64(),
            excess_max: workload["excess_max"].as_f64(),
            sqnr_db: workload["sqnr_db"].as_f64(),
        });
    }
    Ok(list)
}

fn table(figures: &[Figures]) -> String {
    let mut text = format!(
        "{:<28} {:>10} {:>15} {:>9} {:>11} {:>10} {:>8} {:>7}\n",
        "workload", "median", "fastest–slowest", "Msample/s", "bound", "MSE", "excess", "SQNR"
    );
    let number = |value: Option<f64>, text: fn(f64) -> String| value.map_or(String::new(), text);
    for f in figures {
        let range = format!("{:.1}–{:.1}", 1e3 * f.fastest, 1e3 * f.slowest);
        let (mse, sqnr) = (number(f.mse, |x| format!("{x:.3e}")), number(f.sqnr_db, |x| format!("{x:.2}")));
        let excess = number(f.excess_max, |x| format!("{x:.0e}"));
        let (milliseconds, rate) = (1e3 * f.median, f.sample_count / f.median / 1e6);
        let bound = format!("{:.1} % {}", 100.0 * f.of_bound, if f.is_of_multiply_adds { "FMA" } else { "" });
        text += &format!(
            "{:<28} {milliseconds:>7.2} ms {range:>15} {rate:>9.1} {bound:>11} {mse:>10} {excess:>8} {sqnr:>7}\n",
            f.name
        );
    }
    text
}

/// How shares of the bounds changed: times of different runs are not comparable, shares are.
fn comparison(now: &[Figures], earlier: &[Figures]) -> String {
    let mut text = String::from("\nshare of the bound, now over earlier (above 1 is faster)\n");
    for f in now.iter().filter(|f| f.name != "memory copy" && f.name != "multiply-adds") {
        if let Some(before) = earlier.iter().find(|e| e.name == f.name) {
            let quality = match (f.sqnr_db, before.sqnr_db) {
                (Some(now), Some(before)) => format!("{:+.3} dB", now - before),
                _ => String::new(),
            };
            text += &format!("{:<28} {:>6.2} {quality:>12}\n", f.name, f.of_bound / before.of_bound);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{CommandFactory, Parser};

    fn run(seconds: f64) -> Value {
        json!({"workloads": [
            {"name": "memory copy", "sample_count": 1000, "bytes_per_sample": 8.0, "seconds": [1.0, 4.0, 2.0]},
            {"name": "multiply-adds", "sample_count": 1, "operations": 100.0, "seconds": [1.0]},
            {"name": "v", "sample_count": 5, "bytes_per_sample": 1.0, "operations": 100.0, "seconds": [4.0]},
            {"name": "w", "sample_count": 500, "bytes_per_sample": 4.0, "seconds": [seconds], "mse": 0.1, "sqnr_db": 10.0},
        ]})
    }

    #[test]
    fn shares_are_of_the_copy_in_the_same_run() {
        let figures = figures(&run(1.0)).expect("the run is complete");
        assert_eq!((figures[0].median, figures[0].of_bound), (2.0, 1.0));
        assert_eq!(figures[3].of_bound, 0.5);
        assert!(table(&figures).contains("50.0 %"));
    }

    #[test]
    fn work_bound_by_arithmetic_is_a_share_of_the_multiply_adds() {
        let figures = figures(&run(1.0)).expect("the run is complete");
        assert_eq!((figures[1].of_bound, figures[2].of_bound), (1.0, 0.25));
        assert!(table(&figures).contains("25.0 % FMA"));
    }

    #[test]
    fn a_comparison_is_of_shares() {
        let (now, earlier) = (figures(&run(0.5)).expect("complete"), figures(&run(1.0)).expect("complete"));
        assert!(comparison(&now, &earlier).contains("2.00    +0.000 dB"), "{}", comparison(&now, &earlier));
    }

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        options: Options,
    }

    #[test]
    fn a_checkpoint_takes_fewer_rounds_than_kernels_do() {
        let rounds = |line: &[&str]| {
            let options = Line::try_parse_from([&["bench"], line].concat()).expect("a line that bench takes").options;
            (options.rounds(), options.checkpoint_rounds())
        };
        assert_eq!(rounds(&["--only", "checkpoint"]), (11, 3));
        assert_eq!(rounds(&["--rounds", "11"]), (11, 5));
        assert_eq!(rounds(&["--rounds", "1"]), (1, 1));
        assert!(Line::command().render_long_help().to_string().contains("3 for a checkpoint"));
    }

    #[test]
    fn a_run_without_times_is_refused() {
        assert!(figures(&json!({"workloads": [{"name": "w", "seconds": []}]})).is_err());
    }
}
