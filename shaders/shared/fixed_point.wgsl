// Samples as 32-bit fixed-point numbers, whose sums do not depend on order.

/// round(x * unit), saturated to 32 bits.
fn fixed_point(x: f32, unit: f32) -> i32 {
    let value = round(x * unit);
    if (value >= 2147483648.0) {
        return 0x7fffffff;
    }
    if (value <= -2147483648.0) {
        return bitcast<i32>(0x80000000u);
    }
    return i32(value);
}
