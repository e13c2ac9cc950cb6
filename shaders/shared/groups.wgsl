// Which group a sample belongs to, and how its scale is applied.
//
// A chunk starts inside a group when a row is cut: `column_offset` columns of the first group lie before it.

//#import product

struct Grouping {
    group_len: u32,
    groups_per_row: u32,
    column_offset: u32,
}

/// The group of a sample, counted from the first group of the chunk; `groups_per_row` is 0 where all rows share one.
fn group_of(grouping: Grouping, row: u32, column: u32) -> u32 {
    return row * grouping.groups_per_row + (column + grouping.column_offset) / grouping.group_len;
}
