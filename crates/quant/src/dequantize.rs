//! A quantized checkpoint back to dense weights.

use std::collections::BTreeMap;
use std::path::Path;

use quant_core::tensor::Dtype;

use crate::checkpoint::{Checkpoint, Source};
use crate::decoded::{DecodedCheckpoint, DecodedTensor};
use crate::device::Device;
use crate::error::Error;
use crate::files::{FilePlan, OutputFiles, single_name};
use crate::outputs::manifest::KEY;
use crate::outputs::{Piece, dense};
use crate::partial::{Identity, Partial};
use crate::places::{normalised, refuse_collisions, refuse_to_lose};

/// Writes `input` as dense weights to `output`; each tensor in its original dtype, or in `dtype` when given. Tensors
/// that are dense already are copied bit for bit. `tell` is called with each tensor's name.
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
    let files = files(input, output, dtype)?;
    refuse_collisions(checkpoint, output, overwrite)?;
    refuse_to_lose(output, &files)?;
    let identity = Identity {
        version: env!("CARGO_PKG_VERSION").into(),
        input: checkpoint.fingerprint(),
        instruction: format!("dequantize to {dtype:?}"),
    };
    // Decoding is fast and deterministic: an earlier attempt is discarded, not continued.
    let (partial, _) = Partial::open(output, &identity, false, overwrite)?;
    files.create(partial.folder(), false)?;
    for (index, tensor) in input.tensors().iter().enumerate() {
        tell(tensor);
        match tensor.plain() {
            Some(stored) => files.copy(partial.folder(), index, checkpoint, stored).map(|_| ())?,
            None => {
                let bytes = input.read(index, decoded_dtype(tensor, dtype), device)?;
                input.refuse_overflow(index, &bytes, decoded_dtype(tensor, dtype), device)?;
                files.write(partial.folder(), index, &[bytes])?;
            }
        }
    }
    files.carry_side_files(checkpoint, partial.folder())?;
    partial.finish(files.single())
}

/// Dropping a `quantization_config` that was not decoded would leave a checkpoint that nothing can read.
fn refuse_foreign_method(input: &DecodedCheckpoint) -> Result<(), Error> {
    let config = input.checkpoint().config().and_then(|c| c.get("quantization_config"));
    let Some(method) = config.map(|c| c["quant_method"].as_str().unwrap_or("unnamed")) else { return Ok(()) };
    if method == "bitsandbytes" {
        return Ok(());
    }
    let path = input.checkpoint().path().display();
    Err(Error::refused(format!("{path}: quantized by method {method}; native and bitsandbytes can be decoded")))
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
        if let Some(config) = checkpoint.config().filter(|c| c.get("quantization_config").is_some()) {
            let mut config = config.clone();
            config.as_object_mut().expect("it has a key").shift_remove("quantization_config");
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
