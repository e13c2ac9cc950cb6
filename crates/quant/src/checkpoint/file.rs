//! An open checkpoint file, read by position.
//!
//! Not memory-mapped: a file truncated under a map kills the process, and its resident memory is not ours to bound.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::{CheckpointError, PlaceProblem};

/// Bytes hashed or probed at a time.
const CHUNK: usize = 64 * 1024;

/// A regular file with the length it had when it was opened.
#[derive(Debug)]
pub(super) struct PositionedFile {
    file: File,
    path: PathBuf,
    byte_len: u64,
}

impl PositionedFile {
    pub(super) fn open(path: &Path) -> Result<Self, CheckpointError> {
        let at = |error| CheckpointError::io(path, error);
        // Before opening: a pipe would block.
        if !path.metadata().map_err(at)?.is_file() {
            return Err(CheckpointError::place(path, PlaceProblem::NotRegular));
        }
        let file = File::open(path).map_err(at)?;
        let byte_len = file.metadata().map_err(at)?.len();
        Ok(Self { file, path: path.to_owned(), byte_len })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn byte_len(&self) -> u64 {
        self.byte_len
    }

    /// Fills `out` from byte `offset` on.
    pub(super) fn read_at(&self, offset: u64, out: &mut [u8]) -> Result<(), CheckpointError> {
        read_exact_at(&self.file, offset, out).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => CheckpointError::Shrunk {
                path: self.path.clone(),
                begin: offset,
                end: offset.saturating_add(out.len() as u64),
            },
            _ => CheckpointError::io(&self.path, error),
        })
    }

    /// At most `len` bytes from the start of the file.
    pub(super) fn head(&self, len: u64) -> Result<Vec<u8>, CheckpointError> {
        let mut head = vec![0; usize::try_from(len.min(self.byte_len)).expect("callers ask for little")];
        self.read_at(0, &mut head)?;
        Ok(head)
    }

    /// SHA-256 over the length, the first `header_len` bytes and three probes of the rest.
    ///
    /// The probes tell a fine-tuned model from its base, whose header is the same to the byte.
    pub(super) fn digest(&self, header_len: u64) -> Result<[u8; 32], CheckpointError> {
        let mut hash = Sha256::new();
        hash.update(self.byte_len.to_le_bytes());
        let header_len = header_len.min(self.byte_len);
        self.hash_range(0, header_len, &mut hash)?;
        let probe_len = (CHUNK as u64).min(self.byte_len - header_len);
        let last = self.byte_len - probe_len;
        for begin in [header_len, header_len.midpoint(last), last] {
            self.hash_range(begin, begin + probe_len, &mut hash)?;
        }
        Ok(hash.finalize().into())
    }

    fn hash_range(&self, begin: u64, end: u64, hash: &mut Sha256) -> Result<(), CheckpointError> {
        let mut chunk = vec![0; CHUNK];
        let mut at = begin;
        while at < end {
            let len = usize::try_from(end - at).unwrap_or(CHUNK).min(CHUNK);
            self.read_at(at, &mut chunk[..len])?;
            hash.update(&chunk[..len]);
            at += len as u64;
        }
        Ok(())
    }
}

#[cfg(unix)]
fn read_exact_at(file: &File, offset: u64, out: &mut [u8]) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, out, offset)
}

#[cfg(windows)]
fn read_exact_at(file: &File, mut offset: u64, mut out: &mut [u8]) -> io::Result<()> {
    use std::os::windows::fs::FileExt;
    while !out.is_empty() {
        match file.seek_read(out, offset) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(n) => {
                out = &mut out[n..];
                offset += n as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// [`std::io::Read`] over a [`PositionedFile`], for the header parsers.
pub(super) struct Cursor<'a> {
    file: &'a PositionedFile,
    at: u64,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(file: &'a PositionedFile) -> Self {
        Self { file, at: 0 }
    }
}

impl io::Read for Cursor<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let left = self.file.byte_len.saturating_sub(self.at);
        let len = usize::try_from(left).unwrap_or(usize::MAX).min(out.len());
        read_exact_at(&self.file.file, self.at, &mut out[..len])?;
        self.at += len as u64;
        Ok(len)
    }
}
