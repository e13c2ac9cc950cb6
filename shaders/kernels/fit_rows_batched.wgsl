// 1-D k-means of each row, thousands at once, one workgroup a row: the best partition but for roundings of costs to f32.
// Class: trajectory, distortion within 1e-6 of the optimum for nearly all rows.
//
// A workgroup sorts its row (bitonic, in device memory), takes exact prefix sums, and runs the layered dynamic programme.
// result[r * (4 k + 2) + 4 m] = weight and first moment of cell m, high words first; after the last cell the exponent of the
// unit, and 1 where the search took more steps than every driver grants: the row is then to be fitted elsewhere.

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

const HUGE: f32 = 3.0e38;

/// A start is looked for by one invocation in fewer places than this; and how many longer searches a level can have.
const SHORT: u32 = 64u;
const LONG_MAX: u32 = 1024u;

/// Software drivers end all loops of an invocation after 65,535 iterations, without a word; these are those of the search.
const ITERATIONS_MAX: u32 = 45000u;

var<workgroup> maxima: array<vec2<u32>, 256>;
var<workgroup> parts: array<Sums, 256>;
var<workgroup> best_costs: array<f32, 256>;
var<workgroup> best_starts: array<u32, 256>;
var<workgroup> long_count: atomic<u32>;
var<workgroup> long_shared: u32;
var<workgroup> long_ends: array<u32, 1024>;
/// Rank of the first sample of each cell, and the number of samples last.
var<workgroup> borders: array<u32, 33>;

var<private> iterations: u32;

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

/// Keeps a cheaper start; between equals the earlier one.
fn offer(lane: u32, cost: f32, start: u32) {
    if (cost < best_costs[lane] || (cost == best_costs[lane] && start < best_starts[lane])) {
        best_costs[lane] = cost;
        best_starts[lane] = start;
    }
}

/// The cheapest start of the last of some cells that ends at rank `end`, among every `stride`-th from `start` to `stop`.
fn scan(at: Row, before: u32, end: u32, start: u32, stop: u32, stride: u32, lane: u32) {
    best_costs[lane] = HUGE;
    best_starts[lane] = stop;
    for (var i = start; i <= stop; i += stride) {
        offer(lane, bitcast<f32>(work[before + i]) + run_cost(at, i, end), i);
        iterations++;
    }
}

/// The best of each `group` neighbouring invocations, to the first of them.
fn reduce_starts(group: u32, lane: u32) {
    for (var width = group / 2u; width > 0u; width /= 2u) {
        workgroupBarrier();
        if (lane % group < width) {
            offer(lane, best_costs[lane + width], best_starts[lane + width]);
        }
        iterations++;
    }
}

/// Where the last cell may start that ends at `end`: between the starts of its neighbours at twice the stride.
fn bounds(at: Row, line: u32, end: u32, stride: u32) -> vec2<u32> {
    var low = 0u;
    var high = end;
    if (end > stride) {
        low = work[line + end - stride];
    }
    if (end + stride <= at.count) {
        high = min(high, work[line + end + stride]);
    }
    return vec2<u32>(low, high);
}

/// All ends at odd multiples of `stride`, of which there are at most 256: several invocations for each.
fn fit_few(at: Row, before: u32, after: u32, line: u32, stride: u32, lane: u32) {
    let group = INVOCATIONS / (params.padded_len / stride);
    let end = (2u * (lane / group) + 1u) * stride;
    if (end <= at.count) {
        let range = bounds(at, line, end, stride);
        scan(at, before, end, range.x + lane % group, range.y, group, lane);
    }
    reduce_starts(group, lane);
    if (lane % group == 0u && end <= at.count) {
        work[after + end] = bitcast<u32>(best_costs[lane]);
        work[line + end] = best_starts[lane];
    }
    storageBarrier();
    workgroupBarrier();
}

/// The same where there are more: an invocation for each, and all for those that have a long way to look.
fn fit_many(at: Row, before: u32, after: u32, line: u32, stride: u32, lane: u32) {
    if (lane == 0u) {
        atomicStore(&long_count, 0u);
    }
    workgroupBarrier();
    for (var end = (2u * lane + 1u) * stride; end <= at.count; end += 2u * INVOCATIONS * stride) {
        let range = bounds(at, line, end, stride);
        iterations++;
        if (range.y - range.x < SHORT) {
            scan(at, before, end, range.x, range.y, 1u, lane);
            work[after + end] = bitcast<u32>(best_costs[lane]);
            work[line + end] = best_starts[lane];
        } else {
            long_ends[atomicAdd(&long_count, 1u) % LONG_MAX] = end;
        }
    }
    workgroupBarrier();
    if (lane == 0u) {
        long_shared = atomicLoad(&long_count);
    }
    let count = workgroupUniformLoad(&long_shared);
    for (var i = 0u; i < count; i++) {
        let end = long_ends[i];
        let range = bounds(at, line, end, stride);
        scan(at, before, end, range.x + lane, range.y, INVOCATIONS, lane);
        reduce_starts(INVOCATIONS, lane);
        if (lane == 0u) {
            work[after + end] = bitcast<u32>(best_costs[0]);
            work[line + end] = best_starts[0];
        }
        workgroupBarrier();
    }
    storageBarrier();
    workgroupBarrier();
}

/// Borders of the best partition: the layered dynamic programme, each layer by halving strides, since the best start of the
/// last cell never moves down when its end moves up (squared error is Monge).
fn fit(at: Row, lane: u32) {
    let width = at.count + 1u;
    for (var end = lane; end <= at.count; end += INVOCATIONS) {
        work[at.costs + end] = bitcast<u32>(run_cost(at, 0u, end));
    }
    if (lane == 0u) {
        work[at.costs + width] = 0u;
        borders[0] = 0u;
        borders[params.level_count] = at.count;
    }
    storageBarrier();
    workgroupBarrier();
    for (var cell = 2u; cell < params.level_count; cell++) {
        let before = at.costs + cell % 2u * width;
        let after = at.costs + (cell + 1u) % 2u * width;
        let line = at.back + (cell - 2u) * width;
        for (var stride = params.padded_len; stride > 0u; stride /= 2u) {
            if (params.padded_len / stride <= INVOCATIONS) {
                fit_few(at, before, after, line, stride, lane);
            } else {
                fit_many(at, before, after, line, stride, lane);
            }
        }
    }
    if (params.level_count >= 2u) {
        scan(at, at.costs + params.level_count % 2u * width, at.count, lane, at.count, INVOCATIONS, lane);
        reduce_starts(INVOCATIONS, lane);
    }
    if (lane == 0u && params.level_count >= 2u) {
        var next = best_starts[0];
        borders[params.level_count - 1u] = next;
        for (var cell = params.level_count - 1u; cell >= 2u; cell--) {
            if (next > 0u) {
                next = work[at.back + (cell - 2u) * width + next];
            }
            borders[cell - 1u] = next;
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
    let back = costs + 2u * (params.columns + 1u);
    let at = Row(keys, keys + params.padded_len, prefix, costs, back, params.columns, exponent);
    load_row(at, row, largest.y, lane);
    sort_row(at, lane);
    sum_row(at, lane);
    fit(at, lane);
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
    let last = row * params.result_words + 4u * params.level_count;
    if (lane == 0u) {
        work[last] = bitcast<u32>(exponent);
        work[last + 1u] = 0u;
    }
    storageBarrier();
    if (iterations > ITERATIONS_MAX) {
        work[last + 1u] = 1u;
    }
}
