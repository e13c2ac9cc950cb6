//! Where the arithmetic happens: the only match on the device.

use quant_cpu::{Cpu, CpuOptions};
use serde::Serialize;

use crate::error::Error;
#[cfg(feature = "gpu")]
use crate::partners::Partners;

/// A device that quantizes. Codes do not depend on it.
#[derive(Debug)]
pub enum Device {
    /// This machine's processor.
    Cpu(Cpu),
    /// One GPU or several, with the processor for what only it can do.
    #[cfg(feature = "gpu")]
    Gpu(Box<Partners>),
}

/// Which device is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum DeviceChoice {
    /// The processor.
    #[default]
    Cpu,
    /// The fastest GPU, and the processor when there is none or it fails. A software driver does not count as a GPU,
    /// unless the environment variable `QUANT_GPU` names it.
    Auto,
    /// A GPU: what `QUANT_GPU` says, or the fastest.
    Gpu,
    /// The GPU of this number or name, or `all`.
    GpuNamed(String),
}

impl std::str::FromStr for DeviceChoice {
    type Err = String;

    /// Reads `auto`, `cpu`, `gpu`, `gpu:N`, `gpu:NAME` and `gpu:all`.
    ///
    /// ```
    /// use quant::device::DeviceChoice;
    /// assert_eq!("gpu:1".parse(), Ok(DeviceChoice::GpuNamed("1".into())));
    /// assert!("tpu".parse::<DeviceChoice>().is_err());
    /// ```
    fn from_str(text: &str) -> Result<Self, String> {
        match (text, text.strip_prefix("gpu:")) {
            ("cpu", _) => Ok(Self::Cpu),
            ("auto", _) => Ok(Self::Auto),
            ("gpu", _) => Ok(Self::Gpu),
            (_, Some(name)) if !name.is_empty() => Ok(Self::GpuNamed(name.into())),
            _ => Err("auto, cpu, gpu, gpu:N, gpu:NAME or gpu:all expected".into()),
        }
    }
}

/// What is known of a device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DeviceFacts {
    /// What to write after `--device`.
    pub device: String,
    /// What it is called.
    pub name: String,
    /// `cpu`, `discrete`, `integrated`, `virtual`, `software` or `other`.
    pub kind: String,
    /// How it is reached: `vulkan`, `metal`, `dx12`; nothing for the processor.
    pub api: Option<String>,
    /// Its driver.
    pub driver: Option<String>,
    /// Bytes of one binding; larger tensors are cut up.
    pub binding_len_bytes: Option<u64>,
}

impl Device {
    /// The processor with `threads` threads; all of them when `None`.
    pub fn cpu(threads: Option<usize>) -> Result<Self, Error> {
        Ok(Self::Cpu(processor(threads)?))
    }

    /// Threads of the processor that work for this device.
    pub fn thread_count(&self) -> usize {
        match self {
            Self::Cpu(cpu) => cpu.thread_count(),
            #[cfg(feature = "gpu")]
            Self::Gpu(partners) => partners.thread_count(),
        }
    }

    /// The device asked for; `threads` is for the processor.
    pub fn open(choice: &DeviceChoice, threads: Option<usize>) -> Result<Self, Error> {
        Self::open_with(choice, threads, false)
    }

    /// The same; GPUs tell what kernels take, see [`Device::take_kernel_seconds`].
    pub fn open_timed(choice: &DeviceChoice, threads: Option<usize>) -> Result<Self, Error> {
        Self::open_with(choice, threads, true)
    }

    fn open_with(choice: &DeviceChoice, threads: Option<usize>, timed: bool) -> Result<Self, Error> {
        match choice {
            DeviceChoice::Cpu => Self::cpu(threads),
            other => open_gpu(other, threads, timed),
        }
    }

    /// Seconds that kernels took on a GPU since this was last asked, by its own clock; nothing on the processor, on a GPU
    /// that cannot tell, and unless opened with [`Device::open_timed`].
    pub fn take_kernel_seconds(&self) -> Option<f64> {
        match self {
            Self::Cpu(_) => None,
            #[cfg(feature = "gpu")]
            Self::Gpu(partners) => partners.take_kernel_seconds(),
        }
    }
}

fn processor(threads: Option<usize>) -> Result<Cpu, Error> {
    let options = CpuOptions { threads, ..CpuOptions::default() };
    Cpu::new(options).map_err(|e| Error::refused(format!("cpu: {e}")))
}

#[cfg(feature = "gpu")]
fn open_gpu(choice: &DeviceChoice, threads: Option<usize>, timed: bool) -> Result<Device, Error> {
    use quant_gpu::{Choice, Gpu, GpuError, GpuOptions, inventory};
    let cpu = processor(threads)?;
    let adapters = if let DeviceChoice::GpuNamed(name) = choice { Choice::from_text(name) } else { Choice::default() };
    let options = GpuOptions { choice: adapters, timed, ..GpuOptions::default() };
    if *choice == DeviceChoice::Auto {
        let adapters = inventory();
        let chosen = options.choice.choose(&adapters).unwrap_or_default();
        let is_named = std::env::var_os(quant_gpu::CHOICE_VARIABLE).is_some();
        let is_worthwhile = |&i: &usize| is_named || !adapters[i].is_software();
        return Ok(match chosen.iter().any(is_worthwhile).then(|| Gpu::new(options)) {
            Some(Ok(gpu)) => Device::Gpu(Box::new(Partners::new(gpu, cpu, true))),
            _ => Device::Cpu(cpu),
        });
    }
    match Gpu::new(options) {
        Ok(gpu) => Ok(Device::Gpu(Box::new(Partners::new(gpu, cpu, false)))),
        Err(error @ GpuError::NoAdapter { .. }) => Err(Error::refused(format!("--device: {error}"))),
        Err(error) => Err(Error::Device { device: "gpu".into(), message: error.to_string() }),
    }
}

#[cfg(not(feature = "gpu"))]
fn open_gpu(choice: &DeviceChoice, threads: Option<usize>, _timed: bool) -> Result<Device, Error> {
    match choice {
        DeviceChoice::Auto => Device::cpu(threads),
        _ => Err(Error::refused("--device: this program was built without the feature gpu")),
    }
}

/// All devices: the processor, then the GPUs in the order of their numbers.
pub fn inventory() -> Result<Vec<DeviceFacts>, Error> {
    let cpu = processor(None)?;
    let name = quant_core::backend::Backend::name(&cpu);
    let (device, kind) = ("cpu".into(), "cpu".into());
    let mut devices = vec![DeviceFacts { device, name, kind, api: None, driver: None, binding_len_bytes: None }];
    devices.extend(gpus());
    Ok(devices)
}

#[cfg(feature = "gpu")]
fn gpus() -> Vec<DeviceFacts> {
    let facts = |adapter: quant_gpu::AdapterFacts| DeviceFacts {
        device: format!("gpu:{}", adapter.index),
        kind: adapter.kind.name().into(),
        name: adapter.name,
        api: Some(adapter.api),
        driver: Some(adapter.driver),
        binding_len_bytes: Some(adapter.binding_len_bytes),
    };
    quant_gpu::inventory().into_iter().map(facts).collect()
}

#[cfg(not(feature = "gpu"))]
fn gpus() -> Vec<DeviceFacts> {
    Vec::new()
}

/// Runs `$body` with `$backend` bound to the device's backend.
macro_rules! with_backend {
    ($device:expr, $backend:ident => $body:expr) => {
        match $device {
            $crate::device::Device::Cpu($backend) => $body,
            #[cfg(feature = "gpu")]
            $crate::device::Device::Gpu(partners) => {
                let $backend = &**partners;
                $body
            }
        }
    };
}
pub(crate) use with_backend;
