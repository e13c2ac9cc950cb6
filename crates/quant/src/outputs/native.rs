//! The native format: for a quantized tensor `P`, `P.codes`, `P.levels` and, where there are scales, `P.scales`; where
//! groups choose among codebooks, `P.shapes`, `P.steps` and `P.selectors`; where points are coded, `P.codevectors` instead of
//! levels; where samples are kept exact, `P.outliers.*`.
//! docs/format.md is its specification.

use quant_core::codes::BitWidth;
use quant_core::double_quant::NESTED_LENGTH;
use quant_core::grouping::Grouping;
use quant_core::outliers::{Outliers, column_bits};
use quant_core::quantize::Quantized;
use quant_core::scale_storage::StoredScales;
use quant_core::switched::Switched;
use quant_core::vectors::Vectors;
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
/// Frequency of each code over 2²⁴, U32 `[matrices, 2^bits]`, or `[2^bits]` for one matrix.
pub const FREQUENCIES: &str = "codes.frequencies";
/// Levels, F32 `[codebooks, levels]`.
pub const LEVELS: &str = "levels";
/// Scales, F32 `[groups]`, or U8 `[groups]` when quantized in their turn.
pub const SCALES: &str = "scales";
/// Nested scales, F32 `[⌈groups / 256⌉]`.
pub const NESTED: &str = "scales.nested";
/// What E4M3 scales are multiplied by, F32 `[1]`.
pub const UNIT: &str = "scales.unit";
/// Offset of the scales, F32 `[1]`.
pub const OFFSET: &str = "scales.offset";
/// Shapes, F16 `[shapes, levels]`.
pub const SHAPES: &str = "shapes";
/// Steps, F16 `[steps]`.
pub const STEPS: &str = "steps";
/// Packed selectors, U8 `[rows, row_bytes]`.
pub const SELECTORS: &str = "selectors";
/// Codevectors, F16 `[parts · stages, codevectors, samples of a point]`.
pub const CODEVECTORS: &str = "codevectors";
/// Outliers before each row, and of all, U32 `[rows + 1]`.
pub const OUTLIER_ROWS: &str = "outliers.rows";
/// Their columns, U16 or U32 `[outliers]`.
pub const OUTLIER_COLUMNS: &str = "outliers.columns";
/// Their values in the source's dtype, `[outliers]`.
pub const OUTLIER_VALUES: &str = "outliers.values";

pub(super) fn pieces(subject: &Subject<'_>) -> Vec<Piece> {
    stored_pieces(&subject.entry.name, &QuantizedTensor::of(subject)).expect("a recipe has 2 to 8 bits")
}

/// The stored tensors of one that `tensor` describes, or `None` when the description contradicts itself.
pub fn stored_pieces(name: &str, tensor: &QuantizedTensor) -> Option<Vec<Piece>> {
    let piece = |suffix: &str, dtype, shape| Piece::new(format!("{name}.{suffix}"), dtype, shape);
    check_shape(tensor)?;
    if tensor.vectors.is_some() {
        return vector_pieces(name, tensor);
    }
    let (count, bit_width) = (tensor.matrix_count, tensor.bit_width()?);
    check(tensor, bit_width)?;
    let row_len = bit_width.row_len_bytes(tensor.columns);
    let codes = match tensor.entropy {
        None => piece(CODES, Dtype::U8, stacked(count, &[tensor.rows, row_len])),
        Some(Entropy { chunk_rows, .. }) if !(1..=CHUNK_LEN_MAX).contains(&chunk_rows.checked_mul(tensor.columns)?) => {
            return None;
        }
        Some(entropy) => piece(WORDS, Dtype::U32, vec![entropy.word_count]),
    };
    let mut pieces = vec![codes];
    let grouping = Grouping::new(tensor.rows, tensor.columns, tensor.group.into());
    let groups = grouping.group_count();
    let level_shape = stacked(count, &[tensor.codebook_count, bit_width.level_count()]);
    if tensor.switch.is_none() {
        pieces.push(piece(LEVELS, Dtype::F32, level_shape.clone()));
    }
    match tensor.scales {
        Scales::None => {}
        Scales::F32 => pieces.push(piece(SCALES, Dtype::F32, stacked(count, &[groups]))),
        Scales::F16 => pieces.push(piece(SCALES, Dtype::F16, stacked(count, &[groups]))),
        Scales::E4m3 => {
            pieces.push(piece(SCALES, Dtype::F8_E4M3, stacked(count, &[groups])));
            pieces.push(piece(UNIT, Dtype::F32, stacked(count, &[1])));
        }
        Scales::Double => {
            pieces.push(piece(SCALES, Dtype::U8, stacked(count, &[groups])));
            pieces.push(piece(NESTED, Dtype::F32, stacked(count, &[groups.div_ceil(NESTED_LENGTH)])));
            pieces.push(piece(OFFSET, Dtype::F32, stacked(count, &[1])));
        }
        Scales::Rows => {
            let switch = tensor.switch?.checked()?;
            let selector_len = switch.selector_width().row_len_bytes(grouping.groups_per_row());
            pieces.push(piece(SHAPES, Dtype::F16, level_shape));
            pieces.push(piece(STEPS, Dtype::F16, stacked(count, &[switch.step_count()])));
            pieces.push(piece(SCALES, Dtype::BF16, stacked(count, &[tensor.rows])));
            pieces.push(piece(SELECTORS, Dtype::U8, stacked(count, &[tensor.rows, selector_len])));
        }
    }
    pieces.extend(outlier_pieces(name, tensor)?);
    if let Some(entropy) = tensor.entropy {
        pieces.push(piece(CHUNKS, Dtype::U32, vec![count * tensor.rows.div_ceil(entropy.chunk_rows)]));
        let tables = if entropy.own_frequencies { count } else { 1 };
        pieces.push(piece(FREQUENCIES, Dtype::U32, stacked(tables, &[bit_width.level_count()])));
        entropy.word_count.checked_mul(4)?;
    }
    Some(pieces)
}

/// The same where points are coded.
fn vector_pieces(name: &str, tensor: &QuantizedTensor) -> Option<Vec<Piece>> {
    let (count, rule) = (tensor.matrix_count, tensor.vector_rule()?);
    let fits = tensor.codebook_count == rule.parts() * rule.stages()
        && (tensor.group, tensor.scales) == (Group::Row, Scales::Rows)
        && tensor.switch.is_none()
        && tensor.entropy.is_none();
    // No row takes more bits than this for each sample, filled up to whole points.
    tensor.columns.checked_add(8)?.checked_mul(64)?;
    rule.row_len_bytes(tensor.columns).checked_mul(tensor.rows)?.checked_mul(count)?;
    rule.table_len().checked_mul(2)?.checked_mul(count)?;
    let table = [tensor.codebook_count, rule.codevector_count(), rule.dimension()];
    let piece =
        |suffix: &str, dtype, shape: &[usize]| Piece::new(format!("{name}.{suffix}"), dtype, stacked(count, shape));
    let mut pieces = vec![
        piece(CODES, Dtype::U8, &[tensor.rows, rule.row_len_bytes(tensor.columns)]),
        piece(CODEVECTORS, Dtype::F16, &table),
        piece(SCALES, Dtype::BF16, &[tensor.rows]),
    ];
    pieces.extend(outlier_pieces(name, tensor)?);
    fits.then_some(pieces)
}

fn outlier_pieces(name: &str, tensor: &QuantizedTensor) -> Option<Vec<Piece>> {
    if tensor.outlier_count == 0 {
        return Some(Vec::new());
    }
    let piece =
        |suffix: &str, dtype, len| Piece::new(format!("{name}.{suffix}"), dtype, stacked(tensor.matrix_count, &[len]));
    let column_dtype = if column_bits(tensor.columns) == 16 { Dtype::U16 } else { Dtype::U32 };
    Some(vec![
        piece(OUTLIER_ROWS, Dtype::U32, tensor.rows + 1),
        piece(OUTLIER_COLUMNS, column_dtype, tensor.outlier_count),
        piece(OUTLIER_VALUES, float_dtype(&tensor.decoded_dtype)?, tensor.outlier_count),
    ])
}

/// `None` when shape and outliers do not go together, or sizes overflow.
fn check_shape(tensor: &QuantizedTensor) -> Option<()> {
    let weights = tensor.rows.checked_mul(tensor.columns)?.checked_mul(tensor.matrix_count)?;
    let shape_product = tensor.shape.iter().try_fold(1usize, |product, &n| product.checked_mul(n))?;
    let outliers_fit = tensor.outlier_count <= tensor.rows.saturating_mul(tensor.columns);
    if weights == 0 || weights != shape_product || !outliers_fit {
        return None;
    }
    weights.checked_mul(8).map(|_| ())
}

/// `None` when codebooks, groups and scales do not go together, or sizes overflow.
fn check(tensor: &QuantizedTensor, bit_width: BitWidth) -> Option<()> {
    let count = tensor.matrix_count;
    let codebooks_fit = match tensor.switch {
        Some(switch) => switch.checked()?.shape_count() == tensor.codebook_count,
        None => tensor.codebook_count == 1 || tensor.codebook_count == tensor.rows,
    };
    let groups_fit = match tensor.group {
        Group::Samples(n) => n > 0,
        Group::Row | Group::Tensor => tensor.switch.is_none(),
    };
    let scales_fit = tensor.switch.is_some() == (tensor.scales == Scales::Rows);
    if !(codebooks_fit && groups_fit && scales_fit) {
        return None;
    }
    tensor.columns.checked_mul(8)?;
    bit_width.row_len_bytes(tensor.columns).checked_mul(tensor.rows)?.checked_mul(count)?;
    bit_width.level_count().checked_mul(4)?.checked_mul(tensor.codebook_count)?.checked_mul(count).map(|_| ())
}

fn float_dtype(name: &str) -> Option<Dtype> {
    match name {
        "F32" => Some(Dtype::F32),
        "F16" => Some(Dtype::F16),
        "BF16" => Some(Dtype::BF16),
        _ => None,
    }
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
    let switched: Vec<&Switched> = quantized.iter().filter_map(|q| q.switched.as_ref()).collect();
    let vectors: Vec<&Vectors> = quantized.iter().filter_map(|q| q.vectors.as_ref()).collect();
    let mut bytes = vec![packed];
    if !vectors.is_empty() {
        bytes.push(vectors.iter().flat_map(|v| &v.codevectors).flat_map(|y| y.to_le_bytes()).collect());
        bytes.push(vectors.iter().flat_map(|v| &v.row_scales).flat_map(|s| s.to_le_bytes()).collect());
    } else if switched.is_empty() {
        bytes.push(floats(&|q| q.codebooks.all_levels()));
    } else {
        bytes.push(switched.iter().flat_map(|s| &s.shapes).flat_map(|y| y.to_le_bytes()).collect());
        bytes.push(switched.iter().flat_map(|s| &s.steps).flat_map(|y| y.to_le_bytes()).collect());
        bytes.push(switched.iter().flat_map(|s| &s.row_scales).flat_map(|y| y.to_le_bytes()).collect());
        bytes.push(switched.iter().flat_map(|s| s.selectors.iter().copied()).collect());
    }
    let stored: Vec<Vec<Vec<u8>>> =
        quantized.iter().filter_map(|q| q.stored_scales.as_ref()).map(scale_bytes).collect();
    if let Some(first) = stored.first() {
        bytes.extend((0..first.len()).map(|part| stored.iter().flat_map(|s| s[part].iter().copied()).collect()));
    } else if quantized.iter().any(|q| q.scales.is_some()) {
        bytes.push(floats(&|q| q.scales.as_deref().expect("one recipe for all matrices")));
    }
    let outliers: Vec<&Outliers> = quantized.iter().filter_map(|q| q.outliers.as_ref()).collect();
    if outliers.iter().any(|o| o.count() > 0) {
        bytes.extend(outlier_bytes(&outliers, quantized[0].grouping.columns()));
    }
    bytes
}

/// The pieces of scales that are not f32.
fn scale_bytes(stored: &StoredScales) -> Vec<Vec<u8>> {
    match stored {
        StoredScales::F16(scales) => vec![scales.iter().flat_map(|s| s.to_le_bytes()).collect()],
        StoredScales::E4m3 { numbers, unit } => vec![numbers.clone(), unit.to_le_bytes().to_vec()],
        StoredScales::Double(twice) => {
            vec![twice.codes.clone(), f32_bytes(&twice.nested_scales), twice.offset.to_le_bytes().to_vec()]
        }
    }
}

fn outlier_bytes(outliers: &[&Outliers], columns: usize) -> [Vec<u8>; 3] {
    let narrow = column_bits(columns) == 16;
    let column = |&c: &u32| if narrow { (c as u16).to_le_bytes().to_vec() } else { c.to_le_bytes().to_vec() };
    let value = |dtype: quant_core::tensor::Dtype, x: f32| match dtype {
        quant_core::tensor::Dtype::F32 => x.to_le_bytes().to_vec(),
        quant_core::tensor::Dtype::F16 => half::f16::from_f32(x).to_le_bytes().to_vec(),
        quant_core::tensor::Dtype::Bf16 => half::bf16::from_f32(x).to_le_bytes().to_vec(),
    };
    [
        outliers.iter().flat_map(|o| &o.row_starts).flat_map(|n| n.to_le_bytes()).collect(),
        outliers.iter().flat_map(|o| &o.columns).flat_map(column).collect(),
        outliers.iter().flat_map(|o| o.values.iter().flat_map(|&x| value(o.dtype, x))).collect(),
    ]
}

pub(super) fn f32_bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}
