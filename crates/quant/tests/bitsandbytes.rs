//! Codes, scales and nested scales against the real bitsandbytes (fixture made by xtask/python/make_fixture.py).

use half::bf16;
use quant_core::backend::{Backend, Encoding};
use quant_core::codebook::Codebooks;
use quant_core::codes::{BitWidth, code_at};
use quant_core::design::float_format::BITSANDBYTES_FP4_CODE_ORDER;
use quant_core::double_quant::{DoubleQuantized, dynamic_levels};
use quant_core::grouping::{GroupLength, Grouping};
use quant_core::recipe::Recipe;
use quant_core::tensor::{Matrix, Samples};
use safetensors::SafeTensors;

const FIXTURE: &[u8] = include_bytes!("fixtures/bitsandbytes_nf4.safetensors");

fn floats(file: &SafeTensors<'_>, name: &str) -> Vec<f32> {
    let data = file.tensor(name).unwrap().data();
    data.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
}

/// Ours as the library's code.
fn their_code(code: u8, family: &str, codebooks: &Codebooks) -> u8 {
    if family == "nf4" {
        return code;
    }
    let level = codebooks.levels(0)[usize::from(code)];
    BITSANDBYTES_FP4_CODE_ORDER.iter().position(|&y| y == level).unwrap() as u8
}

#[test]
fn codes_and_scales_are_the_librarys() {
    let file = SafeTensors::deserialize(FIXTURE).unwrap();
    let cpu = quant_cpu::Cpu::new(quant_cpu::CpuOptions::default()).unwrap();
    let (mut compared, mut different) = (0, 0);
    for source in ["gaussian", "heavy", "thresholds", "zeros", "bf16"] {
        for family in ["nf4", "fp4"] {
            for block in [32, 64] {
                let key = |suffix: &str| format!("{source}.{family}_{block}.{suffix}");
                let tensor = file.tensor(&format!("{source}.x")).unwrap();
                let [rows, columns] = *tensor.shape() else { panic!("a matrix") };
                let values = match source {
                    "bf16" => {
                        tensor.data().as_chunks::<2>().0.iter().map(|b| bf16::from_le_bytes(*b).to_f32()).collect()
                    }
                    _ => floats(&file, &format!("{source}.x")),
                };
                let matrix = Matrix::new(Samples::F32(&values), rows, columns).unwrap();
                let grouping = Grouping::new(rows, columns, GroupLength::Samples(block));
                let codebooks = Recipe::preset(family).unwrap().fixed_codebooks().unwrap();
                let mut scales = vec![0.0; grouping.group_count()];
                cpu.absmax_scales(matrix, grouping, 1.0, &mut scales).unwrap();
                assert_eq!(scales, floats(&file, &key("absmax")), "{}", key("absmax"));
                let bit_width = BitWidth::new(4).unwrap();
                let encoding = Encoding { bit_width, grouping, scales: Some(&scales), codebooks: &codebooks };
                let mut packed = vec![0; encoding.codes_len_bytes()];
                cpu.encode(matrix, &encoding, &mut packed).unwrap();
                let theirs = file.tensor(&key("codes")).unwrap().data();
                for (i, &x) in values.iter().enumerate() {
                    let ours = their_code(code_at(&packed, bit_width, i), family, &codebooks);
                    let theirs = theirs[i / 2] >> (4 * (1 - i % 2)) & 15;
                    compared += 1;
                    if ours != theirs && levels_differ(ours, theirs, family) {
                        different += 1;
                        assert_reciprocal_rounding(x, scales[i / block], &codebooks, &key("codes"), i);
                    }
                }
            }
        }
    }
    assert!(different * 1000 <= compared, "{different} of {compared} differ");
}

/// The two zeros of FP4 are one level.
fn levels_differ(ours: u8, theirs: u8, family: &str) -> bool {
    let level = |code: u8| BITSANDBYTES_FP4_CODE_ORDER[usize::from(code)];
    family == "nf4" || level(ours) != level(theirs)
}

/// The library compares fl(x · fl(1/s)) with thresholds; we compare x with fl(t · s). They may differ only where x lies
/// within two roundings of a threshold.
fn assert_reciprocal_rounding(x: f32, scale: f32, codebooks: &Codebooks, key: &str, index: usize) {
    let position = f64::from(x) / f64::from(scale);
    let nearest = codebooks.thresholds(0).iter().map(|&t| (f64::from(t) - position).abs()).fold(f64::MAX, f64::min);
    assert!(nearest <= 2.5e-7, "{key} {index}: {x} is {nearest} from a threshold");
}

#[test]
fn the_dynamic_codebook_is_the_librarys() {
    let file = SafeTensors::deserialize(FIXTURE).unwrap();
    assert_eq!(dynamic_levels(), floats(&file, "dynamic_map"));
}

#[test]
fn scales_quantized_twice_decode_like_the_librarys() {
    let file = SafeTensors::deserialize(FIXTURE).unwrap();
    let key = |suffix: &str| format!("gaussian.nf4_32_dq.{suffix}");
    let scales = floats(&file, "gaussian.nf4_32.absmax");
    let ours = DoubleQuantized::new(&scales);
    let offset = floats(&file, &key("offset"))[0];
    assert!((ours.offset - offset).abs() <= 1e-6 * offset, "the library sums in f32: {} {offset}", ours.offset);
    let codes = file.tensor(&key("absmax_codes")).unwrap().data();
    let same = ours.codes.iter().zip(codes).filter(|(a, b)| a == b).count();
    assert!(same * 100 >= codes.len() * 99, "{same} of {} codes are equal", codes.len());
    let nested_scales = floats(&file, &key("nested_absmax"));
    let theirs = DoubleQuantized { codes: codes.to_vec(), nested_scales, offset };
    assert_eq!(theirs.decode(), floats(&file, &key("absmax")), "decoding is the library's, bit for bit");
}
