// The first sample that is NaN or infinite: all bits of its exponent are set. Class: exact.
//
// found[0] = 2^32 - 1 - index of the first one, or 0 when all samples are finite. A workgroup looks at 4096 samples.

//#import samples
//#import grid

struct FirstNotFiniteParams {
    sample_count: u32,
}

@group(0) @binding(0) var<uniform> params: FirstNotFiniteParams;
@group(0) @binding(2) var<storage, read_write> found: array<atomic<u32>>;

@compute @workgroup_size(256)
fn first_not_finite(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let start = linear_workgroup(group, grid) * 4096u + lane;
    let mask = select(select(0x7f80u, 0x7c00u, DTYPE == 1u), 0x7f800000u, DTYPE == 0u);
    for (var i = 0u; i < 16u; i++) {
        let index = start + i * 256u;
        if (index < params.sample_count && (stored_bits(index) & mask) == mask) {
            atomicMax(&found[0], 0xffffffffu - index);
            return;
        }
    }
}
