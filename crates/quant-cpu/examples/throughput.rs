//! Weights per second of each verb, beside a copy of the same samples in the same run.
//!
//! `cargo run --release -p quant-cpu --example throughput -- [threads] [level] [rounds] [verb]`
//!
//! Rounds are interleaved and medians are shown: `Mw/s` by the clock, `/core` per second of processor time (which a
//! busy machine disturbs less), and `copy`, the processor time of a copy of the samples by the same threads divided by
//! that of the verb: 1.0 is as cheap as a copy. `best` is the best round of `/core`.

use half::{bf16, f16};
use quant_core::backend::{Backend, Encoding, SamplesMut};
use quant_core::codebook::Codebooks;
use quant_core::codes::BitWidth;
use quant_core::conformance::cases::Noise;
use quant_core::design::normal_float::NF4_LEVELS;
use quant_core::grouping::{GroupLength, Grouping};
use quant_core::scale::ScaleSearch;
use quant_core::tensor::{Dtype, Matrix, Samples};
use quant_cpu::{Cpu, CpuOptions, SimdLevel};
use rayon::prelude::*;
use std::cell::RefCell;
use std::time::Instant;

const ROWS: usize = 4096;
const COLUMNS: usize = 4096;

struct Setting {
    cpu: Cpu,
    pool: rayon::ThreadPool,
    f32s: Vec<f32>,
    bf16s: Vec<bf16>,
    f16s: Vec<f16>,
    codebooks: Codebooks,
    grouping: Grouping,
    scales: RefCell<Vec<f32>>,
    packed: RefCell<Vec<u8>>,
    decoded: RefCell<Vec<f32>>,
}

impl Setting {
    fn new(threads: usize, level: Option<SimdLevel>) -> Self {
        let cpu = Cpu::new(CpuOptions { threads: Some(threads), level, ..Default::default() }).expect("a CPU");
        let mut noise = Noise(7);
        let f32s: Vec<f32> = (0..ROWS * COLUMNS).map(|_| 0.02 * noise.normal()).collect();
        let grouping = Grouping::new(ROWS, COLUMNS, GroupLength::Samples(64));
        Self {
            cpu,
            pool: rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads"),
            bf16s: f32s.iter().map(|&x| bf16::from_f32(x)).collect(),
            f16s: f32s.iter().map(|&x| f16::from_f32(x)).collect(),
            f32s,
            codebooks: Codebooks::from_levels(16, [NF4_LEVELS]),
            grouping,
            scales: RefCell::new(vec![1.0; grouping.group_count()]),
            packed: RefCell::new(vec![1; ROWS * COLUMNS / 2]),
            decoded: RefCell::new(vec![1.0; ROWS * COLUMNS]),
        }
    }

    fn matrix(&self, dtype: Dtype) -> Matrix<'_> {
        let samples = match dtype {
            Dtype::F32 => Samples::F32(&self.f32s),
            Dtype::F16 => Samples::F16(&self.f16s),
            Dtype::Bf16 => Samples::Bf16(&self.bf16s),
        };
        Matrix::new(samples, ROWS, COLUMNS).expect("rows × columns samples")
    }

    fn copy(&self, len_bytes: usize) {
        let mut to = self.decoded.borrow_mut();
        let to = &mut bytemuck::cast_slice_mut::<f32, u8>(&mut to)[..len_bytes];
        let from = &bytemuck::cast_slice::<f32, u8>(&self.f32s)[..len_bytes];
        let step = 1 << 18;
        let copy = |(to, from): (&mut [u8], &[u8])| to.copy_from_slice(from);
        self.pool.install(|| to.par_chunks_mut(step).zip(from.par_chunks(step)).for_each(copy));
    }

    fn with_encoding<R>(&self, run: impl FnOnce(&Encoding<'_>) -> R) -> R {
        let scales = self.scales.borrow();
        let bit_width = BitWidth::new(4).expect("4 is allowed");
        run(&Encoding { bit_width, grouping: self.grouping, scales: Some(&scales), codebooks: &self.codebooks })
    }

    fn absmax(&self, dtype: Dtype) {
        let mut scales = self.scales.borrow_mut();
        let Ok(()) = self.cpu.absmax_scales(self.matrix(dtype), self.grouping, 1.0, &mut scales);
    }

    fn search(&self, dtype: Dtype) {
        let mut scales = self.scales.borrow_mut();
        let search = ScaleSearch::new(&self.codebooks, self.grouping.length(), true);
        let Ok(()) = self.cpu.search_scales(self.matrix(dtype), self.grouping, &search, &mut scales);
    }

    fn encode(&self, dtype: Dtype) {
        let mut packed = self.packed.borrow_mut();
        self.with_encoding(|encoding| {
            let Ok(()) = self.cpu.encode(self.matrix(dtype), encoding, &mut packed);
        });
    }

    fn decode(&self, dtype: Dtype) {
        let (packed, mut decoded) = (self.packed.borrow(), self.decoded.borrow_mut());
        let bytes = &mut bytemuck::cast_slice_mut(&mut decoded)[..ROWS * COLUMNS * dtype.byte_len()];
        let mut to = SamplesMut::from_bytes(bytes, dtype).expect("aligned");
        self.with_encoding(|encoding| {
            let Ok(()) = self.cpu.decode(&packed, encoding, &mut to);
        });
    }

    fn distortion(&self, dtype: Dtype) -> f64 {
        let packed = self.packed.borrow();
        self.with_encoding(|encoding| {
            let Ok(sums) = self.cpu.distortion(self.matrix(dtype), encoding, &packed);
            sums.sqnr_db()
        })
    }

    fn run(&self, verb: &str, dtype: Dtype) -> String {
        match verb {
            "absmax_scales" => self.absmax(dtype),
            "search_scales signed" => self.search(dtype),
            "encode nf4" => self.encode(dtype),
            "absmax + encode nf4" => {
                self.absmax(dtype);
                self.encode(dtype);
            }
            "decode nf4" => self.decode(dtype),
            "distortion" => return format!("{:.3} dB", self.distortion(dtype)),
            "value_histogram" => {
                let Ok(counts) = self.cpu.value_histogram(self.matrix(dtype).samples());
                return format!("{} values", counts.iter().filter(|&&n| n > 0).count());
            }
            "first_not_finite" => {
                let Ok(found) = self.cpu.first_not_finite(self.matrix(dtype).samples());
                assert!(found.is_none());
            }
            _ => unreachable!("a verb of the list"),
        }
        String::new()
    }
}

fn median(mut seconds: Vec<f64>) -> f64 {
    seconds.sort_by(f64::total_cmp);
    seconds[seconds.len() / 2]
}

/// Seconds by the clock and of processor time.
fn seconds(run: impl FnOnce()) -> (f64, f64) {
    let (start, start_busy) = (Instant::now(), busy_seconds());
    run();
    let clock = start.elapsed().as_secs_f64();
    (clock, start_busy.zip(busy_seconds()).map_or(clock, |(before, after)| after - before))
}

/// Processor time of all threads, where the system tells it in nanoseconds.
fn busy_seconds() -> Option<f64> {
    let nanoseconds = |task: std::fs::DirEntry| {
        let text = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
        text.split(' ').next()?.parse::<f64>().ok()
    };
    let tasks = std::fs::read_dir("/proc/self/task").ok()?;
    Some(tasks.filter_map(|task| nanoseconds(task.ok()?)).sum::<f64>() / 1e9)
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let threads = args.first().map_or(2, |a| a.parse().expect("a thread count"));
    let level = args.get(1).and_then(|a| SimdLevel::ALL.into_iter().find(|level| level.to_string() == *a));
    let rounds = args.get(2).map_or(7, |a| a.parse().expect("a round count"));
    let setting = Setting::new(threads, level);
    println!("{}, {ROWS} × {COLUMNS} samples N(0, 0.02²), NF4, groups of 64", setting.cpu.name());
    let verbs = [
        ("first_not_finite", vec![Dtype::F32, Dtype::Bf16]),
        ("absmax_scales", vec![Dtype::F32, Dtype::F16, Dtype::Bf16]),
        ("encode nf4", vec![Dtype::F32, Dtype::F16, Dtype::Bf16]),
        ("absmax + encode nf4", vec![Dtype::F32, Dtype::Bf16]),
        ("decode nf4", vec![Dtype::F32, Dtype::F16, Dtype::Bf16]),
        ("distortion", vec![Dtype::F32, Dtype::F16, Dtype::Bf16]),
        ("search_scales signed", vec![Dtype::F32, Dtype::Bf16]),
        ("encode nf4", vec![Dtype::F32]),
        ("distortion", vec![Dtype::F32]),
        ("value_histogram", vec![Dtype::F16, Dtype::Bf16]),
    ];
    let wanted = |verb: &str| args.get(3).is_none_or(|name| verb.contains(name.as_str()));
    let list: Vec<_> = verbs
        .iter()
        .filter(|(verb, _)| wanted(verb))
        .flat_map(|(verb, dtypes)| dtypes.iter().map(move |&d| (*verb, d)))
        .collect();
    let mut times = vec![(Vec::new(), Vec::new(), String::new()); list.len()];
    for _ in 0..rounds {
        for ((verb, dtype), (ours, copies, note)) in list.iter().zip(&mut times) {
            copies.push(seconds(|| setting.copy(ROWS * COLUMNS * dtype.byte_len())));
            ours.push(seconds(|| *note = setting.run(verb, *dtype)));
        }
    }
    println!("{:<22} {:<5} {:>8} {:>8} {:>8} {:>6}", "verb", "from", "Mw/s", "/core", "best", "copy");
    for ((verb, dtype), (ours, copies, note)) in list.iter().zip(times) {
        let (clock, busy): (Vec<_>, Vec<_>) = ours.into_iter().unzip();
        let best = busy.iter().copied().fold(f64::INFINITY, f64::min);
        let (clock, busy) = (median(clock), median(busy));
        let copy = median(copies.iter().map(|c| c.1).collect());
        let rate = |seconds: f64| (ROWS * COLUMNS) as f64 / seconds / 1e6;
        let (name, ratio) = (dtype.name(), copy / busy);
        let (clock, busy, best) = (rate(clock), rate(busy), rate(best));
        println!("{verb:<22} {name:<5} {clock:>8.0} {busy:>8.0} {best:>8.0} {ratio:>6.2} {note}");
    }
}
