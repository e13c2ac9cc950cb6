// Packed codes: code = #{k : x > flush(t_k * s)}, low bits first, every row on a byte of its own. Class: exact.
//
// For a negative scale both x and s are negated, and a zero scale counts as 1. An invocation writes one word of packed
// bytes: the codes that overlap it, which lie in one row, or in several where rows are not whole words.

//#import samples
//#import groups
//#import grid

struct EncodeParams {
    columns: u32,
    packed_len: u32,
    row_len: u32,
    bits: u32,
    threshold_count: u32,
    threshold_stride: u32,
    first_step: u32,
    is_scaled: u32,
    group_len: u32,
    groups_per_row: u32,
    column_offset: u32,
}

@group(0) @binding(0) var<uniform> params: EncodeParams;
@group(0) @binding(2) var<storage, read> thresholds: array<f32>;
@group(0) @binding(3) var<storage, read> scales: array<f32>;
@group(0) @binding(4) var<storage, read_write> packed: array<u32>;

/// How many of the ascending thresholds from `first` on lie below x, a threshold being flush(t * scale).
fn code_of(x: f32, scale: f32, first: u32) -> u32 {
    var below = 0u;
    for (var step = params.first_step; step > 0u; step >>= 1u) {
        let next = below + step;
        if (next <= params.threshold_count) {
            var threshold = thresholds[first + next - 1u];
            if (params.is_scaled == 1u) {
                threshold = product_flushed(threshold, scale);
            }
            if (x > threshold) {
                below = next;
            }
        }
    }
    return below;
}

/// The code of a sample of the chunk.
fn encoded(row: u32, column: u32) -> u32 {
    let x = sample(row * params.columns + column);
    let first = row * params.threshold_stride;
    if (params.is_scaled == 0u) {
        return code_of(x, 1.0, first);
    }
    let grouping = Grouping(params.group_len, params.groups_per_row, params.column_offset);
    let scale = scales[group_of(grouping, row, column)];
    if (scale == 0.0) {
        return code_of(x, 1.0, first);
    }
    return code_of(select(x, -x, scale < 0.0), abs(scale), first);
}

/// `byte_count` bytes of a row from byte `offset` on.
fn packed_bytes(row: u32, offset: u32, byte_count: u32) -> u32 {
    let first_bit = 8u * offset;
    let end_bit = first_bit + 8u * byte_count;
    var word = 0u;
    var column = first_bit / params.bits;
    for (var bit = column * params.bits; bit < end_bit && column < params.columns; bit += params.bits) {
        let code = encoded(row, column);
        if (bit >= first_bit) {
            word |= code << (bit - first_bit);
        } else {
            word |= code >> (first_bit - bit);
        }
        column += 1u;
    }
    return word & (0xffffffffu >> (32u - 8u * byte_count));
}

@compute @workgroup_size(128)
fn encode(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let index = linear_workgroup(group, grid) * 128u + lane;
    if (index >= (params.packed_len + 3u) / 4u) {
        return;
    }
    var word = 0u;
    var done = 0u;
    while (done < 4u && 4u * index + done < params.packed_len) {
        let byte = 4u * index + done;
        let row = byte / params.row_len;
        let offset = byte - row * params.row_len;
        let byte_count = min(4u - done, params.row_len - offset);
        word |= packed_bytes(row, offset, byte_count) << (8u * done);
        done += byte_count;
    }
    packed[index] = word;
}
