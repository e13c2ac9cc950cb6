//! GGUF as llama.cpp loads it: blocks of IQ4_NL, Q4_0 or Q8_0 under the source's own names and metadata.
//!
//! Tensors that are not quantized are carried over as they are stored, block types that nothing here decodes included.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use quant_core::codes::unpack_row;
use quant_core::grouping::GroupLength;
use quant_core::quantize::Quantized;
use quant_core::recipe::{CodebookRule, GGML_BLOCK_LEN, Recipe};
use quant_gguf::{FileLayout, GgmlType, PlannedTensor, Value, lay_out, metadata_bytes, pack_blocks};

use super::{Piece, Subject};
use crate::checkpoint::{Checkpoint, Source, StoredDtype, TensorEntry};
use crate::error::Error;
use crate::plan::{Action, Matrices, Plan};

/// Bytes before the metadata: magic, version, two counts.
const PREAMBLE_LEN: usize = 24;

/// The block type that holds what `recipe` makes, if one does.
pub fn ggml_type(recipe: &Recipe) -> Option<GgmlType> {
    let fits = recipe.half_scales && recipe.is_plain() && recipe.group == GroupLength::Samples(GGML_BLOCK_LEN);
    match (recipe.codebook, recipe.bit_width.bits()) {
        (CodebookRule::Iq4Nl, 4) if fits => Some(GgmlType::IQ4_NL),
        (CodebookRule::Integer, 4) if fits => Some(GgmlType::Q4_0),
        (CodebookRule::Integer, 8) if fits => Some(GgmlType::Q8_0),
        _ => None,
    }
}

/// llama.cpp's `general.file_type`: what most of the file is.
fn file_type(ggml_type: GgmlType) -> u32 {
    match ggml_type {
        GgmlType::Q4_0 => 2,
        GgmlType::Q8_0 => 7,
        GgmlType::IQ4_NL => 25,
        other => unreachable!("no recipe makes {}", other.name()),
    }
}

pub(super) fn check_recipe(checkpoint: &Checkpoint, recipe: &Recipe) -> Result<(), Error> {
    if checkpoint.source() != Source::Gguf {
        let path = checkpoint.path().display();
        let why = "--to gguf needs a .gguf file as IN; make one of a folder with llama.cpp's convert_hf_to_gguf.py";
        return Err(Error::refused(format!("{path}: {why}")));
    }
    match ggml_type(recipe) {
        Some(_) => Ok(()),
        None => Err(Error::refused(format!(
            "--to gguf writes the presets iq4_nl, q4_0 and q8_0, in groups of 32; {recipe} was asked for"
        ))),
    }
}

pub(super) fn reason_against(matrices: &Matrices) -> Option<String> {
    let columns = matrices.columns;
    (!columns.is_multiple_of(GGML_BLOCK_LEN))
        .then(|| format!("{columns} input channels are not a multiple of the {GGML_BLOCK_LEN} in a block"))
}

pub(super) fn piece(subject: &Subject<'_>) -> Piece {
    let (m, ggml_type) = (&subject.matrices, checked_type(subject.recipe));
    let row_len = m.columns / GGML_BLOCK_LEN * ggml_type.block_byte_len();
    Piece::new(subject.entry.name.clone(), safetensors::Dtype::U8, vec![m.count, m.rows, row_len])
}

fn checked_type(recipe: &Recipe) -> GgmlType {
    ggml_type(recipe).expect("the recipe was checked")
}

/// The blocks of all matrices, row by row.
pub(super) fn bytes(recipe: &Recipe, quantized: &[Quantized]) -> Vec<u8> {
    let ggml_type = checked_type(recipe);
    let mut blocks = Vec::new();
    for matrix in quantized {
        let scales = matrix.scales.as_deref().expect("every recipe of a block type has scales");
        let mut codes = vec![0; matrix.grouping.columns()];
        let rows = matrix.packed.chunks_exact(matrix.bit_width.row_len_bytes(codes.len()));
        for (row, scales) in rows.zip(scales.chunks_exact(matrix.grouping.groups_per_row())) {
            unpack_row(row, matrix.bit_width, &mut codes);
            pack_blocks(ggml_type, &codes, scales, &mut blocks);
        }
    }
    blocks
}

/// Where everything goes in the file.
pub(crate) fn layout(
    checkpoint: &Checkpoint,
    plan: &Plan,
    recipe: &Recipe,
    output: &Path,
) -> Result<FileLayout, Error> {
    if output.extension().is_none_or(|e| e != "gguf") {
        return Err(Error::refused(format!("{}: the output is a GGUF file; end OUT in .gguf", output.display())));
    }
    let tensor = |(entry, action): (&TensorEntry, &Action)| PlannedTensor {
        name: entry.name.clone(),
        shape: entry.shape.clone(),
        ggml_type: match (action, entry.dtype) {
            (Action::Quantize(..), _) => checked_type(recipe),
            (Action::Dense { .. }, StoredDtype::Ggml(stored)) => stored,
            (Action::Dense { .. }, StoredDtype::Safetensors(_)) => unreachable!("the source is a GGUF file"),
        },
    };
    let tensors: Vec<PlannedTensor> = checkpoint.tensors().iter().zip(&plan.actions).map(tensor).collect();
    let metadata = metadata(checkpoint, checked_type(recipe))?;
    lay_out(&metadata, &tensors).map_err(|error| Error::refused(format!("{}: {error}", output.display())))
}

/// The source's entries, with what the new types change.
fn metadata(checkpoint: &Checkpoint, ggml_type: GgmlType) -> Result<Vec<(String, Value)>, Error> {
    let source = checkpoint.gguf_metadata().expect("the source is a GGUF file");
    refuse_lossy(checkpoint, source)?;
    let mut metadata = source.to_vec();
    let changed = [("general.file_type", file_type(ggml_type)), ("general.quantization_version", 2)];
    for (key, value) in changed {
        match metadata.iter_mut().find(|(candidate, _)| candidate == key) {
            Some((_, old)) => *old = Value::U32(value),
            None => metadata.push((key.into(), Value::U32(value))),
        }
    }
    Ok(metadata)
}

/// Text that is not UTF-8 is replaced when it is read; a tokenizer must not be changed without a word.
fn refuse_lossy(checkpoint: &Checkpoint, metadata: &[(String, Value)]) -> Result<(), Error> {
    let (path, rewritten) = (&checkpoint.shards()[0].path, metadata_bytes(metadata));
    let mut stored = vec![0; PREAMBLE_LEN + rewritten.len()];
    let read = File::open(path).and_then(|mut file| file.read_exact(&mut stored));
    read.map_err(Error::io("read the metadata of", path))?;
    if stored[PREAMBLE_LEN..] == rewritten {
        return Ok(());
    }
    let why = "metadata holds text that is not UTF-8; it would not be carried over";
    Err(Error::refused(format!("{}: {why}", path.display())))
}
