// The level that a packed code stands for, times its scale.

//#import groups

struct CodesParams {
    columns: u32,
    sample_count: u32,
    bits: u32,
    /// Bytes of a packed row.
    row_len: u32,
    level_count: u32,
    /// Levels from a row's codebook to the next one's; 0 for a shared codebook.
    level_stride: u32,
    is_scaled: u32,
    group_len: u32,
    groups_per_row: u32,
    column_offset: u32,
}

@group(0) @binding(0) var<uniform> params: CodesParams;
@group(0) @binding(2) var<storage, read> packed: array<u32>;
@group(0) @binding(3) var<storage, read> levels: array<f32>;
@group(0) @binding(4) var<storage, read> scales: array<f32>;

fn code_at(row: u32, column: u32) -> u32 {
    let bit = row * params.row_len * 8u + column * params.bits;
    let shift = bit & 31u;
    var code = packed[bit >> 5u] >> shift;
    if (shift + params.bits > 32u) {
        code |= packed[(bit >> 5u) + 1u] << (32u - shift);
    }
    return code & ((1u << params.bits) - 1u);
}

/// flush(level * scale), or the level itself where there is no scale.
fn decoded(code: u32, row: u32, column: u32) -> f32 {
    let level = levels[row * params.level_stride + min(code, params.level_count - 1u)];
    if (params.is_scaled == 0u) {
        return level;
    }
    let grouping = Grouping(params.group_len, params.groups_per_row, params.column_offset);
    return product_flushed(level, scales[group_of(grouping, row, column)]);
}
