//! Owned bytes aligned for every sample type.

use std::ops::{Deref, DerefMut};

// Stored samples are little-endian and are viewed in place; a big-endian machine would read them wrong without a word.
const _: () = assert!(cfg!(target_endian = "little"), "only little-endian machines are supported");

/// Bytes at an 8-byte boundary, so that they can be viewed as f32, f16 or bf16 without a copy.
#[derive(Clone, Debug, Default)]
pub struct AlignedBytes {
    words: Vec<u64>,
    len: usize,
}

impl AlignedBytes {
    /// `len` zero bytes.
    ///
    /// # Panics
    /// When memory runs out; for lengths that a file states use [`AlignedBytes::try_zeroed`].
    pub fn zeroed(len: usize) -> Self {
        Self::try_zeroed(len).expect("memory for the bytes")
    }

    /// `len` zero bytes, or `None` when memory runs out.
    pub fn try_zeroed(len: usize) -> Option<Self> {
        let word_count = len.div_ceil(8);
        let mut words = Vec::new();
        words.try_reserve_exact(word_count).ok()?;
        words.resize(word_count, 0);
        Some(Self { words, len })
    }
}

impl Deref for AlignedBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &bytemuck::cast_slice(&self.words)[..self.len]
    }
}

impl DerefMut for AlignedBytes {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut bytemuck::cast_slice_mut(&mut self.words)[..self.len]
    }
}

impl AsRef<[u8]> for AlignedBytes {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_length_is_kept_and_aligned() {
        for len in 0..40 {
            let mut bytes = AlignedBytes::zeroed(len);
            bytes.fill(7);
            assert_eq!(bytes.len(), len);
            assert_eq!(bytes.as_ptr() as usize % 8, 0);
        }
    }

    #[test]
    fn an_absurd_length_is_refused() {
        assert!(AlignedBytes::try_zeroed(usize::MAX - 8).is_none());
    }
}
