//! What is written: which stored tensors stand for a quantized one, in each target format.

pub mod any_precision;
pub mod bitsandbytes;
pub mod dense;
pub mod gguf;
pub mod hugging_face;
pub mod lut_b;
pub mod manifest;
pub mod native;
pub(crate) mod row_tables;
pub mod squeezellm;

use quant_core::quantize::Quantized;
use quant_core::recipe::Recipe;
use quant_core::tensor::Dtype;

use crate::checkpoint::{Checkpoint, Source, StoredDtype, TensorEntry};
use crate::error::Error;
use crate::plan::Matrices;

/// The format of the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// Packed codes, levels and scales in safetensors, see docs/format.md.
    Native,
    /// What transformers and bitsandbytes load as pre-quantized NF4 or FP4.
    Bitsandbytes,
    /// Decoded weights that any runtime loads.
    Dense {
        /// Their dtype; each tensor's own when `None`.
        dtype: Option<Dtype>,
    },
    /// A GGUF file of ggml blocks, which llama.cpp loads.
    Gguf,
    /// SqueezeLLM's tables of levels per output channel and sparse outliers, in safetensors.
    SqueezeLlm,
    /// Any-precision's planes of bits and tables of levels per output channel, in safetensors.
    AnyPrecision,
    /// LUT-B tiles in safetensors; experimental, see [`lut_b`].
    LutB,
}

/// One stored tensor of the output.
#[derive(Clone, Debug, PartialEq)]
pub struct Piece {
    /// Its name.
    pub name: String,
    /// Its dtype.
    pub dtype: safetensors::Dtype,
    /// Its shape.
    pub shape: Vec<usize>,
}

impl Piece {
    pub(crate) fn new(name: String, dtype: safetensors::Dtype, shape: Vec<usize>) -> Self {
        Self { name, dtype, shape }
    }

    /// Bytes of its data.
    pub fn byte_len(&self) -> usize {
        self.shape.iter().product::<usize>() * self.dtype.bitsize() / 8
    }
}

/// A tensor that is written quantized.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// The tensor as read.
    pub entry: &'a TensorEntry,
    /// Its matrices.
    pub matrices: Matrices,
    /// How they are quantized.
    pub recipe: &'a Recipe,
}

impl Target {
    /// `native`, `bitsandbytes`, `dense`, `gguf`, `squeezellm`, `any-precision` or `lut-b`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Bitsandbytes => "bitsandbytes",
            Self::Dense { .. } => "dense",
            Self::Gguf => "gguf",
            Self::SqueezeLlm => "squeezellm",
            Self::AnyPrecision => "any-precision",
            Self::LutB => "lut-b",
        }
    }

    /// Whether there is a table of levels per output channel and nothing else: every linear layer is quantized then.
    pub(crate) fn has_row_tables(&self) -> bool {
        matches!(self, Self::SqueezeLlm | Self::AnyPrecision)
    }

    /// What the target stores of a level, where that is less than an f32.
    pub(crate) fn level_rounding(&self) -> Option<fn(f32) -> f32> {
        match self {
            Self::AnyPrecision => Some(any_precision::stored_level),
            Self::LutB => Some(lut_b::stored_level),
            _ => None,
        }
    }

    /// Refuses a recipe or a source that the target cannot express at all.
    pub fn check_recipe(&self, checkpoint: &Checkpoint, recipe: &Recipe) -> Result<(), Error> {
        match self {
            Self::Native | Self::Dense { .. } => return Ok(()),
            Self::Gguf => return gguf::check_recipe(checkpoint, recipe),
            Self::SqueezeLlm => return squeezellm::check_recipe(checkpoint, recipe),
            Self::AnyPrecision => return any_precision::check_recipe(checkpoint, recipe),
            Self::LutB => return lut_b::check_recipe(checkpoint, recipe),
            Self::Bitsandbytes => {}
        }
        if checkpoint.source() != Source::Folder || checkpoint.config().is_none() {
            let path = checkpoint.path().display();
            return Err(Error::refused(format!("{path}: --to bitsandbytes needs a model folder with a config.json")));
        }
        bitsandbytes::check_recipe(recipe)
    }

    /// Why this tensor must stay dense in this target, if it must.
    pub fn reason_against(&self, name: &str, matrices: &Matrices, recipe: &Recipe) -> Option<String> {
        match self {
            Self::Bitsandbytes => bitsandbytes::reason_against(name, matrices, recipe),
            Self::Gguf => gguf::reason_against(matrices),
            Self::SqueezeLlm | Self::AnyPrecision => row_tables::reason_against(name, matrices, self, recipe),
            Self::LutB => lut_b::reason_against(name, matrices),
            Self::Native | Self::Dense { .. } => None,
        }
    }

    /// The stored tensors of a quantized one, in the order in which their data is made.
    pub fn pieces(&self, subject: &Subject<'_>) -> Vec<Piece> {
        match self {
            Self::Native => native::pieces(subject),
            Self::Bitsandbytes => bitsandbytes::pieces(subject),
            Self::Dense { dtype } => vec![dense::piece(subject, *dtype)],
            Self::Gguf => vec![gguf::piece(subject)],
            Self::SqueezeLlm => squeezellm::pieces(subject),
            Self::AnyPrecision => any_precision::pieces(subject),
            Self::LutB => lut_b::pieces(subject),
        }
    }

    /// Bits to report for a quantized tensor: everything that is stored for it. Dense output stands for its native form,
    /// whose rate it lets one evaluate.
    pub fn rate_bits(&self, subject: &Subject<'_>) -> u64 {
        let pieces = match self {
            Self::Dense { .. } => native::pieces(subject),
            _ => self.pieces(subject),
        };
        8 * pieces.iter().map(|piece| piece.byte_len() as u64).sum::<u64>()
    }

    /// Bytes that a tensor takes when it is carried over: GGUF keeps its blocks, all others hold them decoded; in GGUF,
    /// vectors are f32.
    pub fn carried_len_bytes(&self, entry: &TensorEntry) -> u64 {
        match (self, entry.dtype) {
            (Self::Gguf, StoredDtype::Safetensors(_)) => gguf::carried_len_bytes(entry),
            (Self::Gguf, StoredDtype::Ggml(_)) => entry.byte_len,
            _ => dense::carried_len_bytes(entry),
        }
    }

    /// The data of those pieces; native and bitsandbytes re-order codes and scales, dense needs [`dense::bytes`].
    pub(crate) fn bytes(&self, subject: &Subject<'_>, quantized: &[Quantized]) -> Vec<Vec<u8>> {
        match self {
            Self::Native => native::bytes(quantized),
            Self::Bitsandbytes => bitsandbytes::bytes(subject, quantized),
            Self::Gguf => vec![gguf::bytes(subject.recipe, quantized)],
            Self::SqueezeLlm => squeezellm::bytes(quantized),
            Self::AnyPrecision => any_precision::bytes(quantized),
            Self::LutB => lut_b::bytes(quantized),
            Self::Dense { .. } => unreachable!("dense output is decoded by the device"),
        }
    }
}
