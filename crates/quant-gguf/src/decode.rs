//! Blocks to f32, through candle's decoders; IQ4_NL, which it lacks, here.

use std::borrow::Cow;

use candle_core::CpuStorage;

use crate::blocks::{BLOCK_LEN, IQ4_NL_VALUES, read_half};
use crate::types::GgmlType;

/// Bytes decoded at a time: candle copies its input and allocates its output, and both should stay in cache.
const CHUNK_BYTE_LEN: usize = 64 * 1024;

/// A type that there is no decoder for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("ggml type {} cannot be decoded", ggml_type.name())]
pub struct NotDecodable {
    /// The type.
    pub ggml_type: GgmlType,
}

/// Decodes whole blocks into `out`.
///
/// # Panics
/// When `blocks` is not a whole number of blocks, or `out` has not one place for each weight in them.
pub fn dequantize(ggml_type: GgmlType, blocks: &[u8], out: &mut [f32]) -> Result<(), NotDecodable> {
    let (block_len, block_byte_len) = (ggml_type.block_len(), ggml_type.block_byte_len());
    assert!(blocks.len().is_multiple_of(block_byte_len), "whole blocks");
    assert_eq!(blocks.len() / block_byte_len * block_len, out.len(), "one place for each weight");
    if ggml_type == GgmlType::IQ4_NL {
        blocks.chunks_exact(block_byte_len).zip(out.chunks_exact_mut(block_len)).for_each(|(b, out)| iq4_nl(b, out));
        return Ok(());
    }
    let dtype = ggml_type.decoder().ok_or(NotDecodable { ggml_type })?;
    let chunk_blocks = (CHUNK_BYTE_LEN / block_byte_len).max(1);
    let mut aligned = vec![0u64; (chunk_blocks * block_byte_len).div_ceil(8)];
    for (blocks, out) in blocks.chunks(chunk_blocks * block_byte_len).zip(out.chunks_mut(chunk_blocks * block_len)) {
        // candle asserts the alignment of its block types, which the caller's bytes need not have.
        let aligned = &mut bytemuck::cast_slice_mut::<u64, u8>(&mut aligned)[..blocks.len()];
        aligned.copy_from_slice(blocks);
        let decoded = dtype.from_data(Cow::Borrowed(aligned)).dequantize(out.len());
        let Ok(CpuStorage::F32(samples)) = decoded else { unreachable!("candle decodes to f32 on the CPU") };
        out.copy_from_slice(&samples);
    }
    Ok(())
}

/// f16 scale, then 16 bytes: low nibbles are the first half of the block, high nibbles the second.
fn iq4_nl(block: &[u8], out: &mut [f32]) {
    let scale = read_half([block[0], block[1]]);
    let (low, high) = out.split_at_mut(BLOCK_LEN / 2);
    for ((byte, low), high) in block[2..].iter().zip(low).zip(high) {
        *low = scale * IQ4_NL_VALUES[usize::from(byte & 15)];
        *high = scale * IQ4_NL_VALUES[usize::from(byte >> 4)];
    }
}
