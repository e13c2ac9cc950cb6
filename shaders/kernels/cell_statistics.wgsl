// Count and fixed-point sum of the samples of each cell of a codebook: what an iteration of Lloyd needs. Class: exact.
//
// The layout of sums is the histogram's. A workgroup sums 16,384 samples in its own memory, each cell in several places so
// that neighbours do not wait for each other, in halves of 16 bits that cannot overflow, and then adds to the device's.

//#import samples
//#import fixed_point
//#import grid

struct CellStatisticsParams {
    sample_count: u32,
    threshold_count: u32,
    first_step: u32,
    replica_count: u32,
    /// 2^fraction_bits.
    fraction_unit: f32,
}

@group(0) @binding(0) var<uniform> params: CellStatisticsParams;
@group(0) @binding(2) var<storage, read> thresholds: array<f32>;
@group(0) @binding(3) var<storage, read_write> sums: array<atomic<u32>>;

const SPAN: u32 = 16384u;
const PLACES: u32 = 512u;

var<workgroup> table: array<f32, 256>;
var<workgroup> counts: array<atomic<u32>, 512>;
var<workgroup> lows: array<atomic<u32>, 512>;
var<workgroup> highs: array<atomic<i32>, 512>;

fn cell_of(x: f32) -> u32 {
    var below = 0u;
    for (var step = params.first_step; step > 0u; step >>= 1u) {
        let next = below + step;
        if (next <= params.threshold_count && x > table[next - 1u]) {
            below = next;
        }
    }
    return below;
}

fn add_cell(cell: u32) {
    var count = 0u;
    var low = 0u;
    var high = 0;
    for (var i = 0u; i < params.replica_count; i++) {
        let place = cell * params.replica_count + i;
        count += atomicLoad(&counts[place]);
        low += atomicLoad(&lows[place]);
        high += atomicLoad(&highs[place]);
    }
    if (count == 0u) {
        return;
    }
    let cell_count = params.threshold_count + 1u;
    let shifted = bitcast<u32>(high) << 16u;
    let total = low + shifted;
    var upper = bitcast<u32>(high >> 16u) + select(0u, 1u, total < low);
    upper += select(0u, 1u, atomicAdd(&sums[cell_count + cell], total) + total < total);
    atomicAdd(&sums[cell], count);
    atomicAdd(&sums[2u * cell_count + cell], upper);
}

@compute @workgroup_size(256)
fn cell_statistics(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    for (var place = lane; place < PLACES; place += 256u) {
        atomicStore(&counts[place], 0u);
        atomicStore(&lows[place], 0u);
        atomicStore(&highs[place], 0);
    }
    if (lane < params.threshold_count) {
        table[lane] = thresholds[lane];
    }
    workgroupBarrier();
    let start = linear_workgroup(group, grid) * SPAN;
    let end = min(start + SPAN, params.sample_count);
    let replica = lane % params.replica_count;
    for (var index = start + lane; index < end; index += 256u) {
        let x = sample(index);
        let place = cell_of(x) * params.replica_count + replica;
        let value = fixed_point(x, params.fraction_unit);
        atomicAdd(&counts[place], 1u);
        atomicAdd(&lows[place], bitcast<u32>(value) & 0xffffu);
        atomicAdd(&highs[place], value >> 16u);
    }
    workgroupBarrier();
    if (lane <= params.threshold_count) {
        add_cell(lane);
    }
}
