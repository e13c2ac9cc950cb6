//! Nearest codevectors on the device; sums of cells, which want f64, on the host.

use crate::Gpu;
use crate::error::GpuError;
use crate::host;
use crate::job::{Input, Job};
use quant_core::design::vector::{Points, VectorCells};
use quant_core::reference::half_square;
use quant_core::tensor::Samples;
use quant_shaders::{NEAREST_CODEVECTORS, NearestCodevectorsParams};

/// Points of a workgroup, codevectors and coordinates of a tile; the kernel says so.
const SIDE: usize = 64;
const DEPTH: usize = 16;

/// Tiles that an invocation goes through: software drivers end a shader's loops after 65,535 iterations in all.
const TILES_MAX: usize = 2048;

/// Codes and scores of some points with some codevectors.
type Found = (Vec<u32>, Vec<f32>);

pub(crate) fn nearest_codevectors(
    gpu: &Gpu,
    points: Points<'_>,
    codevectors: Points<'_>,
    codes: &mut [u32],
) -> Result<(), GpuError> {
    assert_eq!(points.dimension(), codevectors.dimension(), "points and codevectors of one space");
    assert_eq!(codes.len(), points.len(), "a code for each point");
    let d = points.dimension();
    let half_squares: Vec<f32> = codevectors.iter().map(half_square).collect();
    let part_max = (gpu.sample_max / d).max(1);
    let codevector_max = part_max.min((TILES_MAX / d.div_ceil(DEPTH)).max(1) * SIDE);
    let point_parts = points.samples().chunks(part_max * d);
    let items: Vec<(&[f32], usize)> = point_parts
        .flat_map(|part| (0..codevectors.len()).step_by(codevector_max).map(move |first| (part, first)))
        .collect();
    let found = gpu.each(
        items,
        |unit, &(part, first)| {
            let end = codevectors.len().min(first + codevector_max);
            let point_count = part.len() / d;
            let params = NearestCodevectorsParams {
                dimension: d as u32,
                point_count: point_count as u32,
                codevector_count: (end - first) as u32,
            };
            unit.submit(&Job {
                kernel: &NEAREST_CODEVECTORS,
                dtype: None,
                params: bytemuck::bytes_of(&params),
                inputs: &[
                    Input::Samples(Samples::F32(part)),
                    Input::numbers(&codevectors.samples()[first * d..end * d]),
                    Input::numbers(&half_squares[first..end]),
                ],
                output_len: 8 * point_count,
                scratch_len: 0,
                accumulates: false,
                workgroups: point_count.div_ceil(SIDE),
            })
        },
        |(part, first), bytes| {
            let (codes, scores) = bytes.split_at(4 * (part.len() / d));
            let codes: Vec<u32> = bytemuck::pod_collect_to_vec(codes);
            (codes.into_iter().map(|code| first as u32 + code).collect(), bytemuck::pod_collect_to_vec(scores))
        },
    )?;
    let parts_of_codevectors = codevectors.len().div_ceil(codevector_max);
    for (codes, found) in codes.chunks_mut(part_max).zip(found.chunks(parts_of_codevectors)) {
        choose(codes, found);
    }
    Ok(())
}

/// The code of least score of each point; between equals the lower one, which comes first.
fn choose(codes: &mut [u32], found: &[Found]) {
    for (i, code) in codes.iter_mut().enumerate() {
        let candidates = found.iter().map(|(codes, scores)| (codes[i], scores[i]));
        let least = candidates.reduce(|best, next| if next.1 < best.1 { next } else { best });
        *code = least.expect("at least one codevector").0;
    }
}

pub(crate) fn vector_cells(
    gpu: &Gpu,
    points: Points<'_>,
    weights: Option<&[f32]>,
    codevectors: Points<'_>,
    codes: &mut [u32],
) -> Result<VectorCells, GpuError> {
    assert!(weights.is_none_or(|w| w.len() == points.len()), "one weight per point");
    nearest_codevectors(gpu, points, codevectors, codes)?;
    Ok(host::vector_cells(points, weights, codevectors, codes))
}
