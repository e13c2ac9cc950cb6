// How often each of the 65,536 bit patterns occurs among 16-bit samples. Class: exact.

//#import grid

struct ValueHistogramParams {
    sample_count: u32,
}

@group(0) @binding(0) var<uniform> params: ValueHistogramParams;
@group(0) @binding(1) var<storage, read> samples: array<u32>;
@group(0) @binding(2) var<storage, read_write> counts: array<atomic<u32>>;

@compute @workgroup_size(256)
fn value_histogram(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let index = linear_workgroup(group, grid) * 256u + lane;
    if (2u * index >= params.sample_count) {
        return;
    }
    let word = samples[index];
    atomicAdd(&counts[word & 0xffffu], 1u);
    if (2u * index + 1u < params.sample_count) {
        atomicAdd(&counts[word >> 16u], 1u);
    }
}
