// Costs of candidate scales over segments of at most 4096 samples, for groups longer than that. Class: exact.
//
// costs[2 * (s * candidate_count + c)] and the next word: the low and high half of the cost of candidate c over segment s.
// The host adds the segments of a group up and chooses.

//#import search
//#import grid

struct SearchCostsParams {
    columns: u32,
    segment_count: u32,
    segments_per_row: u32,
    segment_len: u32,
    level_count: u32,
    first_step: u32,
    candidate_count: u32,
}

@group(0) @binding(0) var<uniform> params: SearchCostsParams;
/// For each row the shift of its group, then the span of each candidate.
@group(0) @binding(3) var<storage, read> spans: array<i32>;
@group(0) @binding(4) var<storage, read_write> costs: array<u32>;

@compute @workgroup_size(64)
fn search_costs(
    @builtin(workgroup_id) group_id: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let segment = linear_workgroup(group_id, grid);
    if (segment >= params.segment_count) {
        return;
    }
    let row = segment / params.segments_per_row;
    let column = (segment % params.segments_per_row) * params.segment_len;
    let count = min(params.segment_len, params.columns - column);
    let first = row * (params.candidate_count + 1u);
    load_segment(row * params.columns + column, count, spans[first], params.level_count, lane);
    workgroupBarrier();
    for (var i = lane; i < params.candidate_count; i += INVOCATIONS) {
        let cost = cost_of(spans[first + 1u + i], count, 0u, 1u, params.level_count, params.first_step);
        costs[2u * (segment * params.candidate_count + i)] = cost.y;
        costs[2u * (segment * params.candidate_count + i) + 1u] = cost.x;
    }
}
