//! Why a checkpoint was refused. Every message names the file, the tensor where there is one, and the reason.

use std::fmt::Display;
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

/// A parser's words as they may be printed: they quote the file, whose strings may be long or steer a terminal.
pub(super) fn reason(error: &impl Display) -> String {
    let text = error.to_string();
    let plain = |text: &str| -> String { text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect() };
    let (first, last) = (text.char_indices().nth(400), text.char_indices().nth_back(100));
    match (first, last) {
        (Some((first, _)), Some((last, _))) if first < last => {
            format!("{} ... {}", plain(&text[..first]), plain(&text[last..]))
        }
        _ => plain(&text),
    }
}

/// A shape as it may be printed: eight lengths at most.
pub(super) fn listed(shape: &[usize]) -> String {
    match shape {
        [_, _, _, _, _, _, _, _, rest @ ..] if !rest.is_empty() => format!("{:?} and {} more", &shape[..8], rest.len()),
        _ => format!("{shape:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_file_says_is_printed_short_and_plain() {
        assert_eq!(quoted("a\n\u{1b}[0m"), r#""a\n\u{1b}[0m""#);
        assert_eq!(quoted(&"ü".repeat(300)).chars().count(), 205);
        assert_eq!(reason(&"a\u{1b}b"), "a\u{fffd}b");
        let long = reason(&format!("{} at line 1", "ü".repeat(10_000)));
        assert!(long.chars().count() < 520 && long.ends_with(" at line 1"), "{long}");
        assert_eq!(listed(&[1; 8]), "[1, 1, 1, 1, 1, 1, 1, 1]");
        assert_eq!(listed(&[1; 9]), "[1, 1, 1, 1, 1, 1, 1, 1] and 1 more");
    }
}
