// The cost of a candidate scale, in integers; the definition is in quant_core::scale.
//
// A segment of at most 4096 samples lies in workgroup memory as 16-bit integers, two to a word. A cell between midpoints
// holds the samples nearest to its level, so the cost of a sample is the least squared distance to a level.

//#import samples
//#import wide

const SEGMENT_MAX: u32 = 4096u;
const INVOCATIONS: u32 = 64u;

/// c_k, ascending: 15 bits and a sign.
@group(0) @binding(2) var<storage, read> levels: array<i32>;

var<workgroup> scaled: array<u32, 2048>;
var<workgroup> level_table: array<i32, 256>;

/// Brings the levels and `count` samples from `start` on into workgroup memory, samples times 2^shift, rounded.
fn load_segment(start: u32, count: u32, shift: i32, level_count: u32, lane: u32) {
    let unit = bitcast<f32>(u32(shift + 127) << 23u);
    for (var pair = lane; 2u * pair < count; pair += INVOCATIONS) {
        let low = i32(round(sample(start + 2u * pair) * unit));
        var high = 0;
        if (2u * pair + 1u < count) {
            high = i32(round(sample(start + 2u * pair + 1u) * unit));
        }
        scaled[pair] = (u32(low) & 0xffffu) | (u32(high) << 16u);
    }
    for (var k = lane; k < level_count; k += INVOCATIONS) {
        level_table[k] = levels[k];
    }
}

/// y_k = (c_k * span + 2^14) >> 15.
fn stretched(k: u32, span: i32) -> i32 {
    return (level_table[k] * span + 16384) >> 15u;
}

/// One step of a search for a place: `below` levels are less than x, and if `below` + `step` are, so many.
fn advanced(below: u32, step: u32, x: i32, span: i32, level_count: u32) -> u32 {
    let next = below + step;
    let is_less = next <= level_count && stretched(min(next, level_count) - 1u, span) < x;
    return select(below, next, is_less);
}

/// min_k (x - y_k)^2; `first_step` is the largest power of 2 not above `level_count`.
///
/// Steps are written out: software drivers end an invocation's loops after 65,535 iterations in all, nested ones included.
fn squared_error(x: i32, span: i32, level_count: u32, first_step: u32) -> u32 {
    // Afterwards `below` levels are less than x.
    var below = 0u;
    if (first_step > 16u) {
        below = advanced(below, 256u, x, span, level_count);
        below = advanced(below, 128u, x, span, level_count);
        below = advanced(below, 64u, x, span, level_count);
        below = advanced(below, 32u, x, span, level_count);
    }
    below = advanced(below, 16u, x, span, level_count);
    below = advanced(below, 8u, x, span, level_count);
    below = advanced(below, 4u, x, span, level_count);
    below = advanced(below, 2u, x, span, level_count);
    below = advanced(below, 1u, x, span, level_count);
    var error = 0x7fff;
    if (below < level_count) {
        error = stretched(below, span) - x;
    }
    if (below > 0u) {
        error = min(error, x - stretched(below - 1u, span));
    }
    return u32(error * error);
}

/// Sum over samples `first`, `first + step`, ... of the segment; a negative span stands for the mirrored samples.
fn cost_of(span: i32, count: u32, first: u32, step: u32, level_count: u32, first_step: u32) -> vec2<u32> {
    var cost = vec2<u32>(0u, 0u);
    for (var i = first; i < count; i += step) {
        let word = scaled[i >> 1u] << (16u * (1u - (i & 1u)));
        var x = bitcast<i32>(word) >> 16u;
        if (span < 0) {
            x = -x;
        }
        cost = add(cost, vec2<u32>(0u, squared_error(x, abs(span), level_count, first_step)));
    }
    return cost;
}
