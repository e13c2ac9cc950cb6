// y_b = M_b x_b for each block of each row. Class: bounded product.
//
// Blocks are `block_len` channels long, the last one perhaps shorter. A workgroup has 64 rows and 64 channels of a block.

//#import tile
//#import grid

struct BlockTransformParams {
    width: u32,
    row_count: u32,
    block_len: u32,
    block_count: u32,
}

@group(0) @binding(0) var<uniform> params: BlockTransformParams;
@group(0) @binding(3) var<storage, read_write> results: array<f32>;

fn store(row: u32, channel: u32, limit: u32, products: vec4<f32>) {
    if (row >= params.row_count) {
        return;
    }
    for (var j = 0u; j < 4u && channel + j < limit; j++) {
        results[row * params.width + channel + j] = products[j];
    }
}

@compute @workgroup_size(256)
fn block_transform(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let sides_per_block = (params.block_len + SIDE - 1u) / SIDE;
    let number = linear_workgroup(group, grid);
    let side = number % sides_per_block;
    let block = number / sides_per_block % params.block_count;
    let first_row = number / sides_per_block / params.block_count * SIDE;
    let start = block * params.block_len;
    let order = min(params.block_len, params.width - start);
    let first = side * SIDE;
    if (first_row >= params.row_count || first >= order) {
        return;
    }
    let rows = Vectors(first_row * params.width + start, params.width, params.row_count - first_row);
    // Blocks before this one are whole.
    let lines = Vectors(block * params.block_len * params.block_len + first * order, order, order - first);
    let products = inner_products(lane, rows, lines, order);
    let row = first_row + left_of(lane);
    let channel = start + first + right_of(lane);
    store(row, channel, start + order, products[0]);
    store(row + 1u, channel, start + order, products[1]);
    store(row + 2u, channel, start + order, products[2]);
    store(row + 3u, channel, start + order, products[3]);
}
