//! Buffers that are used again instead of made anew, by use and size.

use std::collections::HashMap;
use std::sync::Mutex;

/// What a buffer is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Use {
    /// Parameters of a dispatch.
    Parameters,
    /// What a kernel reads or writes.
    Storage,
    /// What the host reads.
    ReadBack,
    /// Where timestamps are put.
    Timestamps,
}

impl Use {
    pub(crate) fn usages(self) -> wgpu::BufferUsages {
        use wgpu::BufferUsages as U;
        match self {
            Self::Parameters => U::UNIFORM | U::COPY_DST,
            Self::Storage => U::STORAGE | U::COPY_DST | U::COPY_SRC,
            Self::ReadBack => U::MAP_READ | U::COPY_DST,
            Self::Timestamps => U::QUERY_RESOLVE | U::COPY_SRC,
        }
    }
}

/// Buffers that nobody uses at present.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    free: Mutex<HashMap<(Use, u64), Vec<wgpu::Buffer>>>,
}

impl Pool {
    /// The size that a buffer for `len` bytes has: a power of two, or whole MiB beyond one.
    pub(crate) fn size_for(len: u64) -> u64 {
        if len > 1 << 20 { len.next_multiple_of(1 << 20) } else { len.next_power_of_two().max(256) }
    }

    /// A buffer that was given back.
    pub(crate) fn take(&self, purpose: Use, size: u64) -> Option<wgpu::Buffer> {
        self.free.lock().expect("nobody panics with it").get_mut(&(purpose, size))?.pop()
    }

    /// Gives a buffer back that no submitted work uses.
    pub(crate) fn put(&self, purpose: Use, buffer: wgpu::Buffer) {
        let mut free = self.free.lock().expect("nobody panics with it");
        free.entry((purpose, buffer.size())).or_default().push(buffer);
    }

    /// Frees all: memory is short.
    pub(crate) fn clear(&self) {
        self.free.lock().expect("nobody panics with it").clear();
    }
}
