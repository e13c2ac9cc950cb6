//! How work is cut up: regions of a matrix, and the runs of a row that share a scale.

use quant_core::grouping::{GroupLength, Grouping};
use rayon::prelude::*;
use std::ops::Range;

/// Samples of a tile: what a kernel holds in the first-level cache at a time, and the unit of floating-point sums.
pub(crate) const TILE: usize = 1024;

/// Some whole rows, or a part of one row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Region {
    pub(crate) rows: Range<usize>,
    pub(crate) columns: Range<usize>,
}

/// Cuts a matrix into regions of about `chunk_len` samples; a row is only cut at multiples of `align` columns.
pub(crate) fn regions(rows: usize, columns: usize, chunk_len: usize, align: usize) -> Vec<Region> {
    if rows == 0 || columns == 0 {
        return Vec::new();
    }
    let rows_step = (chunk_len / columns).max(1);
    let columns_step = if columns > chunk_len { chunk_len.next_multiple_of(align) } else { columns };
    let of_rows = |top: usize| {
        let rows = top..(top + rows_step).min(rows);
        starts(columns, columns_step)
            .map(move |left| Region { rows: rows.clone(), columns: left..(left + columns_step).min(columns) })
    };
    starts(rows, rows_step).flat_map(of_rows).collect()
}

fn starts(len: usize, step: usize) -> impl Iterator<Item = usize> {
    (0..len).step_by(step)
}

/// Cuts `whole` into consecutive slices of the given lengths.
pub(crate) fn split_mut<T>(mut whole: &mut [T], lengths: impl Iterator<Item = usize>) -> Vec<&mut [T]> {
    let mut parts = Vec::new();
    for length in lengths {
        let (part, rest) = whole.split_at_mut(length);
        parts.push(part);
        whole = rest;
    }
    parts
}

/// Consecutive ranges of `step` that cover `range`, the last one shorter.
pub(crate) fn chunks(range: Range<usize>, step: usize) -> impl Iterator<Item = Range<usize>> {
    let end = range.end;
    range.step_by(step).map(move |start| start..(start + step).min(end))
}

/// The tiles of columns `columns`.
pub(crate) fn tiles(columns: Range<usize>) -> impl Iterator<Item = Range<usize>> {
    chunks(columns, TILE)
}

/// The runs of equal group in columns `columns` of `row`, each with its group.
#[inline(always)]
pub(crate) fn runs(
    grouping: Grouping,
    row: usize,
    columns: Range<usize>,
) -> impl Iterator<Item = (Range<usize>, usize)> {
    let (length, base) = match grouping.length() {
        GroupLength::Samples(n) => (n, row * grouping.groups_per_row()),
        GroupLength::Row => (usize::MAX, row),
        GroupLength::Tensor => (usize::MAX, 0),
    };
    let mut start = columns.start;
    std::iter::from_fn(move || {
        (start < columns.end).then(|| {
            let group = start / length;
            let end = columns.end.min((group + 1).saturating_mul(length));
            (std::mem::replace(&mut start, end)..end, base + group)
        })
    })
}

/// Fills one value per group: short groups many to a work item, long ones (`long`) one after the other, for `value` to
/// share out.
pub(crate) fn fill_groups(
    pool: &rayon::ThreadPool,
    grouping: Grouping,
    chunk_len: usize,
    values: &mut [f32],
    short: impl Fn(usize, &mut [f32]) + Sync,
    long: impl Fn(Range<usize>) -> f32 + Sync,
) {
    assert_eq!(values.len(), grouping.group_count(), "one scale per group");
    let length = match grouping.length() {
        GroupLength::Samples(n) => n.min(grouping.columns()),
        GroupLength::Row => grouping.columns(),
        GroupLength::Tensor => grouping.rows() * grouping.columns(),
    };
    pool.install(|| {
        if length > chunk_len {
            values.iter_mut().enumerate().for_each(|(group, value)| *value = long(grouping.range(group)));
        } else {
            let per_item = chunk_len / length.max(1);
            values.par_chunks_mut(per_item.max(1)).enumerate().for_each(|(i, part)| short(i * per_item, part));
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regions_cover_a_matrix_once() {
        for (rows, columns, chunk_len) in [(3, 100, 7), (5, 3, 7), (2, 8, 8), (1, 1, 1), (4, 17, 1000), (0, 5, 7)] {
            let mut seen = vec![0; rows * columns];
            for region in regions(rows, columns, chunk_len, 8) {
                assert!(region.columns.start % 8 == 0);
                for row in region.rows {
                    region.columns.clone().for_each(|column| seen[row * columns + column] += 1);
                }
            }
            assert!(seen.iter().all(|&n| n == 1), "{rows} × {columns} by {chunk_len}");
        }
    }

    #[test]
    fn runs_agree_with_the_grouping() {
        for length in [GroupLength::Samples(7), GroupLength::Samples(64), GroupLength::Row, GroupLength::Tensor] {
            let grouping = Grouping::new(3, 50, length);
            for (run, group) in runs(grouping, 2, 9..44) {
                run.for_each(|column| assert_eq!(grouping.index_of(2, column), group));
            }
            assert_eq!(runs(grouping, 2, 9..44).map(|(run, _)| run.len()).sum::<usize>(), 35);
        }
    }
}
