//! Hadamard rotations and block-diagonal maps of rows.
//!
//! Results are collected first and then take the rows' places, so that rows are as they were when a device fails.

use crate::Gpu;
use crate::error::GpuError;
use crate::job::{Input, Job};
use quant_core::tensor::Samples;
use quant_core::transform::{Blocks, Hadamard};
use quant_shaders::{BLOCK_TRANSFORM, BlockTransformParams, HADAMARD, HadamardParams};

/// Vectors on each side of a tile; the kernel says so.
const SIDE: usize = 64;

pub(crate) fn hadamard(gpu: &Gpu, rows: &mut [f32], rotation: &Hadamard) -> Result<(), GpuError> {
    let width = rotation.width();
    let scale = 1.0 / (width as f64).sqrt();
    let factors: Vec<f32> = rotation.signs().iter().map(|&s| (f64::from(s) * scale) as f32).collect();
    let order = rotation.core().order;
    let core: Vec<f32> = rotation.core().entries.iter().map(|&x| x as f32).collect();
    each_rows(gpu, rows, width, |part| {
        let row_count = part.len() / width;
        let params = HadamardParams {
            width: width as u32,
            row_count: row_count as u32,
            run_len: (width / order) as u32,
            order: order as u32,
        };
        Dispatch {
            kernel: &HADAMARD,
            params: bytemuck::bytes_of(&params).to_vec(),
            operands: vec![&factors, &core],
            scratch_len: if order > 1 { size_of_val(part) } else { 0 },
            workgroups: row_count,
        }
    })
}

pub(crate) fn block_transform(gpu: &Gpu, rows: &mut [f32], blocks: &Blocks) -> Result<(), GpuError> {
    let width = blocks.width();
    let entries: Vec<f32> = blocks.forward().iter().flat_map(|block| block.values()).map(|&m| m as f32).collect();
    let block_len = blocks.forward()[0].rows();
    let block_count = blocks.forward().len();
    each_rows(gpu, rows, width, |part| {
        let row_count = part.len() / width;
        let params = BlockTransformParams {
            width: width as u32,
            row_count: row_count as u32,
            block_len: block_len as u32,
            block_count: block_count as u32,
        };
        Dispatch {
            kernel: &BLOCK_TRANSFORM,
            params: bytemuck::bytes_of(&params).to_vec(),
            operands: vec![&entries],
            scratch_len: 0,
            workgroups: row_count.div_ceil(SIDE) * block_count * block_len.div_ceil(SIDE),
        }
    })
}

/// What some rows need besides themselves.
struct Dispatch<'a> {
    kernel: &'static quant_shaders::Kernel,
    params: Vec<u8>,
    operands: Vec<&'a [f32]>,
    scratch_len: usize,
    workgroups: usize,
}

/// Replaces rows of `width` samples by what a kernel makes of them, some whole rows at a time.
fn each_rows<'a>(
    gpu: &Gpu,
    rows: &mut [f32],
    width: usize,
    dispatch: impl Fn(&[f32]) -> Dispatch<'a> + Sync,
) -> Result<(), GpuError> {
    assert!(rows.len().is_multiple_of(width), "whole rows");
    // Half of a binding, for kernels that keep as much again behind their results.
    let part_len = (gpu.sample_max / 2 / width).max(1) * width;
    let results = gpu.each(
        rows.chunks(part_len).collect(),
        |unit, part| {
            let Dispatch { kernel, params, operands, scratch_len, workgroups } = dispatch(part);
            let mut inputs = vec![Input::Samples(Samples::F32(part))];
            inputs.extend(operands.into_iter().map(Input::numbers));
            let output_len = size_of_val(*part);
            let (params, inputs) = (&params[..], &inputs[..]);
            unit.submit(&Job {
                kernel,
                dtype: None,
                params,
                inputs,
                output_len,
                scratch_len,
                accumulates: false,
                workgroups,
            })
        },
        |_, bytes| bytemuck::pod_collect_to_vec::<u8, f32>(bytes),
    )?;
    rows.chunks_mut(part_len).zip(results).for_each(|(part, result)| part.copy_from_slice(&result));
    Ok(())
}
