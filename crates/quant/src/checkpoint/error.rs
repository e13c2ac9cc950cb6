//! Why a checkpoint was refused. Every message names the file, the tensor where there is one, and the reason.

use std::io;
use std::path::{Path, PathBuf};

use super::{HeaderProblem, IndexProblem, PlaceProblem, TensorProblem};

/// A checkpoint that cannot be opened or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// The operating system refused or failed.
    #[error("{}: {error}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        error: io::Error,
    },
    /// The file ended before the bytes its header promises, after it was opened.
    #[error("{}: the file shrank while it was read: bytes {begin} to {end} are gone", path.display())]
    Shrunk {
        /// The file.
        path: PathBuf,
        /// First byte asked for.
        begin: u64,
        /// One past the last byte asked for.
        end: u64,
    },
    /// The path holds nothing that can be read as a checkpoint.
    #[error("{}: {problem}", path.display())]
    Place {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong with it.
        problem: PlaceProblem,
    },
    /// A safetensors header as a whole.
    #[error("{}: {problem}", path.display())]
    Header {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: HeaderProblem,
    },
    /// One tensor.
    #[error("{}: tensor {}: {problem}", path.display(), quoted(tensor))]
    Tensor {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// What is wrong with it.
        problem: TensorProblem,
    },
    /// A `model.safetensors.index.json`.
    #[error("{}: {problem}", path.display())]
    Index {
        /// The index file.
        path: PathBuf,
        /// What is wrong with it.
        problem: IndexProblem,
    },
    /// A GGUF file.
    #[error("{}: {error}", path.display())]
    Gguf {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        error: quant_gguf::GgufError,
    },
}

impl CheckpointError {
    /// True when another input would help; false when the file system or the machine failed.
    pub fn is_refused_input(&self) -> bool {
        match self {
            Self::Io { .. } | Self::Shrunk { .. } => false,
            Self::Gguf { error, .. } => !error.is_fault(),
            Self::Tensor { problem, .. } => !matches!(problem, TensorProblem::TooLarge { .. }),
            _ => true,
        }
    }

    pub(super) fn io(path: &Path, error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::NotFound => Self::place(path, PlaceProblem::Missing),
            _ => Self::Io { path: path.to_owned(), error },
        }
    }

    pub(super) fn place(path: &Path, problem: PlaceProblem) -> Self {
        Self::Place { path: path.to_owned(), problem }
    }

    pub(super) fn header(path: &Path, problem: HeaderProblem) -> Self {
        Self::Header { path: path.to_owned(), problem }
    }

    pub(super) fn tensor(path: &Path, tensor: &str, problem: TensorProblem) -> Self {
        Self::Tensor { path: path.to_owned(), tensor: tensor.to_owned(), problem }
    }

    pub(super) fn index(path: &Path, problem: IndexProblem) -> Self {
        Self::Index { path: path.to_owned(), problem }
    }
}

/// A name from a file as it may be printed: quoted, control characters escaped, 200 characters at most.
pub(super) fn quoted(name: &str) -> String {
    match name.char_indices().nth(200) {
        Some((cut, _)) => format!("{:?}...", &name[..cut]),
        None => format!("{name:?}"),
    }
}
