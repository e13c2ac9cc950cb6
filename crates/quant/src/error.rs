//! What can go wrong, and whose turn it is: the caller's (refused input) or the machine's (fault).

use std::path::{Path, PathBuf};

use quant_core::recipe::{Recipe, RecipeError};

use crate::checkpoint::CheckpointError;
use crate::samples::SamplesError;

/// Every failure of the façade.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The checkpoint could not be read.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The recipe makes no sense.
    #[error(transparent)]
    Recipe(#[from] RecipeError),
    /// A file of samples could not be used.
    #[error(transparent)]
    Samples(#[from] SamplesError),
    /// A weight is NaN or infinite.
    #[error("{}: tensor \"{tensor}\": weight {index} is {value}; every weight must be finite", file.display())]
    NotFinite {
        /// File that holds the tensor.
        file: PathBuf,
        /// The tensor.
        tensor: String,
        /// Row-major position in the tensor as stored.
        index: usize,
        /// The weight.
        value: f32,
    },
    /// Input refused for a reason that the message tells in full.
    #[error("{0}")]
    Refused(String),
    /// A file could not be written, made or moved.
    #[error("{}: cannot {action}: {source}", path.display())]
    Io {
        /// What was attempted.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why it failed.
        source: std::io::Error,
    },
    /// The device failed.
    #[error("{device}: {message}")]
    Device {
        /// Its name.
        device: String,
        /// What it said.
        message: String,
    },
}

impl Error {
    /// True when the caller can fix it by giving other input: exit code 2. Otherwise a fault: exit code 1.
    pub fn is_refused_input(&self) -> bool {
        match self {
            Self::Checkpoint(error) => error.is_refused_input(),
            Self::Recipe(_) | Self::Samples(_) | Self::NotFinite { .. } | Self::Refused(_) => true,
            Self::Io { .. } | Self::Device { .. } => false,
        }
    }

    /// Refuses input with a formatted message.
    pub(crate) fn refused(message: impl Into<String>) -> Self {
        Self::Refused(message.into())
    }

    /// A decoded weight that the asked-for dtype cannot hold.
    pub(crate) fn overflow(file: &Path, tensor: &str, index: usize, dtype: quant_core::tensor::Dtype) -> Self {
        let (file, dtype) = (file.display(), dtype.name());
        let why = format!("decoded weight {index} is beyond the largest {dtype}; choose another --dtype");
        Self::Refused(format!("{file}: tensor \"{tensor}\": {why}"))
    }

    /// A group whose scale the format that `recipe` stores scales in cannot hold; `what` says which and why.
    pub(crate) fn scale(file: &Path, tensor: &str, what: &str, recipe: &Recipe) -> Self {
        let instead = match recipe.has_half_scales_only() {
            true => "choose another preset, or leave the tensor dense with --exclude",
            false => "choose --scale-dtype f32, or leave the tensor dense with --exclude",
        };
        Self::Refused(format!("{}: tensor \"{tensor}\": {what}; {instead}", file.display()))
    }

    /// For `map_err`: an I/O failure of `action` on `path`.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source }
    }
}
