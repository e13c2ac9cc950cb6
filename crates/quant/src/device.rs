//! Where the arithmetic happens: the only match on the device.

use quant_cpu::{Cpu, CpuOptions};

use crate::error::Error;

/// A device that quantizes.
#[derive(Debug)]
pub enum Device {
    /// This machine's processor.
    Cpu(Cpu),
}

impl Device {
    /// The processor with `threads` threads; all of them when `None`.
    pub fn cpu(threads: Option<usize>) -> Result<Self, Error> {
        let options = CpuOptions { threads, ..CpuOptions::default() };
        let cpu = Cpu::new(options).map_err(|e| Error::refused(format!("cpu: {e}")))?;
        Ok(Self::Cpu(cpu))
    }
}

/// Runs `$body` with `$backend` bound to the device's backend.
macro_rules! with_backend {
    ($device:expr, $backend:ident => $body:expr) => {
        match $device {
            $crate::device::Device::Cpu($backend) => $body,
        }
    };
}
pub(crate) use with_backend;
