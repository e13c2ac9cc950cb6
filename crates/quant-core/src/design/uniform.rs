//! Uniform codebooks.

/// The signed-integer grid of `bits` bits: q / (2^{bits−1} − 1) for q = −2^{bits−1} … 2^{bits−1} − 1.
///
/// The largest positive integer is mapped to 1, so an absmax scale gives the usual symmetric integer quantizer; the
/// extra negative level is reached by searched scales.
///
/// ```
/// assert_eq!(quant_core::design::uniform::integer_levels(2), [-2.0, -1.0, 0.0, 1.0]);
/// ```
pub fn integer_levels(bits: u32) -> Vec<f32> {
    assert!((2..=8).contains(&bits), "2 to 8 bits");
    let half = 1i32 << (bits - 1);
    (-half..half).map(|q| (f64::from(q) / f64::from(half - 1)) as f32).collect()
}
