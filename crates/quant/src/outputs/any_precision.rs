//! Any-precision's layout: planes of bits, and a table of f16 levels per output channel.
//!
//! For a layer `P` of N outputs and K inputs at b bits: `P.qweight` I32 `[b, N, K/32]`, the plane of the highest bit first;
//! `P.lut<b>` F16 `[N, 2^b]`. A row of a plane is cut into runs of 1024 inputs, the last possibly shorter. Of a run of
//! 32·T inputs, byte i of the word of lane t, counted from the high one, holds inputs 8·(i·T + t) … + 7, the first in the
//! highest bit. `config.json` names the layers under `anyprec`. A model of one precision has one table; those of several
//! share the planes and are read here at their highest.
//!
//! Source: `any_precision/quantization/pack.py` of SNU-ARC/any-precision-llm.

use half::f16;
use quant_core::codes::{BitWidth, code_at};
use quant_core::quantize::Quantized;
use quant_core::recipe::Recipe;
use safetensors::Dtype;
use serde_json::{Value, json};

use super::{Piece, Subject, Target, row_tables};
use crate::checkpoint::Checkpoint;
use crate::error::Error;
use crate::plan::{Action, Plan};

/// Planes of bits.
pub const CODES: &str = "qweight";
/// Levels, followed by the bits of the codes that they are for.
pub const TABLE: &str = "lut";
/// The key in `config.json`.
pub const CONFIG_KEY: &str = "anyprec";

/// Code widths of the kernels.
pub const BITS: std::ops::RangeInclusive<usize> = 3..=8;

/// Inputs that the 32 lanes of a warp take at a time.
const RUN: usize = 1024;

pub(super) fn check_recipe(checkpoint: &Checkpoint, recipe: &Recipe) -> Result<(), Error> {
    row_tables::check_recipe(checkpoint, &Target::AnyPrecision, BITS, recipe)
}

/// A level as it is stored; the largest finite f16 stands for all beyond it.
pub(crate) fn stored_level(level: f32) -> f32 {
    let most = f16::MAX.to_f32();
    f16::from_f32(level.clamp(-most, most)).to_f32()
}

pub(super) fn pieces(subject: &Subject<'_>) -> Vec<Piece> {
    let (m, bits) = (&subject.matrices, subject.recipe.bit_width.bits());
    let module = row_tables::module(&subject.entry.name).unwrap_or(&subject.entry.name);
    vec![
        Piece::new(format!("{module}.{CODES}"), Dtype::I32, vec![bits, m.rows, m.columns / 32]),
        Piece::new(format!("{module}.{TABLE}{bits}"), Dtype::F16, vec![m.rows, 1 << bits]),
    ]
}

pub(super) fn bytes(quantized: &[Quantized]) -> Vec<Vec<u8>> {
    let [matrix] = quantized else { panic!("fused tensors were refused") };
    let levels = matrix.codebooks.all_levels().iter();
    let planes = planes(&matrix.packed, matrix.grouping.rows(), matrix.grouping.columns(), matrix.bit_width);
    vec![planes, levels.flat_map(|&level| f16::from_f32(level).to_le_bytes()).collect()]
}

/// The word and the bit of an input in a row of a plane.
fn place(column: usize, columns: usize) -> (usize, usize) {
    let (start, within) = (column / RUN * RUN, column % RUN);
    let lanes = (columns - start).min(RUN) / 32;
    let (byte, bit) = (within / 8, within % 8);
    (start / 32 + byte % lanes, 31 - (byte / lanes * 8 + bit))
}

/// The planes of packed codes.
fn planes(packed: &[u8], rows: usize, columns: usize, width: BitWidth) -> Vec<u8> {
    let (bits, words) = (width.bits(), columns / 32);
    let places: Vec<(usize, usize)> = (0..columns).map(|column| place(column, columns)).collect();
    let mut planes = vec![0u32; bits * rows * words];
    for (row, packed) in packed.chunks_exact(width.row_len_bytes(columns)).enumerate() {
        for (column, &(word, bit)) in places.iter().enumerate() {
            let code = u32::from(code_at(packed, width, column));
            for plane in 0..bits {
                planes[(plane * rows + row) * words + word] |= (code >> (bits - 1 - plane) & 1) << bit;
            }
        }
    }
    planes.iter().flat_map(|word| word.to_le_bytes()).collect()
}

/// The codes of one row out of the words of all planes.
pub(crate) fn codes_of_row(planes: &[u32], rows: usize, row: usize, bits: usize, codes: &mut [u8]) {
    let (columns, words) = (codes.len(), codes.len() / 32);
    for (column, code) in codes.iter_mut().enumerate() {
        let (word, bit) = place(column, columns);
        let of_plane = |plane: usize| planes[(plane * rows + row) * words + word] >> bit & 1;
        *code = (0..bits).fold(0, |code, plane| code << 1 | of_plane(plane) as u8);
    }
}

/// `config.json` with what the loader asks for.
pub(crate) fn config(checkpoint: &Checkpoint, plan: &Plan, recipe: &Recipe) -> Result<Value, Error> {
    let mut config = checkpoint.config().expect("the target was checked to have one").clone();
    let bits = recipe.bit_width.bits();
    config[CONFIG_KEY] = json!({
        "seed_precision": bits,
        "parent_precision": bits,
        "group_count": 1,
        "arch_config": architecture(checkpoint, plan)?,
    });
    Ok(config)
}

/// Where the layers are and what is quantized in each: the same in all of them, or the loader cannot be told.
pub(super) fn architecture(checkpoint: &Checkpoint, plan: &Plan) -> Result<Value, Error> {
    let actions = checkpoint.tensors().iter().zip(&plan.actions);
    let names = actions.filter(|(_, action)| matches!(action, Action::Quantize(..))).map(|(entry, _)| &entry.name);
    let refuse = |name: &str, why: &str| {
        let path = checkpoint.path().display();
        Err(Error::refused(format!("{path}: tensor \"{name}\": --to any-precision {why}")))
    };
    let mut prefix: Option<&str> = None;
    let mut layers: std::collections::BTreeMap<&str, Vec<&str>> = std::collections::BTreeMap::new();
    for name in names {
        let Some((before, number, module)) = row_tables::module(name).and_then(numbered) else {
            return refuse(name, "takes weights of numbered layers, such as model.layers.0.mlp.up_proj.weight");
        };
        if *prefix.get_or_insert(before) != before {
            return refuse(name, "takes one list of layers, and there is another before it");
        }
        layers.entry(number).or_default().push(module);
    }
    let Some((model, list)) = prefix.and_then(|prefix| prefix.rsplit_once('.')) else {
        return Err(Error::refused(format!(
            "{}: --to any-precision finds no layers in a model",
            checkpoint.path().display()
        )));
    };
    layers.values_mut().for_each(|modules| modules.sort_unstable());
    let modules = layers.values().max_by_key(|modules| modules.len()).expect("there is a layer").clone();
    for (number, others) in &layers {
        if let Some(missing) = modules.iter().find(|module| !others.contains(module)) {
            let name = format!("{model}.{list}.{number}.{missing}.weight");
            return refuse(&name, "needs the same modules in every layer; this one is not there");
        }
    }
    Ok(json!({"model_name": model, "layers_name": list, "module_names": modules}))
}

/// `model.layers`, `0` and `mlp.up_proj` of `model.layers.0.mlp.up_proj`.
fn numbered(module: &str) -> Option<(&str, &str, &str)> {
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    let number = module.split('.').find(|part| is_number(part))?;
    let (before, after) = module.split_once(&format!(".{number}."))?;
    Some((before, number, after))
}

#[cfg(test)]
mod tests {
    use super::*;
    use quant_core::codes::pack_row;

    #[test]
    fn places_are_those_of_the_kernel() {
        // A full run: lane 0 has inputs 0 to 7 in its high byte, then 256 to 263.
        assert_eq!((place(0, 2048), place(7, 2048), place(8, 2048)), ((0, 31), (0, 24), (1, 31)));
        assert_eq!((place(256, 2048), place(1023, 2048), place(1024, 2048)), ((0, 23), (31, 0), (32, 31)));
        // 96 inputs after it are three lanes.
        assert_eq!((place(1024 + 24, 1120), place(1119, 1120)), ((32, 23), (34, 0)));
    }

    #[test]
    fn codes_come_back() {
        for (bits, columns) in [(3, 32), (3, 1120), (4, 1024), (5, 96), (8, 2080)] {
            let width = BitWidth::new(bits).unwrap();
            let code = |row: usize, i: usize| ((row * 31 + i * 7 + i / 11) % width.level_count()) as u8;
            let mut packed = vec![0; 2 * width.row_len_bytes(columns)];
            let rows: Vec<Vec<u8>> = (0..2).map(|row| (0..columns).map(|i| code(row, i)).collect()).collect();
            for (codes, packed) in rows.iter().zip(packed.chunks_exact_mut(width.row_len_bytes(columns))) {
                pack_row(codes, width, packed);
            }
            let bytes = planes(&packed, 2, columns, width);
            let words: Vec<u32> = bytes.as_chunks::<4>().0.iter().map(|b| u32::from_le_bytes(*b)).collect();
            for (row, expected) in rows.iter().enumerate() {
                let mut codes = vec![0; columns];
                codes_of_row(&words, 2, row, bits as usize, &mut codes);
                assert_eq!(codes, *expected, "{bits} bits, {columns} columns");
            }
        }
    }

    #[test]
    fn layers_are_found_in_names() {
        assert_eq!(numbered("model.decoder.layers.11.fc1"), Some(("model.decoder.layers", "11", "fc1")));
        assert_eq!(numbered("model.layers.0.mlp.experts.3.w1"), Some(("model.layers", "0", "mlp.experts.3.w1")));
        assert_eq!(numbered("lm_head"), None);
    }
}
