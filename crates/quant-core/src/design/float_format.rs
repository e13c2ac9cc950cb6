//! Codebooks of small floating-point formats.

/// bitsandbytes' FP4 in its *code order* (sign · 8 + index): not sorted, and not quite E2M1 (0.0625/12 where E2M1 has
/// 1/12). Needed to write its files.
pub const BITSANDBYTES_FP4_CODE_ORDER: [f32; 16] = [
    0.0,
    0.005_208_333_3,
    0.666_666_7,
    1.0,
    0.333_333_34,
    0.5,
    0.166_666_67,
    0.25,
    -0.0,
    -0.005_208_333_3,
    -0.666_666_7,
    -1.0,
    -0.333_333_34,
    -0.5,
    -0.166_666_67,
    -0.25,
];

/// Stub.
pub fn fp_levels(bits: u32) -> Vec<f32> {
    assert_eq!(bits, 4);
    let mut l = BITSANDBYTES_FP4_CODE_ORDER.to_vec();
    l.sort_by(f32::total_cmp);
    l.remove(7);
    l
}
