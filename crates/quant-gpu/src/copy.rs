//! How fast does a device copy its own memory, and how fast do bytes reach it and come back? What kernels are compared with.

use crate::Gpu;
use crate::buffers::Use;
use crate::error::GpuError;
use crate::times::Times;
use crate::unit::Unit;
use std::time::Instant;

/// Copies of one submission: enough to hide the cost of submitting.
const COPIES: u32 = 16;

/// Bytes of two timestamps.
const STAMPS_LEN: u64 = 16;

impl Gpu {
    /// Seconds that the first adapter takes to copy `len_bytes`, a multiple of 4, from device memory to device memory:
    /// twice as many bytes move. The mean of a few copies in a row, by the device's clock where [`crate::GpuOptions::timed`]
    /// and the adapter can tell, else by the host's, which counts the submission too.
    pub fn copy_seconds(&self, len_bytes: u64) -> Result<f64, GpuError> {
        let unit = &self.units[0];
        let buffers = [unit.buffer(Use::Storage, len_bytes)?, unit.buffer(Use::Storage, len_bytes)?];
        copies(unit, &buffers, len_bytes)?;
        let seconds = copies(unit, &buffers, len_bytes);
        buffers.into_iter().for_each(|buffer| unit.pool.put(Use::Storage, buffer));
        seconds
    }

    /// Seconds until `bytes`, a multiple of 4 of them, have reached the memory of the first adapter, by the host's clock.
    pub fn upload_seconds(&self, bytes: &[u8]) -> Result<f64, GpuError> {
        let unit = &self.units[0];
        let buffer = unit.buffer(Use::Storage, bytes.len() as u64)?;
        let start = Instant::now();
        unit.queue.write_buffer(&buffer, 0, bytes);
        let submission = unit.queue.submit([]);
        wait(unit, submission)?;
        let seconds = start.elapsed().as_secs_f64();
        unit.pool.put(Use::Storage, buffer);
        Ok(seconds)
    }

    /// Seconds until as many bytes as `bytes` has, a multiple of 4, have come from the memory of the first adapter into
    /// `bytes`, by the host's clock. Which bytes is not said.
    pub fn read_back_seconds(&self, bytes: &mut [u8]) -> Result<f64, GpuError> {
        let (unit, len) = (&self.units[0], bytes.len() as u64);
        let (from, to) = (unit.buffer(Use::Storage, len)?, unit.buffer(Use::ReadBack, len)?);
        let start = Instant::now();
        let mut encoder = unit.device.create_command_encoder(&Default::default());
        encoder.copy_buffer_to_buffer(&from, 0, &to, 0, len);
        let submission = unit.queue.submit([encoder.finish()]);
        read(unit, submission, &to, |view| bytes.copy_from_slice(&view[..bytes.len()]))?;
        let seconds = start.elapsed().as_secs_f64();
        unit.pool.put(Use::Storage, from);
        unit.pool.put(Use::ReadBack, to);
        Ok(seconds)
    }
}

fn failed(unit: &Unit, message: String) -> GpuError {
    GpuError::Failed { adapter: unit.facts.name.clone(), message }
}

fn wait(unit: &Unit, submission: wgpu::SubmissionIndex) -> Result<(), GpuError> {
    let waited = unit.device.poll(wgpu::PollType::Wait { submission_index: Some(submission), timeout: None });
    unit.check()?;
    waited.map(drop).map_err(|error| failed(unit, error.to_string()))
}

/// Waits for a submission that writes to `buffer`, and reads all of it.
fn read<R>(
    unit: &Unit,
    submission: wgpu::SubmissionIndex,
    buffer: &wgpu::Buffer,
    read: impl FnOnce(&[u8]) -> R,
) -> Result<R, GpuError> {
    // Why it could not be mapped is told by the view.
    buffer.slice(..).map_async(wgpu::MapMode::Read, |_| ());
    wait(unit, submission)?;
    let result = buffer.slice(..).get_mapped_range().map(|view| read(&view));
    buffer.unmap();
    result.map_err(|error| failed(unit, error.to_string()))
}

/// Seconds of one of a few copies from the first buffer to the second.
fn copies(unit: &Unit, buffers: &[wgpu::Buffer; 2], len_bytes: u64) -> Result<f64, GpuError> {
    let clock = unit.times.as_ref().filter(|_| unit.stamps_between_copies);
    let queries = clock.map(|_| unit.queries());
    let mut encoder = unit.device.create_command_encoder(&Default::default());
    let stamp = |encoder: &mut wgpu::CommandEncoder, index| {
        queries.iter().for_each(|queries| encoder.write_timestamp(queries, index));
    };
    stamp(&mut encoder, 0);
    for _ in 0..COPIES {
        encoder.copy_buffer_to_buffer(&buffers[0], 0, &buffers[1], 0, len_bytes);
    }
    stamp(&mut encoder, 1);
    let (stamps, read_back) = (unit.buffer(Use::Timestamps, STAMPS_LEN)?, unit.buffer(Use::ReadBack, STAMPS_LEN)?);
    if let Some(queries) = &queries {
        encoder.resolve_query_set(queries, 0..2, &stamps, 0);
        encoder.copy_buffer_to_buffer(&stamps, 0, &read_back, 0, STAMPS_LEN);
    }
    let commands = encoder.finish();
    let start = Instant::now();
    let submission = unit.queue.submit([commands]);
    let seconds = match clock {
        Some(times) => read(unit, submission, &read_back, |view| stamped(times, view))?,
        None => wait(unit, submission).map(|()| start.elapsed().as_secs_f64())?,
    };
    unit.pool.put(Use::Timestamps, stamps);
    unit.pool.put(Use::ReadBack, read_back);
    Ok(seconds / f64::from(COPIES))
}

/// Seconds between the two timestamps that `view` begins with.
fn stamped(times: &Times, view: &[u8]) -> f64 {
    let stamp = |at: usize| u64::from_le_bytes(view[at..][..8].try_into().expect("8 bytes were taken"));
    times.seconds(stamp(0), stamp(8))
}

#[cfg(test)]
mod tests {
    use crate::{Gpu, GpuOptions};

    /// Nothing is said of how fast: only that each clock runs, and that what is read back was there.
    #[test]
    fn copies_and_transfers_take_time_by_either_clock() {
        for timed in [false, true] {
            let gpu =
                Gpu::new(GpuOptions { timed, ..GpuOptions::default() }).expect("an adapter, if only a software one");
            // What the probe took.
            gpu.take_kernel_times();
            let bytes: Vec<u8> = (0..1 << 20).map(|i| i as u8).collect();
            let mut back = vec![0; bytes.len()];
            let seconds = [gpu.copy_seconds(1 << 20), gpu.upload_seconds(&bytes), gpu.read_back_seconds(&mut back)];
            for seconds in seconds {
                let seconds = seconds.expect("the device works");
                assert!(seconds > 0.0 && seconds < 60.0, "{seconds}, timed: {timed}");
            }
            assert!(gpu.take_kernel_times().is_empty(), "a copy is no kernel");
        }
    }
}
