//! How are LUT-B tiles found in a checkpoint, and decoded?

use quant_core::backend::SamplesMut;
use quant_core::codes::{BitWidth, code_at};
use quant_core::scale_storage::e4m3_value;
use quant_core::tensor::Dtype;

use super::find::Finder;
use super::{DecodedCheckpoint, DecodedTensor, Form, refused};
use crate::checkpoint::AlignedBytes;
use crate::error::Error;
use crate::outputs::lut_b::{CODES, LEVEL_COUNT, LEVELS, TILE_COLUMNS, TILE_LEN, TILE_LEN_BYTES, TILE_ROWS, position};

/// The stored tensors of a layer.
#[derive(Clone, Debug)]
pub(super) struct Tiles {
    pub(super) codes: usize,
    levels: usize,
}

impl Finder<'_> {
    /// The layers with codes and levels of tiles.
    pub(super) fn lut_b(&mut self) -> Result<Vec<DecodedTensor>, Error> {
        let ending = format!(".{LEVELS}");
        let all = self.checkpoint.tensors().iter();
        let layers: Vec<String> = all.filter_map(|t| t.name.strip_suffix(&ending).map(str::to_owned)).collect();
        layers.into_iter().map(|layer| self.lut_b_layer(&layer)).collect()
    }

    fn lut_b_layer(&mut self, layer: &str) -> Result<DecodedTensor, Error> {
        let (codes, levels) = (self.part_of(layer, CODES)?, self.part_of(layer, LEVELS)?);
        let [row_tiles, column_tiles, tile_len] = self.shape(codes, "U8")?;
        let level_shape: [usize; 3] = self.shape(levels, "F8_E4M3")?;
        let name = format!("{layer}.weight");
        let shard = self.checkpoint.tensors()[codes].shard;
        let refuse = |part: &str, shape: &[usize], wanted: &[usize]| {
            let why = format!("shape {shape:?}; {wanted:?} expected");
            Err(refused(self.checkpoint, shard, &format!("{layer}.{part}"), &why))
        };
        if tile_len != TILE_LEN_BYTES || row_tiles == 0 || column_tiles == 0 {
            let wanted = [row_tiles.max(1), column_tiles.max(1), TILE_LEN_BYTES];
            return refuse(CODES, &[row_tiles, column_tiles, tile_len], &wanted);
        }
        if level_shape != [row_tiles, column_tiles, LEVEL_COUNT] {
            return refuse(LEVELS, &level_shape, &[row_tiles, column_tiles, LEVEL_COUNT]);
        }
        if self.has(layer, "weight") {
            return Err(refused(self.checkpoint, shard, &name, "is there both quantized and dense"));
        }
        // In bf16 when nothing is said: it holds every level.
        let dtype = super::row_tables::config_dtype(self.checkpoint.config()).unwrap_or(Dtype::Bf16);
        Ok(DecodedTensor {
            shape: vec![row_tiles * TILE_ROWS, column_tiles * TILE_COLUMNS],
            dtype: dtype.name().into(),
            method: "LUT-B 3 bits".into(),
            stored_len_bytes: self.stored_len(&[codes, levels]),
            decoded_dtype: Some(dtype),
            shard,
            name,
            form: Form::Tiles(Tiles { codes, levels }),
        })
    }
}

/// The weights of a layer.
pub(super) fn read(
    checkpoint: &DecodedCheckpoint,
    tensor: &DecodedTensor,
    tiles: &Tiles,
    dtype: Dtype,
) -> Result<AlignedBytes, Error> {
    let stored = &checkpoint.checkpoint;
    let (codes, levels) = (stored.read_raw(tiles.codes)?, stored.read_raw(tiles.levels)?);
    let levels: Vec<f32> = levels.iter().map(|&byte| e4m3_value(byte)).collect();
    if let Some(index) = levels.iter().position(|y| y.is_nan()) {
        return Err(checkpoint.refused(tensor, &format!("level {index} of its codebooks is not a number")));
    }
    let (columns, width) = (tensor.shape[1], BitWidth::new(3).expect("3 bits"));
    let mut bytes = AlignedBytes::zeroed(tensor.shape[0] * columns * dtype.byte_len());
    let mut samples = SamplesMut::from_bytes(&mut bytes, dtype).expect("the buffer is aligned");
    for (tile, codes) in codes.chunks_exact(TILE_LEN_BYTES).enumerate() {
        for i in 0..TILE_LEN {
            let level = levels[tile * LEVEL_COUNT + usize::from(code_at(codes, width, i))];
            samples.set(position(tile * TILE_LEN + i, columns), level);
        }
    }
    Ok(bytes)
}
