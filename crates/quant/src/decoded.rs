//! Any checkpoint as plain weights: native and bitsandbytes tensors are decoded, all others taken as they are.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use quant_core::backend::{Backend, Encoding, SamplesMut};
use quant_core::codebook::Codebooks;
use quant_core::codes::BitWidth;
use quant_core::double_quant::DoubleQuantized;
use quant_core::grouping::{GroupLength, Grouping};
use quant_core::tensor::Dtype;
use serde_json::Value;

use crate::checkpoint::{AlignedBytes, Checkpoint};
use crate::device::{Device, with_backend};
use crate::error::Error;
use crate::outputs::bitsandbytes::{TRANSPOSED_KEY, quant_map};
use crate::outputs::manifest::{KEY, Manifest, QuantizedTensor, Scales, VERSION};
use crate::outputs::native::stored_pieces;
use crate::transpose::transposed;

/// One tensor as its user knows it.
#[derive(Clone, Debug)]
pub struct DecodedTensor {
    /// Its name, without the suffixes of codes and scales.
    pub name: String,
    /// Its shape before quantization.
    pub shape: Vec<usize>,
    /// Its dtype before quantization.
    pub dtype: String,
    /// How it is stored: a recipe in words, `bitsandbytes nf4`, or `dense`.
    pub method: String,
    /// Bytes of all its stored tensors.
    pub stored_len_bytes: u64,
    /// The dtype it decodes to; `None` for integers and the like, which are only carried.
    pub decoded_dtype: Option<Dtype>,
    /// The shard of its main tensor.
    pub shard: usize,
    form: Form,
}

#[derive(Clone, Debug)]
enum Form {
    Plain(usize),
    Native { tensor: Box<QuantizedTensor>, pieces: Vec<usize> },
    Bitsandbytes(Box<BitsandbytesState>),
}

#[derive(Clone, Debug)]
struct BitsandbytesState {
    quant_type: String,
    block_length: usize,
    codes: usize,
    absmax: usize,
    /// Whether the source held the transpose.
    transposed: bool,
    /// Nested scales and offset.
    nested: Option<(usize, f32)>,
}

/// A checkpoint seen as plain weights.
#[derive(Debug)]
pub struct DecodedCheckpoint {
    checkpoint: Checkpoint,
    tensors: Vec<DecodedTensor>,
}

impl DecodedCheckpoint {
    /// Opens a checkpoint of any kind and checks that every quantized tensor is complete.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let checkpoint = Checkpoint::open(path)?;
        let mut finder = Finder::new(&checkpoint);
        let mut tensors = finder.native()?;
        tensors.extend(finder.bitsandbytes()?);
        tensors.extend(finder.plain());
        tensors.sort_by_key(|t| (t.shard, t.main_tensor()));
        Ok(Self { checkpoint, tensors })
    }

    /// The checkpoint as stored.
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// Its tensors in stored order.
    pub fn tensors(&self) -> &[DecodedTensor] {
        &self.tensors
    }

    /// Tensor `index` decoded to `dtype`, or a dense one converted to it.
    pub fn read(&self, index: usize, dtype: Dtype, device: &Device) -> Result<AlignedBytes, Error> {
        let tensor = &self.tensors[index];
        match &tensor.form {
            Form::Plain(stored) => self.read_plain(*stored, dtype),
            Form::Native { tensor: description, pieces } => {
                self.read_native(tensor, description, pieces, dtype, device)
            }
            Form::Bitsandbytes(state) => self.read_bitsandbytes(tensor, state, dtype, device),
        }
    }

    fn read_plain(&self, stored: usize, dtype: Dtype) -> Result<AlignedBytes, Error> {
        let bytes = self.checkpoint.read_samples(stored)?;
        let from = self.checkpoint.tensors()[stored].dtype.float().expect("callers ask for float tensors only");
        if from == dtype {
            return Ok(bytes);
        }
        let samples = quant_core::tensor::Samples::from_bytes(&bytes, from).expect("the buffer is aligned");
        let mut converted = AlignedBytes::zeroed(samples.len() * dtype.byte_len());
        let mut out = SamplesMut::from_bytes(&mut converted, dtype).expect("the buffer is aligned");
        (0..samples.len()).for_each(|i| out.set(i, samples.get(i)));
        Ok(converted)
    }

    fn read_native(
        &self,
        tensor: &DecodedTensor,
        description: &QuantizedTensor,
        pieces: &[usize],
        dtype: Dtype,
        device: &Device,
    ) -> Result<AlignedBytes, Error> {
        let parts: Vec<AlignedBytes> =
            pieces.iter().map(|&piece| self.checkpoint.read_raw(piece)).collect::<Result<_, _>>()?;
        let count = description.matrix_count;
        let (rows, columns) = (description.rows, description.columns);
        let matrix_len = rows * columns * dtype.byte_len();
        let mut decoded = AlignedBytes::zeroed(count * matrix_len);
        for (index, bytes) in decoded.chunks_exact_mut(matrix_len).enumerate() {
            let part = |piece: usize| &parts[piece][parts[piece].len() / count * index..][..parts[piece].len() / count];
            let bit_width = description.bit_width().expect("checked when opened");
            let codebooks = self.codebooks(tensor, &floats(part(1)), bit_width)?;
            let scales = match description.scales {
                Scales::None => None,
                Scales::F32 => Some(floats(part(2))),
                Scales::Double => Some(double_scales(part(2), &floats(part(3)), floats(part(4))[0])),
            };
            self.refuse_bad_scales(tensor, scales.as_deref())?;
            let grouping = Grouping::new(rows, columns, description.group.into());
            let encoding = Encoding { bit_width, grouping, scales: scales.as_deref(), codebooks: &codebooks };
            let matrix = decode(device, part(0), &encoding, dtype)?;
            let turned = description.transposed.then(|| transposed(&matrix, rows, columns, dtype.byte_len()));
            bytes.copy_from_slice(turned.as_ref().unwrap_or(&matrix));
        }
        Ok(decoded)
    }

    fn codebooks(&self, tensor: &DecodedTensor, levels: &[f32], width: BitWidth) -> Result<Codebooks, Error> {
        let codebooks: Vec<&[f32]> = levels.chunks(width.level_count()).collect();
        let ascend = |levels: &&[f32]| levels.is_sorted() && levels.iter().all(|y| y.is_finite());
        match codebooks.iter().position(|c| !ascend(c)) {
            Some(index) => Err(self.refused(tensor, &format!("the levels of codebook {index} do not ascend"))),
            None => Ok(Codebooks::from_levels(width.level_count(), codebooks)),
        }
    }

    fn read_bitsandbytes(
        &self,
        tensor: &DecodedTensor,
        state: &BitsandbytesState,
        dtype: Dtype,
        device: &Device,
    ) -> Result<AlignedBytes, Error> {
        let map = quant_map(&state.quant_type);
        let mut order: Vec<usize> = (0..16).collect();
        order.sort_by(|&a, &b| map[a].total_cmp(&map[b]));
        let sorted: Vec<f32> = order.iter().map(|&i| map[i] + 0.0).collect();
        let mut code_of = [0u8; 16];
        order.iter().enumerate().for_each(|(sorted, &theirs)| code_of[theirs] = sorted as u8);
        let mut packed = self.checkpoint.read_raw(state.codes)?;
        for byte in packed.iter_mut() {
            *byte = code_of[usize::from(*byte >> 4)] | code_of[usize::from(*byte & 15)] << 4;
        }
        let absmax = self.checkpoint.read_raw(state.absmax)?;
        let scales = match state.nested {
            None => floats(&absmax),
            Some((nested, offset)) => double_scales(&absmax, &floats(&self.checkpoint.read_raw(nested)?), offset),
        };
        self.refuse_bad_scales(tensor, Some(&scales))?;
        let weight_count: usize = tensor.shape.iter().product();
        let bit_width = BitWidth::new(4).expect("4 bits");
        let codebooks = self.codebooks(tensor, &sorted, bit_width)?;
        // Blocks are cut from the flat tensor.
        let grouping = Grouping::new(1, weight_count, GroupLength::Samples(state.block_length));
        let encoding = Encoding { bit_width, grouping, scales: Some(&scales), codebooks: &codebooks };
        let decoded = decode(device, &packed, &encoding, dtype)?;
        Ok(match (state.transposed, tensor.shape.as_slice()) {
            (true, &[columns, rows]) => transposed(&decoded, rows, columns, dtype.byte_len()),
            _ => decoded,
        })
    }

    fn refuse_bad_scales(&self, tensor: &DecodedTensor, scales: Option<&[f32]>) -> Result<(), Error> {
        match scales.unwrap_or_default().iter().position(|s| !s.is_finite()) {
            Some(index) => Err(self.refused(tensor, &format!("scale {index} is not finite"))),
            None => Ok(()),
        }
    }

    /// Refuses decoded weights that `dtype` cannot hold.
    pub(crate) fn refuse_overflow(&self, index: usize, bytes: &[u8], dtype: Dtype) -> Result<(), Error> {
        let tensor = &self.tensors[index];
        let samples = quant_core::tensor::Samples::from_bytes(bytes, dtype).expect("the buffer is aligned");
        match (0..samples.len()).find(|&i| !samples.get(i).is_finite()) {
            Some(at) => {
                let file = &self.checkpoint.shards()[tensor.shard].path;
                Err(Error::overflow(file, &tensor.name, at, dtype))
            }
            None => Ok(()),
        }
    }

    fn refused(&self, tensor: &DecodedTensor, why: &str) -> Error {
        refused(&self.checkpoint, tensor.shard, &tensor.name, why)
    }
}

impl DecodedTensor {
    fn main_tensor(&self) -> usize {
        match &self.form {
            Form::Plain(stored) => *stored,
            Form::Native { pieces, .. } => pieces[0],
            Form::Bitsandbytes(state) => state.codes,
        }
    }

    /// The stored tensor, when it is stored as it is.
    pub fn plain(&self) -> Option<usize> {
        if let Form::Plain(stored) = self.form { Some(stored) } else { None }
    }

    /// Bits per weight as stored.
    pub fn rate_bits(&self) -> f64 {
        let weight_count = self.shape.iter().product::<usize>();
        if weight_count == 0 { 0.0 } else { 8.0 * self.stored_len_bytes as f64 / weight_count as f64 }
    }
}

fn refused(checkpoint: &Checkpoint, shard: usize, tensor: &str, why: &str) -> Error {
    Error::refused(format!("{}: tensor \"{tensor}\": {why}", checkpoint.shards()[shard].path.display()))
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
}

fn double_scales(codes: &[u8], nested: &[f32], offset: f32) -> Vec<f32> {
    let decoded = DoubleQuantized { codes: codes.to_vec(), nested_scales: nested.to_vec(), offset }.decode();
    decoded.into_iter().map(quant_core::tensor::flush).collect()
}

fn decode(device: &Device, packed: &[u8], encoding: &Encoding<'_>, dtype: Dtype) -> Result<AlignedBytes, Error> {
    let sample_count = encoding.grouping.rows() * encoding.grouping.columns();
    let mut bytes = AlignedBytes::zeroed(sample_count * dtype.byte_len());
    let mut samples = SamplesMut::from_bytes(&mut bytes, dtype).expect("the buffer is aligned");
    with_backend!(device, backend => backend.decode(packed, encoding, &mut samples).map_err(|error| Error::Device {
        device: backend.name(),
        message: error.to_string(),
    }))?;
    Ok(bytes)
}

/// Sorts the stored tensors of a checkpoint into logical ones.
struct Finder<'a> {
    checkpoint: &'a Checkpoint,
    by_name: HashMap<&'a str, usize>,
    taken: HashSet<usize>,
}

impl<'a> Finder<'a> {
    fn new(checkpoint: &'a Checkpoint) -> Self {
        let by_name = checkpoint.tensors().iter().enumerate().map(|(i, t)| (t.name.as_str(), i)).collect();
        Self { checkpoint, by_name, taken: HashSet::new() }
    }

    fn take(&mut self, name: &str) -> Option<usize> {
        let index = *self.by_name.get(name)?;
        self.taken.insert(index);
        Some(index)
    }

    fn stored_len(&self, pieces: &[usize]) -> u64 {
        pieces.iter().map(|&i| self.checkpoint.tensors()[i].byte_len).sum()
    }

    fn native(&mut self) -> Result<Vec<DecodedTensor>, Error> {
        let mut found = Vec::new();
        for (shard, file) in self.checkpoint.shards().iter().enumerate() {
            let Some(text) = file.metadata.get(KEY) else { continue };
            let refuse = |why: String| Error::refused(format!("{}: manifest: {why}", file.path.display()));
            let version: Value = serde_json::from_str(text).map_err(|e| refuse(e.to_string()))?;
            if version["version"] != VERSION {
                let version = &version["version"];
                return Err(refuse(format!("format version {version}; this program reads version {VERSION}")));
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

    fn bitsandbytes(&mut self) -> Result<Vec<DecodedTensor>, Error> {
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
        let bytes = self.checkpoint.read_raw(index)?;
        let refuse = |why: String| refused(self.checkpoint, shard, &name, &why);
        let state: Value = serde_json::from_slice(&bytes).map_err(|e| refuse(format!("quant state: {e}")))?;
        let shape: Option<Vec<usize>> = serde_json::from_value(state["shape"].clone()).ok();
        let shape = shape.ok_or_else(|| refuse("quant state: no shape".into()))?;
        let block_length = state["blocksize"].as_u64().filter(|&n| n > 0);
        let block_length = block_length.ok_or_else(|| refuse("quant state: no blocksize".into()))? as usize;
        if kind != "nf4" && kind != "fp4" {
            return Err(refuse(format!("bitsandbytes type {kind}; nf4 and fp4 are supported")));
        }
        let weight_count = shape.iter().try_fold(1usize, |n, &m| n.checked_mul(m)).unwrap_or(usize::MAX);
        let blocks = weight_count.div_ceil(block_length) as u64;
        let offset = state["nested_offset"].as_f64().map(|v| v as f32);
        let mut pieces = vec![index];
        let mut part = |suffix: &str, len: u64| {
            let full = format!("{name}{suffix}");
            let index = self.take(&full).ok_or_else(|| refused(self.checkpoint, shard, &full, "is missing"))?;
            let actual = self.checkpoint.tensors()[index].byte_len;
            if actual != len {
                return Err(refused(self.checkpoint, shard, &full, &format!("{actual} bytes, {len} expected")));
            }
            pieces.push(index);
            Ok(index)
        };
        let codes = part("", weight_count.div_ceil(2) as u64)?;
        let absmax = part(".absmax", if offset.is_some() { blocks } else { 4 * blocks })?;
        part(".quant_map", 64)?;
        let nested = match offset {
            Some(offset) => {
                part(".nested_quant_map", 1024)?;
                Some((part(".nested_absmax", 4 * blocks.div_ceil(256))?, offset))
            }
            None => None,
        };
        self.taken.insert(index);
        let names = self.checkpoint.shards()[shard].metadata.get(TRANSPOSED_KEY);
        let names: Vec<String> = names.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
        let transposed = names.contains(&name);
        let shape = if transposed { shape.into_iter().rev().collect() } else { shape };
        let (dtype, decoded) = match state["dtype"].as_str() {
            Some("float16") => ("F16", Dtype::F16),
            Some("bfloat16") => ("BF16", Dtype::Bf16),
            _ => ("F32", Dtype::F32),
        };
        Ok(DecodedTensor {
            shape,
            dtype: dtype.into(),
            method: format!("bitsandbytes {kind} group {block_length}"),
            stored_len_bytes: self.stored_len(&pieces),
            decoded_dtype: Some(decoded),
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

    fn plain(&self) -> Vec<DecodedTensor> {
        let all = self.checkpoint.tensors().iter().enumerate();
        let rest = all.filter(|(i, _)| !self.taken.contains(i));
        let plain = |(index, entry): (usize, &crate::checkpoint::TensorEntry)| DecodedTensor {
            name: entry.name.clone(),
            shape: entry.shape.clone(),
            dtype: entry.dtype.name(),
            method: "dense".into(),
            stored_len_bytes: entry.byte_len,
            decoded_dtype: entry.dtype.float(),
            shard: entry.shard,
            form: Form::Plain(index),
        };
        rest.map(plain).collect()
    }
}
