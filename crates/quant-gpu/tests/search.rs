//! Scale search over groups longer than a workgroup's memory has room for: rows, tensors, long and ragged groups.

use quant_core::backend::Backend;
use quant_core::codebook::Codebooks;
use quant_core::conformance::cases::{Noise, searches};
use quant_core::conformance::compare::exact_values;
use quant_core::grouping::{GroupLength, Grouping};
use quant_core::reference::Reference;
use quant_core::scale::ScaleSearch;
use quant_core::tensor::{Matrix, Samples};
use quant_gpu::{Gpu, GpuOptions};

#[test]
fn odd_lengths_of_all_formats_are_searched() {
    let gpu = Gpu::new(GpuOptions::default()).expect("an adapter, if only a software one");
    let mut noise = Noise(12);
    let samples: Vec<f32> = (0..3 * 4099).map(|_| noise.normal().powi(7)).collect();
    let f16s: Vec<half::f16> = samples.iter().map(|&x| half::f16::from_f32(x)).collect();
    let bf16s: Vec<half::bf16> = samples.iter().map(|&x| half::bf16::from_f32(x)).collect();
    let grouping = Grouping::new(3, 4099, GroupLength::Tensor);
    for samples in [Samples::F32(&samples), Samples::F16(&f16s), Samples::Bf16(&bf16s)] {
        let matrix = Matrix::new(samples, 3, 4099).expect("as many samples");
        for bits in [2, 5, 8, 4, 3] {
            let levels = quant_core::design::normal_float::levels(bits);
            let codebooks = Codebooks::from_levels(1 << bits, [levels]);
            let search = ScaleSearch::new(&codebooks, GroupLength::Tensor, true);
            let (mut expected, mut scales) = ([f32::NAN], [f32::NAN]);
            let Ok(()) = Reference.search_scales(matrix, grouping, &search, &mut expected);
            gpu.search_scales(matrix, grouping, &search, &mut scales).expect("the device works");
            exact_values(&scales, &expected, &format!("{:?}, {bits} bits", samples.dtype()));
        }
    }
}

#[test]
fn long_groups_are_searched_like_short_ones() {
    let hostile = GpuOptions { chunk_len_bytes: 20_000, grid_width_max: 2, ..GpuOptions::default() };
    let gpus = [GpuOptions::default(), hostile].map(|o| Gpu::new(o).expect("an adapter, if only a software one"));
    let mut noise = Noise(11);
    let mut samples: Vec<f32> = (0..3 * 9000).map(|_| noise.normal()).collect();
    // Outliers make the last candidates the best ones.
    [77, 9100, 20_000, 26_999].into_iter().for_each(|i| samples[i] = 30.0);
    let shapes = [
        (3, 9000, GroupLength::Row),
        (3, 9000, GroupLength::Tensor),
        (3, 9000, GroupLength::Samples(4500)),
        (1, 27_000, GroupLength::Samples(5000)),
        (27, 1000, GroupLength::Tensor),
    ];
    for (rows, columns, length) in shapes {
        let matrix = Matrix::new(Samples::F32(&samples), rows, columns).expect("as many samples");
        let grouping = Grouping::new(rows, columns, length);
        for (levels, signed, _) in searches().into_iter().step_by(4) {
            let search = ScaleSearch::new(&Codebooks::from_levels(levels.len(), [&levels]), length, signed);
            let mut expected = vec![f32::NAN; grouping.group_count()];
            let Ok(()) = Reference.search_scales(matrix, grouping, &search, &mut expected);
            for gpu in &gpus {
                let mut scales = vec![f32::NAN; grouping.group_count()];
                gpu.search_scales(matrix, grouping, &search, &mut scales).expect("the device works");
                exact_values(&scales, &expected, &format!("{rows} × {columns}, {length:?}, {} levels", levels.len()));
            }
        }
    }
}
