//! SqueezeLLM's layout: a table of f32 levels per output channel, and outliers as compressed sparse rows.
//!
//! For a layer `P` of N outputs and K inputs at b bits: `P.qweight` I32 `[K/32·b, N]`, the codes of each output channel as
//! one stream of bits, low bits first, in words of 32, word by word; `P.lookup_table` F32 `[N, 2^b]`. With outliers also
//! `P.rows` I32 `[N+1]`, `P.cols` I32 `[n]`, `P.vals` F32 `[n]`, and `P.startrows` I32 for the balanced kernel. The kernels
//! add the sparse product to the dense one, hence an outlier's code names the level nearest to zero and its value is stored
//! less that level.
//!
//! Source: `QuantLinearLUT.pack2` of SqueezeAILab/SqueezeLLM.

use quant_core::codebook::Codebooks;
use quant_core::codes::{BitWidth, pack_row, unpack_row};
use quant_core::outliers::Outliers;
use quant_core::quantize::Quantized;
use quant_core::recipe::Recipe;
use safetensors::Dtype;

use super::native::f32_bytes;
use super::{Piece, Subject, Target, row_tables};
use crate::checkpoint::Checkpoint;
use crate::error::Error;
use crate::transpose::transposed;

/// Packed codes.
pub const CODES: &str = "qweight";
/// Levels.
pub const TABLE: &str = "lookup_table";
/// Outliers before each row, and of all.
pub const ROWS: &str = "rows";
/// Columns of the outliers.
pub const COLUMNS: &str = "cols";
/// Values of the outliers less the levels that their codes name.
pub const VALUES: &str = "vals";
/// The row in which each thread of the balanced kernel starts.
pub const START_ROWS: &str = "startrows";

/// Code widths of the kernels.
pub const BITS: std::ops::RangeInclusive<usize> = 3..=4;

/// Outliers for a thread of the balanced kernel, and threads in a block of it, as SqueezeLLM chooses them.
const VALUES_PER_THREAD: usize = 10;
const THREADS_PER_BLOCK: usize = 128;

pub(super) fn check_recipe(checkpoint: &Checkpoint, recipe: &Recipe) -> Result<(), Error> {
    row_tables::check_recipe(checkpoint, &Target::SqueezeLlm, BITS, recipe)
}

pub(super) fn pieces(subject: &Subject<'_>) -> Vec<Piece> {
    let (m, width) = (&subject.matrices, subject.recipe.bit_width);
    let module = row_tables::module(&subject.entry.name).unwrap_or(&subject.entry.name);
    let piece = |suffix: &str, dtype, shape| Piece::new(format!("{module}.{suffix}"), dtype, shape);
    let mut pieces = vec![
        piece(CODES, Dtype::I32, vec![m.columns / 32 * width.bits(), m.rows]),
        piece(TABLE, Dtype::F32, vec![m.rows, width.level_count()]),
    ];
    if let Some(rule) = subject.recipe.outliers {
        let count = rule.count(m.rows * m.columns);
        pieces.push(piece(ROWS, Dtype::I32, vec![m.rows + 1]));
        pieces.push(piece(COLUMNS, Dtype::I32, vec![count]));
        pieces.push(piece(VALUES, Dtype::F32, vec![count]));
        pieces.push(piece(START_ROWS, Dtype::I32, vec![thread_count(count)]));
    }
    pieces
}

pub(super) fn bytes(quantized: &[Quantized]) -> Vec<Vec<u8>> {
    let [matrix] = quantized else { panic!("fused tensors were refused") };
    let (rows, columns) = (matrix.grouping.rows(), matrix.grouping.columns());
    let row_len = matrix.bit_width.row_len_bytes(columns);
    let mut packed = matrix.packed.clone();
    if let Some(outliers) = &matrix.outliers {
        name_levels_nearest_zero(&mut packed, columns, matrix.bit_width, &matrix.codebooks, outliers);
    }
    let words = transposed(&packed, rows, row_len / 4, 4).to_vec();
    let mut bytes = vec![words, f32_bytes(matrix.codebooks.all_levels())];
    if let Some(outliers) = &matrix.outliers {
        bytes.extend(sparse_bytes(outliers, &matrix.codebooks));
    }
    bytes
}

/// The first of the levels that are nearest to zero.
fn nearest_zero(levels: &[f32]) -> usize {
    (0..levels.len()).min_by(|&a, &b| levels[a].abs().total_cmp(&levels[b].abs())).expect("a table has levels")
}

/// Points the codes of outliers at the level that their stored values are relative to.
fn name_levels_nearest_zero(
    packed: &mut [u8],
    columns: usize,
    width: BitWidth,
    codebooks: &Codebooks,
    outliers: &Outliers,
) {
    let mut codes = vec![0; columns];
    for (row, packed) in packed.chunks_exact_mut(width.row_len_bytes(columns)).enumerate() {
        let zero = nearest_zero(codebooks.levels(row)) as u8;
        let of_row = outliers.row_starts[row] as usize..outliers.row_starts[row + 1] as usize;
        unpack_row(packed, width, &mut codes);
        outliers.columns[of_row].iter().for_each(|&column| codes[column as usize] = zero);
        pack_row(&codes, width, packed);
    }
}

fn sparse_bytes(outliers: &Outliers, codebooks: &Codebooks) -> [Vec<u8>; 4] {
    let mut values = Vec::with_capacity(outliers.count());
    for (row, ends) in outliers.row_starts.windows(2).enumerate() {
        let levels = codebooks.levels(row);
        let zero = levels[nearest_zero(levels)];
        values.extend(outliers.values[ends[0] as usize..ends[1] as usize].iter().map(|value| value - zero));
    }
    let words = |numbers: &[u32]| numbers.iter().flat_map(|n| n.to_le_bytes()).collect();
    let starts = start_rows(&outliers.row_starts);
    [
        words(&outliers.row_starts),
        words(&outliers.columns),
        f32_bytes(&values),
        starts.iter().flat_map(|row| row.to_le_bytes()).collect(),
    ]
}

fn thread_count(value_count: usize) -> usize {
    value_count.div_ceil(VALUES_PER_THREAD).next_multiple_of(THREADS_PER_BLOCK)
}

/// The row in which each thread starts, when each takes as many outliers as the next; −1 for a thread that gets none.
fn start_rows(row_starts: &[u32]) -> Vec<i32> {
    let count = row_starts.last().map_or(0, |&n| n as usize);
    let threads = thread_count(count);
    let each = count.div_ceil(threads.max(1));
    let row = |thread: usize| match each * thread {
        first if first > count => -1,
        first => row_starts[..row_starts.len() - 1].partition_point(|&n| (n as usize) < first).saturating_sub(1) as i32,
    };
    (0..threads).map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_bits_fill_words_without_gaps() {
        // The split fields of three-bit words, spelled out: code 10 has two bits in the first word and one in the second.
        let width = BitWidth::new(3).unwrap();
        let codes: Vec<u8> = (0..32).map(|i| (i * 5 % 8) as u8).collect();
        let mut packed = vec![0; 12];
        pack_row(&codes, width, &mut packed);
        let word = |i: usize| u32::from_le_bytes(packed[4 * i..][..4].try_into().unwrap());
        let code = |i: usize| u32::from(codes[i]);
        let run = |codes: std::ops::Range<usize>, shift: usize| {
            codes.clone().map(|i| code(i) << (3 * (i - codes.start) + shift)).sum::<u32>()
        };
        assert_eq!(word(0), run(0..10, 0) | code(10) << 30);
        assert_eq!(word(1), code(10) >> 2 | run(11..21, 1) | code(21) << 31);
        assert_eq!(word(2), code(21) >> 1 | run(22..32, 2));
    }

    #[test]
    fn threads_start_in_the_row_of_their_first_outlier() {
        // 300 outliers: 30 threads, made 128, of 3 each; those beyond get none.
        let starts = start_rows(&[0, 100, 100, 300]);
        assert_eq!(starts.len(), 128);
        assert_eq!(starts[..3], [0, 0, 0]);
        // Outlier 102 is in row 2, of which rows 1 and 2 start before it.
        assert_eq!((starts[33], starts[34]), (0, 2));
        assert_eq!((starts[100], starts[101], starts[127]), (2, -1, -1));
    }

    #[test]
    fn outliers_are_stored_less_the_level_nearest_zero() {
        let codebooks = Codebooks::from_levels(8, [[-3.0, -1.0, -0.5, 0.25, 1.0, 2.0, 3.0, 4.0f32]]);
        assert_eq!(nearest_zero(codebooks.levels(0)), 3);
        let (columns, dtype) = (vec![1, 33], quant_core::tensor::Dtype::F32);
        let outliers = Outliers { row_starts: vec![0, 2], columns, values: vec![9.0, -9.0], dtype };
        let width = BitWidth::new(3).unwrap();
        let mut packed = vec![0xff; 24];
        name_levels_nearest_zero(&mut packed, 64, width, &codebooks, &outliers);
        let mut codes = vec![0; 64];
        unpack_row(&packed, width, &mut codes);
        let expected: Vec<u8> = (0..64).map(|i| if [1, 33].contains(&i) { 3 } else { 7 }).collect();
        assert_eq!(codes, expected);
        let [rows, columns, values, _] = sparse_bytes(&outliers, &codebooks);
        assert_eq!((rows, columns), (vec![0, 0, 0, 0, 2, 0, 0, 0], vec![1, 0, 0, 0, 33, 0, 0, 0]));
        assert_eq!(values, f32_bytes(&[8.75, -9.25]));
    }
}
