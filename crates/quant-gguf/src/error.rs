//! Why a GGUF file was refused. The messages name the tensor or key and the allowed range; the caller names the file.

use std::io;

use crate::header::{COUNT_MAX, DIMENSIONS_MAX, HEADER_LEN_MAX, NAME_LEN_MAX};
use crate::types::known_names;
use crate::value::NESTING_MAX;

/// A GGUF file that cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GgufError {
    /// Reading failed or the header is cut off.
    #[error("{what}: {fault}")]
    Read {
        /// The part being read, with the key or tensor it belongs to.
        what: String,
        /// What went wrong.
        fault: Fault,
    },
    /// Not a GGUF file.
    #[error("not a GGUF file: it begins with {magic:02x?}, not with the bytes of \"GGUF\"")]
    Magic {
        /// The first four bytes.
        magic: [u8; 4],
    },
    /// Written on a big-endian machine.
    #[error("a big-endian GGUF file (version {version} with its bytes reversed); only little-endian files are read")]
    BigEndian {
        /// The version, bytes put right.
        version: u32,
    },
    /// Another version of the format.
    #[error("GGUF version {version} is not supported; versions 2 and 3 are")]
    Version {
        /// As stated.
        version: u32,
    },
    /// More entries than the file has room for.
    #[error(
        "the header counts {count} {what}; at most {max} are allowed (by the file's length, and never over {COUNT_MAX})"
    )]
    Count {
        /// `tensors` or `metadata entries`.
        what: &'static str,
        /// As stated.
        count: u64,
        /// What is allowed.
        max: u64,
    },
    /// An unknown kind of value.
    #[error("metadata key {key:?}: unknown value type {id}; known types are 0 to 12")]
    ValueType {
        /// The key.
        key: String,
        /// As stated.
        id: u32,
    },
    /// A truth value other than 0 or 1.
    #[error("metadata key {key:?}: bool {value}; 0 or 1 are allowed")]
    Bool {
        /// The key.
        key: String,
        /// As stored.
        value: u8,
    },
    /// Arrays inside arrays inside arrays.
    #[error("metadata key {key:?}: arrays nested deeper than {NESTING_MAX}")]
    Nesting {
        /// The key.
        key: String,
    },
    /// A key given twice.
    #[error("metadata key {key:?} is given twice")]
    DuplicateKey {
        /// The key.
        key: String,
    },
    /// An alignment that is no alignment.
    #[error("metadata key \"general.alignment\" is {value}; a power of two as uint32 is required")]
    Alignment {
        /// As stored.
        value: String,
    },
    /// One tensor.
    #[error("tensor {name:?}: {problem}")]
    Tensor {
        /// The tensor.
        name: String,
        /// What is wrong with it.
        problem: TensorProblem,
    },
}

/// Bytes that could not be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// The operating system failed.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The file ends first.
    #[error("truncated: {needed} bytes needed at byte {at}, {left} left in the file")]
    Truncated {
        /// Position in the file.
        at: u64,
        /// Bytes needed.
        needed: u64,
        /// Bytes left.
        left: u64,
    },
    /// A header longer than any real one.
    #[error("{needed} bytes at byte {at} are beyond the first {HEADER_LEN_MAX}, the longest header allowed")]
    HeaderTooLong {
        /// Position in the file.
        at: u64,
        /// Bytes needed.
        needed: u64,
    },
    /// A name longer than any real one.
    #[error("{len} bytes are too long for a name; at most {NAME_LEN_MAX} are allowed")]
    NameTooLong {
        /// As stated.
        len: u64,
    },
    /// A name that is not text.
    #[error("not UTF-8 at byte {at}")]
    NotUtf8 {
        /// Position in the file.
        at: u64,
    },
}

/// What is wrong with one tensor.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TensorProblem {
    /// Twice in the header.
    #[error("named twice")]
    Duplicate,
    /// Too many dimensions.
    #[error("{count} dimensions; at most {DIMENSIONS_MAX} are allowed")]
    Dimensions {
        /// As stated.
        count: u32,
    },
    /// A dimension of length zero, which ggml cannot hold.
    #[error("a dimension of shape {shape:?} is zero; at least 1 is required")]
    ZeroLength {
        /// Fastest-varying last.
        shape: Vec<u64>,
    },
    /// The sample or byte count does not fit.
    #[error("shape {shape:?} overflows; less than 2^63 bytes are allowed")]
    Overflow {
        /// Fastest-varying last.
        shape: Vec<u64>,
    },
    /// A type that is not in the table.
    #[error("unknown ggml type {id}; known types are {}", known_names())]
    UnknownType {
        /// As stated.
        id: u32,
    },
    /// Rows that are not whole blocks.
    #[error("rows of {row_len} weights are not a multiple of the {block_len} in a block of {ggml_type}")]
    RaggedRow {
        /// Weights in a row.
        row_len: u64,
        /// Weights in a block.
        block_len: usize,
        /// The type's name.
        ggml_type: &'static str,
    },
    /// Data that does not begin at the file's alignment.
    #[error("data offset {offset} is not a multiple of the alignment {alignment}")]
    Misaligned {
        /// As stated, from the start of the data.
        offset: u64,
        /// The file's alignment.
        alignment: u64,
    },
    /// Data past the end of the file.
    #[error("data offsets [{begin}, {end}] are out of range; the file holds {data_len} bytes of data (truncated?)")]
    OutOfRange {
        /// As stated, from the start of the data.
        begin: u64,
        /// One past the last byte.
        end: u64,
        /// Bytes after the header.
        data_len: u64,
    },
    /// Data inside another tensor's.
    #[error("data offset {begin} overlaps tensor {other:?}, which ends at {end}")]
    Overlap {
        /// As stated, from the start of the data.
        begin: u64,
        /// The other tensor.
        other: String,
        /// Its end.
        end: u64,
    },
}

impl GgufError {
    pub(crate) fn tensor(name: &str, problem: TensorProblem) -> Self {
        Self::Tensor { name: name.to_owned(), problem }
    }

    /// True when the operating system failed, not the file's content.
    pub fn is_fault(&self) -> bool {
        matches!(self, Self::Read { fault: Fault::Io(_), .. })
    }
}

impl Fault {
    /// Says which part could not be read.
    pub(crate) fn of(self, what: impl Into<String>) -> GgufError {
        GgufError::Read { what: what.into(), fault: self }
    }
}
