//! GGUF as llama.cpp loads it: blocks of IQ4_NL, Q4_0 or Q8_0, out of a GGUF file or of a Hugging Face folder.
//!
//! Out of a GGUF file, names and metadata are the source's own, and tensors that are not quantized are carried over as
//! they are stored, block types that nothing here decodes included. Out of a folder, [`super::hugging_face`] says what
//! goes where; matrices that are not quantized keep their number format, vectors become f32.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use quant_core::codes::unpack_row;
use quant_core::grouping::GroupLength;
use quant_core::quantize::Quantized;
use quant_core::recipe::{CodebookRule, GGML_BLOCK_LEN, Recipe};
use quant_core::scale_storage::ScaleStorage;
use quant_core::tensor::{Dtype, Samples};
use quant_gguf::{FileLayout, GgmlType, PlannedTensor, TensorPlace, Value, lay_out, metadata_bytes, pack_blocks};

use super::hugging_face::{Conversion, Place, in_pairs};
use super::{Piece, Subject};
use crate::checkpoint::{AlignedBytes, Checkpoint, Source, StoredDtype, TensorEntry};
use crate::error::Error;
use crate::plan::{Action, Matrices, Plan};

/// Bytes before the metadata: magic, version, two counts.
const PREAMBLE_LEN: usize = 24;

/// ggml's `GGML_QNT_VERSION`.
const QUANTIZATION_VERSION: u32 = 2;

/// The block type that holds what `recipe` makes, if one does.
pub fn ggml_type(recipe: &Recipe) -> Option<GgmlType> {
    let fits = recipe.scale_storage == ScaleStorage::F16
        && recipe.is_plain()
        && recipe.group == GroupLength::Samples(GGML_BLOCK_LEN);
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
    if checkpoint.source() == Source::SafetensorsFile {
        let path = checkpoint.path().display();
        let why = "--to gguf needs a .gguf file or a model folder as IN; a lone safetensors file has no tokenizer";
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

/// The blocks of all matrices that were quantized by `recipe`, row by row.
///
/// # Panics
/// When no block type holds what `recipe` makes.
pub fn bytes(recipe: &Recipe, quantized: &[Quantized]) -> Vec<u8> {
    let ggml_type = checked_type(recipe);
    let block_count: usize = quantized.iter().map(|matrix| matrix.grouping.group_count()).sum();
    let mut blocks = Vec::with_capacity(block_count * ggml_type.block_byte_len());
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

/// A GGUF file to be, and where in it each tensor of the source goes.
pub(crate) struct Layout {
    pub header: Vec<u8>,
    pub byte_len: u64,
    /// None for a tensor that is left out.
    pub places: Vec<Option<TensorPlace>>,
}

impl Layout {
    fn new(layout: FileLayout, count: usize) -> Self {
        assert_eq!(layout.places.len(), count, "a place for each tensor");
        let places = layout.places.into_iter().map(Some).collect();
        Self { header: layout.header, byte_len: layout.byte_len, places }
    }

    /// Out of a folder: `types` has one for each tensor; `file_type` says what most of the file is.
    pub fn of_conversion(
        conversion: &Conversion,
        shapes: &[&[usize]],
        types: &[GgmlType],
        file_type: u32,
        output: &Path,
    ) -> Result<Self, Error> {
        check_extension(output)?;
        let mut metadata = conversion.metadata.clone();
        metadata.push(("general.file_type".into(), Value::U32(file_type)));
        metadata.push(("general.quantization_version".into(), Value::U32(QUANTIZATION_VERSION)));
        let divisors = conversion.rope_divisors.as_deref();
        let extra = divisors.map(|d| planned("rope_freqs.weight", &[d.len()], GgmlType::F32));
        let each = conversion.places.iter().zip(shapes).zip(types);
        let named = each.filter_map(|((place, shape), t)| place.as_ref().map(|p| planned(&p.name, shape, *t)));
        let tensors: Vec<PlannedTensor> = extra.into_iter().chain(named).collect();
        let laid_out = lay_out(&metadata, &tensors);
        let mut laid_out = laid_out.map_err(|error| Error::refused(format!("{}: {error}", output.display())))?;
        if let Some(divisors) = divisors {
            // The first tensor's data are known now, and go with the header.
            laid_out.header.resize(laid_out.places.remove(0).offset as usize, 0);
            laid_out.header.extend(divisors.iter().flat_map(|d| d.to_le_bytes()));
        }
        let mut places = laid_out.places.into_iter();
        let places = conversion.places.iter().map(|p| p.as_ref().and_then(|_| places.next())).collect();
        Ok(Self { header: laid_out.header, byte_len: laid_out.byte_len, places })
    }
}

fn planned(name: &str, shape: &[usize], ggml_type: GgmlType) -> PlannedTensor {
    PlannedTensor { name: name.into(), shape: shape.into(), ggml_type }
}

fn check_extension(output: &Path) -> Result<(), Error> {
    match output.extension() {
        Some(extension) if extension == "gguf" => Ok(()),
        _ => Err(Error::refused(format!("{}: the output is a GGUF file; end OUT in .gguf", output.display()))),
    }
}

/// The type of a tensor that is carried over from a folder: vectors are f32 to llama.cpp.
pub(crate) fn dense_type(shape: &[usize], dtype: Dtype) -> GgmlType {
    match dtype {
        _ if shape.len() < 2 => GgmlType::F32,
        Dtype::F32 => GgmlType::F32,
        Dtype::F16 => GgmlType::F16,
        Dtype::Bf16 => GgmlType::BF16,
    }
}

/// Bytes of a tensor of a folder that is carried over.
pub(super) fn carried_len_bytes(entry: &TensorEntry) -> u64 {
    let dtype = entry.dtype.float().unwrap_or(Dtype::F32);
    (entry.sample_count() * dense_type(&entry.shape, dtype).block_byte_len()) as u64
}

/// A tensor of a folder as it is carried over: decoded `bytes` in `dtype`, of which vectors become f32.
pub(crate) fn dense_bytes(place: &Place, shape: &[usize], dtype: Dtype, bytes: AlignedBytes) -> AlignedBytes {
    let bytes = match place.paired_heads {
        Some(heads) => in_pairs(&bytes, shape[0], heads),
        None => bytes,
    };
    if shape.len() >= 2 || dtype == Dtype::F32 {
        return bytes;
    }
    let samples = Samples::from_bytes(&bytes, dtype).expect("the buffer is aligned");
    let mut wide = AlignedBytes::zeroed(4 * samples.len());
    for (i, out) in wide.as_chunks_mut::<4>().0.iter_mut().enumerate() {
        *out = samples.get(i).to_le_bytes();
    }
    wide
}

/// `general.file_type` of a file without blocks.
pub(crate) fn dense_file_type(dtype: Dtype) -> u32 {
    match dtype {
        Dtype::F32 => 0,
        Dtype::F16 => 1,
        Dtype::Bf16 => 32,
    }
}

/// Where everything goes in the file.
pub(crate) fn layout(checkpoint: &Checkpoint, plan: &Plan, recipe: &Recipe, output: &Path) -> Result<Layout, Error> {
    check_extension(output)?;
    if let Some(conversion) = &plan.conversion {
        let ggml_type = |(entry, action): (&TensorEntry, &Action)| match (action, entry.dtype.float()) {
            (Action::Quantize(_, recipe), _) => checked_type(recipe),
            (Action::Dense { .. }, dtype) => dense_type(&entry.shape, dtype.unwrap_or(Dtype::F32)),
        };
        let types: Vec<GgmlType> = checkpoint.tensors().iter().zip(&plan.actions).map(ggml_type).collect();
        let shapes: Vec<&[usize]> = checkpoint.tensors().iter().map(|t| t.shape.as_slice()).collect();
        return Layout::of_conversion(conversion, &shapes, &types, file_type(checked_type(recipe)), output);
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
    let laid_out = lay_out(&metadata, &tensors);
    let laid_out = laid_out.map_err(|error| Error::refused(format!("{}: {error}", output.display())))?;
    Ok(Layout::new(laid_out, tensors.len()))
}

/// The source's entries, with what the new types change.
fn metadata(checkpoint: &Checkpoint, ggml_type: GgmlType) -> Result<Vec<(String, Value)>, Error> {
    let source = checkpoint.gguf_metadata().expect("the source is a GGUF file");
    refuse_lossy(checkpoint, source)?;
    let mut metadata = source.to_vec();
    let changed = [("general.file_type", file_type(ggml_type)), ("general.quantization_version", QUANTIZATION_VERSION)];
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
