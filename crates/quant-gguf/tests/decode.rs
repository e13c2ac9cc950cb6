//! Decoded blocks against values computed by hand and against gguf-py, an implementation not related to candle.

use quant_gguf::{GgmlType, dequantize};

fn decoded(ggml_type: GgmlType, blocks: &[u8]) -> Vec<f32> {
    let mut out = vec![f32::NAN; blocks.len() / ggml_type.block_byte_len() * ggml_type.block_len()];
    dequantize(ggml_type, blocks, &mut out).unwrap();
    out
}

/// f16 bits of 0.5, -2 and 1.
const HALF: [u8; 2] = [0x00, 0x38];
const MINUS_TWO: [u8; 2] = [0x00, 0xc0];
const ONE: [u8; 2] = [0x00, 0x3c];

/// Sixteen bytes `0x10 * (15 - j) + j`: low nibbles count up, high nibbles down.
fn nibbles() -> Vec<u8> {
    (0..16).map(|j| 0x10 * (15 - j) + j).collect()
}

#[test]
fn q4_0_by_hand() {
    // scale · (nibble − 8); low nibbles are the first half, high nibbles the second.
    let samples = decoded(GgmlType::Q4_0, &[&HALF[..], &nibbles()].concat());
    let up = (0..16u8).map(|j| 0.5 * (f32::from(j) - 8.0));
    let down = (0..16u8).map(|j| 0.5 * (7.0 - f32::from(j)));
    assert_eq!(samples, up.chain(down).collect::<Vec<_>>());
    assert_eq!((samples[0], samples[15], samples[16], samples[31]), (-4.0, 3.5, 3.5, -4.0));
}

#[test]
fn q4_1_by_hand() {
    // scale · nibble + minimum
    let samples = decoded(GgmlType::Q4_1, &[&HALF[..], &MINUS_TWO, &nibbles()].concat());
    let up = (0..16u8).map(|j| 0.5 * f32::from(j) - 2.0);
    let down = (0..16u8).map(|j| 0.5 * (15.0 - f32::from(j)) - 2.0);
    assert_eq!(samples, up.chain(down).collect::<Vec<_>>());
    assert_eq!((samples[0], samples[15], samples[16], samples[31]), (-2.0, 5.5, 5.5, -2.0));
}

#[test]
fn q8_0_by_hand() {
    // scale · int8, two blocks with different scales
    let bytes = |from: i8| (0..32).map(move |j: i8| (from + j).cast_unsigned());
    let blocks: Vec<u8> = HALF.into_iter().chain(bytes(-128)).chain(MINUS_TWO).chain(bytes(96)).collect();
    let samples = decoded(GgmlType::Q8_0, &blocks);
    assert_eq!((samples[0], samples[31], samples[32], samples[63]), (-64.0, -48.5, -192.0, -254.0));
}

#[test]
fn q8_k_by_hand() {
    // f32 scale · int8; the sums of 16 that follow are not used for decoding
    let mut block = 0.25f32.to_le_bytes().to_vec();
    block.extend((0..256).map(|j| (j - 128) as i8 as u8));
    block.resize(292, 0xff);
    let expected: Vec<f32> = (-128..128i16).map(|j| 0.25 * f32::from(j)).collect();
    assert_eq!(decoded(GgmlType::Q8_K, &block), expected);
}

#[test]
fn plain_floats_by_hand() {
    assert_eq!(decoded(GgmlType::F32, &1.5f32.to_le_bytes()), [1.5]);
    assert_eq!(decoded(GgmlType::F16, &[HALF, MINUS_TWO, ONE].concat()), [0.5, -2.0, 1.0]);
    assert_eq!(decoded(GgmlType::BF16, &[0xc0, 0x3f]), [1.5]);
}

/// Two blocks of bytes from a linear congruential generator, with scales that keep every product exact.
fn pseudo_random_blocks(ggml_type: GgmlType, scales_at: &[usize]) -> Vec<u8> {
    let mut state = 12345u32;
    let mut blocks = Vec::new();
    for block in [1.0f32, 2.0] {
        let begin = blocks.len();
        blocks.extend((0..ggml_type.block_byte_len()).map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        }));
        for (&at, scale) in scales_at.iter().zip([0.375, -0.0625]) {
            // All four scales fit f16: shift the exponent's bias and drop zero mantissa bits.
            let bits = (scale * block).to_bits();
            let half = ((bits >> 16) & 0x8000) | (((bits >> 13) & 0x3_ffff) - (112 << 10));
            blocks[begin + at..][..2].copy_from_slice(&(half as u16).to_le_bytes());
        }
    }
    blocks
}

/// FNV-1a over the bits.
fn hash(samples: &[f32]) -> u64 {
    let bytes = samples.iter().flat_map(|sample| sample.to_le_bytes());
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// Type, positions of the f16 scales in a block, four samples (0, 1, the fifth of block two, the last), hash of all.
///
/// From `gguf.dequantize` of gguf-py 0.19 on the same bytes. It cannot decode Q8_K.
type GoldenRow = (GgmlType, &'static [usize], [f32; 4], u64);
const GOLDEN: &[GoldenRow] = &[
    (GgmlType::Q4_0, &[0], [1.125, -2.25, 3.0, 5.25], 0x5eba_f390_d101_7925),
    (GgmlType::Q4_1, &[0, 2], [2.9375, 4.4375, 7.375, 3.625], 0xdd7d_5ec1_cd46_7fe8),
    (GgmlType::Q5_0, &[0], [5.25, 4.5, -4.5, -4.5], 0x363c_d60e_8510_4422),
    (GgmlType::Q5_1, &[0, 2], [2.9375, 2.9375, 5.125, 8.875], 0xedc6_2117_c6e2_2538),
    (GgmlType::Q8_0, &[0], [-43.875, -35.25, -87.75, -39.75], 0xcf8a_6d0d_013f_a1ce),
    (GgmlType::IQ4_NL, &[0], [14.25, -31.125, 39.75, 84.75], 0x8e15_d63c_4d6d_b163),
    (GgmlType::Q2_K, &[80, 82], [1.875, 1.875, 3.5, 0.75], 0x51d4_e1af_7bfc_eba1),
    (GgmlType::Q3_K, &[108], [4.5, -4.5, 33.0, -9.0], 0xd610_e5f1_2332_6fa9),
    (GgmlType::Q4_K, &[0, 2], [76.5, 76.5, 283.625, 213.625], 0x43d8_6860_b3fe_ba01),
    (GgmlType::Q5_K, &[0, 2], [316.5, 376.5, 745.875, 1.0], 0xf629_581e_0c7e_0c58),
    (GgmlType::Q6_K, &[208], [637.875, 607.5, -425.25, -175.5], 0x144f_3ae7_4768_4e9c),
];

#[test]
fn every_block_type_equals_gguf_py() {
    for &(ggml_type, scales_at, expected, expected_hash) in GOLDEN {
        let samples = decoded(ggml_type, &pseudo_random_blocks(ggml_type, scales_at));
        let last = samples.len() - 1;
        let some = [samples[0], samples[1], samples[samples.len() / 2 + 5], samples[last]];
        assert_eq!(some, expected, "{}", ggml_type.name());
        assert_eq!(hash(&samples), expected_hash, "{}", ggml_type.name());
    }
}

#[test]
fn chunks_join_without_a_seam() {
    // More than one chunk of 64 KiB, the last one short.
    let block = [&HALF[..], &[0x7f; 32]].concat();
    let count = 2 * (64 * 1024 / 34) + 3;
    assert!(decoded(GgmlType::Q8_0, &block.repeat(count)).iter().all(|&sample| sample == 63.5));
}

#[test]
fn misaligned_bytes_decode_alike() {
    let blocks = pseudo_random_blocks(GgmlType::Q6_K, &[208]);
    let shifted = [&[0], &blocks[..]].concat();
    assert_eq!(decoded(GgmlType::Q6_K, &shifted[1..]), decoded(GgmlType::Q6_K, &blocks));
}

#[test]
fn types_without_a_decoder_are_named() {
    let error = dequantize(GgmlType::IQ4_XS, &[0; 136], &mut [0.0; 256]).unwrap_err();
    assert_eq!(error.to_string(), "ggml type IQ4_XS cannot be decoded");
}
