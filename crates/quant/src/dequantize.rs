//! A quantized checkpoint back to dense weights: to what it was, or to a GGUF file.

use std::collections::BTreeMap;
use std::path::Path;

use quant_core::tensor::Dtype;

use crate::checkpoint::{AlignedBytes, Checkpoint, Source};
use crate::decoded::{DecodedCheckpoint, DecodedTensor};
use crate::device::Device;
use crate::error::Error;
use crate::files::{FilePlan, OutputFiles, single_name};
use crate::outputs::hugging_face::{Conversion, has_heads};
use crate::outputs::manifest::KEY;
use crate::outputs::{Piece, Target, any_precision, dense, gguf, lut_b};
use crate::partial::{Identity, Partial};
use crate::places::{normalised, refuse_collisions, refuse_to_lose};

/// Writes `input` as dense weights to `output`; each tensor in its original dtype, or in `dtype` when given. Tensors
/// that are dense already are copied bit for bit. `tell` is called with each tensor's name.
///
/// A folder becomes a GGUF file when `output` ends in `.gguf`; then `dtype` holds for all matrices, and vectors are f32.
pub fn run(
    input: &DecodedCheckpoint,
    output: &Path,
    dtype: Option<Dtype>,
    overwrite: bool,
    device: &Device,
    tell: &dyn Fn(&DecodedTensor),
) -> Result<(), Error> {
    let checkpoint = input.checkpoint();
    refuse_foreign_method(input)?;
    crate::transformed::expected(checkpoint)?;
    let output = &normalised(output);
    let conversion = conversion(input, output)?;
    let files = match &conversion {
        None => files(input, output, dtype)?,
        Some(conversion) => gguf_files(input, conversion, output, dtype)?,
    };
    refuse_collisions(checkpoint, output, overwrite)?;
    refuse_to_lose(output, &files)?;
    let identity = Identity {
        version: env!("CARGO_PKG_VERSION").into(),
        input: checkpoint.fingerprint(),
        instruction: format!("dequantize to {dtype:?}"),
    };
    // Decoding is fast and deterministic: an earlier attempt at the same has finished no tensor, and starts over.
    let (partial, _) = Partial::open(output, &identity, true, overwrite)?;
    let job = Job { input, files: &files, conversion: conversion.as_ref(), dtype, device };
    match job.write(partial.folder(), tell) {
        Ok(()) => partial.finish(files.single()),
        // Nothing is lost with it, and what was refused would be refused again. The first error is the one to tell.
        Err(error) => {
            let _ = partial.discard();
            Err(error)
        }
    }
}

struct Job<'a> {
    input: &'a DecodedCheckpoint,
    files: &'a OutputFiles,
    conversion: Option<&'a Conversion>,
    dtype: Option<Dtype>,
    device: &'a Device,
}

impl Job<'_> {
    fn write(&self, folder: &Path, tell: &dyn Fn(&DecodedTensor)) -> Result<(), Error> {
        self.files.create(folder, false)?;
        for (index, tensor) in self.input.tensors().iter().enumerate() {
            tell(tensor);
            self.tensor(folder, index, tensor)?;
        }
        self.files.carry_side_files(self.input.checkpoint(), folder)
    }

    fn tensor(&self, folder: &Path, index: usize, tensor: &DecodedTensor) -> Result<(), Error> {
        if let Some(conversion) = self.conversion {
            let Some(place) = &conversion.places[index] else { return Ok(()) };
            let dtype = if tensor.shape.len() < 2 { Dtype::F32 } else { decoded_dtype(tensor, self.dtype) };
            let bytes = gguf::dense_bytes(place, &tensor.shape, dtype, self.decoded(index, dtype)?);
            return self.files.write(folder, index, &[bytes]).map(drop);
        }
        match tensor.plain() {
            Some(stored) => self.files.copy(folder, index, self.input.checkpoint(), stored).map(drop),
            None => {
                let bytes = self.decoded(index, decoded_dtype(tensor, self.dtype))?;
                self.files.write(folder, index, &[bytes]).map(drop)
            }
        }
    }

    fn decoded(&self, index: usize, dtype: Dtype) -> Result<AlignedBytes, Error> {
        let bytes = self.input.read(index, dtype, self.device)?;
        self.input.refuse_overflow(index, &bytes, dtype, self.device)?;
        Ok(bytes)
    }
}

/// How the folder becomes a GGUF file, if it is to.
fn conversion(input: &DecodedCheckpoint, output: &Path) -> Result<Option<Conversion>, Error> {
    let checkpoint = input.checkpoint();
    if checkpoint.source() != Source::Folder || output.extension().is_none_or(|e| e != "gguf") {
        return Ok(None);
    }
    crate::transformed::refuse_foreign_target(checkpoint, &Target::Gguf)?;
    let tensors = input.tensors().iter().map(|t| (t.name.as_str(), t.shape.as_slice()));
    let conversion = Conversion::new(checkpoint, tensors)?;
    for (tensor, place) in input.tensors().iter().zip(&conversion.places) {
        let refuse = |why: &str| {
            let (path, name, shape) = (checkpoint.path().display(), &tensor.name, &tensor.shape);
            Err(Error::refused(format!("{path}: tensor \"{name}\": dtype {}, shape {shape:?}: {why}", tensor.dtype)))
        };
        let heads = place.as_ref().and_then(|place| place.paired_heads);
        if heads.is_some_and(|heads| !has_heads(&tensor.shape, heads)) {
            return refuse("its rows are not those of the heads in config.json");
        }
        if place.is_some() && tensor.decoded_dtype.is_none() {
            return refuse("F32, F16 or BF16 expected");
        }
    }
    Ok(Some(conversion))
}

fn gguf_files(
    input: &DecodedCheckpoint,
    conversion: &Conversion,
    output: &Path,
    dtype: Option<Dtype>,
) -> Result<OutputFiles, Error> {
    let shapes: Vec<&[usize]> = input.tensors().iter().map(|t| t.shape.as_slice()).collect();
    let dtype_of = |tensor: &DecodedTensor| dtype.or(tensor.decoded_dtype).unwrap_or(Dtype::F32);
    let types: Vec<_> = input.tensors().iter().map(|t| gguf::dense_type(&t.shape, dtype_of(t))).collect();
    // What most of the file is: the format of the largest tensor.
    let largest = input.tensors().iter().max_by_key(|t| t.shape.iter().product::<usize>());
    let file_type = gguf::dense_file_type(largest.map_or(Dtype::F32, dtype_of));
    OutputFiles::of_gguf(gguf::Layout::of_conversion(conversion, &shapes, &types, file_type, output)?, output)
}

/// Dropping a `quantization_config` that was not decoded would leave a checkpoint that nothing can read.
fn refuse_foreign_method(input: &DecodedCheckpoint) -> Result<(), Error> {
    let config = input.checkpoint().config().and_then(|c| c.get("quantization_config"));
    let Some(method) = config.map(|c| c["quant_method"].as_str().unwrap_or("unnamed")) else { return Ok(()) };
    if method == "bitsandbytes" || config.is_some_and(|c| c["format"] == lut_b::FORMAT) {
        return Ok(());
    }
    let path = input.checkpoint().path().display();
    Err(Error::refused(format!(
        "{path}: quantized by method {method}; native files, bitsandbytes, SqueezeLLM, any-precision and LUT-B can be decoded"
    )))
}

fn decoded_dtype(tensor: &DecodedTensor, asked: Option<Dtype>) -> Dtype {
    asked.or(tensor.decoded_dtype).expect("a quantized tensor decodes to a float dtype")
}

fn files(input: &DecodedCheckpoint, output: &Path, dtype: Option<Dtype>) -> Result<OutputFiles, Error> {
    let checkpoint = input.checkpoint();
    let pieces: Vec<Vec<Piece>> = input.tensors().iter().map(|t| vec![piece(checkpoint, t, dtype)]).collect();
    let plan = |(shard, file): (usize, &crate::checkpoint::Shard)| {
        let all = input.tensors().iter().enumerate();
        let mut metadata: BTreeMap<String, String> = file.metadata.clone();
        metadata.remove(KEY);
        FilePlan {
            name: file.file_name.clone(),
            tensors: all.filter(|(_, t)| t.shard == shard).map(|(i, _)| i).collect(),
            metadata,
        }
    };
    let plans = checkpoint.shards().iter().enumerate().map(plan).collect();
    let mut files = OutputFiles::new(plans, &pieces, single_name(checkpoint, output)?)?;
    if checkpoint.source() == Source::Folder {
        files.carry(checkpoint.side_files());
        let keys = ["quantization_config", any_precision::CONFIG_KEY];
        if let Some(config) = checkpoint.config().filter(|c| keys.iter().any(|key| c.get(key).is_some())) {
            let mut config = config.clone();
            let object = config.as_object_mut().expect("it has a key");
            keys.iter().for_each(|key| drop(object.shift_remove(*key)));
            files.replace_config(&config);
        }
    }
    Ok(files)
}

fn piece(checkpoint: &Checkpoint, tensor: &DecodedTensor, dtype: Option<Dtype>) -> Piece {
    let stored = match tensor.plain() {
        Some(plain) => dense::carried_dtype(&checkpoint.tensors()[plain]),
        None => dense::stored(decoded_dtype(tensor, dtype)),
    };
    Piece::new(tensor.name.clone(), stored, tensor.shape.clone())
}
