//! How a matrix is cut so that no buffer exceeds what a binding may have, and which groups a piece touches.

use quant_core::grouping::{GroupLength, Grouping};
use std::ops::Range;

/// Some whole rows, or a part of one row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Chunk {
    pub(crate) rows: Range<usize>,
    pub(crate) columns: Range<usize>,
}

impl Chunk {
    pub(crate) fn row_count(&self) -> usize {
        self.rows.len()
    }

    pub(crate) fn column_count(&self) -> usize {
        self.columns.len()
    }

    /// Samples.
    pub(crate) fn len(&self) -> usize {
        self.rows.len() * self.columns.len()
    }

    /// Where the samples lie in a matrix of `columns` columns.
    pub(crate) fn range(&self, columns: usize) -> Range<usize> {
        let start = self.rows.start * columns + self.columns.start;
        start..start + self.len()
    }
}

/// Cuts a matrix into chunks of at most `sample_max` samples and `row_max` rows; a row is cut at multiples of `align`
/// columns only.
pub(crate) fn chunks(rows: usize, columns: usize, sample_max: usize, row_max: usize, align: usize) -> Vec<Chunk> {
    if rows == 0 || columns == 0 {
        return Vec::new();
    }
    let columns_step = if columns > sample_max { (sample_max / align).max(1) * align } else { columns };
    let rows_step = if columns > sample_max { 1 } else { (sample_max / columns).min(row_max).max(1) };
    let of_rows = |top: usize| {
        let rows = top..(top + rows_step).min(rows);
        let starts = (0..columns).step_by(columns_step);
        starts.map(move |left| Chunk { rows: rows.clone(), columns: left..(left + columns_step).min(columns) })
    };
    (0..rows).step_by(rows_step).flat_map(of_rows).collect()
}

/// Groups of no end: a row, or all rows.
const ENDLESS: u32 = 1 << 31;

/// The groups that a chunk touches, as kernels count them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LocalGroups {
    /// Samples of a group.
    pub(crate) group_len: u32,
    /// Groups of a row of the chunk; 0 where all rows share one.
    pub(crate) groups_per_row: u32,
    /// Columns of the first group that lie before the chunk.
    pub(crate) column_offset: u32,
    /// Which of the matrix' groups.
    pub(crate) range: Range<usize>,
}

impl LocalGroups {
    pub(crate) fn new(grouping: Grouping, chunk: &Chunk) -> Self {
        match grouping.length() {
            GroupLength::Tensor => Self { group_len: ENDLESS, groups_per_row: 0, column_offset: 0, range: 0..1 },
            GroupLength::Row => {
                Self { group_len: ENDLESS, groups_per_row: 1, column_offset: 0, range: chunk.rows.clone() }
            }
            GroupLength::Samples(n) => {
                let n = n.min(grouping.columns());
                let first = chunk.columns.start / n;
                let per_row = (chunk.columns.end - 1) / n - first + 1;
                let start = chunk.rows.start * grouping.groups_per_row() + first;
                Self {
                    group_len: n as u32,
                    groups_per_row: per_row as u32,
                    column_offset: (chunk.columns.start % n) as u32,
                    range: start..start + chunk.row_count() * per_row,
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_cover_a_matrix_once_and_in_order() {
        for (rows, columns, sample_max, row_max, align) in [
            (3, 100, 32, 9, 32),
            (5, 3, 7, 2, 32),
            (2, 8, 8, 9, 1),
            (4, 17, 1000, 3, 1),
            (1, 70, 7, 9, 14),
            (0, 5, 7, 9, 1),
        ] {
            let list = chunks(rows, columns, sample_max, row_max, align);
            let mut next = 0;
            for chunk in &list {
                assert_eq!(chunk.range(columns).start, next, "{rows} × {columns}");
                assert!(chunk.columns.start % align == 0 && chunk.row_count() <= row_max);
                assert!(chunk.len() <= sample_max.max(align));
                next = chunk.range(columns).end;
            }
            assert_eq!(next, rows * columns);
        }
    }

    #[test]
    fn groups_of_a_chunk_are_those_of_its_samples() {
        for length in [GroupLength::Samples(7), GroupLength::Samples(500), GroupLength::Row, GroupLength::Tensor] {
            let grouping = Grouping::new(3, 100, length);
            for chunk in [Chunk { rows: 1..3, columns: 0..100 }, Chunk { rows: 2..3, columns: 32..64 }] {
                let local = LocalGroups::new(grouping, &chunk);
                for row in chunk.rows.clone() {
                    for column in chunk.columns.clone() {
                        let (r, c) = (row - chunk.rows.start, column - chunk.columns.start);
                        let group = r * local.groups_per_row as usize
                            + (c + local.column_offset as usize) / local.group_len as usize;
                        assert_eq!(local.range.start + group, grouping.index_of(row, column), "{length:?}");
                        assert!(local.range.contains(&grouping.index_of(row, column)));
                    }
                }
            }
        }
    }
}
