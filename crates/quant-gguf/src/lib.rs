//! Reads GGUF checkpoints: header checked here, blocks decoded by candle.

mod types;

pub use types::GgmlType;

/// Why a GGUF file was refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GgufError {}
