// A row of samples in ascending order, with exact sums over any run of it, and the cost of a run.
//
// Samples are fixed-point integers, weights too; W, S and Q are prefix sums of w, w x and w x^2 in 64 bits modulo 2^64.
// The squared error of a run about its mean is taken about the integer c in its middle first, which is exact, so that what
// is left for f32 is small: Q' = Q - c (S + S'), S' = S - c W, cost = Q' - S'^2 / W.

//#import wide

/// Results first, then the scratch of each row: keys, weights, prefix sums, costs of two layers, starts of last cells.
@group(0) @binding(4) var<storage, read_write> work: array<u32>;

const INVOCATIONS: u32 = 256u;

/// Where the parts of a row's scratch begin, and how its samples become integers.
struct Row {
    keys: u32,
    weights: u32,
    prefix: u32,
    costs: u32,
    back: u32,
    count: u32,
    exponent: i32,
}

struct Sums {
    weight: vec2<u32>,
    first: vec2<u32>,
    second: vec2<u32>,
}

/// Unsigned integers that compare like the f32.
fn key_of(bits: u32) -> u32 {
    return bits ^ select(0x80000000u, 0xffffffffu, (bits & 0x80000000u) != 0u);
}

/// 2^exponent, for exponents from -126 to 127.
fn power_of_two(exponent: i32) -> f32 {
    return bitcast<f32>(u32(exponent + 127) << 23u);
}

/// round(x * 2^exponent): in two steps, because the factor may be beyond f32.
fn fixed_of(key: u32, exponent: i32) -> i32 {
    let bits = key ^ select(0xffffffffu, 0x80000000u, (key & 0x80000000u) != 0u);
    let near = min(exponent, 126);
    return i32(round(bitcast<f32>(bits) * power_of_two(near) * power_of_two(exponent - near)));
}

/// a * b modulo 2^64, for a 64-bit a and a signed b.
fn multiply_signed(a: vec2<u32>, b: i32) -> vec2<u32> {
    let factor = bitcast<u32>(b);
    let low = multiply(a.y, factor);
    return vec2<u32>(low.x + a.x * factor - select(0u, a.y, b < 0), low.y);
}

fn signed_to_f32(a: vec2<u32>) -> f32 {
    if ((a.x & 0x80000000u) != 0u) {
        let negated = subtract(vec2<u32>(0u, 0u), a);
        return -(f32(negated.x) * 4294967296.0 + f32(negated.y));
    }
    return f32(a.x) * 4294967296.0 + f32(a.y);
}

fn prefix_at(row: Row, rank: u32) -> Sums {
    let at = row.prefix + 6u * rank;
    return Sums(
        vec2<u32>(work[at], work[at + 1u]),
        vec2<u32>(work[at + 2u], work[at + 3u]),
        vec2<u32>(work[at + 4u], work[at + 5u]),
    );
}

/// Squared error of the samples of ranks `i` to `j` - 1 about their mean, times the unit squared.
fn run_cost(row: Row, i: u32, j: u32) -> f32 {
    if (i >= j) {
        return 0.0;
    }
    let a = prefix_at(row, i);
    let b = prefix_at(row, j);
    let weight = subtract(b.weight, a.weight);
    if (weight.x == 0u && weight.y == 0u) {
        return 0.0;
    }
    let centre = fixed_of(work[row.keys + (i + j) / 2u], row.exponent);
    let first = subtract(b.first, a.first);
    let moved = subtract(first, multiply_signed(weight, centre));
    let second = subtract(subtract(b.second, a.second), multiply_signed(add(first, moved), centre));
    let s = signed_to_f32(moved);
    return max(signed_to_f32(second) - s * (s / signed_to_f32(weight)), 0.0);
}
