//! What stays on the host: exact programmes in f64, which WGSL does not have, shared out among threads.

use quant_core::codebook::Codebooks;
use quant_core::design::vector::{Points, VectorCells};
use quant_core::design::{Bins, Gathered, optimal};
use quant_core::grouping::Grouping;
use quant_core::reference::{self, normalised, row_weights};
use quant_core::tensor::Matrix;

/// Samples of a part; f64 sums of parts are added in order, as in the scalar definition.
const PART_LEN: usize = 1 << 16;

/// `work` of each index below `count`, in order, by as many threads as the machine has.
fn parallel<R: Send>(count: usize, work: impl Fn(usize) -> R + Sync) -> Vec<R> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(count).max(1);
    let next = std::sync::atomic::AtomicUsize::new(0);
    let share = || {
        let mut done = Vec::new();
        loop {
            let index = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            if index >= count {
                return done;
            }
            done.push((index, work(index)));
        }
    };
    let mut all: Vec<(usize, R)> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(share)).collect();
        workers.into_iter().flat_map(|worker| worker.join().expect("work does not panic")).collect()
    });
    all.sort_by_key(|(index, _)| *index);
    all.into_iter().map(|(_, result)| result).collect()
}

/// The samples of some bins, and f64 sums over the others.
pub(crate) fn gather(matrix: Matrix<'_>, bins: &Bins, segments: &[u16], centre: f64) -> Gathered {
    assert_eq!(segments.len(), bins.count, "a segment for each bin");
    let part = |index: usize| {
        let range = index * PART_LEN..matrix.len().min((index + 1) * PART_LEN);
        let samples = matrix.samples().slice(range.clone());
        let part = Matrix::new(samples, 1, range.len()).expect("one row");
        reference::gather(part, bins, segments, centre)
    };
    let parts = parallel(matrix.len().div_ceil(PART_LEN), part);
    parts.iter().fold(Gathered::empty(segments[bins.count - 1]), |mut sums, part| {
        sums.merge(part);
        sums
    })
}

/// Exact 1-D k-means of each row.
pub(crate) fn fit_rows(
    matrix: Matrix<'_>,
    normalisation: Option<(Grouping, &[f32])>,
    weights: Option<&[f32]>,
    level_count: usize,
) -> Codebooks {
    let fit = |row: usize| fit_row(matrix, row, normalisation, weights, level_count);
    Codebooks::from_levels(level_count, parallel(matrix.rows(), fit))
}

/// Exact 1-D k-means of a row.
pub(crate) fn fit_row(
    matrix: Matrix<'_>,
    row: usize,
    normalisation: Option<(Grouping, &[f32])>,
    weights: Option<&[f32]>,
    level_count: usize,
) -> Vec<f32> {
    let columns = matrix.columns();
    let sample = |column| normalised(matrix.samples().get(row * columns + column), row, column, normalisation);
    let samples: Vec<f32> = (0..columns).map(sample).collect();
    optimal::fit_levels(&samples, row_weights(weights, row, columns), level_count)
}

/// Weight and weighted sum of the points of each cell, by parts that depend on the shape alone.
pub(crate) fn vector_cells(
    points: Points<'_>,
    weights: Option<&[f32]>,
    codevectors: Points<'_>,
    codes: &[u32],
) -> VectorCells {
    // A part's sums take as much room as its codevectors in f64, and as long to merge.
    let part_len = points.len().div_ceil(64).max(1 << 12).max(4 * codevectors.len());
    let part = |index: usize| {
        let mut cells = VectorCells::empty(codevectors);
        for i in index * part_len..points.len().min((index + 1) * part_len) {
            cells.add(codes[i] as usize, points.get(i), weights.map_or(1.0, |w| w[i]));
        }
        cells
    };
    let mut parts = parallel(points.len().div_ceil(part_len), part).into_iter();
    let mut cells = parts.next().expect("at least one point");
    parts.for_each(|part| cells.merge(&part));
    cells
}
