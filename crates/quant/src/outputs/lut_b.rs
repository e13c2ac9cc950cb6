//! LUT-B, experimental: tiles of 8 outputs × 64 inputs that share eight levels in E4M3, 3.125 bits a weight.
//!
//! For a layer `P` of N outputs and K inputs: `P.weight_packed` U8 `[N/8, K/64, 192]`, the 512 codes of a tile row by row, three
//! bits each, low bits first; `P.weight_codebook` F8_E4M3 `[N/8, K/64, 8]`. `config.json` says `compressed-tensors`, format
//! `lut-b`. A tile is quantized as a row of the matrix of all tiles, so its levels are the optimum of its 512 weights before
//! they are rounded to E4M3.
//!
//! Unsettled: no release of compressed-tensors knows the format, no runtime reads it, and whether a tile gets an E8M0 scale
//! beside its levels is open (NVIDIA/Model-Optimizer#2204). There is no scale here, so weights far below 2⁻⁶ meet E4M3's
//! fixed step of 2⁻⁹.
//!
//! Source: the prototype of vllm-project/compressed-tensors#801.

use quant_core::grouping::GroupLength;
use quant_core::quantize::Quantized;
use quant_core::recipe::{CodebookRule, Recipe};
use quant_core::scale_storage::{e4m3_bits, e4m3_value};
use safetensors::Dtype;
use serde_json::{Value, json};

use super::{Piece, Subject, row_tables};
use crate::checkpoint::{AlignedBytes, Checkpoint, Source};
use crate::error::Error;
use crate::pipeline::Options;
use crate::plan::Matrices;

/// Packed codes.
pub const CODES: &str = "weight_packed";
/// Levels.
pub const LEVELS: &str = "weight_codebook";
/// The format's name in `config.json`.
pub const FORMAT: &str = "lut-b";
/// Outputs of a tile.
pub const TILE_ROWS: usize = 8;
/// Inputs of a tile.
pub const TILE_COLUMNS: usize = 64;
/// Weights of a tile.
pub const TILE_LEN: usize = TILE_ROWS * TILE_COLUMNS;
/// Bytes of the codes of a tile.
pub const TILE_LEN_BYTES: usize = TILE_LEN * 3 / 8;
/// Levels of a tile.
pub const LEVEL_COUNT: usize = 8;

pub(super) fn check_recipe(checkpoint: &Checkpoint, recipe: &Recipe) -> Result<(), Error> {
    if checkpoint.source() != Source::Folder || checkpoint.config().is_none() {
        let path = checkpoint.path().display();
        return Err(Error::refused(format!("{path}: --to lut-b needs a model folder with a config.json")));
    }
    let is_per_row = recipe.codebook == CodebookRule::KmeansRow && recipe.group == GroupLength::Row;
    if is_per_row && recipe.is_plain() && recipe.scale.is_none() && recipe.bit_width.bits() == 3 {
        return Ok(());
    }
    let why = "holds kmeans3-row only, with a tile of 8 x 64 weights for each row";
    Err(Error::refused(format!("--to lut-b {why}; {recipe} was asked for")))
}

/// Refuses what is given by rows and columns: here, a row is a tile.
pub(crate) fn check_options(options: &Options) -> Result<(), Error> {
    match (options.sensitivities.is_some(), options.error_feedback.is_some()) {
        (true, _) => Err(Error::refused("--weights has no place in --to lut-b, which quantizes by tiles")),
        (_, true) => Err(Error::refused("--error-feedback has no place in --to lut-b, which quantizes by tiles")),
        _ => Ok(()),
    }
}

pub(super) fn reason_against(name: &str, matrices: &Matrices) -> Option<String> {
    let (rows, columns) = (matrices.rows, matrices.columns);
    if row_tables::module(name).is_none() || matrices.count > 1 || matrices.transposed || !row_tables::is_linear(name) {
        Some("LUT-B holds linear layers only".into())
    } else if !rows.is_multiple_of(TILE_ROWS) || !columns.is_multiple_of(TILE_COLUMNS) {
        Some(format!("{rows} x {columns} weights are not whole tiles of {TILE_ROWS} x {TILE_COLUMNS}"))
    } else {
        None
    }
}

pub(super) fn pieces(subject: &Subject<'_>) -> Vec<Piece> {
    let m = &subject.matrices;
    let module = row_tables::module(&subject.entry.name).unwrap_or(&subject.entry.name);
    let tiles = |last: usize| vec![m.rows / TILE_ROWS, m.columns / TILE_COLUMNS, last];
    vec![
        Piece::new(format!("{module}.{CODES}"), Dtype::U8, tiles(TILE_LEN_BYTES)),
        Piece::new(format!("{module}.{LEVELS}"), Dtype::F8_E4M3, tiles(LEVEL_COUNT)),
    ]
}

pub(super) fn bytes(quantized: &[Quantized]) -> Vec<Vec<u8>> {
    let [tiles] = quantized else { panic!("fused tensors were refused") };
    vec![tiles.packed.clone(), tiles.codebooks.all_levels().iter().map(|&level| e4m3_bits(level)).collect()]
}

/// `config.json` with what compressed-tensors would read.
pub fn config(original: &Value, dense_modules: Vec<String>) -> Value {
    let mut config = original.clone();
    config["quantization_config"] = json!({
        "quant_method": "compressed-tensors",
        "format": FORMAT,
        "quantization_status": "compressed",
        "config_groups": {"group_0": {
            "targets": ["Linear"],
            "format": FORMAT,
            "weights": {
                "num_bits": 3,
                "type": "codebook",
                "strategy": "block",
                "block_structure": [TILE_ROWS, TILE_COLUMNS],
                "symmetric": true,
                "dynamic": false,
            },
        }},
        "ignore": dense_modules,
    });
    config
}

/// Rows and columns of the matrix that has a tile in each row.
pub(crate) fn tiles(rows: usize, columns: usize) -> (usize, usize) {
    (rows * columns / TILE_LEN, TILE_LEN)
}

/// A row-major matrix of samples of `width` bytes, tile after tile; rows and columns are whole tiles.
pub(crate) fn in_tiles(bytes: &[u8], columns: usize, width: usize) -> AlignedBytes {
    let (mut out, run) = (AlignedBytes::zeroed(bytes.len()), TILE_COLUMNS * width);
    for at in 0..bytes.len() / run {
        let from = position(at * TILE_COLUMNS, columns) * width;
        out[at * run..][..run].copy_from_slice(&bytes[from..][..run]);
    }
    out
}

/// Where weight `index`, counted tile after tile, is in the matrix.
pub(crate) fn position(index: usize, columns: usize) -> usize {
    let (tile, within) = (index / TILE_LEN, index % TILE_LEN);
    let tiles_per_row = columns / TILE_COLUMNS;
    let (row, column) = (tile / tiles_per_row * TILE_ROWS, tile % tiles_per_row * TILE_COLUMNS);
    (row + within / TILE_COLUMNS) * columns + column + within % TILE_COLUMNS
}

/// A level as it is stored.
pub(crate) fn stored_level(level: f32) -> f32 {
    e4m3_value(e4m3_bits(level))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_weight_has_a_place_in_a_tile() {
        let bytes: Vec<u8> = (0..16 * 192 * 2).map(|i| (i % 251) as u8).collect();
        let tiled = in_tiles(&bytes, 192, 2);
        // The second tile begins with inputs 64 and 65 of the first output; its second row is that of the second output.
        assert_eq!(tiled[2 * TILE_LEN..][..4], bytes[128..132]);
        assert_eq!(tiled[2 * (TILE_LEN + 64)..][..4], bytes[2 * (192 + 64)..][..4]);
        assert_eq!(position(TILE_LEN + 64, 192), 192 + 64);
        let mut places: Vec<usize> = (0..16 * 192).map(|i| position(i, 192)).collect();
        assert!(places.iter().enumerate().all(|(i, &p)| tiled[2 * i] == bytes[2 * p]));
        places.sort_unstable();
        assert!(places.into_iter().eq(0..16 * 192));
    }
}
