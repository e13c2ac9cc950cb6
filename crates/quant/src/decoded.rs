//! Any checkpoint as plain weights: native, bitsandbytes, SqueezeLLM and any-precision tensors are decoded, all others
//! taken as they are.

mod find;
mod lut_b;
mod native;
mod row_tables;

use std::path::Path;

use quant_core::backend::{Backend, Encoding, SamplesMut};
use quant_core::codebook::Codebooks;
use quant_core::codes::BitWidth;
use quant_core::double_quant::DoubleQuantized;
use quant_core::grouping::{GroupLength, Grouping};
use quant_core::tensor::Dtype;

use crate::checkpoint::{AlignedBytes, Checkpoint};
use crate::device::{Device, with_backend};
use crate::error::Error;
use crate::outputs::bitsandbytes::quant_map;
use crate::outputs::dense::first_overflow;
use crate::outputs::manifest::QuantizedTensor;
use crate::transpose::transposed;
use crate::work::fault;
use find::Finder;

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
    RowTables(Box<row_tables::RowTables>),
    Tiles(lut_b::Tiles),
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
        crate::partial::refuse_unfinished(path)?;
        let checkpoint = Checkpoint::open(path)?;
        let mut finder = Finder::new(&checkpoint);
        let mut tensors = finder.native()?;
        tensors.extend(finder.bitsandbytes()?);
        tensors.extend(finder.row_tables()?);
        tensors.extend(finder.lut_b()?);
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
                native::read(self, tensor, description, pieces, dtype, device)
            }
            Form::Bitsandbytes(state) => self.read_bitsandbytes(tensor, state, dtype, device),
            Form::RowTables(form) => row_tables::read(self, tensor, form, dtype),
            Form::Tiles(tiles) => lut_b::read(self, tensor, tiles, dtype),
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
    pub(crate) fn refuse_overflow(
        &self,
        index: usize,
        bytes: &[u8],
        dtype: Dtype,
        device: &Device,
    ) -> Result<(), Error> {
        let tensor = &self.tensors[index];
        match with_backend!(device, backend => first_overflow(backend, bytes, dtype).map_err(|e| fault(backend, &e)))? {
            Some(found) => {
                let file = &self.checkpoint.shards()[tensor.shard].path;
                Err(Error::overflow(file, &tensor.name, found.index, dtype))
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
            Form::RowTables(form) => form.codes,
            Form::Tiles(tiles) => tiles.codes,
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
    with_backend!(device, backend => backend.decode(packed, encoding, &mut samples).map_err(|e| fault(backend, &e)))?;
    Ok(bytes)
}
