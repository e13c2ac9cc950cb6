// 1-D k-means of each row, thousands at once, one workgroup a row: the best partition over 256 steps, then over windows
// about its borders down to single samples. Class: trajectory, distortion within 1e-6 of the optimum for most rows.
//
// A workgroup sorts its row (bitonic, in device memory), takes exact prefix sums, and runs a layered dynamic programme,
// first over all pairs of steps, then over windows. result[r * (4 k + 1) + 4 m] = weight and first moment of cell m,
// high words first; after the last cell the exponent of the unit.

//#import samples
//#import groups
//#import row_sums
//#import grid

struct FitRowsBatchedParams {
    columns: u32,
    row_count: u32,
    level_count: u32,
    padded_len: u32,
    row_words: u32,
    result_words: u32,
    sample_bits: u32,
    weight_bits: u32,
    is_weighted: u32,
    weight_stride: u32,
    is_normalised: u32,
    group_len: u32,
    groups_per_row: u32,
    column_offset: u32,
}

@group(0) @binding(0) var<uniform> params: FitRowsBatchedParams;
@group(0) @binding(2) var<storage, read> inverse_scales: array<f32>;
@group(0) @binding(3) var<storage, read> weights: array<f32>;

/// Coarse steps, and the words of a line of the table of their costs.
const COARSE: u32 = 256u;
const COARSE_LINE: u32 = 257u;
const HUGE: f32 = 3.0e38;

var<workgroup> maxima: array<vec2<u32>, 256>;
var<workgroup> parts: array<Sums, 256>;
var<workgroup> before: array<f32, 257>;
var<workgroup> after: array<f32, 257>;
var<workgroup> coarse_ranks: array<u32, 257>;
/// Rank of the first sample of each cell, and the number of samples last.
var<workgroup> borders: array<u32, 33>;

fn normalised_bits(row: u32, column: u32) -> u32 {
    let bits = sample_bits(row * params.columns + column);
    if (params.is_normalised == 0u) {
        return bits;
    }
    let grouping = Grouping(params.group_len, params.groups_per_row, params.column_offset);
    return bitcast<u32>(product_flushed(bitcast<f32>(bits), inverse_scales[group_of(grouping, row, column)]));
}

/// Bits of the largest magnitude and of the largest weight of the row.
fn reduce_maxima(row: u32, lane: u32) -> vec2<u32> {
    var largest = vec2<u32>(0u, 0u);
    for (var column = lane; column < params.columns; column += INVOCATIONS) {
        largest.x = max(largest.x, normalised_bits(row, column) & 0x7fffffffu);
        if (params.is_weighted == 1u) {
            largest.y = max(largest.y, bitcast<u32>(weights[row * params.weight_stride + column]));
        }
    }
    maxima[lane] = largest;
    for (var width = INVOCATIONS / 2u; width > 0u; width /= 2u) {
        workgroupBarrier();
        if (lane < width) {
            maxima[lane] = max(maxima[lane], maxima[lane + width]);
        }
    }
    workgroupBarrier();
    return maxima[0];
}

/// The exponent that gives the largest magnitude `bits` - 1 bits.
fn unit_exponent(largest: u32, bits: u32) -> i32 {
    return max(i32(bits) + 125 - i32(largest >> 23u), -126);
}

fn load_row(at: Row, row: u32, weight_max: u32, lane: u32) {
    let weight_exponent = unit_exponent(weight_max, params.weight_bits);
    let near = min(weight_exponent, 126);
    let far = power_of_two(min(weight_exponent - near, 126));
    for (var column = lane; column < params.padded_len; column += INVOCATIONS) {
        var key = 0xffffffffu;
        var weight = 0u;
        if (column < params.columns) {
            key = key_of(normalised_bits(row, column));
            weight = 1u;
            if (weight_max > 0u) {
                weight = u32(round(weights[row * params.weight_stride + column] * power_of_two(near) * far));
            }
        }
        work[at.keys + column] = key;
        work[at.weights + column] = weight;
    }
}

fn sort_row(at: Row, lane: u32) {
    for (var size = 2u; size <= params.padded_len; size *= 2u) {
        for (var stride = size / 2u; stride > 0u; stride /= 2u) {
            storageBarrier();
            for (var pair = lane; pair < params.padded_len / 2u; pair += INVOCATIONS) {
                let low = 2u * stride * (pair / stride) + pair % stride;
                let high = low + stride;
                let a = work[at.keys + low];
                let b = work[at.keys + high];
                if ((a > b) == ((low & size) == 0u)) {
                    work[at.keys + low] = b;
                    work[at.keys + high] = a;
                    let weight = work[at.weights + low];
                    work[at.weights + low] = work[at.weights + high];
                    work[at.weights + high] = weight;
                }
            }
        }
    }
    storageBarrier();
}

fn sums_of(at: Row, rank: u32) -> Sums {
    let weight = vec2<u32>(0u, work[at.weights + rank]);
    let x = fixed_of(work[at.keys + rank], at.exponent);
    let first = multiply_signed(weight, x);
    return Sums(weight, first, multiply_signed(first, x));
}

fn add_sums(a: Sums, b: Sums) -> Sums {
    return Sums(add(a.weight, b.weight), add(a.first, b.first), add(a.second, b.second));
}

fn store_prefix(at: Row, rank: u32, sums: Sums) {
    let to = at.prefix + 6u * rank;
    work[to] = sums.weight.x;
    work[to + 1u] = sums.weight.y;
    work[to + 2u] = sums.first.x;
    work[to + 3u] = sums.first.y;
    work[to + 4u] = sums.second.x;
    work[to + 5u] = sums.second.y;
}

fn sum_row(at: Row, lane: u32) {
    let share = (at.count + INVOCATIONS - 1u) / INVOCATIONS;
    let start = min(lane * share, at.count);
    let end = min(start + share, at.count);
    let nothing = Sums(vec2<u32>(0u, 0u), vec2<u32>(0u, 0u), vec2<u32>(0u, 0u));
    var sums = nothing;
    for (var rank = start; rank < end; rank++) {
        sums = add_sums(sums, sums_of(at, rank));
    }
    parts[lane] = sums;
    workgroupBarrier();
    if (lane == 0u) {
        var running = nothing;
        for (var i = 0u; i < INVOCATIONS; i++) {
            let part = parts[i];
            parts[i] = running;
            running = add_sums(running, part);
        }
        store_prefix(at, at.count, running);
    }
    workgroupBarrier();
    sums = parts[lane];
    for (var rank = start; rank < end; rank++) {
        store_prefix(at, rank, sums);
        sums = add_sums(sums, sums_of(at, rank));
    }
    storageBarrier();
}

/// The rank at which coarse step `index` of `coarse` begins. Half of the steps are equal in rank and half in value: cells of
/// a good codebook have few samples in the tails, and many in a peak.
fn coarse_rank(at: Row, index: u32, coarse: u32) -> u32 {
    if (coarse == at.count || index == coarse) {
        return select(index, at.count, index == coarse);
    }
    let low = f32(fixed_of(work[at.keys], at.exponent));
    let span = max(f32(fixed_of(work[at.keys + at.count - 1u], at.exponent)) - low, 1.0);
    var below = 0u;
    var above = at.count;
    while (below < above) {
        let middle = (below + above) / 2u;
        let value = (f32(fixed_of(work[at.keys + middle], at.exponent)) - low) / span;
        if (value + f32(middle) / f32(at.count) < 2.0 * f32(index) / f32(coarse)) {
            below = middle + 1u;
        } else {
            above = middle;
        }
    }
    return below;
}

/// Borders of the best partition at coarse steps.
fn fit_coarse(at: Row, coarse: u32, lane: u32) {
    let end = lane + 1u;
    if (end <= coarse) {
        coarse_ranks[end] = coarse_rank(at, end, coarse);
    }
    coarse_ranks[0] = 0u;
    workgroupBarrier();
    if (end <= coarse) {
        let end_rank = coarse_ranks[end];
        for (var i = 0u; i < end; i++) {
            work[at.costs + i * COARSE_LINE + end] = bitcast<u32>(run_cost(at, coarse_ranks[i], end_rank));
        }
        before[end] = bitcast<f32>(work[at.costs + end]);
    }
    before[0] = 0.0;
    after[0] = 0.0;
    storageBarrier();
    workgroupBarrier();
    for (var cell = 2u; cell <= params.level_count; cell++) {
        if (end <= coarse) {
            var best = before[end];
            var best_start = end;
            for (var i = 0u; i < end; i++) {
                let cost = before[i] + bitcast<f32>(work[at.costs + i * COARSE_LINE + end]);
                if (cost < best) {
                    best = cost;
                    best_start = i;
                }
            }
            after[end] = best;
            work[at.back + cell * COARSE_LINE + end] = best_start;
        }
        workgroupBarrier();
        if (end <= coarse) {
            before[end] = after[end];
        }
        workgroupBarrier();
    }
    storageBarrier();
    if (lane == 0u) {
        var next = coarse;
        borders[params.level_count] = at.count;
        for (var cell = params.level_count; cell >= 2u; cell--) {
            next = work[at.back + cell * COARSE_LINE + next];
            borders[cell - 1u] = coarse_ranks[next];
        }
        borders[0] = 0u;
    }
    workgroupBarrier();
}

/// Candidate `index` for a border: `radius` steps to either side.
fn candidate(at: Row, cell: u32, index: u32, radius: u32, step: u32) -> u32 {
    let rank = i32(borders[cell]) + (i32(index) - i32(radius)) * i32(step);
    return u32(clamp(rank, 0, i32(at.count)));
}

/// Borders of the best partition within `radius` steps of the present ones.
fn fit_windows(at: Row, radius: u32, step: u32, lane: u32) {
    let width = 2u * radius + 1u;
    if (lane < width) {
        before[lane] = run_cost(at, 0u, candidate(at, 1u, lane, radius, step));
    }
    workgroupBarrier();
    for (var cell = 2u; cell <= params.level_count; cell++) {
        let is_last = cell == params.level_count;
        if (lane < width && (!is_last || lane == 0u)) {
            var end = at.count;
            if (!is_last) {
                end = candidate(at, cell, lane, radius, step);
            }
            var best = HUGE;
            var best_start = 0u;
            for (var i = 0u; i < width; i++) {
                let start = candidate(at, cell - 1u, i, radius, step);
                if (start <= end && before[i] < best) {
                    let cost = before[i] + run_cost(at, start, end);
                    if (cost < best) {
                        best = cost;
                        best_start = i;
                    }
                }
            }
            after[lane] = best;
            work[at.back + cell * COARSE_LINE + lane] = best_start;
        }
        workgroupBarrier();
        if (lane < width) {
            before[lane] = after[lane];
        }
        workgroupBarrier();
    }
    storageBarrier();
    if (lane == 0u) {
        var next = 0u;
        for (var cell = params.level_count; cell >= 2u; cell--) {
            next = work[at.back + cell * COARSE_LINE + next];
            borders[cell - 1u] = candidate(at, cell - 1u, next, radius, step);
        }
    }
    workgroupBarrier();
}

@compute @workgroup_size(256)
fn fit_rows_batched(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = linear_workgroup(group, grid);
    if (row >= params.row_count) {
        return;
    }
    let largest = reduce_maxima(row, lane);
    let exponent = unit_exponent(max(largest.x, 0x00800000u), params.sample_bits);
    let keys = params.row_count * params.result_words + row * params.row_words;
    let prefix = keys + 2u * params.padded_len;
    let costs = prefix + 6u * (params.columns + 1u);
    let back = costs + COARSE_LINE * COARSE_LINE;
    let at = Row(keys, keys + params.padded_len, prefix, costs, back, params.columns, exponent);
    load_row(at, row, largest.y, lane);
    sort_row(at, lane);
    sum_row(at, lane);
    let coarse = min(COARSE, at.count);
    fit_coarse(at, coarse, lane);
    // Coarse steps are at most twice as wide as they would be if all were equal in rank.
    var step = select(1u, (2u * at.count + coarse - 1u) / coarse, coarse < at.count);
    while (step > 1u && params.level_count > 1u) {
        step = (step + 3u) / 4u;
        fit_windows(at, 64u, step, lane);
    }
    if (lane < params.level_count) {
        let start = prefix_at(at, borders[lane]);
        let end = prefix_at(at, borders[lane + 1u]);
        let weight = subtract(end.weight, start.weight);
        let first = subtract(end.first, start.first);
        let result = row * params.result_words + 4u * lane;
        work[result] = weight.x;
        work[result + 1u] = weight.y;
        work[result + 2u] = first.x;
        work[result + 3u] = first.y;
    }
    if (lane == 0u) {
        work[row * params.result_words + 4u * params.level_count] = bitcast<u32>(exponent);
    }
}
