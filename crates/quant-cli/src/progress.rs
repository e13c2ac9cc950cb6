//! How far a run has come: a bar on a terminal, plain lines elsewhere.

use std::io::{IsTerminal, stderr};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use quant::pipeline::Progress;
use quant::report::TensorReport;

use crate::table::size;

/// Time between plain lines.
const LINE_EVERY: Duration = Duration::from_secs(2);

/// Progress of a quantization: bytes, weights per second, time left, present tensor.
pub struct TerminalProgress {
    bar: ProgressBar,
    is_terminal: bool,
    state: Mutex<State>,
}

struct State {
    start: Instant,
    last_line: Instant,
    len: u64,
    len_done: u64,
    len_at_start: u64,
    weights: u64,
}

impl TerminalProgress {
    /// Nothing shown yet.
    pub fn new() -> Self {
        let is_terminal = stderr().is_terminal();
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
        let now = Instant::now();
        let state = State { start: now, last_line: now, len: 0, len_done: 0, len_at_start: 0, weights: 0 };
        Self { bar, is_terminal, state: Mutex::new(state) }
    }

    /// Removes the bar.
    pub fn clear(&self) {
        self.bar.finish_and_clear();
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().expect("no thread panics while it holds the state")
    }
}

impl State {
    fn weights_per_second(&self) -> f64 {
        self.weights as f64 / self.start.elapsed().as_secs_f64().max(1e-9)
    }

    fn seconds_left(&self) -> f64 {
        let done = (self.len_done - self.len_at_start).max(1) as f64;
        self.start.elapsed().as_secs_f64() * (self.len - self.len_done) as f64 / done
    }
}

impl Progress for TerminalProgress {
    fn begin(&self, _tensor_count: usize, byte_len: u64, done: u64) {
        let mut state = self.state();
        (state.len, state.len_done, state.len_at_start) = (byte_len, done, done);
        state.start = Instant::now();
        if done > 0 {
            eprintln!("resuming: {} of {} are done", size(done), size(byte_len));
        }
        if self.is_terminal {
            let template = "{bar:30} {bytes}/{total_bytes}  {prefix}  ETA {eta}  {wide_msg}";
            let style = ProgressStyle::with_template(template).expect("a valid template");
            self.bar.set_draw_target(ProgressDrawTarget::stderr());
            self.bar.set_style(style);
            self.bar.set_length(byte_len);
            self.bar.set_position(done);
            self.bar.reset_eta();
        }
    }

    fn tensor(&self, name: &str) {
        self.bar.set_message(name.to_owned());
    }

    fn finished(&self, report: &TensorReport, byte_len: u64) {
        let mut state = self.state();
        state.len_done += byte_len;
        state.weights += report.sums.weight_count;
        let rate = format!("{:.1} M weights/s", state.weights_per_second() / 1e6);
        self.bar.set_position(state.len_done);
        self.bar.set_prefix(rate.clone());
        if !self.is_terminal && state.last_line.elapsed() >= LINE_EVERY {
            state.last_line = Instant::now();
            eprintln!(
                "{} of {}, {rate}, {:.0} s left, {}",
                size(state.len_done),
                size(state.len),
                state.seconds_left(),
                report.name
            );
        }
    }
}

/// Progress by names alone, for commands that take seconds.
pub struct Lines {
    bar: ProgressBar,
}

impl Lines {
    /// A bar over `count` tensors; hidden when stderr is no terminal.
    pub fn new(count: usize) -> Self {
        let bar = ProgressBar::with_draw_target(Some(count as u64), ProgressDrawTarget::stderr());
        bar.set_style(ProgressStyle::with_template("{bar:30} {pos}/{len}  {wide_msg}").expect("a valid template"));
        Self { bar }
    }

    /// One more tensor.
    pub fn tell(&self, name: &str) {
        self.bar.set_message(name.to_owned());
        self.bar.inc(1);
    }

    /// Removes the bar.
    pub fn clear(&self) {
        self.bar.finish_and_clear();
    }
}
