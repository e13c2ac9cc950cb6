//! Codes and scales to ggml blocks: where each bit of Q4_0, Q8_0 and IQ4_NL goes.
//!
//! Which codes and which scales is decided elsewhere; here they are only laid out. A block holds 32 weights behind an
//! f16 scale d: `Q4_0` x = d·(code − 8) and `IQ4_NL` x = d·value\[code\], codes in nibbles, the first 16 in the low
//! ones; `Q8_0` x = d·(code − 128), codes as int8. Layouts as in ggml's `ggml-common.h`.

use half::f16;

use crate::types::GgmlType;

/// Weights in a block.
pub(crate) const BLOCK_LEN: usize = 32;

/// ggml's `kvalues_iq4nl`.
pub(crate) const IQ4_NL_VALUES: [f32; 16] =
    [-127.0, -104.0, -83.0, -65.0, -49.0, -35.0, -22.0, -10.0, 1.0, 13.0, 25.0, 38.0, 53.0, 69.0, 89.0, 113.0];

/// Lays out blocks of Q4_0, Q8_0 or IQ4_NL: one scale for each 32 codes, codes counted from the lowest level.
///
/// # Panics
/// When the type is another, codes are no whole blocks or not as many as scales say, or a 4-bit code is over 15.
///
/// ```
/// use quant_gguf::{GgmlType, dequantize, pack_blocks};
/// let mut blocks = Vec::new();
/// pack_blocks(GgmlType::Q4_0, &[11; 32], &[0.5], &mut blocks);
/// let mut weights = [0.0; 32];
/// dequantize(GgmlType::Q4_0, &blocks, &mut weights).unwrap();
/// assert_eq!(weights, [1.5; 32]);
/// ```
pub fn pack_blocks(ggml_type: GgmlType, codes: &[u8], scales: &[f32], blocks: &mut Vec<u8>) {
    assert_eq!(codes.len(), BLOCK_LEN * scales.len(), "32 codes for each scale");
    blocks.reserve(scales.len() * ggml_type.block_byte_len());
    for (codes, &scale) in codes.chunks_exact(BLOCK_LEN).zip(scales) {
        blocks.extend(f16::from_f32(scale).to_le_bytes());
        match ggml_type {
            GgmlType::Q4_0 | GgmlType::IQ4_NL => {
                assert!(codes.iter().fold(0, |any, code| any | code) < 16, "4-bit codes");
                let (low, high) = codes.split_at(BLOCK_LEN / 2);
                let nibbles: [u8; BLOCK_LEN / 2] = std::array::from_fn(|i| low[i] | high[i] << 4);
                blocks.extend_from_slice(&nibbles);
            }
            GgmlType::Q8_0 => blocks.extend(codes.iter().map(|code| code ^ 0x80)),
            other => panic!("blocks of {} are not written", other.name()),
        }
    }
}

/// The value of a little-endian f16.
pub(crate) fn read_half(bytes: [u8; 2]) -> f32 {
    f16::from_le_bytes(bytes).to_f32()
}
