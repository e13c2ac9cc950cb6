// Counts and fixed-point sums over bins, equal or widening; quant_core::design::Bins defines them. Class: exact.
//
// sums[b], sums[bins + b], sums[2 * bins + b]: count, low and high half of the i64 sum of bin b. A low half that wraps
// carries into the high half; both are sums modulo 2^32, so order does not matter.

//#import samples
//#import fixed_point
//#import groups
//#import grid

struct HistogramParams {
    columns: u32,
    sample_count: u32,
    bin_count: u32,
    mantissa_bits: u32,
    low: f32,
    inverse_width: f32,
    /// 2^fraction_bits.
    fraction_unit: f32,
    is_normalised: u32,
    group_len: u32,
    groups_per_row: u32,
    column_offset: u32,
    /// 0: added to the bits of a product so that no compiler fuses it with the addition that follows.
    zero: u32,
}

@group(0) @binding(0) var<uniform> params: HistogramParams;
@group(0) @binding(2) var<storage, read> inverse_scales: array<f32>;
@group(0) @binding(3) var<storage, read_write> sums: array<atomic<u32>>;

fn equal_bin(x: f32) -> u32 {
    let position = (x - params.low) * params.inverse_width;
    if (!(position > 0.0)) {
        return 0u;
    }
    if (position >= f32(params.bin_count)) {
        return params.bin_count - 1u;
    }
    return min(u32(position), params.bin_count - 1u);
}

fn widening_bin(x: f32) -> u32 {
    let position = bitcast<u32>((x - params.low) * params.inverse_width) + params.zero;
    let magnitude = bitcast<u32>(1.0 + bitcast<f32>(position & 0x7fffffffu));
    let half = params.bin_count / 2u;
    let key = min((magnitude - 0x3f800000u) >> (23u - params.mantissa_bits), half - 1u);
    return select(half + key, half - 1u - key, bitcast<f32>(position) < 0.0);
}

@compute @workgroup_size(256)
fn histogram(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let index = linear_workgroup(group, grid) * 256u + lane;
    if (index >= params.sample_count) {
        return;
    }
    var x = sample(index);
    if (params.is_normalised == 1u) {
        let row = index / params.columns;
        let grouping = Grouping(params.group_len, params.groups_per_row, params.column_offset);
        x = product_flushed(x, inverse_scales[group_of(grouping, row, index - row * params.columns)]);
    }
    var bin = 0u;
    if (params.mantissa_bits > 0u) {
        bin = widening_bin(x);
    } else {
        bin = equal_bin(x);
    }
    let value = fixed_point(x, params.fraction_unit);
    let low = bitcast<u32>(value);
    atomicAdd(&sums[bin], 1u);
    let carry = select(0u, 1u, atomicAdd(&sums[params.bin_count + bin], low) + low < low);
    let high = bitcast<u32>(value >> 31u) + carry;
    if (high != 0u) {
        atomicAdd(&sums[2u * params.bin_count + bin], high);
    }
}
