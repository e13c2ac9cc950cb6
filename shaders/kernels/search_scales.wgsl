// The scale of least squared error of each group of at most 4096 samples, searched in integers. Class: exact.
//
// A workgroup searches one group: an invocation takes every 64th candidate of the first stage; in the second, eight share
// each of the six neighbours of the winner. Between equal costs the earlier candidate wins.
// scale = storable(fl(fl(span * 2^-shift) * level_max_inverse)), the first product being exact.

//#import search
//#import product
//#import grid

struct SearchScalesParams {
    columns: u32,
    group_count: u32,
    group_len: u32,
    groups_per_row: u32,
    level_count: u32,
    first_step: u32,
    numerator_count: u32,
    candidate_count: u32,
    is_signed: u32,
    level_max_inverse: f32,
}

@group(0) @binding(0) var<uniform> params: SearchScalesParams;
/// First-stage numerators, over 1024.
@group(0) @binding(3) var<storage, read> numerators: array<i32>;
@group(0) @binding(4) var<storage, read_write> scales: array<f32>;

const REFINE_COUNT: u32 = 6u;
const SHARES: u32 = 8u;

var<workgroup> magnitudes: array<u32, 64>;
var<workgroup> costs: array<vec2<u32>, 64>;
var<workgroup> winners: array<u32, 64>;

/// Candidate `index` in the order of the definition: its numerator, negative for a negative scale.
fn candidate(index: u32) -> i32 {
    if (params.is_signed == 0u) {
        return numerators[index];
    }
    return select(numerators[index / 2u], -numerators[index / 2u], index % 2u == 1u);
}

/// round(numerator / 1024 * largest), with the sign of the numerator.
fn span_of(numerator: i32, largest: i32) -> i32 {
    let span = (largest * abs(numerator) + 512) >> 10u;
    return select(span, -span, numerator < 0);
}

/// Whether the candidate at `b` beats the one at `a`.
fn beats(a: u32, b: u32) -> bool {
    return less(costs[b], costs[a])
        || (costs[a].x == costs[b].x && costs[a].y == costs[b].y && winners[b] < winners[a]);
}

/// The index of the cheapest candidate, left in winners[0] with its cost in costs[0].
fn reduce_winner(lane: u32) {
    for (var width = INVOCATIONS / 2u; width > 0u; width /= 2u) {
        workgroupBarrier();
        if (lane < width && beats(lane, lane + width)) {
            costs[lane] = costs[lane + width];
            winners[lane] = winners[lane + width];
        }
    }
    workgroupBarrier();
}

/// The bits of max|x| over the group.
fn reduce_magnitude(start: u32, count: u32, lane: u32) -> u32 {
    var bits = 0u;
    for (var i = lane; i < count; i += INVOCATIONS) {
        bits = max(bits, sample_bits(start + i) & 0x7fffffffu);
    }
    magnitudes[lane] = bits;
    for (var width = INVOCATIONS / 2u; width > 0u; width /= 2u) {
        workgroupBarrier();
        if (lane < width) {
            magnitudes[lane] = max(magnitudes[lane], magnitudes[lane + width]);
        }
    }
    workgroupBarrier();
    return magnitudes[0];
}

/// The numerator that the second stage tries at `offset`, or 0 where there is none.
fn neighbour(winner: i32, offset: u32) -> i32 {
    // -24, -16, -8, 8, 16, 24.
    let step = 8 * (i32(offset) - 3 + select(0, 1, offset > 2u));
    let numerator = abs(winner) + step;
    if (numerator <= 0) {
        return 0;
    }
    return select(numerator, -numerator, winner < 0);
}

fn first_stage(count: u32, largest: i32, lane: u32) {
    costs[lane] = vec2<u32>(0xffffffffu, 0xffffffffu);
    winners[lane] = 0xffffffffu;
    for (var index = lane; index < params.candidate_count; index += INVOCATIONS) {
        let span = span_of(candidate(index), largest);
        let cost = cost_of(span, count, 0u, 1u, params.level_count, params.first_step);
        if (less(cost, costs[lane])) {
            costs[lane] = cost;
            winners[lane] = index;
        }
    }
    reduce_winner(lane);
}

/// The winner among `first` and its neighbours; on entry costs[0] is the cost of `first`.
fn second_stage(count: u32, largest: i32, first: i32, lane: u32) -> i32 {
    let first_cost = costs[0];
    workgroupBarrier();
    let offset = lane / SHARES;
    let numerator = neighbour(first, min(offset, REFINE_COUNT - 1u));
    var part = vec2<u32>(0u, 0u);
    if (offset < REFINE_COUNT && numerator != 0) {
        let span = span_of(numerator, largest);
        part = cost_of(span, count, lane % SHARES, SHARES, params.level_count, params.first_step);
    }
    costs[lane] = part;
    workgroupBarrier();
    var best = first;
    var best_cost = first_cost;
    for (var i = 0u; i < REFINE_COUNT; i++) {
        var cost = vec2<u32>(0u, 0u);
        for (var share = 0u; share < SHARES; share++) {
            cost = add(cost, costs[i * SHARES + share]);
        }
        let other = neighbour(first, i);
        if (other != 0 && less(cost, best_cost)) {
            best_cost = cost;
            best = other;
        }
    }
    return best;
}

@compute @workgroup_size(64)
fn search_scales(
    @builtin(workgroup_id) group_id: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let group = linear_workgroup(group_id, grid);
    if (group >= params.group_count) {
        return;
    }
    let column = (group % params.groups_per_row) * params.group_len;
    let start = (group / params.groups_per_row) * params.columns + column;
    let count = min(params.group_len, params.columns - column);
    let magnitude = reduce_magnitude(start, count, lane);
    if (magnitude == 0u) {
        if (lane == 0u) {
            scales[group] = 0.0;
        }
        return;
    }
    let shift = min(139 - i32(magnitude >> 23u), 126);
    load_segment(start, count, shift, params.level_count, lane);
    workgroupBarrier();
    let unit = bitcast<f32>(u32(shift + 127) << 23u);
    let largest = i32(round(bitcast<f32>(magnitude) * unit));
    first_stage(count, largest, lane);
    let first = candidate(winners[0]);
    let best = second_stage(count, largest, first, lane);
    if (lane == 0u) {
        let span = f32(span_of(best, largest)) * bitcast<f32>(u32(127 - shift) << 23u);
        let limit = bitcast<f32>(0x7f7fffffu);
        scales[group] = clamp(product_flushed(span, params.level_max_inverse), -limit, limit);
    }
}
