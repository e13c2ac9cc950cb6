//! How long kernels took on the device, by its own clock.

use std::collections::BTreeMap;
use std::sync::Mutex;

/// What one kernel took.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct KernelTime {
    /// Seconds on the device, summed.
    pub seconds: f64,
    /// Dispatches.
    pub dispatch_count: u64,
}

/// What all kernels took since they were last asked for.
#[derive(Debug)]
pub(crate) struct Times {
    period: f64,
    kernels: Mutex<BTreeMap<&'static str, KernelTime>>,
}

impl Times {
    /// `period` is nanoseconds of a tick.
    pub(crate) fn new(period: f32) -> Self {
        Self { period: f64::from(period), kernels: Mutex::default() }
    }

    pub(crate) fn add(&self, kernel: &'static str, begin: u64, end: u64) {
        let mut kernels = self.kernels.lock().expect("nobody panics with it");
        let time = kernels.entry(kernel).or_default();
        time.seconds += self.seconds(begin, end);
        time.dispatch_count += 1;
    }

    /// Seconds between two timestamps.
    pub(crate) fn seconds(&self, begin: u64, end: u64) -> f64 {
        end.saturating_sub(begin) as f64 * self.period * 1e-9
    }

    pub(crate) fn take(&self) -> BTreeMap<&'static str, KernelTime> {
        std::mem::take(&mut self.kernels.lock().expect("nobody panics with it"))
    }
}
