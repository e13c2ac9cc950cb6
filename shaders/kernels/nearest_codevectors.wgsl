// The code of a nearest codevector of each point, and its score |y|^2/2 - <x, y>. Class: regret.
//
// A workgroup takes 64 points and goes through all codevectors, 64 at a time; no score but the least one of a point leaves
// it. codes_and_scores[i] is the code of point i, and codes_and_scores[point_count + i] the bits of its score; between
// equals the lower code counts.

//#import tile
//#import grid

struct NearestCodevectorsParams {
    dimension: u32,
    point_count: u32,
    codevector_count: u32,
}

@group(0) @binding(0) var<uniform> params: NearestCodevectorsParams;
@group(0) @binding(3) var<storage, read> half_squares: array<f32>;
@group(0) @binding(4) var<storage, read_write> codes_and_scores: array<u32>;

/// What every score is below.
const SCORE_MAX: f32 = 3.4028234e38;

var<private> scores: vec4<f32>;
var<private> codes: vec4<u32>;

/// Compares a codevector's inner products with the 4 points of this invocation.
fn compare(code: u32, products: vec4<f32>) {
    if (code >= params.codevector_count) {
        return;
    }
    let candidates = vec4<f32>(half_squares[code]) - products;
    let is_less = candidates < scores;
    scores = select(scores, candidates, is_less);
    codes = select(codes, vec4<u32>(code), is_less);
}

@compute @workgroup_size(256)
fn nearest_codevectors(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let first = linear_workgroup(group, grid) * SIDE;
    if (first >= params.point_count) {
        return;
    }
    let d = params.dimension;
    let points = Vectors(first * d, d, params.point_count - first);
    scores = vec4<f32>(SCORE_MAX);
    codes = vec4<u32>(0u);
    for (var tile = 0u; tile < params.codevector_count; tile += SIDE) {
        let p = inner_products(lane, points, Vectors(tile * d, d, params.codevector_count - tile), d);
        let code = tile + right_of(lane);
        compare(code, vec4<f32>(p[0].x, p[1].x, p[2].x, p[3].x));
        compare(code + 1u, vec4<f32>(p[0].y, p[1].y, p[2].y, p[3].y));
        compare(code + 2u, vec4<f32>(p[0].z, p[1].z, p[2].z, p[3].z));
        compare(code + 3u, vec4<f32>(p[0].w, p[1].w, p[2].w, p[3].w));
    }
    // The tiles are free now: the least score of each point and column, and its code.
    workgroupBarrier();
    for (var i = 0u; i < 4u; i++) {
        let place = (left_of(lane) + i) * 16u + lane % 16u;
        left_tile[place] = scores[i];
        right_tile[place] = bitcast<f32>(codes[i]);
    }
    workgroupBarrier();
    if (lane >= SIDE || first + lane >= params.point_count) {
        return;
    }
    var least = left_tile[lane * 16u];
    var best = bitcast<u32>(right_tile[lane * 16u]);
    for (var column = 1u; column < 16u; column++) {
        let score = left_tile[lane * 16u + column];
        let code = bitcast<u32>(right_tile[lane * 16u + column]);
        if (score < least || (score == least && code < best)) {
            least = score;
            best = code;
        }
    }
    codes_and_scores[first + lane] = best;
    codes_and_scores[params.point_count + first + lane] = bitcast<u32>(least);
}
