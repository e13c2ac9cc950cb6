// Inner products of 64 vectors with 64 others, 16 coordinates at a time in workgroup memory.
//
// 256 invocations; each has the products of 4 vectors on the left with 4 on the right, so that a number read from workgroup
// memory serves four products. Coordinates and vectors that do not exist count as 0.

@group(0) @binding(1) var<storage, read> left: array<f32>;
@group(0) @binding(2) var<storage, read> right: array<f32>;

const SIDE: u32 = 64u;
const DEPTH: u32 = 16u;

/// Vectors one after another: where the first begins, how far it is to the next, how many there are.
struct Vectors {
    start: u32,
    stride: u32,
    count: u32,
}

var<workgroup> left_tile: array<f32, 1024>;
var<workgroup> right_tile: array<f32, 1024>;

/// The first of the 4 left vectors of an invocation, counted within the tile.
fn left_of(lane: u32) -> u32 {
    return lane / 16u * 4u;
}

/// The first of its 4 right vectors.
fn right_of(lane: u32) -> u32 {
    return lane % 16u * 4u;
}

/// Coordinates `from..from + 16` of both sides, coordinate after coordinate.
fn load_tiles(lane: u32, a: Vectors, b: Vectors, depth: u32, first: u32) {
    let vector = lane / 4u;
    for (var i = lane % 4u * 4u; i < lane % 4u * 4u + 4u; i++) {
        let exists = first + i < depth;
        var x = 0.0;
        var y = 0.0;
        if (exists && vector < a.count) {
            x = left[a.start + vector * a.stride + first + i];
        }
        if (exists && vector < b.count) {
            y = right[b.start + vector * b.stride + first + i];
        }
        left_tile[i * SIDE + vector] = x;
        right_tile[i * SIDE + vector] = y;
    }
}

/// Element j of vector i: the product of the i-th left vector of this invocation with its j-th right one.
fn inner_products(lane: u32, a: Vectors, b: Vectors, depth: u32) -> array<vec4<f32>, 4> {
    var s0 = vec4<f32>();
    var s1 = vec4<f32>();
    var s2 = vec4<f32>();
    var s3 = vec4<f32>();
    let l = left_of(lane);
    let r = right_of(lane);
    for (var first = 0u; first < depth; first += DEPTH) {
        workgroupBarrier();
        load_tiles(lane, a, b, depth, first);
        workgroupBarrier();
        for (var i = 0u; i < DEPTH; i++) {
            let x = i * SIDE + l;
            let y = i * SIDE + r;
            let ys = vec4<f32>(right_tile[y], right_tile[y + 1u], right_tile[y + 2u], right_tile[y + 3u]);
            s0 += left_tile[x] * ys;
            s1 += left_tile[x + 1u] * ys;
            s2 += left_tile[x + 2u] * ys;
            s3 += left_tile[x + 3u] * ys;
        }
    }
    return array<vec4<f32>, 4>(s0, s1, s2, s3);
}
