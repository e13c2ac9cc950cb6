// flush(fl(a * b)) of pairs of numbers: shows whether an adapter rounds as all others do. Class: exact.

//#import product
//#import grid

struct ProductParams {
    count: u32,
}

@group(0) @binding(0) var<uniform> params: ProductParams;
@group(0) @binding(1) var<storage, read> left: array<f32>;
@group(0) @binding(2) var<storage, read> right: array<f32>;
@group(0) @binding(3) var<storage, read_write> products: array<f32>;

@compute @workgroup_size(64)
fn product(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let index = linear_workgroup(group, grid) * 64u + lane;
    if (index < params.count) {
        products[index] = product_flushed(left[index], right[index]);
    }
}
