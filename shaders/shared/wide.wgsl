// 64-bit integers as two words, the high one first: WGSL has 32-bit integers only.

/// a * b.
fn multiply(a: u32, b: u32) -> vec2<u32> {
    let low = (a & 0xffffu) * (b & 0xffffu);
    let left = (a >> 16u) * (b & 0xffffu);
    let right = (a & 0xffffu) * (b >> 16u);
    let middle = (low >> 16u) + (left & 0xffffu) + (right & 0xffffu);
    let high = (a >> 16u) * (b >> 16u) + (left >> 16u) + (right >> 16u) + (middle >> 16u);
    return vec2<u32>(high, (middle << 16u) | (low & 0xffffu));
}

/// a + b modulo 2^64.
fn add(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {
    let low = a.y + b.y;
    return vec2<u32>(a.x + b.x + select(0u, 1u, low < a.y), low);
}

/// a - b modulo 2^64.
fn subtract(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {
    return vec2<u32>(a.x - b.x - select(0u, 1u, a.y < b.y), a.y - b.y);
}

/// a < b.
fn less(a: vec2<u32>, b: vec2<u32>) -> bool {
    return a.x < b.x || (a.x == b.x && a.y < b.y);
}

/// a >> count, 0 for 64 and beyond.
fn shift_right(a: vec2<u32>, count: u32) -> vec2<u32> {
    if (count == 0u) {
        return a;
    }
    if (count >= 64u) {
        return vec2<u32>(0u, 0u);
    }
    if (count >= 32u) {
        return vec2<u32>(0u, a.x >> (count - 32u));
    }
    return vec2<u32>(a.x >> count, (a.y >> count) | (a.x << (32u - count)));
}

/// a << count, for count below 64.
fn shift_left(a: vec2<u32>, count: u32) -> vec2<u32> {
    if (count == 0u) {
        return a;
    }
    if (count >= 32u) {
        return vec2<u32>(a.y << (count - 32u), 0u);
    }
    return vec2<u32>((a.x << count) | (a.y >> (32u - count)), a.y << count);
}
