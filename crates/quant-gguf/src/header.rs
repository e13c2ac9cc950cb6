//! The header: metadata, tensor list, and the checks that make reading a tensor safe.

use std::collections::HashSet;
use std::io::Read;

use crate::error::{Fault, GgufError, TensorProblem};
use crate::reader::Reader;
use crate::types::GgmlType;
use crate::value::{self, Value};

/// No header is longer; real ones, tokenizer included, take a few MB.
pub(crate) const HEADER_LEN_MAX: u64 = 1 << 28;
/// Entries are never counted in more than this.
pub(crate) const COUNT_MAX: u64 = 1 << 24;
/// No key or tensor name is longer (the specification's limit for keys).
pub(crate) const NAME_LEN_MAX: u64 = 65_535;
/// ggml's limit.
pub(crate) const DIMENSIONS_MAX: u32 = 4;
/// Where the file does not say otherwise.
const ALIGNMENT_DEFAULT: u64 = 32;

/// A checked header.
#[derive(Clone, Debug, PartialEq)]
pub struct Header {
    /// 2 or 3.
    pub version: u32,
    /// Keys and values in stored order; no key twice.
    pub metadata: Vec<(String, Value)>,
    /// Tensors by position in the file; no name twice, no overlap, all inside the file.
    pub tensors: Vec<TensorInfo>,
    /// Where the data begins in the file.
    pub data_begin: u64,
}

/// One tensor of a checked header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorInfo {
    /// The name, unique in the file.
    pub name: String,
    /// Lengths, the fastest-varying last: ggml's own order reversed. Empty for a scalar.
    pub shape: Vec<usize>,
    /// How it is stored.
    pub ggml_type: GgmlType,
    /// Position in the file.
    pub offset: u64,
    /// Bytes it takes.
    pub byte_len: u64,
}

impl Header {
    /// Reads and checks the header of a file of `file_len` bytes; `file` is read from its start and best buffered.
    pub fn read(file: impl Read, file_len: u64) -> Result<Self, GgufError> {
        let mut reader = Reader::new(file, file_len);
        let version = read_version(&mut reader)?;
        let tensor_count = read_count(&mut reader, "tensors", 24)?;
        let metadata_count = read_count(&mut reader, "metadata entries", 13)?;
        let metadata = read_metadata(&mut reader, metadata_count)?;
        let alignment = alignment(&metadata)?;
        let mut tensors = read_tensors(&mut reader, tensor_count, alignment)?;
        let data_begin = reader.position().next_multiple_of(alignment);
        place(&mut tensors, data_begin, file_len.saturating_sub(data_begin))?;
        Ok(Self { version, metadata, tensors, data_begin })
    }

    /// The value of a metadata key.
    pub fn value(&self, key: &str) -> Option<&Value> {
        find(&self.metadata, key)
    }
}

fn find<'a>(metadata: &'a [(String, Value)], key: &str) -> Option<&'a Value> {
    metadata.iter().find(|(candidate, _)| candidate == key).map(|(_, value)| value)
}

fn read_version<R: Read>(reader: &mut Reader<R>) -> Result<u32, GgufError> {
    let magic: [u8; 4] = reader.array().map_err(|fault| fault.of("magic"))?;
    if &magic != b"GGUF" {
        return Err(GgufError::Magic { magic });
    }
    match reader.u32().map_err(|fault| fault.of("version"))? {
        version @ (2 | 3) => Ok(version),
        reversed if matches!(reversed.swap_bytes(), 1..=3) => {
            Err(GgufError::BigEndian { version: reversed.swap_bytes() })
        }
        version => Err(GgufError::Version { version }),
    }
}

/// A count of entries that take at least `byte_len_min` bytes each.
fn read_count<R: Read>(reader: &mut Reader<R>, what: &'static str, byte_len_min: u64) -> Result<u64, GgufError> {
    let count = reader.u64().map_err(|fault| fault.of(format!("number of {what}")))?;
    let max = (reader.left() / byte_len_min).min(COUNT_MAX);
    if count > max {
        return Err(GgufError::Count { what, count, max });
    }
    Ok(count)
}

fn read_metadata<R: Read>(reader: &mut Reader<R>, count: u64) -> Result<Vec<(String, Value)>, GgufError> {
    let mut metadata = Vec::new();
    let mut keys = HashSet::new();
    for index in 0..count {
        let key = reader.name().map_err(|fault| fault.of(format!("key of metadata entry {index} of {count}")))?;
        if !keys.insert(key.clone()) {
            return Err(GgufError::DuplicateKey { key });
        }
        let value = value::read(reader, &key)?;
        metadata.push((key, value));
    }
    Ok(metadata)
}

pub(crate) fn alignment(metadata: &[(String, Value)]) -> Result<u64, GgufError> {
    match find(metadata, "general.alignment") {
        None => Ok(ALIGNMENT_DEFAULT),
        Some(Value::U32(alignment)) if alignment.is_power_of_two() => Ok((*alignment).into()),
        Some(other) => Err(GgufError::Alignment { value: format!("{other:?}").chars().take(80).collect() }),
    }
}

fn read_tensors<R: Read>(reader: &mut Reader<R>, count: u64, alignment: u64) -> Result<Vec<TensorInfo>, GgufError> {
    let mut tensors = Vec::new();
    let mut names = HashSet::new();
    for index in 0..count {
        let name = reader.name().map_err(|fault| fault.of(format!("name of tensor {index} of {count}")))?;
        if !names.insert(name.clone()) {
            return Err(GgufError::tensor(&name, TensorProblem::Duplicate));
        }
        tensors.push(read_tensor(reader, name, alignment)?);
    }
    Ok(tensors)
}

/// One tensor; its offset is still relative to the data.
fn read_tensor<R: Read>(reader: &mut Reader<R>, name: String, alignment: u64) -> Result<TensorInfo, GgufError> {
    let cut = |fault: Fault| fault.of(format!("tensor {name:?}"));
    let refuse = |problem| GgufError::tensor(&name, problem);
    let count = reader.u32().map_err(cut)?;
    if count > DIMENSIONS_MAX {
        return Err(refuse(TensorProblem::Dimensions { count }));
    }
    let mut lengths = reader.values(count.into(), u64::from_le_bytes).map_err(cut)?;
    lengths.reverse();
    let id = reader.u32().map_err(cut)?;
    let ggml_type = GgmlType::from_id(id).ok_or_else(|| refuse(TensorProblem::UnknownType { id }))?;
    let offset = reader.u64().map_err(cut)?;
    if !offset.is_multiple_of(alignment) {
        return Err(refuse(TensorProblem::Misaligned { offset, alignment }));
    }
    let byte_len = byte_len(ggml_type, &lengths).map_err(refuse)?;
    let shape = lengths.iter().map(|&len| usize::try_from(len)).collect::<Result<_, _>>();
    let shape = shape.map_err(|_| refuse(TensorProblem::Overflow { shape: lengths }))?;
    Ok(TensorInfo { name, shape, ggml_type, offset, byte_len })
}

/// The bytes that `shape` of `ggml_type` takes.
pub(crate) fn byte_len(ggml_type: GgmlType, shape: &[u64]) -> Result<u64, TensorProblem> {
    if shape.contains(&0) {
        return Err(TensorProblem::ZeroLength { shape: shape.to_vec() });
    }
    let row_len = shape.last().copied().unwrap_or(1);
    let block_len = ggml_type.block_len();
    if !row_len.is_multiple_of(block_len as u64) {
        return Err(TensorProblem::RaggedRow { row_len, block_len, ggml_type: ggml_type.name() });
    }
    // i64::MAX also bounds the decoded size: 4 bytes for each of at most 2^63 samples would not fit usize.
    let sample_count = shape.iter().try_fold(1u64, |product, &len| product.checked_mul(len));
    sample_count
        .and_then(|count| count.checked_mul(4).map(|_| count / block_len as u64))
        .and_then(|block_count| block_count.checked_mul(ggml_type.block_byte_len() as u64))
        .filter(|&byte_len| byte_len <= i64::MAX as u64)
        .ok_or_else(|| TensorProblem::Overflow { shape: shape.to_vec() })
}

/// Sorts by position, checks that all lie inside the data and apart, and makes the offsets absolute.
fn place(tensors: &mut [TensorInfo], data_begin: u64, data_len: u64) -> Result<(), GgufError> {
    tensors.sort_by_key(|tensor| (tensor.offset, tensor.byte_len));
    for tensor in tensors.iter() {
        let (begin, end) = (tensor.offset, tensor.offset.saturating_add(tensor.byte_len));
        if end > data_len {
            return Err(GgufError::tensor(&tensor.name, TensorProblem::OutOfRange { begin, end, data_len }));
        }
    }
    for pair in tensors.windows(2) {
        let (begin, end) = (pair[1].offset, pair[0].offset + pair[0].byte_len);
        if begin < end {
            let other = pair[0].name.clone();
            return Err(GgufError::tensor(&pair[1].name, TensorProblem::Overlap { begin, other, end }));
        }
    }
    for tensor in tensors {
        tensor.offset += data_begin;
    }
    Ok(())
}
