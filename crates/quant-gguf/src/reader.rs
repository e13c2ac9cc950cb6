//! A counting reader that checks every length against the file before it allocates.

use std::io::Read;

use crate::error::Fault;
use crate::header::{HEADER_LEN_MAX, NAME_LEN_MAX};

/// Reads a header front to back.
pub(crate) struct Reader<R> {
    inner: R,
    position: u64,
    file_len: u64,
}

impl<R: Read> Reader<R> {
    pub(crate) fn new(inner: R, file_len: u64) -> Self {
        Self { inner, position: 0, file_len }
    }

    /// Bytes read so far.
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// Bytes after the position.
    pub(crate) fn left(&self) -> u64 {
        self.file_len.saturating_sub(self.position)
    }

    /// Fails when fewer than `needed` bytes are left, or more than any header has.
    pub(crate) fn expect(&self, needed: u64) -> Result<(), Fault> {
        let (at, left) = (self.position, self.left());
        if needed > left {
            return Err(Fault::Truncated { at, needed, left });
        }
        if at + needed > HEADER_LEN_MAX {
            return Err(Fault::HeaderTooLong { at, needed });
        }
        Ok(())
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        let mut bytes = [0; N];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Fault> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    pub(crate) fn u64(&mut self) -> Result<u64, Fault> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    /// `count` values of `N` bytes each.
    pub(crate) fn values<T, const N: usize>(&mut self, count: u64, from: fn([u8; N]) -> T) -> Result<Vec<T>, Fault> {
        let bytes = self.bytes(count.saturating_mul(N as u64))?;
        let (chunks, _) = bytes.as_chunks::<N>();
        Ok(chunks.iter().map(|&chunk| from(chunk)).collect())
    }

    /// A length and as many bytes.
    pub(crate) fn string(&mut self) -> Result<Vec<u8>, Fault> {
        let len = self.u64()?;
        self.bytes(len)
    }

    /// A key or tensor name: short, and UTF-8.
    pub(crate) fn name(&mut self) -> Result<String, Fault> {
        let len = self.u64()?;
        if len > NAME_LEN_MAX {
            return Err(Fault::NameTooLong { len });
        }
        let at = self.position;
        String::from_utf8(self.bytes(len)?)
            .map_err(|error| Fault::NotUtf8 { at: at + error.utf8_error().valid_up_to() as u64 })
    }

    fn bytes(&mut self, len: u64) -> Result<Vec<u8>, Fault> {
        self.expect(len)?;
        let mut bytes = vec![0; usize::try_from(len).expect("at most HEADER_LEN_MAX")];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), Fault> {
        self.expect(bytes.len() as u64)?;
        self.inner.read_exact(bytes)?;
        self.position += bytes.len() as u64;
        Ok(())
    }
}
