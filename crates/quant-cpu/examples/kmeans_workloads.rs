//! k-means beside its peers, on the standing workloads, codes included.
//!
//! `cargo run --release -p quant-cpu --example kmeans_workloads -- [--threads N] [--rounds N] [--python PATH]
//! [--only WORD]`
//!
//! W1 is one tensor of 16,777,216 samples N(0, 1) in three formats at 16 levels, and 1,048,576 samples at 16 and 256;
//! W2 is 4096 rows of 4096 samples with weights χ²₁ at 8 and 16 levels, and of 11,008 samples at 16 (a layer as
//! SqueezeLLM quantizes it, beside scikit-learn called as its script does); W3 is 10 of Lloyd's steps from one start for
//! 1,000,000 points of dimension 8 with 256 codevectors, and 3 steps for 131,072 points of dimension 128 with 1024.
//! `--only` picks workloads by a word of their name. Seconds are medians. With `--python` the peers
//! that can be imported there run on the same data in the same rounds: flash1dkmeans, kmeans1d over distinct values (as
//! coremltools does), ckwrap, scikit-learn and faiss (with its OpenBLAS told which processor it runs on). Whoever has its
//! turn runs twice and the second run counts, so that nobody pays for what another left in caches and pages; a request
//! of more than 5 s is made once a round, of more than 20 s once. `best` is the fastest run, `excess` the MSE over the least
//! ever seen. Behind our lines of W2 stands how far some rows are above what a programme of another kind finds in f64.

#[path = "../../quant-core/tests/wu/mod.rs"]
mod wu;

use half::{bf16, f16};
use quant_core::backend::{Backend, Encoding};
use quant_core::codebook::Codebooks;
use quant_core::codes::BitWidth;
use quant_core::conformance::cases::Noise;
use quant_core::design::certified::fit_finite;
use quant_core::design::vector::Points;
use quant_core::grouping::{GroupLength, Grouping};
use quant_core::tensor::{Matrix, Samples};
use quant_cpu::{Cpu, CpuOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

/// What a run tells: seconds, mean squared error over the weights, certificate.
struct Run {
    seconds: f64,
    /// Of all threads together; none where it is not known.
    processor_seconds: Option<f64>,
    mse: f64,
    note: String,
}

/// A clock, and what this process has used of all processors, in steps of 10 ms.
struct Stopwatch(Instant, Option<f64>);

impl Stopwatch {
    fn start() -> Self {
        Self(Instant::now(), Self::processor_seconds())
    }

    /// User and system time in `/proc/self/stat`, where there is such a file; in hundredths of a second on Linux.
    fn processor_seconds() -> Option<f64> {
        let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
        let mut fields = stat.rsplit(')').next()?.split_whitespace().skip(11).map(str::parse::<f64>);
        Some((fields.next()?.ok()? + fields.next()?.ok()?) / 100.0)
    }

    fn run(self, mse: f64, note: String) -> Run {
        let processor_seconds = self.1.zip(Self::processor_seconds()).map(|(start, end)| end - start);
        Run { seconds: self.0.elapsed().as_secs_f64(), processor_seconds, mse, note }
    }
}

struct Peer {
    process: Child,
    answers: BufReader<std::process::ChildStdout>,
}

impl Peer {
    fn start(python: &Path, folder: &Path, threads: usize) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/kmeans_peers.py");
        let mut process = Command::new(python)
            .arg(script)
            .arg(folder)
            .env("OMP_NUM_THREADS", threads.to_string())
            .env("NUMBA_NUM_THREADS", threads.to_string())
            // The OpenBLAS of faiss takes new processors for one of 2004, and runs at a quarter of its speed.
            .env("OPENBLAS_CORETYPE", "SkylakeX")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the Python interpreter starts");
        let answers = BufReader::new(process.stdout.take().expect("piped"));
        Self { process, answers }
    }

    /// Asks for one run; none where the peer is not installed or refuses.
    fn ask(&mut self, request: &str) -> Option<Run> {
        writeln!(self.process.stdin.as_mut().expect("piped"), "{request}").ok()?;
        let mut line = String::new();
        self.answers.read_line(&mut line).ok()?;
        let mut words = line.split_whitespace().map(str::parse::<f64>);
        match (words.next()?, words.next()?) {
            (Ok(seconds), Ok(mse)) => {
                let processor_seconds = words.next().and_then(Result::ok);
                Some(Run { seconds, processor_seconds, mse, note: String::new() })
            }
            _ => {
                eprintln!("{request}: {}", line.trim());
                None
            }
        }
    }
}

/// Codes of 8 bits at most, into a buffer that is there already.
fn encode(cpu: &Cpu, matrix: Matrix<'_>, codebooks: &Codebooks, packed: &mut [u8]) {
    let bits = codebooks.level_count().next_power_of_two().ilog2().max(1);
    let encoding = Encoding {
        bit_width: BitWidth::new(bits).expect("at most 256 levels"),
        grouping: Grouping::new(matrix.rows(), matrix.columns(), GroupLength::Row),
        scales: None,
        codebooks,
    };
    let Ok(()) = cpu.encode(matrix, &encoding, &mut packed[..encoding.codes_len_bytes()]);
}

fn whole(cpu: &Cpu, samples: Samples<'_>, level_count: usize) -> Run {
    let matrix = Matrix::new(samples, 1, samples.len()).expect("one row");
    let mut packed = vec![1; samples.len()];
    let watch = Stopwatch::start();
    let Ok(fit) = fit_finite(cpu, matrix, level_count);
    let levels: Vec<f32> = fit.levels.iter().map(|&y| y as f32).collect();
    encode(cpu, matrix, &Codebooks::from_levels(level_count, [levels]), &mut packed);
    let note = if fit.certified { "certified".into() } else { format!("gap {:.1e}", fit.gap) };
    let run = watch.run(fit.mse, note);
    std::hint::black_box(packed);
    run
}

/// The error is that of every `stride`-th row.
fn rows(cpu: &Cpu, samples: &[f32], weights: &[f32], columns: usize, (level_count, stride): (usize, usize)) -> Run {
    let matrix = Matrix::new(Samples::F32(samples), samples.len() / columns, columns).expect("whole rows");
    let mut packed = vec![1; samples.len()];
    let watch = Stopwatch::start();
    let Ok(codebooks) = cpu.fit_rows(matrix, None, Some(weights), level_count);
    encode(cpu, matrix, &codebooks, &mut packed);
    let run = watch.run(0.0, String::new());
    std::hint::black_box(packed);
    let (mse, excess) = (
        rows_mse(samples, weights, columns, &codebooks, stride),
        rows_excess(samples, weights, columns, &codebooks, level_count),
    );
    Run { mse, note: format!("{COMPARED_ROWS} rows at most {excess:.1e} above the least"), ..run }
}

/// Rows that are compared with a programme of another kind, evenly spaced.
const COMPARED_ROWS: usize = 8;

/// How far the dearest of those rows is above what [`wu`] finds in f64, as a share of that.
fn rows_excess(samples: &[f32], weights: &[f32], columns: usize, codebooks: &Codebooks, level_count: usize) -> f64 {
    let row_count = samples.len() / columns;
    let excess = |row: usize| {
        let of_row = row * columns..(row + 1) * columns;
        let (x, w) = (&samples[of_row.clone()], &weights[of_row]);
        let points = x.iter().zip(w).map(|(&x, &w)| (f64::from(x), f64::from(w))).collect();
        row_cost(row, x, w, codebooks) / wu::least_cost(points, level_count) - 1.0
    };
    (0..row_count).step_by(row_count.div_ceil(COMPARED_ROWS)).map(excess).fold(0.0, f64::max)
}

/// Σ w (x − nearest level)² of a row.
fn row_cost(row: usize, x: &[f32], w: &[f32], codebooks: &Codebooks) -> f64 {
    let (levels, thresholds) = (codebooks.levels(row), codebooks.thresholds(row));
    let error = |x: f32| f64::from(x) - f64::from(levels[thresholds.partition_point(|&t| t < x)]);
    x.iter().zip(w).map(|(&x, &w)| f64::from(w) * error(x).powi(2)).sum()
}

/// Some of Lloyd's steps from the first points on, and the mean squared error that the last codevectors leave.
fn vectors(cpu: &Cpu, samples: &[f32], dimension: usize, codevector_count: usize, steps: usize) -> Run {
    let points = Points::new(samples, dimension).expect("finite samples");
    let watch = Stopwatch::start();
    let mut codevectors = samples[..codevector_count * dimension].to_vec();
    let mut codes = vec![0; points.len()];
    for _ in 0..steps {
        let own = Points::new(&codevectors, dimension).expect("finite centroids");
        let Ok(cells) = cpu.vector_cells(points, None, own, &mut codes);
        for (code, y) in codevectors.chunks_exact_mut(dimension).enumerate().filter(|(c, _)| cells.weights[*c] > 0.0) {
            y.iter_mut().zip(cells.sum(code)).for_each(|(y, sum)| *y = (sum / cells.weights[code]) as f32);
        }
    }
    let run = watch.run(0.0, String::new());
    let own = Points::new(&codevectors, dimension).expect("finite centroids");
    let Ok(cells) = cpu.vector_cells(points, None, own, &mut codes);
    let mse = cells.cost(points.energy(), own) / samples.len() as f64;
    let operations = 2e-9 * (samples.len() * codevector_count * steps) as f64;
    let rate = run.processor_seconds.map_or(0.0, |seconds| operations / seconds);
    Run { mse, note: format!("{rate:.0} GFLOP per processor second"), ..run }
}

/// Mean over every `stride`-th row of Σ w (x − nearest level)² / Σ w.
fn rows_mse(samples: &[f32], weights: &[f32], columns: usize, codebooks: &Codebooks, stride: usize) -> f64 {
    let of_row = |(row, (x, w)): (usize, (&[f32], &[f32]))| {
        row_cost(row, x, w, codebooks) / w.iter().map(|&w| f64::from(w)).sum::<f64>()
    };
    let pairs = samples.chunks(columns).zip(weights.chunks(columns));
    pairs.enumerate().step_by(stride).map(of_row).sum::<f64>() / (samples.len() / columns).div_ceil(stride) as f64
}

fn median(mut seconds: Vec<f64>) -> f64 {
    seconds.sort_by(f64::total_cmp);
    seconds[seconds.len() / 2]
}

/// What all comparisons share.
struct Comparison<'a> {
    rounds: usize,
    only: &'a str,
    peer: Option<Peer>,
}

impl Comparison<'_> {
    /// Runs ours and the peers in turn and prints a line for each.
    fn run(&mut self, name: &str, ours: impl Fn() -> Run, requests: &[(&str, String)]) {
        if name.contains(self.only) {
            compare(name, self.rounds, ours, self.peer.as_mut(), requests);
        }
    }
}

fn compare(name: &str, rounds: usize, ours: impl Fn() -> Run, peer: Option<&mut Peer>, requests: &[(&str, String)]) {
    let mut runs: Vec<Vec<Run>> = requests.iter().map(|_| Vec::new()).collect();
    let mut own = Vec::new();
    let (mut peer, mut slow) = (peer, Vec::new());
    for _ in 0..rounds {
        // The first of two runs pays for what others left in the caches: of ours the second counts, and of peers.
        ours();
        own.push(ours());
        for ((_, request), runs) in requests.iter().zip(&mut runs) {
            let Some(peer) = peer.as_deref_mut().filter(|_| !slow.contains(request)) else { continue };
            let asked = Instant::now();
            let first = peer.ask(request);
            let is_short = asked.elapsed().as_secs_f64() < 5.0;
            runs.extend(if is_short { peer.ask(request).or(first) } else { first });
            if asked.elapsed().as_secs_f64() > 20.0 {
                slow.push(request.clone());
            }
        }
    }
    let least = runs.iter().flatten().chain(&own).map(|run| run.mse).fold(f64::INFINITY, f64::min);
    let note = own[0].note.clone();
    let (seconds, best) = line(name, "ours", &own, least);
    println!(" {note}");
    for ((peer, _), runs) in requests.iter().zip(runs).filter(|(_, runs)| !runs.is_empty()) {
        let (theirs, their_best) = line(name, peer, &runs, least);
        println!(" {:.1} × median, {:.1} × best, {} runs", theirs / seconds, their_best / best, runs.len());
    }
}

/// Prints what is common to all lines; the median and the least of the seconds.
fn line(name: &str, who: &str, runs: &[Run], least: f64) -> (f64, f64) {
    let seconds = || runs.iter().map(|run| run.seconds);
    let (median, best) = (median(seconds().collect()), seconds().fold(f64::INFINITY, f64::min));
    let (mse, excess) = (runs[0].mse, runs[0].mse / least - 1.0);
    let processor = runs.iter().filter_map(|run| run.processor_seconds).fold(f64::INFINITY, f64::min);
    print!("{name:<20} {who:<25} {median:>8.4} s {best:>8.4} s best, {processor:>7.2} s of processors");
    print!(" {mse:>13.6e} {excess:>8.1e}");
    (median, best)
}

/// Rows that scikit-learn fits, evenly spaced; its time is scaled to all.
const SKLEARN_ROWS: usize = 256;

/// A layer of 4096 × 11,008 weights with a sensitivity each, as SqueezeLLM's recipe takes it.
fn wide_rows(cpu: &Cpu, comparison: &mut Comparison<'_>, folder: &Path, threads: usize) {
    let (name, rows_count, columns) = ("W2 4096 × 11008 k=16", 4096, 11_008);
    if !name.contains(comparison.only) {
        return;
    }
    let mut noise = Noise(12);
    let samples: Vec<f32> = (0..rows_count * columns).map(|_| 0.02 * noise.normal()).collect();
    let weights: Vec<f32> = (0..rows_count * columns).map(|_| noise.normal().powi(2)).collect();
    if comparison.peer.is_some() {
        let shape = format!("{rows_count}, {columns}");
        write_npy(&folder.join("wide_rows.npy"), "<f4", &shape, bytemuck::cast_slice(&samples));
        write_npy(&folder.join("wide_weights.npy"), "<f4", &shape, bytemuck::cast_slice(&weights));
    }
    let requests = [("scikit-learn, 256 scaled", format!("sklearn_rows {threads} {SKLEARN_ROWS}"))];
    comparison.run(name, || rows(cpu, &samples, &weights, columns, (16, rows_count / SKLEARN_ROWS)), &requests);
}

/// Writes a little-endian array of numpy's format 1.0.
fn write_npy(path: &Path, kind: &str, shape: &str, bytes: &[u8]) {
    let mut header = format!("{{'descr': '{kind}', 'fortran_order': False, 'shape': ({shape}), }}");
    header.push_str(&" ".repeat((64 - (header.len() + 11) % 64) % 64));
    header.push('\n');
    let mut file = b"\x93NUMPY\x01\x00".to_vec();
    file.extend((header.len() as u16).to_le_bytes());
    file.extend(header.as_bytes());
    file.extend(bytes);
    std::fs::write(path, file).expect("the temporary folder can be written");
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let value = |name: &str| args.iter().position(|a| a == name).and_then(|i| args.get(i + 1));
    let number = |name: &str, or: usize| value(name).map_or(or, |v| v.parse().expect("a number"));
    let (threads, rounds) = (number("--threads", 2), number("--rounds", 5));
    let only = value("--only").map_or("", String::as_str);
    let cpu = Cpu::new(CpuOptions { threads: Some(threads), ..Default::default() }).expect("a CPU");
    let mut noise = Noise(11);
    let x: Vec<f32> = (0..1 << 24).map(|_| noise.normal()).collect();
    let few = &x[..1 << 20];
    let row_samples: Vec<f32> = x.iter().map(|x| 0.02 * x).collect();
    let weights: Vec<f32> = (0..1 << 24).map(|_| noise.normal().powi(2)).collect();
    let folder: PathBuf = std::env::temp_dir().join(format!("kmeans_workloads_{}", std::process::id()));
    let peer = value("--python").map(|python| {
        std::fs::create_dir_all(&folder).expect("a temporary folder");
        write_npy(&folder.join("x.npy"), "<f4", "16777216,", bytemuck::cast_slice(&x));
        write_npy(&folder.join("rows.npy"), "<f4", "4096, 4096", bytemuck::cast_slice(&row_samples));
        write_npy(&folder.join("weights.npy"), "<f4", "4096, 4096", bytemuck::cast_slice(&weights));
        Peer::start(Path::new(python), &folder, threads)
    });
    let mut comparison = Comparison { rounds, only, peer };
    println!("{}", cpu.name());
    let f16s: Vec<f16> = x.iter().map(|&x| f16::from_f32(x)).collect();
    let bf16s: Vec<bf16> = x.iter().map(|&x| bf16::from_f32(x)).collect();
    let requests = |list: &[(&'static str, &str)], tail: &str| -> Vec<(&str, String)> {
        list.iter().map(|(name, verb)| (*name, format!("{verb} {tail}"))).collect()
    };
    let peers_f32 = requests(&[("flash1dkmeans", "flash")], "16777216 16");
    comparison.run("W1 f32 16.7M k=16", || whole(&cpu, Samples::F32(&x), 16), &peers_f32);
    let peers_f16 = requests(&[("unique + kmeans1d", "unique")], "16777216 16");
    comparison.run("W1 f16 16.7M k=16", || whole(&cpu, Samples::F16(&f16s), 16), &peers_f16);
    comparison.run("W1 bf16 16.7M k=16", || whole(&cpu, Samples::Bf16(&bf16s), 16), &[]);
    let peers_few = requests(&[("flash1dkmeans", "flash"), ("ckwrap", "ckwrap")], "1048576 16");
    comparison.run("W1 f32 1M k=16", || whole(&cpu, Samples::F32(few), 16), &peers_few);
    for level_count in [8, 16] {
        let requests = [
            ("flash1dkmeans × processes", format!("flash_rows {threads} {level_count}")),
            ("flash1dkmeans, 1 process", format!("flash_rows 1 {level_count}")),
            ("ckwrap, 32 rows scaled", format!("ckwrap_rows {threads} {level_count}")),
        ];
        let ours = || rows(&cpu, &row_samples, &weights, 4096, (level_count, 1));
        comparison.run(&format!("W2 4096 × 4096 k={level_count}"), ours, &requests);
    }
    wide_rows(&cpu, &mut comparison, &folder, threads);
    let peers_many = requests(&[("flash1dkmeans", "flash"), ("ckwrap", "ckwrap")], "1048576 256");
    comparison.run("W1 f32 1M k=256", || whole(&cpu, Samples::F32(few), 256), &peers_many);
    for (dimension, level_count, steps) in [(8, 256, 10), (128, 1024, 3)] {
        let samples = if dimension == 8 { &x[..8_000_000] } else { &x[..] };
        let name = format!("W3 d={dimension} k={level_count}");
        let request = [("faiss", format!("faiss_{dimension} {steps} {level_count}"))];
        comparison.run(&name, || vectors(&cpu, samples, dimension, level_count, steps), &request);
    }
    if let Some(mut peer) = comparison.peer {
        drop(peer.process.stdin.take());
        let _ = peer.process.wait();
        let _ = std::fs::remove_dir_all(&folder);
    }
}
