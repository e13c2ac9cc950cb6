//! Which GPUs are there, and which is meant?

use crate::error::GpuError;
use std::fmt;

/// The environment variable that chooses where nobody else did.
pub const CHOICE_VARIABLE: &str = "QUANT_GPU";

/// What kind of device an adapter is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AdapterKind {
    /// Memory of its own.
    Discrete,
    /// Shares the processor's memory.
    Integrated,
    /// Part of a GPU, lent to a virtual machine.
    Virtual,
    /// A driver that computes on the processor.
    Software,
    /// Anything else.
    Other,
}

impl AdapterKind {
    /// `discrete`, `integrated`, `virtual`, `software`, `other`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Discrete => "discrete",
            Self::Integrated => "integrated",
            Self::Virtual => "virtual",
            Self::Software => "software",
            Self::Other => "other",
        }
    }
}

/// What is known of an adapter without opening it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdapterFacts {
    /// Its place in [`inventory`].
    pub index: usize,
    /// What the driver calls it.
    pub name: String,
    /// What kind of device.
    pub kind: AdapterKind,
    /// The API it is reached through: `vulkan`, `metal`, `dx12`.
    pub api: String,
    /// The driver, with its version where it tells.
    pub driver: String,
    /// Bytes that one binding can have; larger tensors are cut up.
    pub binding_len_bytes: u64,
    /// Whether the time that kernels take can be measured on the device.
    pub has_timestamps: bool,
    /// Whether invocations can exchange values without memory. No kernel needs it.
    pub has_subgroups: bool,
}

impl AdapterFacts {
    /// True for a driver that computes on the processor: slower than the CPU backend, and good for tests.
    pub fn is_software(&self) -> bool {
        self.kind == AdapterKind::Software
    }
}

impl fmt::Display for AdapterFacts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}, {})", self.name, self.kind.name(), self.api)
    }
}

/// Which adapter is meant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Choice {
    /// What the environment variable [`CHOICE_VARIABLE`] says; the fastest where it says nothing.
    #[default]
    FromEnvironment,
    /// The fastest: discrete before integrated before virtual before software.
    HighPerformance,
    /// The most frugal: integrated before discrete.
    LowPower,
    /// The one at this place of the inventory.
    Index(usize),
    /// The first whose name contains this, in any case of letters.
    Name(String),
    /// All hardware adapters of one API; all software adapters where there is no hardware.
    All,
}

impl Choice {
    /// Reads `high-performance`, `low-power`, `all`, a number, or part of a name.
    ///
    /// ```
    /// use quant_gpu::Choice;
    /// assert_eq!(Choice::from_text("1"), Choice::Index(1));
    /// assert_eq!(Choice::from_text("low-power"), Choice::LowPower);
    /// assert_eq!(Choice::from_text("GeForce"), Choice::Name("GeForce".into()));
    /// ```
    pub fn from_text(text: &str) -> Self {
        match (text, text.parse()) {
            ("", _) | ("high-performance", _) => Self::HighPerformance,
            ("low-power", _) => Self::LowPower,
            ("all", _) => Self::All,
            (_, Ok(index)) => Self::Index(index),
            (name, Err(_)) => Self::Name(name.into()),
        }
    }

    /// The places in `adapters` that are meant; at least one.
    pub fn choose(&self, adapters: &[AdapterFacts]) -> Result<Vec<usize>, GpuError> {
        let ranked = |rank: fn(AdapterKind) -> usize| adapters.iter().min_by_key(|a| (rank(a.kind), a.index));
        let chosen: Vec<usize> = match self {
            Self::FromEnvironment => {
                let text = std::env::var(CHOICE_VARIABLE).unwrap_or_default();
                return Self::from_text(text.trim()).choose(adapters);
            }
            Self::HighPerformance => ranked(speed_rank).map(|a| a.index).into_iter().collect(),
            Self::LowPower => ranked(power_rank).map(|a| a.index).into_iter().collect(),
            Self::Index(index) => adapters.get(*index).map(|a| a.index).into_iter().collect(),
            Self::Name(part) => {
                let part = part.to_lowercase();
                let named = adapters.iter().find(|a| a.name.to_lowercase().contains(&part));
                named.map(|a| a.index).into_iter().collect()
            }
            Self::All => {
                let best = ranked(speed_rank);
                let like =
                    |a: &&AdapterFacts| best.is_some_and(|b| a.api == b.api && a.is_software() == b.is_software());
                adapters.iter().filter(like).map(|a| a.index).collect()
            }
        };
        if chosen.is_empty() { Err(self.missing(adapters)) } else { Ok(chosen) }
    }

    fn missing(&self, adapters: &[AdapterFacts]) -> GpuError {
        let wanted = match self {
            Self::Index(index) => format!("has number {index}"),
            Self::Name(part) => format!("has \"{part}\" in its name"),
            _ => "was found".into(),
        };
        let list: Vec<String> = adapters.iter().map(|a| format!("{}: {a}", a.index)).collect();
        let found = match list.is_empty() {
            true => "install a driver for Vulkan, Metal or DX12".into(),
            false => format!("there are {}", list.join(", ")),
        };
        GpuError::NoAdapter { wanted, found }
    }
}

fn speed_rank(kind: AdapterKind) -> usize {
    use AdapterKind::*;
    [Discrete, Integrated, Virtual, Other, Software].iter().position(|k| *k == kind).unwrap_or(usize::MAX)
}

fn power_rank(kind: AdapterKind) -> usize {
    use AdapterKind::*;
    [Integrated, Virtual, Discrete, Other, Software].iter().position(|k| *k == kind).unwrap_or(usize::MAX)
}

/// All adapters of this machine, in the order of their numbers. Empty where no driver is installed.
pub fn inventory() -> Vec<AdapterFacts> {
    adapters().into_iter().map(|(facts, _)| facts).collect()
}

/// The adapters, each with its facts.
pub(crate) fn adapters() -> Vec<(AdapterFacts, wgpu::Adapter)> {
    let mut descriptor = wgpu::InstanceDescriptor::new_without_display_handle();
    descriptor.flags = wgpu::InstanceFlags::empty();
    let instance = wgpu::Instance::new(descriptor);
    let adapters = pollster::block_on(instance.enumerate_adapters(wgpu::Backends::all()));
    adapters.into_iter().enumerate().map(|(index, adapter)| (facts(index, &adapter), adapter)).collect()
}

fn facts(index: usize, adapter: &wgpu::Adapter) -> AdapterFacts {
    let (info, limits, features) = (adapter.get_info(), adapter.limits(), adapter.features());
    let kind = match info.device_type {
        wgpu::DeviceType::DiscreteGpu => AdapterKind::Discrete,
        wgpu::DeviceType::IntegratedGpu => AdapterKind::Integrated,
        wgpu::DeviceType::VirtualGpu => AdapterKind::Virtual,
        wgpu::DeviceType::Cpu => AdapterKind::Software,
        wgpu::DeviceType::Other => AdapterKind::Other,
    };
    AdapterFacts {
        index,
        name: info.name,
        kind,
        api: info.backend.to_str().into(),
        driver: format!("{} {}", info.driver, info.driver_info).trim().into(),
        binding_len_bytes: limits.max_storage_buffer_binding_size.min(limits.max_buffer_size),
        has_timestamps: features.contains(wgpu::Features::TIMESTAMP_QUERY),
        has_subgroups: features.contains(wgpu::Features::SUBGROUP),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list() -> Vec<AdapterFacts> {
        let kinds = [AdapterKind::Software, AdapterKind::Integrated, AdapterKind::Discrete, AdapterKind::Discrete];
        let names = ["llvmpipe", "Iris", "GeForce A", "GeForce B"];
        let adapter = |(index, (kind, name)): (usize, (AdapterKind, &str))| AdapterFacts {
            index,
            name: name.into(),
            kind,
            api: "vulkan".into(),
            driver: String::new(),
            binding_len_bytes: 1 << 27,
            has_timestamps: true,
            has_subgroups: true,
        };
        kinds.into_iter().zip(names).enumerate().map(adapter).collect()
    }

    #[test]
    fn adapters_are_chosen_by_number_name_and_preference() {
        let chosen = |text: &str| Choice::from_text(text).choose(&list());
        assert_eq!(chosen(""), Ok(vec![2]));
        assert_eq!(chosen("low-power"), Ok(vec![1]));
        assert_eq!(chosen("geforce b"), Ok(vec![3]));
        assert_eq!(chosen("0"), Ok(vec![0]));
        assert_eq!(chosen("all"), Ok(vec![1, 2, 3]));
        assert_eq!(Choice::All.choose(&list()[..1]), Ok(vec![0]));
    }

    #[test]
    fn what_is_missing_is_said_with_what_there_is() {
        let message = Choice::from_text("9").choose(&list()[..1]).unwrap_err().to_string();
        assert_eq!(message, "no GPU adapter has number 9; there are 0: llvmpipe (software, vulkan)");
        let message = Choice::HighPerformance.choose(&[]).unwrap_err().to_string();
        assert_eq!(message, "no GPU adapter was found; install a driver for Vulkan, Metal or DX12");
    }
}
