// Samples of three number formats, read from 32-bit words as flushed f32.
//
// All in integers, so that no driver's handling of subnormals enters. Two 16-bit samples share a word, low half first.

/// 0: f32, 1: f16, 2: bf16.
override DTYPE: u32 = 0u;

@group(0) @binding(1) var<storage, read> samples: array<u32>;

/// Bits of a f32 after flushing: magnitudes below 2^-126 are +0.
fn flush_bits(bits: u32) -> u32 {
    return select(bits, 0u, (bits & 0x7fffffffu) < 0x00800000u);
}

/// Bits of the f32 that equals a finite f16.
fn bits_of_f16(half: u32) -> u32 {
    let sign = (half & 0x8000u) << 16u;
    let magnitude = half & 0x7fffu;
    if (magnitude >= 0x0400u) {
        return sign | ((magnitude << 13u) + 0x38000000u);
    }
    if (magnitude == 0u) {
        return 0u;
    }
    let top = firstLeadingBit(magnitude);
    return sign | ((103u + top) << 23u) | ((magnitude << (23u - top)) & 0x007fffffu);
}

/// Bits of sample `index` as stored.
fn stored_bits(index: u32) -> u32 {
    if (DTYPE == 0u) {
        return samples[index];
    }
    return (samples[index >> 1u] >> ((index & 1u) * 16u)) & 0xffffu;
}

/// Bits of sample `index` as flushed f32.
fn sample_bits(index: u32) -> u32 {
    let stored = stored_bits(index);
    if (DTYPE == 0u) {
        return flush_bits(stored);
    }
    if (DTYPE == 1u) {
        return bits_of_f16(stored);
    }
    return flush_bits(stored << 16u);
}

/// Sample `index` as flushed f32.
fn sample(index: u32) -> f32 {
    return bitcast<f32>(sample_bits(index));
}
