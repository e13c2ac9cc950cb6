// Samples from packed codes: flush(level * scale), rounded to nearest, ties to even. Class: <= 1 ULP, expected 0.
//
// An invocation writes one word: a f32, or two 16-bit samples.

//#import decoded
//#import grid

/// 0: f32, 1: f16, 2: bf16.
override DTYPE: u32 = 0u;

@group(0) @binding(5) var<storage, read_write> samples: array<u32>;

/// The nearest f16 of a flushed f32; 65520 and beyond is infinite.
fn f16_of(bits: u32) -> u32 {
    let sign = (bits >> 16u) & 0x8000u;
    let magnitude = bits & 0x7fffffffu;
    if (magnitude >= 0x47800000u) {
        return sign | 0x7c00u;
    }
    if (magnitude >= 0x38800000u) {
        return sign | ((magnitude - 0x38000000u + 0xfffu + ((magnitude >> 13u) & 1u)) >> 13u);
    }
    // Subnormal: units of 2^-24. Below half a unit, and for zero, nothing is left.
    let shift = 126u - (magnitude >> 23u);
    if (shift > 24u) {
        return sign;
    }
    let mantissa = (magnitude & 0x007fffffu) | 0x00800000u;
    let quotient = mantissa >> shift;
    let rest = mantissa & ((1u << shift) - 1u);
    let half = 1u << (shift - 1u);
    return sign | (quotient + select(0u, 1u, rest > half || (rest == half && (quotient & 1u) == 1u)));
}

fn bf16_of(bits: u32) -> u32 {
    return (bits + 0x7fffu + ((bits >> 16u) & 1u)) >> 16u;
}

fn decoded_bits(index: u32) -> u32 {
    let row = index / params.columns;
    let column = index - row * params.columns;
    let value = bitcast<u32>(decoded(code_at(row, column), row, column));
    if (DTYPE == 0u) {
        return value;
    }
    return select(bf16_of(value), f16_of(value), DTYPE == 1u);
}

@compute @workgroup_size(128)
fn decode(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let index = linear_workgroup(group, grid) * 128u + lane;
    if (DTYPE == 0u) {
        if (index < params.sample_count) {
            samples[index] = decoded_bits(index);
        }
        return;
    }
    if (2u * index < params.sample_count) {
        var word = decoded_bits(2u * index);
        if (2u * index + 1u < params.sample_count) {
            word |= decoded_bits(2u * index + 1u) << 16u;
        }
        samples[index] = word;
    }
}
