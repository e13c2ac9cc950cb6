//! Hadamard matrices from finite fields (R. E. A. C. Paley, "On orthogonal matrices", 1933).

use super::galois::Field;

/// Paley's first construction: order q + 1 for a prime power q ≡ 3 mod 4. H = I + S, S = [[0, 1], [−1, Q]] with
/// Q_ij = χ(i − j).
pub(super) fn first(order: usize) -> Option<Vec<i8>> {
    let field = Field::new(order.checked_sub(1).filter(|q| q % 4 == 3)?)?;
    let entry = |i: usize, j: usize| match (i, j) {
        (0, _) => 1,
        (_, 0) => -1,
        _ if i == j => 1,
        _ => field.character_of_difference(i - 1, j - 1),
    };
    Some((0..order * order).map(|at| entry(at / order, at % order)).collect())
}

/// Paley's second construction: order 2(q + 1) for a prime power q ≡ 1 mod 4. Each entry 0 of the symmetric conference
/// matrix C = [[0, 1], [1, Q]] becomes [[1, −1], [−1, −1]], each ±1 becomes ±[[1, 1], [1, −1]].
pub(super) fn second(order: usize) -> Option<Vec<i8>> {
    let half = order / 2;
    let field = Field::new(half.checked_sub(1).filter(|q| order.is_multiple_of(2) && q % 4 == 1)?)?;
    debug_assert_eq!(field.order() + 1, half);
    let conference = |i: usize, j: usize| match (i, j) {
        _ if i == j => 0,
        (0, _) | (_, 0) => 1,
        _ => field.character_of_difference(i - 1, j - 1),
    };
    let entry = |i: usize, j: usize| match (conference(i / 2, j / 2), i % 2, j % 2) {
        (0, 0, 0) => 1,
        (0, ..) => -1,
        (c, 1, 1) => -c,
        (c, ..) => c,
    };
    Some((0..order * order).map(|at| entry(at / order, at % order)).collect())
}
