//! What a checkpoint holds, without reading its weights.

use serde::Serialize;

use crate::checkpoint::Source;
use crate::decoded::DecodedCheckpoint;
use crate::transformed::Mark;

/// One tensor.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct InspectedTensor {
    /// Its name.
    pub name: String,
    /// Its shape.
    pub shape: Vec<usize>,
    /// Its dtype before quantization.
    pub dtype: String,
    /// How it is stored.
    pub method: String,
    /// Bits per weight as stored, side information included.
    pub rate_bits: f64,
    /// Bytes as stored.
    pub stored_len_bytes: u64,
}

/// A checkpoint.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Inspection {
    /// `folder`, `safetensors` or `gguf`.
    pub source: String,
    /// Its files and their bytes.
    pub files: Vec<(String, u64)>,
    /// Weights in all.
    pub weight_count: u64,
    /// Bits per weight over the whole checkpoint.
    pub rate_bits: f64,
    /// The transform that its weights were made with, if any.
    pub transform: Option<Mark>,
    /// Tensor by tensor.
    pub tensors: Vec<InspectedTensor>,
}

/// Lists what `checkpoint` holds.
pub fn run(checkpoint: &DecodedCheckpoint) -> Inspection {
    let stored = checkpoint.checkpoint();
    let tensor = |t: &crate::decoded::DecodedTensor| InspectedTensor {
        name: t.name.clone(),
        shape: t.shape.clone(),
        dtype: t.dtype.clone(),
        method: t.method.clone(),
        rate_bits: t.rate_bits(),
        stored_len_bytes: t.stored_len_bytes,
    };
    let tensors: Vec<InspectedTensor> = checkpoint.tensors().iter().map(tensor).collect();
    let weight_count = tensors.iter().map(|t| t.shape.iter().product::<usize>() as u64).sum();
    let bytes: u64 = tensors.iter().map(|t| t.stored_len_bytes).sum();
    Inspection {
        source: match stored.source() {
            Source::Folder => "folder",
            Source::SafetensorsFile => "safetensors",
            Source::Gguf => "gguf",
        }
        .into(),
        files: stored.shards().iter().map(|s| (s.file_name.clone(), s.byte_len)).collect(),
        weight_count,
        rate_bits: if weight_count == 0 { 0.0 } else { 8.0 * bytes as f64 / weight_count as f64 },
        // What cannot be read is refused where it matters; the rest is still to be seen.
        transform: Mark::of(stored).ok().flatten(),
        tensors,
    }
}
