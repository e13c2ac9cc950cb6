// Non-negative reals with 64-bit mantissas, in integers: sums of squares as good as f64 on devices that have only f32.
//
// value = mantissa * 2^exponent, the mantissa's top bit set, or 0. Operations truncate: each is off by 2^-62 relatively
// at most, an eighth of what one rounding of f64 may be off by, so that a sum is within the bound of f64 sums.

//#import wide

struct Real {
    mantissa: vec2<u32>,
    exponent: i32,
}

const ZERO_EXPONENT: i32 = -100000;
/// Beyond every f64: the host reads it as infinity.
const INFINITE_EXPONENT: i32 = 10000;

fn zero_real() -> Real {
    return Real(vec2<u32>(0u, 0u), ZERO_EXPONENT);
}

fn normalised_real(mantissa: vec2<u32>, exponent: i32) -> Real {
    if (mantissa.x == 0u && mantissa.y == 0u) {
        return zero_real();
    }
    let zeros = select(countLeadingZeros(mantissa.x), 32u + countLeadingZeros(mantissa.y), mantissa.x == 0u);
    return Real(shift_left(mantissa, zeros), exponent - i32(zeros));
}

/// |x|, of the bits of a flushed f32.
fn magnitude_of(bits: u32) -> Real {
    let exponent = (bits >> 23u) & 0xffu;
    if (exponent == 0u) {
        return zero_real();
    }
    let mantissa = vec2<u32>(((bits & 0x007fffffu) | 0x00800000u) << 8u, 0u);
    if (exponent == 255u) {
        return Real(mantissa, INFINITE_EXPONENT);
    }
    return Real(mantissa, i32(exponent) - 190);
}

fn less_real(a: Real, b: Real) -> bool {
    return a.exponent < b.exponent || (a.exponent == b.exponent && less(a.mantissa, b.mantissa));
}

fn larger_real(a: Real, b: Real) -> Real {
    if (less_real(a, b)) {
        return b;
    }
    return a;
}

fn add_real(a: Real, b: Real) -> Real {
    var large = a;
    var small = b;
    if (less_real(a, b)) {
        large = b;
        small = a;
    }
    let addend = shift_right(small.mantissa, u32(min(large.exponent - small.exponent, 64)));
    let sum = add(large.mantissa, addend);
    if (less(sum, addend)) {
        return Real(vec2<u32>(0x80000000u | (sum.x >> 1u), (sum.y >> 1u) | (sum.x << 31u)), large.exponent + 1);
    }
    return Real(sum, large.exponent);
}

/// |x - y|, of the bits of two flushed f32.
fn distance(x: u32, y: u32) -> Real {
    let a = magnitude_of(x);
    let b = magnitude_of(y);
    if (((x ^ y) & 0x80000000u) != 0u) {
        return add_real(a, b);
    }
    var large = a;
    var small = b;
    if (less_real(a, b)) {
        large = b;
        small = a;
    }
    let subtrahend = shift_right(small.mantissa, u32(min(large.exponent - small.exponent, 64)));
    return normalised_real(subtract(large.mantissa, subtrahend), large.exponent);
}

/// a * a.
fn square(a: Real) -> Real {
    if (a.mantissa.x == 0u) {
        return a;
    }
    let high = multiply(a.mantissa.x, a.mantissa.x);
    let cross = multiply(a.mantissa.x, a.mantissa.y);
    let twice = vec2<u32>(cross.x >> 31u, (cross.x << 1u) | (cross.y >> 31u));
    return normalised_real(add(high, twice), 2 * a.exponent + 64);
}
