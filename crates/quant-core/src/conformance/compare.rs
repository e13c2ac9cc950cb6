//! Comparison helpers, one per parity class; a failure prints the index and both values.

use crate::backend::SamplesMut;
use std::fmt::Debug;

/// Class *exact*: equal values.
pub fn exact<T: PartialEq + Debug>(found: &[T], expected: &[T], place: &str) {
    assert_eq!(found.len(), expected.len(), "length, {place}");
    if let Some(i) = (0..found.len()).find(|&i| found[i] != expected[i]) {
        panic!("index {i}: {:?} found, {:?} expected; {place}", found[i], expected[i]);
    }
}

/// Class *exact* for f32: equal bits.
pub fn exact_values(found: &[f32], expected: &[f32], place: &str) {
    assert_eq!(found.len(), expected.len(), "length, {place}");
    if let Some(i) = (0..found.len()).find(|&i| found[i].to_bits() != expected[i].to_bits()) {
        panic!("index {i}: {:?} found, {:?} expected; {place}", found[i], expected[i]);
    }
}

/// Class *≤ 1 ULP*, in the number format of `found`: the bits, read as integers, differ by 1 at most.
///
/// Codes of 16-bit formats are compared after rounding `expected`, which can move by one step when the f32 did.
pub fn within_one_ulp(found: &SamplesMut<'_>, expected: &[f32], place: &str) {
    assert_eq!(found.len(), expected.len(), "length, {place}");
    for (i, &value) in expected.iter().enumerate() {
        let (found, expected) = match found {
            SamplesMut::F32(s) => (i64::from(s[i].to_bits()), i64::from(value.to_bits())),
            SamplesMut::F16(s) => (i64::from(s[i].to_bits()), i64::from(half::f16::from_f32(value).to_bits())),
            SamplesMut::Bf16(s) => (i64::from(s[i].to_bits()), i64::from(half::bf16::from_f32(value).to_bits())),
        };
        assert!((found - expected).abs() <= 1, "index {i}: bits {found:#x} found, {expected:#x} expected; {place}");
    }
}

/// Class *bounded sum* for sums of terms ≥ 0: n terms in any order are off by at most (n − 1)·ε·Σ each, ε = 2⁻⁵³
/// (Higham 2002, eq. 4.4); a term itself, a square of a difference, by 3ε. Twice that for two sums.
pub fn bounded_sum(found: f64, expected: f64, count: usize, place: &str) {
    let bound = 2.0 * (count as f64 + 2.0) * 0.5 * f64::EPSILON * expected.abs();
    assert!((found - expected).abs() <= bound, "{found:e} found, {expected:e} ± {bound:e} expected; {place}");
}

/// Class *bounded product* for a sum of products in f32 against the same in f64: off by at most γ(n)·Σ|a||x| when each
/// term takes part in n roundings, γ(n) = n·u/(1 − n·u), u = 2⁻²⁴ (Higham 2002, eq. 3.5).
pub fn bounded_product(found: f32, expected: f32, rounding_count: usize, magnitude: f64, place: &str) {
    let roundings = rounding_count as f64 * 0.5 * f64::from(f32::EPSILON);
    let bound = roundings / (1.0 - roundings) * magnitude + f64::from(f32::MIN_POSITIVE);
    let error = (f64::from(found) - f64::from(expected)).abs();
    assert!(error <= bound, "{found:e} found, {expected:e} ± {bound:e} expected; {place}");
}
