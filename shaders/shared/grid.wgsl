// Linear workgroup numbers: a grid is rows of at most as many workgroups as a dispatch may have in one direction.

fn linear_workgroup(id: vec3<u32>, grid: vec3<u32>) -> u32 {
    return id.x + id.y * grid.x;
}
