//! One dispatch from bytes on the host to bytes on the host: upload, compute, read back.

use crate::buffers::Use;
use crate::error::GpuError;
use crate::unit::Unit;
use quant_core::tensor::{Dtype, Samples};
use quant_shaders::Kernel;
use std::sync::mpsc::{Receiver, sync_channel};

/// Bytes of two timestamps.
const TIMESTAMPS_LEN: u64 = 16;

/// What a kernel reads.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Input<'a> {
    /// Samples, which may be held on the device.
    Samples(Samples<'a>),
    /// Anything else; at least 1 byte.
    Bytes(&'a [u8]),
}

impl<'a> Input<'a> {
    /// Numbers; a single 0 where there are none, because a binding cannot be empty.
    pub(crate) fn numbers<T: bytemuck::Pod>(numbers: &'a [T]) -> Self {
        if numbers.is_empty() { Self::Bytes(&[0; 4]) } else { Self::Bytes(bytemuck::cast_slice(numbers)) }
    }
}

/// The bytes of samples as they lie in memory.
pub(crate) fn sample_bytes(samples: Samples<'_>) -> &[u8] {
    match samples {
        Samples::F32(s) => bytemuck::cast_slice(s),
        Samples::F16(s) => bytemuck::cast_slice(s),
        Samples::Bf16(s) => bytemuck::cast_slice(s),
    }
}

/// A dispatch. Bindings are parameters, inputs, output, in the order of the kernel's.
#[derive(Debug)]
pub(crate) struct Job<'a> {
    pub(crate) kernel: &'static Kernel,
    pub(crate) dtype: Option<Dtype>,
    pub(crate) params: &'a [u8],
    pub(crate) inputs: &'a [Input<'a>],
    /// Bytes of the output, which starts as zeros when `accumulates`.
    pub(crate) output_len: usize,
    /// Bytes behind the output that the kernel uses and nobody reads.
    pub(crate) scratch_len: usize,
    pub(crate) accumulates: bool,
    pub(crate) workgroups: usize,
}

/// Work under way.
#[derive(Debug)]
pub(crate) struct Ticket<'u> {
    unit: &'u Unit,
    kernel: &'static str,
    submission: wgpu::SubmissionIndex,
    read_back: wgpu::Buffer,
    output_len: usize,
    mapped: Receiver<Result<(), wgpu::BufferAsyncError>>,
    lent: Vec<(Use, wgpu::Buffer)>,
}

impl Unit {
    /// Hands a job to the device.
    pub(crate) fn submit(&self, job: &Job<'_>) -> Result<Ticket<'_>, GpuError> {
        let mut lent = Vec::new();
        let mut bound = vec![(self.parameters(job.params, &mut lent)?, job.params.len() as u64)];
        for input in job.inputs {
            bound.push(self.upload(*input, &mut lent)?);
        }
        let output_len = (job.output_len as u64).next_multiple_of(4);
        let bound_len = output_len + (job.scratch_len as u64).next_multiple_of(4);
        let output = self.lend(Use::Storage, bound_len, &mut lent)?;
        bound.push((output.clone(), bound_len));
        let pipeline = self.pipeline(job.kernel, job.dtype);
        let group = self.bind(job.kernel, &pipeline, &bound);
        let read_back = self.buffer(Use::ReadBack, output_len + TIMESTAMPS_LEN)?;
        let mut encoder = self.device.create_command_encoder(&Default::default());
        if job.accumulates {
            encoder.clear_buffer(&output, 0, Some(output_len));
        }
        let queries = self.times.is_some().then(|| self.queries());
        {
            let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor {
                label: Some(job.kernel.name),
                timestamp_writes: queries.as_ref().map(|query_set| wgpu::ComputePassTimestampWrites {
                    query_set,
                    beginning_of_pass_write_index: Some(0),
                    end_of_pass_write_index: Some(1),
                }),
            });
            pass.set_pipeline(&pipeline);
            pass.set_bind_group(0, &group, &[]);
            let (x, y) = grid(job.workgroups, self.grid_width);
            pass.dispatch_workgroups(x, y, 1);
        }
        encoder.copy_buffer_to_buffer(&output, 0, &read_back, 0, output_len);
        if let Some(queries) = &queries {
            let stamps = self.lend(Use::Timestamps, TIMESTAMPS_LEN, &mut lent)?;
            encoder.resolve_query_set(queries, 0..2, &stamps, 0);
            encoder.copy_buffer_to_buffer(&stamps, 0, &read_back, output_len, TIMESTAMPS_LEN);
        }
        let submission = self.queue.submit([encoder.finish()]);
        let (sender, mapped) = sync_channel(1);
        read_back.slice(..output_len + TIMESTAMPS_LEN).map_async(wgpu::MapMode::Read, move |result| {
            // The ticket may have been dropped because another chunk failed.
            let _ = sender.send(result);
        });
        self.check()?;
        let (kernel, output_len) = (job.kernel.name, job.output_len);
        Ok(Ticket { unit: self, kernel, submission, read_back, output_len, mapped, lent })
    }

    fn lend(&self, purpose: Use, len: u64, lent: &mut Vec<(Use, wgpu::Buffer)>) -> Result<wgpu::Buffer, GpuError> {
        let buffer = self.buffer(purpose, len)?;
        lent.push((purpose, buffer.clone()));
        Ok(buffer)
    }

    fn parameters(&self, params: &[u8], lent: &mut Vec<(Use, wgpu::Buffer)>) -> Result<wgpu::Buffer, GpuError> {
        let buffer = self.lend(Use::Parameters, params.len() as u64, lent)?;
        self.queue.write_buffer(&buffer, 0, params);
        Ok(buffer)
    }

    /// The buffer that an input lies in, and how many bytes of it are bound.
    fn upload(&self, input: Input<'_>, lent: &mut Vec<(Use, wgpu::Buffer)>) -> Result<(wgpu::Buffer, u64), GpuError> {
        let (bytes, may_hold) = match input {
            Input::Bytes(bytes) => (bytes, false),
            Input::Samples(samples) => (sample_bytes(samples), true),
        };
        let len = (bytes.len() as u64).next_multiple_of(4);
        if !may_hold {
            let buffer = self.lend(Use::Storage, len, lent)?;
            self.write(&buffer, bytes);
            return Ok((buffer, len));
        }
        let mut held = self.held.lock().expect("nobody panics with it");
        if let Some(buffer) = held.get(bytes) {
            return Ok((buffer, len));
        }
        let buffer = self.buffer(Use::Storage, len)?;
        self.write(&buffer, bytes);
        if held.is_promised(bytes) {
            held.keep(bytes, buffer.clone());
        } else {
            lent.push((Use::Storage, buffer.clone()));
        }
        Ok((buffer, len))
    }

    fn write(&self, buffer: &wgpu::Buffer, bytes: &[u8]) {
        let (whole, rest) = bytes.split_at(bytes.len() / 4 * 4);
        if !whole.is_empty() {
            self.queue.write_buffer(buffer, 0, whole);
        }
        if !rest.is_empty() {
            let mut last = [0; 4];
            last[..rest.len()].copy_from_slice(rest);
            self.queue.write_buffer(buffer, whole.len() as u64, &last);
        }
    }

    fn bind(
        &self,
        kernel: &Kernel,
        pipeline: &wgpu::ComputePipeline,
        bound: &[(wgpu::Buffer, u64)],
    ) -> wgpu::BindGroup {
        assert_eq!(bound.len(), kernel.bindings.len(), "{} has other bindings", kernel.name);
        let mut entries = Vec::new();
        for (binding, (buffer, len)) in kernel.bindings.iter().zip(bound) {
            let size = std::num::NonZero::new(*len);
            let resource = wgpu::BindingResource::Buffer(wgpu::BufferBinding { buffer, offset: 0, size });
            entries.push(wgpu::BindGroupEntry { binding: binding.index, resource });
        }
        let layout = pipeline.get_bind_group_layout(0);
        self.device.create_bind_group(&wgpu::BindGroupDescriptor { label: None, layout: &layout, entries: &entries })
    }

    /// Room for two timestamps.
    pub(crate) fn queries(&self) -> wgpu::QuerySet {
        self.device.create_query_set(&wgpu::QuerySetDescriptor {
            label: None,
            ty: wgpu::QueryType::Timestamp,
            count: 2,
        })
    }
}

/// Rows of at most `width` workgroups.
fn grid(workgroups: usize, width: u32) -> (u32, u32) {
    let x = workgroups.clamp(1, width as usize);
    (x as u32, workgroups.div_ceil(x).max(1) as u32)
}

impl Ticket<'_> {
    /// Waits for the work and reads what it wrote.
    pub(crate) fn read<R>(self, read: impl FnOnce(&[u8]) -> R) -> Result<R, GpuError> {
        let Self { unit, kernel, submission, read_back, output_len, mapped, lent } = self;
        let failed = |message: String| GpuError::Failed { adapter: unit.facts.name.clone(), message };
        let wait = wgpu::PollType::Wait { submission_index: Some(submission), timeout: None };
        let polled = unit.device.poll(wait);
        if polled.is_err() {
            // A lost device says so at the next occasion.
            let _ = unit.device.poll(wgpu::PollType::Poll);
        }
        unit.check()?;
        polled.map_err(|error| failed(error.to_string()))?;
        let answer = mapped.recv().map_err(|_| failed("the device gave no answer".into()))?;
        answer.map_err(|error| failed(error.to_string()))?;
        let padded = (output_len as u64).next_multiple_of(4);
        let result = {
            let view = read_back.slice(..padded + TIMESTAMPS_LEN).get_mapped_range();
            let view = view.map_err(|error| failed(error.to_string()))?;
            if let Some(times) = &unit.times {
                let stamp = |at: usize| {
                    u64::from_le_bytes(view[padded as usize + at..][..8].try_into().expect("8 bytes were taken"))
                };
                times.add(kernel, stamp(0), stamp(8));
            }
            read(&view[..output_len])
        };
        read_back.unmap();
        unit.pool.put(Use::ReadBack, read_back);
        lent.into_iter().for_each(|(purpose, buffer)| unit.pool.put(purpose, buffer));
        Ok(result)
    }
}

#[cfg(test)]
mod tests {
    use super::grid;

    #[test]
    fn grids_have_room_for_all_workgroups() {
        for (workgroups, width) in [(1, 4), (4, 4), (5, 4), (17, 4), (0, 4), (9, 1)] {
            let (x, y) = grid(workgroups, width);
            assert!(x <= width && (x * y) as usize >= workgroups, "{workgroups} in rows of {width}");
        }
    }
}
