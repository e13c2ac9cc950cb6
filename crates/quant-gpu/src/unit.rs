//! One opened adapter: device and queue, its buffers and pipelines, and whether it still works.

use crate::GpuOptions;
use crate::adapter::AdapterFacts;
use crate::buffers::{Pool, Use};
use crate::error::GpuError;
use crate::held::Held;
use crate::times::Times;
use quant_core::tensor::Dtype;
use quant_shaders::Kernel;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};

/// An opened adapter.
#[derive(Debug)]
pub(crate) struct Unit {
    pub(crate) facts: AdapterFacts,
    pub(crate) device: wgpu::Device,
    pub(crate) queue: wgpu::Queue,
    pub(crate) pool: Pool,
    pub(crate) held: Mutex<Held>,
    /// Where kernels are timed, what they took.
    pub(crate) times: Option<Times>,
    /// Whether copies can be timed as well.
    pub(crate) stamps_between_copies: bool,
    /// Workgroups in one direction of a dispatch.
    pub(crate) grid_width: u32,
    pipelines: Mutex<HashMap<(&'static str, u32), wgpu::ComputePipeline>>,
    edits: Vec<(String, String)>,
    health: Arc<Health>,
}

/// What the driver said outside of any call.
#[derive(Debug, Default)]
struct Health {
    lost: Mutex<Option<String>>,
    failed: Mutex<Option<(bool, String)>>,
}

impl Unit {
    /// Opens an adapter.
    pub(crate) fn open(facts: AdapterFacts, adapter: &wgpu::Adapter, options: &GpuOptions) -> Result<Self, GpuError> {
        let timed = options.timed && facts.has_timestamps;
        let of_timing = wgpu::Features::TIMESTAMP_QUERY | wgpu::Features::TIMESTAMP_QUERY_INSIDE_ENCODERS;
        let required_features = if timed { of_timing & adapter.features() } else { wgpu::Features::empty() };
        let stamps_between_copies = required_features.contains(of_timing);
        let limits = adapter.limits();
        let grid_width = limits.max_compute_workgroups_per_dimension.min(options.grid_width_max).max(1);
        let descriptor = wgpu::DeviceDescriptor {
            label: Some("quant"),
            required_features,
            required_limits: limits,
            ..Default::default()
        };
        let opened = pollster::block_on(adapter.request_device(&descriptor));
        let unavailable = |message: String| GpuError::Unavailable { adapter: facts.name.clone(), message };
        let (device, queue) = opened.map_err(|error| unavailable(error.to_string()))?;
        let health = Arc::new(Health::default());
        let (on_loss, on_error) = (health.clone(), health.clone());
        device.set_device_lost_callback(move |_, message| {
            *on_loss.lost.lock().expect("nobody panics with it") = Some(message);
        });
        device.on_uncaptured_error(Arc::new(move |error: wgpu::Error| {
            let is_memory = matches!(error, wgpu::Error::OutOfMemory { .. });
            let mut failed = on_error.failed.lock().expect("nobody panics with it");
            failed.get_or_insert((is_memory, error.to_string()));
        }));
        let times = timed.then(|| Times::new(queue.get_timestamp_period()));
        let (pool, held, pipelines) = (Pool::default(), Mutex::default(), Mutex::default());
        let edits = options.edits.clone();
        Ok(Self {
            facts,
            device,
            queue,
            pool,
            held,
            times,
            stamps_between_copies,
            grid_width,
            pipelines,
            edits,
            health,
        })
    }

    /// Fails when the device was lost or refused something.
    pub(crate) fn check(&self) -> Result<(), GpuError> {
        let adapter = || self.facts.name.clone();
        if let Some(message) = self.health.lost.lock().expect("nobody panics with it").clone() {
            return Err(GpuError::DeviceLost { adapter: adapter(), message });
        }
        match self.health.failed.lock().expect("nobody panics with it").take() {
            None => Ok(()),
            Some((true, _)) => Err(GpuError::OutOfMemory { adapter: adapter(), len_bytes: 0 }),
            Some((false, message)) => Err(GpuError::Failed { adapter: adapter(), message }),
        }
    }

    /// A buffer of at least `len` bytes; what it holds is unknown.
    pub(crate) fn buffer(&self, purpose: Use, len: u64) -> Result<wgpu::Buffer, GpuError> {
        let size = Pool::size_for(len);
        if let Some(buffer) = self.pool.take(purpose, size) {
            return Ok(buffer);
        }
        self.create(purpose, size).or_else(|error| match error {
            // What lies unused may be in the way.
            GpuError::OutOfMemory { .. } => {
                self.pool.clear();
                self.create(purpose, size)
            }
            other => Err(other),
        })
    }

    fn create(&self, purpose: Use, size: u64) -> Result<wgpu::Buffer, GpuError> {
        let out_of_memory = || GpuError::OutOfMemory { adapter: self.facts.name.clone(), len_bytes: size };
        if size > self.device.limits().max_buffer_size {
            return Err(out_of_memory());
        }
        let scope = self.device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
        let buffer = self.device.create_buffer(&wgpu::BufferDescriptor {
            label: None,
            size,
            usage: purpose.usages(),
            mapped_at_creation: false,
        });
        match pollster::block_on(scope.pop()) {
            None => self.check().map(|()| buffer),
            Some(_) => Err(out_of_memory()),
        }
    }

    /// The pipeline of a kernel for a number format, compiled at its first use.
    pub(crate) fn pipeline(&self, kernel: &'static Kernel, dtype: Option<Dtype>) -> wgpu::ComputePipeline {
        let number = dtype.map_or(0, dtype_number);
        let mut pipelines = self.pipelines.lock().expect("nobody panics with it");
        pipelines.entry((kernel.name, number)).or_insert_with(|| self.compile(kernel, number)).clone()
    }

    fn compile(&self, kernel: &'static Kernel, dtype: u32) -> wgpu::ComputePipeline {
        let replaced = |text: String, (from, to): &(String, String)| text.replace(from.as_str(), to);
        let source = self.edits.iter().fold(kernel.source.to_owned(), replaced);
        let source = wgpu::ShaderSource::Wgsl(source.into());
        let module =
            self.device.create_shader_module(wgpu::ShaderModuleDescriptor { label: Some(kernel.name), source });
        let constants = [("DTYPE", f64::from(dtype))];
        self.device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some(kernel.name),
            layout: None,
            module: &module,
            entry_point: Some(kernel.name),
            compilation_options: wgpu::PipelineCompilationOptions {
                constants: if kernel.has_dtype { &constants } else { &[] },
                // Kernels read no workgroup memory that they have not written.
                zero_initialize_workgroup_memory: false,
            },
            cache: None,
        })
    }
}

/// The value of the override `DTYPE`.
fn dtype_number(dtype: Dtype) -> u32 {
    match dtype {
        Dtype::F32 => 0,
        Dtype::F16 => 1,
        Dtype::Bf16 => 2,
    }
}

#[cfg(test)]
mod tests {
    use crate::buffers::Use;
    use crate::{Gpu, GpuError, GpuOptions};
    use quant_core::backend::Backend;
    use quant_core::tensor::Samples;

    fn gpu() -> Gpu {
        Gpu::new(GpuOptions::default()).expect("an adapter, if only a software one")
    }

    #[test]
    fn a_lost_device_is_reported_as_such() {
        let gpu = gpu();
        assert_eq!(gpu.first_not_finite(Samples::F32(&[1.0])), Ok(None));
        gpu.units[0].device.destroy();
        let fault = gpu.first_not_finite(Samples::F32(&[1.0])).unwrap_err();
        assert!(matches!(fault, GpuError::DeviceLost { .. }), "{fault}");
    }

    #[test]
    fn a_buffer_beyond_the_device_is_out_of_memory() {
        let fault = gpu().units[0].buffer(Use::Storage, 1 << 45).unwrap_err();
        assert!(matches!(fault, GpuError::OutOfMemory { .. }), "{fault}");
    }
}
