//! Checkpoints: opened with their headers fully checked, read one tensor at a time, and laid out for writing.
//!
//! Everything that a file claims is checked when it is opened; reading can then only fail when the file changes or
//! memory runs out. Files are read by position, never mapped, so that resident memory stays at one tensor and a file
//! truncated under us is an error.

mod bytes;
mod dtype;
mod error;
mod file;
mod folder;
mod gguf;
mod header;
mod index;
pub mod layout;
mod open;
mod problem;

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

pub use bytes::AlignedBytes;
pub use dtype::StoredDtype;
pub use error::CheckpointError;
pub use problem::{HeaderProblem, IndexProblem, PlaceProblem, TensorProblem};

use file::PositionedFile;

/// What a checkpoint was opened from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// A Hugging Face folder of safetensors.
    Folder,
    /// One safetensors file.
    SafetensorsFile,
    /// One GGUF file.
    Gguf,
}

/// One tensor of a checkpoint.
#[derive(Clone, Debug)]
pub struct TensorEntry {
    /// The name, unique in the checkpoint.
    pub name: String,
    /// Lengths, the fastest-varying last: `[out, in]` for a linear layer. Empty for a scalar.
    pub shape: Vec<usize>,
    /// The stored number format.
    pub dtype: StoredDtype,
    /// Position in [`Checkpoint::shards`].
    pub shard: usize,
    /// Bytes as stored.
    pub byte_len: u64,
    /// Position in the shard's file.
    offset: u64,
}

impl TensorEntry {
    /// The number of samples; 1 for a scalar.
    pub fn sample_count(&self) -> usize {
        self.shape.iter().product()
    }
}

/// One file of a checkpoint.
#[derive(Debug)]
pub struct Shard {
    /// The path relative to the checkpoint's folder.
    pub file_name: String,
    /// The path to open.
    pub path: PathBuf,
    /// Bytes in the file.
    pub byte_len: u64,
    /// The strings under `__metadata__` of a safetensors header.
    pub metadata: BTreeMap<String, String>,
    file: PositionedFile,
    digest: [u8; 32],
}

impl Shard {
    fn new(file_name: String, file: PositionedFile, digest: [u8; 32], metadata: BTreeMap<String, String>) -> Self {
        Self { file_name, path: file.path().to_owned(), byte_len: file.byte_len(), metadata, file, digest }
    }
}

/// An open checkpoint.
///
/// Shared between threads freely: reads are positioned and take `&self`.
#[derive(Debug)]
pub struct Checkpoint {
    source: Source,
    path: PathBuf,
    tensors: Vec<TensorEntry>,
    shards: Vec<Shard>,
    gguf_metadata: Option<Vec<(String, quant_gguf::Value)>>,
    config: Option<serde_json::Value>,
    side_files: Vec<PathBuf>,
    left_out: Vec<PathBuf>,
}

impl Checkpoint {
    /// Opens a folder, a safetensors file or a GGUF file and checks every header; no tensor is read.
    pub fn open(path: &Path) -> Result<Self, CheckpointError> {
        open::open(path)
    }

    /// What it was opened from.
    pub fn source(&self) -> Source {
        self.source
    }

    /// The path it was opened with, or the GGUF file that the folder there holds.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The tensors in stored order: by shard, then by offset.
    pub fn tensors(&self) -> &[TensorEntry] {
        &self.tensors
    }

    /// The files that hold the tensors, by name.
    pub fn shards(&self) -> &[Shard] {
        &self.shards
    }

    /// Keys and values of a GGUF header: architecture, tokenizer, ...
    pub fn gguf_metadata(&self) -> Option<&[(String, quant_gguf::Value)]> {
        self.gguf_metadata.as_deref()
    }

    /// The `config.json` of a folder.
    pub fn config(&self) -> Option<&serde_json::Value> {
        self.config.as_ref()
    }

    /// Files of the folder to carry along bit for bit, relative to it: configuration, tokenizer, licence, ...
    pub fn side_files(&self) -> &[PathBuf] {
        &self.side_files
    }

    /// Files of the folder that hold the same weights in another form (pickled, GGUF, ...), relative to it.
    pub fn left_out(&self) -> &[PathBuf] {
        &self.left_out
    }

    /// SHA-256 in hexadecimal over names, sizes, headers and three 64 KiB probes of each file's data.
    ///
    /// Tells whether an interrupted run goes on with the same input, without reading all of it.
    pub fn fingerprint(&self) -> String {
        let mut hash = Sha256::new();
        for shard in &self.shards {
            hash.update((shard.file_name.len() as u64).to_le_bytes());
            hash.update(&shard.file_name);
            hash.update(shard.digest);
        }
        hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The stored bytes of a tensor.
    ///
    /// # Panics
    /// When there is no such tensor; so do the other readers.
    pub fn read_raw(&self, tensor: usize) -> Result<AlignedBytes, CheckpointError> {
        let entry = &self.tensors[tensor];
        let mut bytes = self.allocate(entry, Some(entry.byte_len))?;
        self.read_raw_range(tensor, 0..entry.byte_len, &mut bytes)?;
        Ok(bytes)
    }

    /// A tensor's samples as [`StoredDtype::float`] says: plain floats as stored, ggml blocks decoded to f32.
    pub fn read_samples(&self, tensor: usize) -> Result<AlignedBytes, CheckpointError> {
        let entry = &self.tensors[tensor];
        if entry.dtype.is_plain_float() {
            return self.read_raw(tensor);
        }
        match entry.dtype {
            StoredDtype::Ggml(ggml_type) if ggml_type.is_decodable() => {
                // `None` on overflow cannot happen after the header's check; `allocate` refuses it all the same.
                let mut samples = self.allocate(entry, (entry.sample_count() as u64).checked_mul(4))?;
                gguf::decode(entry, ggml_type, &self.shards[entry.shard].file, &mut samples)?;
                Ok(samples)
            }
            _ => Err(self.refuse(entry, TensorProblem::NotFloat { dtype: entry.dtype.name() })),
        }
    }

    /// Stored bytes `range` of a tensor, counted from its first.
    ///
    /// # Panics
    /// When `range` goes past [`TensorEntry::byte_len`] or `out` has another length.
    pub fn read_raw_range(&self, tensor: usize, range: Range<u64>, out: &mut [u8]) -> Result<(), CheckpointError> {
        let entry = &self.tensors[tensor];
        assert!(range.start <= range.end && range.end <= entry.byte_len, "range {range:?} of {}", entry.byte_len);
        assert_eq!(range.end - range.start, out.len() as u64, "one byte of `out` for each of the range");
        self.shards[entry.shard].file.read_at(entry.offset + range.start, out)
    }

    fn allocate(&self, entry: &TensorEntry, byte_len: Option<u64>) -> Result<AlignedBytes, CheckpointError> {
        byte_len
            .and_then(|len| AlignedBytes::try_zeroed(usize::try_from(len).ok()?))
            .ok_or_else(|| self.refuse(entry, TensorProblem::TooLarge { byte_len: byte_len.unwrap_or(u64::MAX) }))
    }

    fn refuse(&self, entry: &TensorEntry, problem: TensorProblem) -> CheckpointError {
        CheckpointError::tensor(&self.shards[entry.shard].path, &entry.name, problem)
    }
}
