//! Samples that stay on the device between verbs, while their owner promises not to change them.

use crate::buffers::{Pool, Use};
use std::collections::HashMap;

/// What is held.
#[derive(Debug, Default)]
pub(crate) struct Held {
    /// Address and length of the samples that the promise is about.
    promised: Option<(usize, usize)>,
    /// Parts of them that are on the device, by address and length.
    buffers: HashMap<(usize, usize), wgpu::Buffer>,
}

fn place(bytes: &[u8]) -> (usize, usize) {
    (bytes.as_ptr() as usize, bytes.len())
}

impl Held {
    /// Begins to hold parts of `bytes`.
    pub(crate) fn promise(&mut self, bytes: &[u8]) {
        self.promised = Some(place(bytes));
    }

    /// Whether `bytes` are among the samples that will not change.
    pub(crate) fn is_promised(&self, bytes: &[u8]) -> bool {
        let (start, len) = place(bytes);
        self.promised.is_some_and(|(first, all)| first <= start && start + len <= first + all)
    }

    /// The buffer that has `bytes`.
    pub(crate) fn get(&self, bytes: &[u8]) -> Option<wgpu::Buffer> {
        self.buffers.get(&place(bytes)).cloned()
    }

    /// Keeps the buffer that `bytes` were written to.
    pub(crate) fn keep(&mut self, bytes: &[u8], buffer: wgpu::Buffer) {
        self.buffers.insert(place(bytes), buffer);
    }

    /// Ends the promise.
    pub(crate) fn release(&mut self, pool: &Pool) {
        self.promised = None;
        self.buffers.drain().for_each(|(_, buffer)| pool.put(Use::Storage, buffer));
    }
}
