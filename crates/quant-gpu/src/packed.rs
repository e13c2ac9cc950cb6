//! Where the packed codes, levels and scales of a chunk lie, as the kernels that decode want them.

use crate::chunk::{Chunk, LocalGroups};
use crate::job::Input;
use quant_core::backend::Encoding;
use quant_shaders::CodesParams;
use std::ops::Range;

/// Codes of a row are cut where words of packed codes end.
pub(crate) const CODE_ALIGN: usize = 32;

/// The bytes of a chunk within all packed codes, which are consecutive.
pub(crate) fn packed_range(encoding: &Encoding<'_>, chunk: &Chunk) -> Range<usize> {
    let first = chunk.columns.start / 8 * encoding.bit_width.bits();
    let start = chunk.rows.start * encoding.row_len_bytes() + first;
    start..start + chunk.row_count() * encoding.bit_width.row_len_bytes(chunk.column_count())
}

/// What decoding a chunk takes.
pub(crate) struct Codes<'a> {
    pub(crate) params: CodesParams,
    /// Packed codes, levels, scales.
    pub(crate) inputs: [Input<'a>; 3],
}

impl<'a> Codes<'a> {
    /// The part of `packed`, and of the encoding, that `chunk` needs.
    pub(crate) fn new(encoding: &Encoding<'a>, packed: &'a [u8], chunk: &Chunk) -> Self {
        let groups = LocalGroups::new(encoding.grouping, chunk);
        let scales = encoding.scales.map_or(&[][..], |scales| &scales[groups.range.clone()]);
        let is_shared = encoding.codebooks.count() == 1;
        let level_count = encoding.codebooks.level_count();
        let books = if is_shared { 0..1 } else { chunk.rows.clone() };
        let levels = &encoding.codebooks.all_levels()[books.start * level_count..books.end * level_count];
        let params = CodesParams {
            columns: chunk.column_count() as u32,
            sample_count: chunk.len() as u32,
            bits: encoding.bit_width.bits() as u32,
            row_len: encoding.bit_width.row_len_bytes(chunk.column_count()) as u32,
            level_count: level_count as u32,
            level_stride: if is_shared { 0 } else { level_count as u32 },
            is_scaled: u32::from(encoding.scales.is_some()),
            group_len: groups.group_len,
            groups_per_row: groups.groups_per_row,
            column_offset: groups.column_offset,
        };
        let packed = Input::numbers(&packed[packed_range(encoding, chunk)]);
        Self { params, inputs: [packed, Input::numbers(levels), Input::numbers(scales)] }
    }
}
