//! Which samples share a scale.

use std::ops::Range;

/// How many samples share one scale.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum GroupLength {
    /// This many consecutive samples of a row; the last group of a row may be shorter.
    Samples(usize),
    /// One row.
    Row,
    /// The whole matrix.
    Tensor,
}

/// The groups of a `rows × columns` matrix. Groups never straddle rows, except the one group of [`GroupLength::Tensor`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grouping {
    rows: usize,
    columns: usize,
    length: GroupLength,
}

impl Grouping {
    /// The groups of a matrix.
    ///
    /// # Panics
    ///
    /// When a group would have no sample.
    pub fn new(rows: usize, columns: usize, length: GroupLength) -> Self {
        assert!(length != GroupLength::Samples(0), "a group has at least one sample");
        Self { rows, columns, length }
    }

    /// How many samples share a scale.
    pub fn length(&self) -> GroupLength {
        self.length
    }

    /// Rows of the matrix.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Columns of the matrix.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Groups in one row; a tensor-wide group counts as one that every row shares.
    pub fn groups_per_row(&self) -> usize {
        match self.length {
            GroupLength::Samples(n) => self.columns.div_ceil(n),
            GroupLength::Row | GroupLength::Tensor => 1,
        }
    }

    /// Groups in all.
    pub fn group_count(&self) -> usize {
        match self.length {
            GroupLength::Tensor => 1,
            _ => self.rows * self.groups_per_row(),
        }
    }

    /// The groups of any one row alone.
    ///
    /// # Panics
    ///
    /// When rows share a group.
    pub fn of_one_row(&self) -> Self {
        assert!(self.length != GroupLength::Tensor, "groups end with their rows");
        Self { rows: 1, ..*self }
    }

    /// Row-major positions of the samples of group `index`.
    pub fn range(&self, index: usize) -> Range<usize> {
        match self.length {
            GroupLength::Tensor => 0..self.rows * self.columns,
            GroupLength::Row => index * self.columns..(index + 1) * self.columns,
            GroupLength::Samples(n) => {
                let (row, group) = (index / self.groups_per_row(), index % self.groups_per_row());
                let start = group * n;
                row * self.columns + start..row * self.columns + (start + n).min(self.columns)
            }
        }
    }

    /// The group of the sample at `row`, `column`.
    pub fn index_of(&self, row: usize, column: usize) -> usize {
        match self.length {
            GroupLength::Tensor => 0,
            GroupLength::Row => row,
            GroupLength::Samples(n) => row * self.groups_per_row() + column / n,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ragged_rows_end_in_a_short_group() {
        let grouping = Grouping::new(2, 100, GroupLength::Samples(64));
        assert_eq!(grouping.group_count(), 4);
        assert_eq!(grouping.range(1), 64..100);
        assert_eq!(grouping.range(2), 100..164);
        for row in 0..2 {
            for column in 0..100 {
                let group = grouping.index_of(row, column);
                assert!(grouping.range(group).contains(&(row * 100 + column)));
            }
        }
    }
}
