//! Which scale has the least squared error for each group, where rows have codebooks of their own?

use super::{group_samples, search_scale};
use crate::grouping::Grouping;
use crate::scale::ScaleSearch;
use crate::tensor::Matrix;

/// The definition of [`crate::backend::Backend::search_scales_of_rows`].
pub fn search_scales_of_rows(
    matrix: Matrix<'_>,
    grouping: Grouping,
    searches: &[Option<ScaleSearch>],
    scales: &mut [f32],
) {
    assert_one_search_per_row(matrix, grouping, searches, scales);
    for (group, scale) in scales.iter_mut().enumerate() {
        let search = &searches[group / grouping.groups_per_row()];
        let samples = || group_samples(matrix.samples(), grouping.range(group));
        *scale = search.as_ref().map_or(0.0, |search| search_scale(&samples(), search));
    }
}

/// What callers of that verb promise.
///
/// # Panics
///
/// When there is not one search per row and one scale per group, or rows share a group.
pub fn assert_one_search_per_row(
    matrix: Matrix<'_>,
    grouping: Grouping,
    searches: &[Option<ScaleSearch>],
    scales: &[f32],
) {
    assert_eq!(searches.len(), matrix.rows(), "one search per row");
    assert_eq!(grouping.group_count(), matrix.rows() * grouping.of_one_row().group_count(), "the groups of the matrix");
    assert_eq!(scales.len(), grouping.group_count(), "one scale per group");
}
