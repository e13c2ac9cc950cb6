// Error of codes against samples: sum (x - y)^2, sum x^2, max |x - y| per tile, and the count of each code.
// Class: counts exact, sums bounded like f64 sums.
//
// A tile is 1024 samples in row-major order. measured[0..256] counts codes; from word 256 on each tile has three reals of
// three words: mantissa low, mantissa high, exponent. 64 invocations take every 64th sample and are added pairwise.

//#import samples
//#import decoded
//#import real
//#import grid

@group(0) @binding(5) var<storage, read_write> measured: array<atomic<u32>>;

const TILE: u32 = 1024u;

var<workgroup> code_counts: array<atomic<u32>, 256>;
var<workgroup> squared_errors: array<Real, 64>;
var<workgroup> energies: array<Real, 64>;
var<workgroup> largest_errors: array<Real, 64>;

fn store_real(at: u32, real: Real) {
    atomicStore(&measured[at], real.mantissa.y);
    atomicStore(&measured[at + 1u], real.mantissa.x);
    atomicStore(&measured[at + 2u], bitcast<u32>(real.exponent));
}

fn measure(index: u32, lane: u32) {
    let row = index / params.columns;
    let column = index - row * params.columns;
    let code = code_at(row, column);
    atomicAdd(&code_counts[code], 1u);
    let x = sample_bits(index);
    let error = distance(x, bitcast<u32>(decoded(code, row, column)));
    squared_errors[lane] = add_real(squared_errors[lane], square(error));
    energies[lane] = add_real(energies[lane], square(magnitude_of(x)));
    largest_errors[lane] = larger_real(largest_errors[lane], error);
}

@compute @workgroup_size(64)
fn distortion(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let tile = linear_workgroup(group, grid);
    squared_errors[lane] = zero_real();
    energies[lane] = zero_real();
    largest_errors[lane] = zero_real();
    for (var code = lane; code < 256u; code += 64u) {
        atomicStore(&code_counts[code], 0u);
    }
    workgroupBarrier();
    let end = min((tile + 1u) * TILE, params.sample_count);
    for (var index = tile * TILE + lane; index < end; index += 64u) {
        measure(index, lane);
    }
    for (var width = 32u; width > 0u; width /= 2u) {
        workgroupBarrier();
        if (lane < width) {
            squared_errors[lane] = add_real(squared_errors[lane], squared_errors[lane + width]);
            energies[lane] = add_real(energies[lane], energies[lane + width]);
            largest_errors[lane] = larger_real(largest_errors[lane], largest_errors[lane + width]);
        }
    }
    workgroupBarrier();
    for (var code = lane; code < 256u; code += 64u) {
        let count = atomicLoad(&code_counts[code]);
        if (count > 0u) {
            atomicAdd(&measured[code], count);
        }
    }
    if (lane == 0u && tile * TILE < params.sample_count) {
        store_real(256u + 9u * tile, squared_errors[0]);
        store_real(256u + 9u * tile + 3u, energies[0]);
        store_real(256u + 9u * tile + 6u, largest_errors[0]);
    }
}
