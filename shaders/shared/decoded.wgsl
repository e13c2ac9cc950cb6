// The level that a packed code stands for, times its scale.
//
// `bits`, `row_len` (bytes of a packed row), `level_count` and `level_stride` (0 for a shared codebook) come with the call.

//#import groups

struct Packing {
    bits: u32,
    row_len: u32,
    level_count: u32,
    level_stride: u32,
    is_scaled: u32,
}

@group(0) @binding(2) var<storage, read> packed: array<u32>;
@group(0) @binding(3) var<storage, read> levels: array<f32>;
@group(0) @binding(4) var<storage, read> scales: array<f32>;

fn code_at(packing: Packing, row: u32, column: u32) -> u32 {
    let bit = row * packing.row_len * 8u + column * packing.bits;
    let shift = bit & 31u;
    var code = packed[bit >> 5u] >> shift;
    if (shift + packing.bits > 32u) {
        code |= packed[(bit >> 5u) + 1u] << (32u - shift);
    }
    return code & ((1u << packing.bits) - 1u);
}

/// flush(level * scale), or the level itself where there is no scale.
fn decoded(packing: Packing, grouping: Grouping, code: u32, row: u32, column: u32) -> f32 {
    let level = levels[row * packing.level_stride + min(code, packing.level_count - 1u)];
    if (packing.is_scaled == 0u) {
        return level;
    }
    return product_flushed(level, scales[group_of(grouping, row, column)]);
}
