// Bits of the largest magnitude of each segment: a group, or a part of one that is long. Class: exact.
//
// magnitudes[(r * groups_per_row + g) * pieces + p] = bits of max|x| over piece p of group g of row r. The bits of
// magnitudes compare like the numbers. `lanes` invocations share a segment, a power of 2 up to the workgroup's 256.

//#import samples
//#import grid

struct AbsmaxParams {
    columns: u32,
    segment_count: u32,
    group_len: u32,
    groups_per_row: u32,
    column_offset: u32,
    piece_len: u32,
    pieces: u32,
    lanes: u32,
}

@group(0) @binding(0) var<uniform> params: AbsmaxParams;
@group(0) @binding(2) var<storage, read_write> magnitudes: array<u32>;

var<workgroup> largest: array<u32, 256>;

@compute @workgroup_size(256)
fn absmax(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) invocation: u32,
) {
    let segment = linear_workgroup(group, grid) * (256u / params.lanes) + invocation / params.lanes;
    let lane = invocation % params.lanes;
    var max_bits = 0u;
    if (segment < params.segment_count) {
        let piece = segment % params.pieces;
        let row_group = (segment / params.pieces) % params.groups_per_row;
        let row = segment / (params.pieces * params.groups_per_row);
        // Group bounds counted from the start of the first group, which may lie before the chunk.
        let first = max(row_group * params.group_len, params.column_offset) - params.column_offset;
        let group_end = min((row_group + 1u) * params.group_len - params.column_offset, params.columns);
        let start = first + piece * params.piece_len;
        let end = min(start + params.piece_len, group_end);
        for (var column = start + lane; column < end; column += params.lanes) {
            max_bits = max(max_bits, sample_bits(row * params.columns + column) & 0x7fffffffu);
        }
    }
    largest[invocation] = max_bits;
    for (var width = params.lanes / 2u; width > 0u; width /= 2u) {
        workgroupBarrier();
        if (lane < width) {
            largest[invocation] = max(largest[invocation], largest[invocation + width]);
        }
    }
    if (lane == 0u && segment < params.segment_count) {
        magnitudes[segment] = largest[invocation];
    }
}
