//! The number formats that tensors are stored in.

use quant_core::tensor::Dtype;
use quant_gguf::GgmlType;

/// How one tensor is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoredDtype {
    /// A safetensors number format.
    Safetensors(safetensors::Dtype),
    /// A ggml type of a GGUF file.
    Ggml(GgmlType),
}

impl StoredDtype {
    /// The format's own name, such as `BF16` or `Q4_K`.
    pub fn name(self) -> String {
        match self {
            Self::Safetensors(dtype) => dtype.to_string(),
            Self::Ggml(ggml_type) => ggml_type.name().to_owned(),
        }
    }

    /// The number format [`read_samples`](super::Checkpoint::read_samples) yields; `None` when it refuses.
    ///
    /// F32, F16 and BF16 stay as they are, ggml blocks become F32, everything else is not a weight to quantize.
    pub fn float(self) -> Option<Dtype> {
        match self {
            Self::Safetensors(safetensors::Dtype::F32) | Self::Ggml(GgmlType::F32) => Some(Dtype::F32),
            Self::Safetensors(safetensors::Dtype::F16) | Self::Ggml(GgmlType::F16) => Some(Dtype::F16),
            Self::Safetensors(safetensors::Dtype::BF16) | Self::Ggml(GgmlType::BF16) => Some(Dtype::Bf16),
            Self::Ggml(ggml_type) if ggml_type.is_decodable() => Some(Dtype::F32),
            Self::Safetensors(_) | Self::Ggml(_) => None,
        }
    }

    /// True when the stored bytes already are the samples.
    pub(super) fn is_plain_float(self) -> bool {
        match self {
            Self::Safetensors(_) => self.float().is_some(),
            Self::Ggml(ggml_type) => ggml_type.block_len() == 1 && self.float().is_some(),
        }
    }
}
