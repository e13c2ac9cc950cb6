// H diag(signs) x / sqrt(d) for each row x, H = core (x) Sylvester. Class: bounded product.
//
// A workgroup has a row. Pieces of it, several runs or part of one, are transformed in workgroup memory; what is left of
// long runs, and the core of order m, by way of `results`, where the rows are followed by room for what the core mixes.

//#import grid

struct HadamardParams {
    width: u32,
    row_count: u32,
    /// Samples of a run: a power of two, width = order * run_len.
    run_len: u32,
    order: u32,
}

@group(0) @binding(0) var<uniform> params: HadamardParams;
@group(0) @binding(1) var<storage, read> rows: array<f32>;
@group(0) @binding(2) var<storage, read> factors: array<f32>;
@group(0) @binding(3) var<storage, read> core: array<f32>;
@group(0) @binding(4) var<storage, read_write> results: array<f32>;

const LANES: u32 = 256u;
const PIECE: u32 = 2048u;

var<workgroup> piece: array<f32, 2048>;

/// Butterflies at all distances below `distance_end` on samples `start..start + piece_len` of the row.
fn transform_piece(lane: u32, row: u32, start: u32, piece_len: u32, distance_end: u32, to: u32) {
    workgroupBarrier();
    for (var i = lane; i < piece_len; i += LANES) {
        piece[i] = rows[row * params.width + start + i] * factors[start + i];
    }
    for (var distance = 1u; distance < distance_end; distance *= 2u) {
        workgroupBarrier();
        for (var pair = lane; pair < piece_len / 2u; pair += LANES) {
            let low = pair / distance * 2u * distance + pair % distance;
            let a = piece[low];
            let b = piece[low + distance];
            piece[low] = a + b;
            piece[low + distance] = a - b;
        }
    }
    workgroupBarrier();
    for (var i = lane; i < piece_len; i += LANES) {
        results[to + start + i] = piece[i];
    }
}

@compute @workgroup_size(256)
fn hadamard(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = linear_workgroup(group, grid);
    if (row >= params.row_count) {
        return;
    }
    let has_core = params.order > 1u;
    let end = row * params.width;
    let place = end + select(0u, params.row_count * params.width, has_core);
    let distance_end = min(params.run_len, PIECE);
    let piece_len = PIECE / distance_end * distance_end;
    for (var start = 0u; start < params.width; start += piece_len) {
        transform_piece(lane, row, start, min(piece_len, params.width - start), distance_end, place);
    }
    for (var distance = distance_end; distance < params.run_len; distance *= 2u) {
        storageBarrier();
        for (var pair = lane; pair < params.width / 2u; pair += LANES) {
            let low = place + pair / distance * 2u * distance + pair % distance;
            let a = results[low];
            let b = results[low + distance];
            results[low] = a + b;
            results[low + distance] = a - b;
        }
    }
    if (!has_core) {
        return;
    }
    storageBarrier();
    for (var i = lane; i < params.width; i += LANES) {
        let line = i / params.run_len * params.order;
        var sum = 0.0;
        for (var j = 0u; j < params.order; j++) {
            sum += core[line + j] * results[place + j * params.run_len + i % params.run_len];
        }
        results[end + i] = sum;
    }
}
