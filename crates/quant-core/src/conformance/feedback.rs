//! Does rounding with error feedback mean the same? Codes by comparison.

use super::cases::{self, Noise};
use super::compare::exact;
use super::{done, for_each_plan};
use crate::backend::Backend;
use crate::dense::Dense;
use crate::error_feedback::Feedback;
use crate::reference;

/// Case of [`Backend::encode_with_feedback`], on all inputs with some plans, and on blocks of columns with their borders.
pub fn encode_with_feedback<B: Backend>(backends: &[B]) {
    for_each_plan(|matrix, plan, encoding| {
        // All lengths of rows meet a few plans; the rest repeats what `encode` tests.
        if plan.bits == 4 || plan.level_count == 256 {
            compare(backends, matrix, encoding, &format!("{matrix}, {plan}"));
        }
    });
    for columns in [64, 65, 321, 700] {
        let matrix = cases::normal_rows(35, columns).stored(crate::tensor::Dtype::F32);
        for plan in cases::plans().into_iter().filter(|p| p.bits == 3 || p.level_count == 256) {
            let (codebooks, scales) = (plan.codebooks(&matrix), plan.scales(&matrix));
            let encoding = plan.encoding(&matrix, &codebooks, scales.as_deref());
            compare(backends, &matrix, &encoding, &format!("{columns} columns, {plan}"));
        }
    }
}

fn compare<B: Backend>(
    backends: &[B],
    matrix: &cases::StoredMatrix,
    encoding: &crate::backend::Encoding<'_>,
    place: &str,
) {
    let feedback = some_feedback(matrix.columns());
    let mut expected = vec![0xff; encoding.codes_len_bytes()];
    reference::encode_with_feedback(matrix.matrix(), encoding, &feedback, &mut expected);
    for backend in backends {
        let mut packed = vec![0xff; encoding.codes_len_bytes()];
        done(backend.encode_with_feedback(matrix.matrix(), encoding, &feedback, &mut packed));
        exact(&packed, &expected, &format!("{} on {place}", backend.name()));
    }
}

/// Columns out of order, and errors that spread with either sign.
fn some_feedback(width: usize) -> Feedback {
    let mut noise = Noise(width as u64);
    let mut order: Vec<usize> = (0..width).collect();
    order.sort_by_cached_key(|_| noise.bits());
    let mut spread = Dense::identity(width);
    for (row, column) in (0..width).flat_map(|row| (row + 1..width).map(move |column| (row, column))) {
        spread.set(row, column, 0.3 * f64::from(noise.normal()) / (1.0 + (column - row) as f64));
    }
    Feedback::from_parts(order, spread)
}
