//! Dense output: decoded weights under the tensor's own name and shape.

use quant_core::backend::{Backend, SamplesMut};
use quant_core::quantize::Quantized;
use quant_core::tensor::Dtype;

use super::{Piece, Subject};
use crate::checkpoint::{AlignedBytes, StoredDtype, TensorEntry};
use crate::transpose::transposed;

/// The dtype that a decoded tensor is written in: as asked, or its own.
pub fn dtype(subject: &Subject<'_>, asked: Option<Dtype>) -> Dtype {
    asked.or(subject.entry.dtype.float()).expect("only float tensors are quantized")
}

pub(super) fn piece(subject: &Subject<'_>, asked: Option<Dtype>) -> Piece {
    let dtype = stored(dtype(subject, asked));
    Piece::new(subject.entry.name.clone(), dtype, subject.entry.shape.clone())
}

/// The safetensors dtype of samples.
pub fn stored(dtype: Dtype) -> safetensors::Dtype {
    match dtype {
        Dtype::F32 => safetensors::Dtype::F32,
        Dtype::F16 => safetensors::Dtype::F16,
        Dtype::Bf16 => safetensors::Dtype::BF16,
    }
}

/// Bytes that a tensor takes in the output when it is carried over: as stored, but for GGUF blocks, which become f32.
pub fn carried_len_bytes(entry: &TensorEntry) -> u64 {
    match entry.dtype {
        StoredDtype::Safetensors(_) => entry.byte_len,
        StoredDtype::Ggml(_) => {
            let dtype = entry.dtype.float().unwrap_or(Dtype::F32);
            (entry.shape.iter().product::<usize>() * dtype.byte_len()) as u64
        }
    }
}

/// Decodes the matrices of one tensor, as stored: a transposed one is turned back.
pub fn bytes<B: Backend>(
    backend: &B,
    quantized: &[Quantized],
    dtype: Dtype,
    is_transposed: bool,
) -> Result<AlignedBytes, B::Fault> {
    let sample_count: usize = quantized.iter().map(|q| q.grouping.rows() * q.grouping.columns()).sum();
    let mut bytes = AlignedBytes::zeroed(sample_count * dtype.byte_len());
    let mut start = 0;
    for matrix in quantized {
        let (rows, columns) = (matrix.grouping.rows(), matrix.grouping.columns());
        let end = start + rows * columns * dtype.byte_len();
        let mut samples = SamplesMut::from_bytes(&mut bytes[start..end], dtype).expect("the buffer is aligned");
        matrix.decode(backend, &mut samples)?;
        if is_transposed {
            let turned = transposed(&bytes[start..end], rows, columns, dtype.byte_len());
            bytes[start..end].copy_from_slice(&turned);
        }
        start = end;
    }
    Ok(bytes)
}
