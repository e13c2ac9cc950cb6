//! What is larger than the device allows: a tensor of three times the binding limit, and devices that give up.

use quant_core::backend::{Backend, Encoding};
use quant_core::codebook::Codebooks;
use quant_core::codes::BitWidth;
use quant_core::conformance::cases::Noise;
use quant_core::conformance::compare::{exact, exact_values};
use quant_core::design::normal_float::NF4_LEVELS;
use quant_core::grouping::{GroupLength, Grouping};
use quant_core::reference::Reference;
use quant_core::tensor::{Matrix, Samples};
use quant_gpu::{Gpu, GpuOptions};

const COLUMNS: usize = 4096;
/// Rows that repeat, so that a small matrix says what the large one must become.
const PERIOD: usize = 8;
/// Three times this is tried where a device has no limit to speak of.
const LIMIT_MAX: u64 = 128 << 20;

#[test]
fn a_tensor_of_three_times_the_binding_limit_is_cut_up() {
    let options = GpuOptions { chunk_len_bytes: usize::MAX, ..GpuOptions::default() };
    let gpu = Gpu::new(options).expect("an adapter, if only a software one");
    let limit = gpu.adapters()[0].binding_len_bytes.min(LIMIT_MAX) as usize;
    let rows = (3 * limit / (4 * COLUMNS)).next_multiple_of(PERIOD);
    println!("{}: {rows} × {COLUMNS} samples, bindings of {limit} bytes", gpu.name());
    let mut noise = Noise(7);
    let period: Vec<f32> = (0..PERIOD * COLUMNS).map(|_| noise.normal()).collect();
    let samples = period.repeat(rows / PERIOD);
    let (scales, packed) = quantize(&gpu, &samples);
    let (expected_scales, expected) = quantize(&Reference, &period);
    for part in scales.chunks(expected_scales.len()) {
        exact_values(part, &expected_scales, "scales of a period");
    }
    for part in packed.chunks(expected.len()) {
        exact(part, &expected, "codes of a period");
    }
}

fn quantize<B: Backend>(backend: &B, samples: &[f32]) -> (Vec<f32>, Vec<u8>) {
    let rows = samples.len() / COLUMNS;
    let matrix = Matrix::new(Samples::F32(samples), rows, COLUMNS).expect("whole rows");
    let grouping = Grouping::new(rows, COLUMNS, GroupLength::Samples(64));
    let codebooks = Codebooks::from_levels(16, [NF4_LEVELS]);
    let mut scales = vec![0.0; grouping.group_count()];
    let done = |result: Result<(), B::Fault>| result.unwrap_or_else(|fault| panic!("device fault: {fault}"));
    done(backend.absmax_scales(matrix, grouping, 1.0, &mut scales));
    let bit_width = BitWidth::new(4).expect("4 is allowed");
    let encoding = Encoding { bit_width, grouping, scales: Some(&scales), codebooks: &codebooks };
    let mut packed = vec![0; encoding.codes_len_bytes()];
    done(backend.encode(matrix, &encoding, &mut packed));
    (scales, packed)
}
