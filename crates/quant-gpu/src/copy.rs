//! How fast does a device copy its own memory? What the speed of kernels is compared with.

use crate::Gpu;
use crate::buffers::Use;
use crate::error::GpuError;
use std::time::Instant;

/// Copies of one submission: enough to hide the cost of submitting.
const COPIES: u32 = 16;

impl Gpu {
    /// Seconds that the first adapter takes to copy `len_bytes`, a multiple of 4, from device memory to device memory:
    /// twice as many bytes move. The host's clock, over a few copies.
    pub fn copy_seconds(&self, len_bytes: u64) -> Result<f64, GpuError> {
        let unit = &self.units[0];
        let buffers = [unit.buffer(Use::Storage, len_bytes)?, unit.buffer(Use::Storage, len_bytes)?];
        let copy = || -> Result<f64, GpuError> {
            let mut encoder = unit.device.create_command_encoder(&Default::default());
            for _ in 0..COPIES {
                encoder.copy_buffer_to_buffer(&buffers[0], 0, &buffers[1], 0, len_bytes);
            }
            let commands = encoder.finish();
            let start = Instant::now();
            let submission = unit.queue.submit([commands]);
            let waited = unit.device.poll(wgpu::PollType::Wait { submission_index: Some(submission), timeout: None });
            unit.check()?;
            let failed = |message: String| GpuError::Failed { adapter: unit.facts.name.clone(), message };
            waited.map_err(|error| failed(error.to_string()))?;
            Ok(start.elapsed().as_secs_f64() / f64::from(COPIES))
        };
        copy()?;
        let seconds = copy();
        buffers.into_iter().for_each(|buffer| unit.pool.put(Use::Storage, buffer));
        seconds
    }
}
