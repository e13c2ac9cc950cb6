//! Which mistakes in kernels must the suite notice?

use anyhow::{Result, ensure};
use quant_shaders::KERNELS;

/// A kernel with a mistake in it.
#[derive(Clone, Copy, Debug)]
pub struct Mutation {
    /// What is wrong.
    pub name: &'static str,
    /// The verb whose cases must fail.
    pub verb: &'static str,
    /// What stands in the WGSL, of one kernel or of a shared part.
    pub from: &'static str,
    /// What replaces it.
    pub to: &'static str,
}

impl Mutation {
    /// Fails when no kernel has the text: the mutation would test nothing.
    pub fn check_applies(&self) -> Result<()> {
        ensure!(KERNELS.iter().any(|k| k.source.contains(self.from)), "{}: no kernel has `{}`", self.name, self.from);
        Ok(())
    }
}

const fn mutation(name: &'static str, verb: &'static str, from: &'static str, to: &'static str) -> Mutation {
    Mutation { name, verb, from, to }
}

/// Ties, tails, fields, signs, carries, roundings, seams.
pub const MUTATIONS: &[Mutation] = &[
    mutation(
        "a sample on a threshold goes to the upper cell",
        "encode_on_thresholds",
        "if (x > threshold)",
        "if (x >= threshold)",
    ),
    mutation(
        "the last code of a row is left out",
        "encode",
        "column < params.columns; bit",
        "column + 1u < params.columns; bit",
    ),
    mutation("rows of packed codes overlap", "encode", "<< (8u * done)", "<< done"),
    mutation("a negative scale does not mirror the sample", "encode", "select(x, -x, scale < 0.0)", "x"),
    mutation("a zero scale multiplies", "encode", "if (scale == 0.0)", "if (scale > 3.0e38)"),
    mutation(
        "the codebook of row 0 serves all rows",
        "encode",
        "row * params.threshold_stride",
        "0u * params.threshold_stride",
    ),
    mutation("a cut row begins with a whole group", "encode", "(column + grouping.column_offset)", "(column)"),
    mutation(
        "groups and columns are swapped",
        "encode",
        "row * grouping.groups_per_row + (column",
        "column * grouping.groups_per_row + (row",
    ),
    mutation("only one row of a grid is worked on", "encode", "id.x + id.y * grid.x", "id.x"),
    mutation("subnormal samples are kept", "encode", "return select(bits, 0u,", "return select(bits, bits,"),
    mutation("f16 subnormals are half as large", "absmax_scales", "(103u + top)", "(102u + top)"),
    mutation("16-bit samples are swapped in pairs", "encode", "(index & 1u) * 16u", "(1u - (index & 1u)) * 16u"),
    mutation(
        "bf16 is read as f16",
        "encode",
        "if (DTYPE == 1u) {\n        return bits_of_f16",
        "if (DTYPE >= 1u) {\n        return bits_of_f16",
    ),
    mutation(
        "the last sample of a group is left out",
        "absmax_scales",
        "min(start + params.piece_len, group_end);",
        "min(start + params.piece_len, group_end) - 1u;",
    ),
    mutation(
        "the sign counts in the largest magnitude",
        "absmax_scales",
        "sample_bits(row * params.columns + column) & 0x7fffffffu",
        "sample_bits(row * params.columns + column)",
    ),
    mutation(
        "the later of equal candidates wins",
        "search_scales",
        "winners[b] < winners[a]",
        "winners[b] > winners[a]",
    ),
    mutation("negative scales are tried first", "search_scales", "index % 2u == 1u", "index % 2u == 0u"),
    mutation("a span is rounded down", "search_scales", "abs(numerator) + 512", "abs(numerator)"),
    mutation(
        "the neighbours are tried from the far end",
        "search_scales",
        "i32(offset) - 3 + select(0, 1, offset > 2u)",
        "3 - i32(offset) - select(0, 1, offset > 2u)",
    ),
    mutation("costs wrap at 32 bits", "search_scales", "a.x + b.x + select(0u, 1u, low < a.y)", "a.x + b.x"),
    mutation("halves of a cost are swapped", "search_long", "i)] = cost.y", "i)] = cost.x"),
    mutation(
        "the nearest level below is not tried",
        "search_scales",
        "if (below > 0u) {\n        error",
        "if (below > 300u) {\n        error",
    ),
    mutation(
        "codes across words lose their upper bits",
        "decode",
        "code |= packed[(bit >> 5u) + 1u]",
        "code |= 0u & packed[(bit >> 5u) + 1u]",
    ),
    mutation("codes beyond the codebook are not clamped", "decode", "min(code, params.level_count - 1u)", "code"),
    mutation("f16 subnormals are decoded as zero", "decode", "if (shift > 24u)", "if (shift > 0u)"),
    mutation(
        "bf16 is cut off, two steps below",
        "decode",
        "(bits + 0x7fffu + ((bits >> 16u) & 1u)) >> 16u",
        "(bits >> 16u) - 2u",
    ),
    mutation(
        "the last sample of a tile is left out",
        "distortion",
        "min((tile + 1u) * TILE, params.sample_count)",
        "min((tile + 1u) * TILE, params.sample_count) - 1u",
    ),
    mutation("squares have 32 bits", "distortion", "add(high, twice)", "high"),
    mutation("a carry is lost in a sum of squares", "distortion", "large.exponent + 1);", "large.exponent);"),
    mutation("opposite signs are subtracted", "distortion", "if (((x ^ y) & 0x80000000u) != 0u)", "if (false)"),
    mutation(
        "an odd last sample is counted twice",
        "value_histogram",
        "2u * index + 1u < params.sample_count",
        "2u * index + 1u <= params.sample_count",
    ),
    mutation("sums do not carry", "histogram", "bitcast<u32>(value >> 31u) + carry", "bitcast<u32>(value >> 31u)"),
    mutation("sums do not saturate", "histogram", "return 0x7fffffff;", "return 0;"),
    mutation("bins below the middle are shifted by one", "gather", "half - 1u - key, bitcast", "half - key, bitcast"),
    mutation("bins are rounded, not cut off", "histogram", "u32(position)", "u32(position + 0.5)"),
    mutation(
        "the last cell is not summed",
        "cell_statistics",
        "if (lane <= params.threshold_count)",
        "if (lane < params.threshold_count)",
    ),
    mutation(
        "a sample on a threshold is summed above",
        "cell_statistics",
        "x > table[next - 1u]",
        "x >= table[next - 1u]",
    ),
    mutation("the last sample that is not finite is found", "first_not_finite", "0xffffffffu - index", "index + 1u"),
    mutation(
        "starts are looked for below their bounds only",
        "fit_rows_batched",
        "range.x + lane % group, range.y, group, lane",
        "range.x + lane % group, range.x, group, lane",
    ),
    mutation("long searches are left out", "fit_rows_batched", "i < count; i++", "i < 0u * count; i++"),
    mutation(
        "weights do not travel with their samples",
        "fit_rows_batched",
        "work[at.weights + low] = work[at.weights + high];",
        "",
    ),
    mutation(
        "of equal codevectors the higher code counts",
        "nearest_codevectors",
        "(score == least && code < best)",
        "(score == least && code > best)",
    ),
    mutation(
        "coordinates beyond the last are not zero",
        "nearest_codevectors",
        "let exists = first + i < depth;",
        "let exists = true;",
    ),
    mutation(
        "the last codevector is left out",
        "nearest_codevectors",
        "if (code >= params.codevector_count)",
        "if (code + 1u >= params.codevector_count)",
    ),
    mutation(
        "butterflies lose their sign",
        "hadamard",
        "piece[low + distance] = a - b;",
        "piece[low + distance] = a + b;",
    ),
    mutation("signs belong to samples of a piece", "hadamard", "factors[start + i]", "factors[i]"),
    mutation("the core is transposed", "hadamard", "core[line + j] *", "core[j * params.order + i / params.run_len] *"),
    mutation(
        "the last block is as long as the others",
        "block_transform",
        "min(params.block_len, params.width - start)",
        "params.block_len",
    ),
    mutation(
        "a block starts where the first one does",
        "block_transform",
        "first_row * params.width + start",
        "first_row * params.width",
    ),
];
