//! The native format: for a quantized tensor `P`, `P.codes`, `P.levels` and, where there are scales, `P.scales`.
//! docs/format.md is its specification.

use quant_core::double_quant::{DoubleQuantized, NESTED_LENGTH};
use quant_core::grouping::Grouping;
use quant_core::quantize::Quantized;
use safetensors::Dtype;

use super::manifest::{Entropy, Group, QuantizedTensor, Scales};
use super::{Piece, Subject};

/// Packed codes, U8 `[rows, row_bytes]`.
pub const CODES: &str = "codes";
/// Entropy-coded codes instead, U32 `[words]`, chunk after chunk.
pub const WORDS: &str = "codes.words";
/// Words of each chunk, U32 `[matrices · chunks]`.
pub const CHUNKS: &str = "codes.chunks";
/// Codes of a chunk at most: what a file can make its reader allocate for each number that it stores.
pub const CHUNK_LEN_MAX: usize = 1 << 24;
/// Frequency of each code over 2²⁴, U32 `[2^bits]`.
pub const FREQUENCIES: &str = "codes.frequencies";
/// Levels, F32 `[codebooks, levels]`.
pub const LEVELS: &str = "levels";
/// Scales, F32 `[groups]`, or U8 `[groups]` when quantized in their turn.
pub const SCALES: &str = "scales";
/// Nested scales, F32 `[⌈groups / 256⌉]`.
pub const NESTED: &str = "scales.nested";
/// Offset of the scales, F32 `[1]`.
pub const OFFSET: &str = "scales.offset";

pub(super) fn pieces(subject: &Subject<'_>) -> Vec<Piece> {
    stored_pieces(&subject.entry.name, &QuantizedTensor::of(subject)).expect("a recipe has 2 to 8 bits")
}

/// The stored tensors of one that `tensor` describes, or `None` when the description contradicts itself.
pub fn stored_pieces(name: &str, tensor: &QuantizedTensor) -> Option<Vec<Piece>> {
    let piece = |suffix: &str, dtype, shape| Piece::new(format!("{name}.{suffix}"), dtype, shape);
    let (count, bit_width) = (tensor.matrix_count, tensor.bit_width()?);
    let weights = tensor.rows.checked_mul(tensor.columns)?.checked_mul(count)?;
    let shape_product = tensor.shape.iter().try_fold(1usize, |product, &n| product.checked_mul(n))?;
    let codebooks_fit = tensor.codebook_count == 1 || tensor.codebook_count == tensor.rows;
    if weights == 0 || weights != shape_product || !codebooks_fit || tensor.group == Group::Samples(0) {
        return None;
    }
    tensor.columns.checked_mul(8)?;
    let row_len = bit_width.row_len_bytes(tensor.columns);
    row_len.checked_mul(tensor.rows)?.checked_mul(count)?;
    bit_width.level_count().checked_mul(4)?.checked_mul(tensor.codebook_count)?.checked_mul(count)?;
    weights.checked_mul(8)?;
    let level_shape = [tensor.codebook_count, bit_width.level_count()];
    let codes = match tensor.entropy {
        None => piece(CODES, Dtype::U8, stacked(count, &[tensor.rows, row_len])),
        Some(Entropy { chunk_rows, .. }) if !(1..=CHUNK_LEN_MAX).contains(&chunk_rows.checked_mul(tensor.columns)?) => {
            return None;
        }
        Some(entropy) => piece(WORDS, Dtype::U32, vec![entropy.word_count]),
    };
    let mut pieces = vec![codes, piece(LEVELS, Dtype::F32, stacked(count, &level_shape))];
    let groups = Grouping::new(tensor.rows, tensor.columns, tensor.group.into()).group_count();
    match tensor.scales {
        Scales::None => {}
        Scales::F32 => pieces.push(piece(SCALES, Dtype::F32, stacked(count, &[groups]))),
        Scales::Double => {
            pieces.push(piece(SCALES, Dtype::U8, stacked(count, &[groups])));
            pieces.push(piece(NESTED, Dtype::F32, stacked(count, &[groups.div_ceil(NESTED_LENGTH)])));
            pieces.push(piece(OFFSET, Dtype::F32, stacked(count, &[1])));
        }
    }
    if let Some(entropy) = tensor.entropy {
        pieces.push(piece(CHUNKS, Dtype::U32, vec![count * tensor.rows.div_ceil(entropy.chunk_rows)]));
        pieces.push(piece(FREQUENCIES, Dtype::U32, vec![bit_width.level_count()]));
        entropy.word_count.checked_mul(4)?;
    }
    Some(pieces)
}

/// Fused tensors have one more axis in front.
fn stacked(count: usize, shape: &[usize]) -> Vec<usize> {
    let mut stacked = if count > 1 { vec![count] } else { vec![] };
    stacked.extend_from_slice(shape);
    stacked
}

pub(super) fn bytes(quantized: &[Quantized]) -> Vec<Vec<u8>> {
    let floats = |part: &dyn Fn(&Quantized) -> &[f32]| quantized.iter().flat_map(|q| f32_bytes(part(q))).collect();
    let packed = quantized.iter().map(|q| q.packed.as_slice()).collect::<Vec<_>>().concat();
    let mut bytes = vec![packed, floats(&|q| q.codebooks.all_levels())];
    let twice: Vec<&DoubleQuantized> = quantized.iter().filter_map(|q| q.double_quantized.as_ref()).collect();
    if !twice.is_empty() {
        bytes.push(twice.iter().flat_map(|d| d.codes.iter().copied()).collect());
        bytes.push(twice.iter().flat_map(|d| f32_bytes(&d.nested_scales)).collect());
        bytes.push(twice.iter().flat_map(|d| d.offset.to_le_bytes()).collect());
    } else if quantized.iter().any(|q| q.scales.is_some()) {
        bytes.push(floats(&|q| q.scales.as_deref().expect("one recipe for all matrices")));
    }
    bytes
}

pub(super) fn f32_bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}
