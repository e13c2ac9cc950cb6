//! The reasons inside a [`CheckpointError`](super::CheckpointError), one enum for each place that refuses.

use super::error::{listed, quoted};

/// What is wrong with the path given to [`Checkpoint::open`](super::Checkpoint::open).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PlaceProblem {
    /// Nothing is there.
    #[error("no such file or folder")]
    Missing,
    /// A device, pipe or socket.
    #[error("neither a regular file nor a folder")]
    NotRegular,
    /// A file of zero bytes.
    #[error("the file is empty; a safetensors or GGUF checkpoint is expected")]
    Empty,
    /// Pickled weights.
    #[error("pickled PyTorch weights are not read; convert them to safetensors first")]
    Pickle,
    /// A folder whose only weights are pickled.
    #[error("the folder has only pickled weights ({example}); safetensors are needed: convert it first")]
    PickleFolder {
        /// One of the files.
        example: String,
    },
    /// A JSON file instead of a checkpoint.
    #[error("a JSON file is no checkpoint; give the folder that holds it")]
    Json,
    /// A folder without weights.
    #[error("the folder has no checkpoint: no *.safetensors, no model.safetensors.index.json, no *.gguf")]
    NoCheckpoint,
    /// More than one GGUF file: which one is meant is not for us to guess.
    #[error("the folder has {count} GGUF files ({first}, {second}, ...); name one of them")]
    ManyGguf {
        /// How many.
        count: usize,
        /// The first by name.
        first: String,
        /// The second by name.
        second: String,
    },
    /// One piece of a GGUF model cut into several files.
    #[error("part of a GGUF model split into {count} files; merge them first (llama-gguf-split --merge)")]
    SplitGguf {
        /// Parts in all.
        count: u64,
    },
    /// A config.json that is not JSON.
    #[error("not valid JSON: {reason}")]
    Config {
        /// The parser's words.
        reason: String,
    },
}

/// What is wrong with a safetensors header as a whole.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HeaderProblem {
    /// Not even the length is there.
    #[error("{file_len} bytes are too few for a safetensors file; the header length alone takes 8")]
    TooShort {
        /// Bytes in the file.
        file_len: u64,
    },
    /// The header is longer than the reference implementation allows.
    #[error("header length {header_len} is too large for a safetensors file; at most {max} bytes are allowed", max = super::header::HEADER_LEN_MAX)]
    TooLarge {
        /// As stated.
        header_len: u64,
    },
    /// The header goes past the end of the file.
    #[error("header length {header_len} is beyond the file; at most {available} bytes follow")]
    BeyondFile {
        /// As stated.
        header_len: u64,
        /// Bytes after the length.
        available: u64,
    },
    /// Bytes that are not text.
    #[error("header is not UTF-8 from byte {valid_up_to} on")]
    NotUtf8 {
        /// Position in the header.
        valid_up_to: usize,
    },
    /// Text that is not the JSON object it should be.
    #[error("header is not a JSON object of tensors: {reason}")]
    Json {
        /// The parser's words.
        reason: String,
    },
    /// Bytes after the last tensor.
    #[error("{extra} trailing bytes: the tensors end at byte {end} of the data, the file holds {data_len}")]
    TrailingBytes {
        /// How many.
        extra: u64,
        /// Where the tensors end.
        end: u64,
        /// Bytes after the header.
        data_len: u64,
    },
}

/// What is wrong with one tensor.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TensorProblem {
    /// The header entry lacks a field or has one of the wrong kind.
    #[error("malformed header entry: {reason}")]
    Malformed {
        /// The parser's words.
        reason: String,
    },
    /// Twice in one file.
    #[error("named twice in one header")]
    Duplicate,
    /// In two shards.
    #[error("also in shard {other}")]
    DuplicateAcrossShards {
        /// The other shard.
        other: String,
    },
    /// `begin > end`.
    #[error("data offsets [{begin}, {end}] are reversed")]
    Reversed {
        /// As stated.
        begin: u64,
        /// As stated.
        end: u64,
    },
    /// Offsets past the end of the file.
    #[error("data offsets [{begin}, {end}] are out of range; the file holds {data_len} bytes of data (truncated?)")]
    OutOfRange {
        /// As stated.
        begin: u64,
        /// As stated.
        end: u64,
        /// Bytes after the header.
        data_len: u64,
    },
    /// Starts inside the tensor before it.
    #[error("data offset {begin} overlaps the tensor before it, which ends at {expected}")]
    Overlap {
        /// As stated.
        begin: u64,
        /// End of the tensor before.
        expected: u64,
    },
    /// Leaves bytes that belong to no tensor.
    #[error("data offset {begin} leaves a hole; the tensor before it ends at {expected}")]
    Hole {
        /// As stated.
        begin: u64,
        /// End of the tensor before.
        expected: u64,
    },
    /// Bytes and shape disagree.
    #[error("{byte_len} bytes of data, but shape {} of {dtype} takes {expected}", listed(shape))]
    ByteLen {
        /// Bytes between the offsets.
        byte_len: u64,
        /// As stated.
        shape: Vec<usize>,
        /// As stated.
        dtype: String,
        /// What the shape asks for.
        expected: u64,
    },
    /// The sample count does not fit 64 bits.
    #[error("shape {} overflows; its samples in bits must stay below 2^64", listed(shape))]
    ShapeOverflow {
        /// As stated.
        shape: Vec<usize>,
    },
    /// Sub-byte samples that do not fill the last byte.
    #[error("shape {} of {dtype} is not a whole number of bytes", listed(shape))]
    Ragged {
        /// As stated.
        shape: Vec<usize>,
        /// As stated.
        dtype: String,
    },
    /// Not something to quantize.
    #[error("stored as {dtype}, which cannot be read as F32, F16 or BF16 samples")]
    NotFloat {
        /// As stored.
        dtype: String,
    },
    /// More bytes than this machine can give.
    #[error("{byte_len} bytes do not fit in memory")]
    TooLarge {
        /// Bytes asked for.
        byte_len: u64,
    },
}

/// What is wrong with a `model.safetensors.index.json`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IndexProblem {
    /// Not the JSON it should be.
    #[error("not a safetensors index: {reason}")]
    Json {
        /// The parser's words.
        reason: String,
    },
    /// Longer than any header may be.
    #[error("{byte_len} bytes are too many for an index; at most {max} are allowed", max = super::header::HEADER_LEN_MAX)]
    TooLarge {
        /// Bytes in the file.
        byte_len: u64,
    },
    /// No tensor, hence no shard.
    #[error("weight_map names no tensor")]
    Empty,
    /// A shard path that leaves the folder.
    #[error("tensor {}: shard {} must be a relative path inside the folder", quoted(tensor), quoted(shard))]
    Escapes {
        /// The tensor.
        tensor: String,
        /// As stated.
        shard: String,
    },
    /// A shard that is not there.
    #[error("shard {} is missing (named for tensor {})", quoted(shard), quoted(tensor))]
    MissingShard {
        /// The tensor.
        tensor: String,
        /// As stated.
        shard: String,
    },
    /// A tensor that its shard does not have.
    #[error("tensor {} is not in shard {}", quoted(tensor), quoted(shard))]
    AbsentTensor {
        /// The tensor.
        tensor: String,
        /// As stated.
        shard: String,
    },
}
