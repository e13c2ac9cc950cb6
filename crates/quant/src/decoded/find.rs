//! Finding the logical tensors of a checkpoint among its stored ones.

use std::collections::{HashMap, HashSet};

use quant_core::tensor::Dtype;
use serde_json::Value;

use super::{BitsandbytesState, DecodedTensor, Form, refused};
use crate::checkpoint::{Checkpoint, StoredDtype};
use crate::error::Error;
use crate::outputs::bitsandbytes::TRANSPOSED_KEY;
use crate::outputs::manifest::{KEY, Manifest, QuantizedTensor, VERSIONS};
use crate::outputs::native::stored_pieces;

/// What a bitsandbytes quant state says.
struct QuantState {
    shape: Vec<usize>,
    block_length: usize,
    offset: Option<f32>,
    dtype: Dtype,
}

/// `dense`, or the name of ggml's blocks.
fn stored_as(dtype: StoredDtype) -> String {
    match dtype {
        StoredDtype::Ggml(blocks) if blocks.block_len() > 1 => format!("ggml {}", blocks.name()),
        _ => "dense".into(),
    }
}

/// Sorts the stored tensors of a checkpoint into logical ones.
pub(super) struct Finder<'a> {
    pub(super) checkpoint: &'a Checkpoint,
    pub(super) by_name: HashMap<&'a str, usize>,
    pub(super) taken: HashSet<usize>,
}

impl<'a> Finder<'a> {
    pub(super) fn new(checkpoint: &'a Checkpoint) -> Self {
        let by_name = checkpoint.tensors().iter().enumerate().map(|(i, t)| (t.name.as_str(), i)).collect();
        Self { checkpoint, by_name, taken: HashSet::new() }
    }

    pub(super) fn take(&mut self, name: &str) -> Option<usize> {
        let index = *self.by_name.get(name)?;
        self.taken.insert(index);
        Some(index)
    }

    pub(super) fn stored_len(&self, pieces: &[usize]) -> u64 {
        pieces.iter().map(|&i| self.checkpoint.tensors()[i].byte_len).sum()
    }

    pub(super) fn native(&mut self) -> Result<Vec<DecodedTensor>, Error> {
        let mut found = Vec::new();
        for (shard, file) in self.checkpoint.shards().iter().enumerate() {
            let Some(text) = file.metadata.get(KEY) else { continue };
            let refuse = |why: String| Error::refused(format!("{}: manifest: {why}", file.path.display()));
            let version: Value = serde_json::from_str(text).map_err(|e| refuse(e.to_string()))?;
            let version = &version["version"];
            if !version.as_u64().and_then(|v| u32::try_from(v).ok()).is_some_and(|v| VERSIONS.contains(&v)) {
                let (first, last) = (VERSIONS.start(), VERSIONS.end());
                return Err(refuse(format!("format version {version}; this program reads versions {first} to {last}")));
            }
            let manifest: Manifest = serde_json::from_str(text).map_err(|e| refuse(e.to_string()))?;
            for (name, tensor) in manifest.tensors {
                found.push(self.native_tensor(shard, name, tensor)?);
            }
        }
        Ok(found)
    }

    fn native_tensor(&mut self, shard: usize, name: String, tensor: QuantizedTensor) -> Result<DecodedTensor, Error> {
        let refuse = |why: &str| refused(self.checkpoint, shard, &name, why);
        let expected = stored_pieces(&name, &tensor).ok_or_else(|| refuse("its description contradicts itself"))?;
        let decoded_dtype =
            [Dtype::F32, Dtype::F16, Dtype::Bf16].into_iter().find(|d| d.name() == tensor.decoded_dtype);
        let decoded_dtype = decoded_dtype.ok_or_else(|| refuse("its decoded dtype is none of F32, F16, BF16"))?;
        let mut pieces = Vec::new();
        for piece in expected {
            let index = self.take(&piece.name);
            let refuse = |why: String| refused(self.checkpoint, shard, &name, &why);
            let index = index.ok_or_else(|| refuse(format!("\"{}\" is missing", piece.name)))?;
            let entry = &self.checkpoint.tensors()[index];
            if entry.shape != piece.shape || entry.byte_len != piece.byte_len() as u64 {
                let (name, actual, wanted) = (&piece.name, &entry.shape, &piece.shape);
                return Err(refuse(format!("\"{name}\" has shape {actual:?}, {wanted:?} expected")));
            }
            pieces.push(index);
        }
        Ok(DecodedTensor {
            name,
            shape: tensor.shape.clone(),
            dtype: tensor.dtype.clone(),
            method: tensor.method.clone(),
            stored_len_bytes: self.stored_len(&pieces),
            decoded_dtype: Some(decoded_dtype),
            shard,
            form: Form::Native { tensor: Box::new(tensor), pieces },
        })
    }

    pub(super) fn bitsandbytes(&mut self) -> Result<Vec<DecodedTensor>, Error> {
        const STATE: &str = ".quant_state.bitsandbytes__";
        let checkpoint = self.checkpoint;
        let states = checkpoint.tensors().iter().enumerate();
        let states: Vec<(usize, String, String)> = states
            .filter_map(|(i, t)| t.name.split_once(STATE).map(|(name, kind)| (i, name.to_owned(), kind.to_owned())))
            .collect();
        states.into_iter().map(|(index, name, kind)| self.bitsandbytes_tensor(index, name, kind)).collect()
    }

    fn bitsandbytes_tensor(&mut self, index: usize, name: String, kind: String) -> Result<DecodedTensor, Error> {
        let shard = self.checkpoint.tensors()[index].shard;
        let state = self.quant_state(index, &name, &kind)?;
        let weight_count = state.shape.iter().try_fold(1usize, |n, &m| n.checked_mul(m)).unwrap_or(usize::MAX);
        let blocks = weight_count.div_ceil(state.block_length) as u64;
        let (scale_len, is_nested) = if state.offset.is_some() { (1, true) } else { (4, false) };
        let codes = self.part(shard, &name, "", weight_count.div_ceil(2) as u64)?;
        let absmax = self.part(shard, &name, ".absmax", blocks.saturating_mul(scale_len))?;
        let mut pieces = vec![index, codes, absmax, self.part(shard, &name, ".quant_map", 64)?];
        let mut nested = None;
        if is_nested {
            pieces.push(self.part(shard, &name, ".nested_quant_map", 1024)?);
            let scales = self.part(shard, &name, ".nested_absmax", 4 * blocks.div_ceil(256))?;
            pieces.push(scales);
            nested = state.offset.map(|offset| (scales, offset));
        }
        self.taken.insert(index);
        let names = self.checkpoint.shards()[shard].metadata.get(TRANSPOSED_KEY);
        let names: Vec<String> = names.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
        let transposed = names.contains(&name);
        let block_length = state.block_length;
        Ok(DecodedTensor {
            shape: if transposed { state.shape.into_iter().rev().collect() } else { state.shape },
            dtype: state.dtype.name().into(),
            method: format!("bitsandbytes {kind} group {block_length}"),
            stored_len_bytes: self.stored_len(&pieces),
            decoded_dtype: Some(state.dtype),
            shard,
            name,
            form: Form::Bitsandbytes(Box::new(BitsandbytesState {
                quant_type: kind,
                block_length,
                codes,
                absmax,
                transposed,
                nested,
            })),
        })
    }

    /// The JSON that says how a bitsandbytes tensor is stored, checked.
    fn quant_state(&self, index: usize, name: &str, kind: &str) -> Result<QuantState, Error> {
        let shard = self.checkpoint.tensors()[index].shard;
        let refuse = |why: String| refused(self.checkpoint, shard, name, &why);
        if kind != "nf4" && kind != "fp4" {
            return Err(refuse(format!("bitsandbytes type {kind}; nf4 and fp4 are supported")));
        }
        let bytes = self.checkpoint.read_raw(index)?;
        let state: Value = serde_json::from_slice(&bytes).map_err(|e| refuse(format!("quant state: {e}")))?;
        let shape = serde_json::from_value(state["shape"].clone());
        let block_length = state["blocksize"].as_u64().filter(|&n| n > 0);
        Ok(QuantState {
            shape: shape.map_err(|_| refuse("quant state: no shape".into()))?,
            block_length: block_length.ok_or_else(|| refuse("quant state: no blocksize".into()))? as usize,
            offset: state["nested_offset"].as_f64().map(|v| v as f32),
            dtype: match state["dtype"].as_str() {
                Some("float16") => Dtype::F16,
                Some("bfloat16") => Dtype::Bf16,
                _ => Dtype::F32,
            },
        })
    }

    /// The stored tensor `name` + `suffix`, which must have `len` bytes.
    fn part(&mut self, shard: usize, name: &str, suffix: &str, len: u64) -> Result<usize, Error> {
        let full = format!("{name}{suffix}");
        let index = self.take(&full).ok_or_else(|| refused(self.checkpoint, shard, &full, "is missing"))?;
        match self.checkpoint.tensors()[index].byte_len {
            actual if actual == len => Ok(index),
            actual => Err(refused(self.checkpoint, shard, &full, &format!("{actual} bytes, {len} expected"))),
        }
    }

    pub(super) fn plain(&self) -> Vec<DecodedTensor> {
        let all = self.checkpoint.tensors().iter().enumerate();
        let rest = all.filter(|(i, _)| !self.taken.contains(i));
        let plain = |(index, entry): (usize, &crate::checkpoint::TensorEntry)| DecodedTensor {
            name: entry.name.clone(),
            shape: entry.shape.clone(),
            dtype: entry.dtype.name(),
            method: stored_as(entry.dtype),
            stored_len_bytes: entry.byte_len,
            decoded_dtype: entry.dtype.float(),
            shard: entry.shard,
            form: Form::Plain(index),
        };
        rest.map(plain).collect()
    }
}
