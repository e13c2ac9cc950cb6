//! The safetensors header: 8 bytes of length, then a JSON object of tensors, checked as the reference does.
//!
//! The `safetensors` crate parses into hash maps, which drop a name given twice, and its errors do not name the
//! tensor; hence this reader. What a dtype is, and how large, still comes from the crate.

use std::collections::{BTreeMap, HashSet};

use safetensors::Dtype;
use serde::Deserialize;
use serde::de::value::StrDeserializer;
use serde::de::{DeserializeSeed, Deserializer, Error as _, IntoDeserializer, MapAccess, Visitor};

use super::error::reason;
use super::file::PositionedFile;
use super::{CheckpointError, HeaderProblem, TensorProblem};

/// The longest header the reference implementation accepts.
pub(super) const HEADER_LEN_MAX: u64 = 100_000_000;

/// Bytes of the length in front of the header.
pub(super) const LENGTH_LEN: u64 = 8;

/// The one key that is not a tensor's name.
pub(super) const METADATA_KEY: &str = "__metadata__";

/// A checked header.
#[derive(Debug)]
pub(super) struct Header {
    /// Tensors by offset.
    pub tensors: Vec<HeaderTensor>,
    /// The strings under `__metadata__`.
    pub metadata: BTreeMap<String, String>,
    /// Where the data begins in the file.
    pub data_begin: u64,
}

/// One tensor of a checked header.
#[derive(Debug)]
pub(super) struct HeaderTensor {
    pub name: String,
    pub dtype: Dtype,
    pub shape: Vec<usize>,
    /// Relative to [`Header::data_begin`].
    pub begin: u64,
    pub end: u64,
}

/// Reads and checks the header of a safetensors file.
pub(super) fn read(file: &PositionedFile) -> Result<Header, CheckpointError> {
    let refuse = |problem| CheckpointError::header(file.path(), problem);
    let file_len = file.byte_len();
    let Some(available) = file_len.checked_sub(LENGTH_LEN) else {
        return Err(refuse(HeaderProblem::TooShort { file_len }));
    };
    let mut length = [0; LENGTH_LEN as usize];
    file.read_at(0, &mut length)?;
    let header_len = u64::from_le_bytes(length);
    if header_len > HEADER_LEN_MAX {
        return Err(refuse(HeaderProblem::TooLarge { header_len }));
    }
    if header_len > available {
        return Err(refuse(HeaderProblem::BeyondFile { header_len, available }));
    }
    let mut bytes = vec![0; usize::try_from(header_len).expect("at most 100 MB")];
    file.read_at(LENGTH_LEN, &mut bytes)?;
    let text = std::str::from_utf8(&bytes)
        .map_err(|error| refuse(HeaderProblem::NotUtf8 { valid_up_to: error.valid_up_to() }))?;
    let (mut tensors, metadata) = parse(file, text)?;
    tensors.sort_by_key(|tensor| (tensor.begin, tensor.end));
    check_offsets(file, &tensors, available - header_len)?;
    Ok(Header { tensors, metadata, data_begin: LENGTH_LEN + header_len })
}

/// One entry as written in the JSON.
#[derive(Deserialize)]
struct Entry {
    dtype: String,
    shape: Vec<usize>,
    data_offsets: (u64, u64),
}

type Parsed = (Vec<HeaderTensor>, BTreeMap<String, String>);

fn parse(file: &PositionedFile, text: &str) -> Result<Parsed, CheckpointError> {
    let mut object = HeaderObject::default();
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let outcome = (&mut object).deserialize(&mut deserializer).and_then(|()| deserializer.end());
    if let Err(error) = outcome {
        let reason = reason(&error);
        return Err(match object.current {
            Some(tensor) => CheckpointError::tensor(file.path(), &tensor, TensorProblem::Malformed { reason }),
            None => CheckpointError::header(file.path(), HeaderProblem::Json { reason }),
        });
    }
    let mut names = HashSet::with_capacity(object.entries.len());
    for (name, _) in &object.entries {
        if !names.insert(name.as_str()) {
            return Err(CheckpointError::tensor(file.path(), name, TensorProblem::Duplicate));
        }
    }
    let tensors = object.entries.into_iter().map(|(name, entry)| check_entry(file, name, entry));
    Ok((tensors.collect::<Result<_, _>>()?, object.metadata.unwrap_or_default()))
}

/// Collects the header's members in order, and remembers which one is being read in case it fails.
#[derive(Default)]
struct HeaderObject {
    entries: Vec<(String, Entry)>,
    metadata: Option<BTreeMap<String, String>>,
    current: Option<String>,
}

impl<'de> DeserializeSeed<'de> for &mut HeaderObject {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for &mut HeaderObject {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a JSON object of tensors")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(name) = map.next_key::<String>()? {
            self.current = Some(name.clone());
            if name == METADATA_KEY {
                if self.metadata.is_some() {
                    return Err(A::Error::custom("given twice"));
                }
                // `null` is accepted, as the reference does.
                self.metadata = map.next_value()?;
            } else {
                self.entries.push((name, map.next_value()?));
            }
            self.current = None;
        }
        Ok(())
    }
}

/// Checks one entry by itself: a known dtype, a shape that does not overflow, as many bytes as the shape takes.
fn check_entry(file: &PositionedFile, name: String, entry: Entry) -> Result<HeaderTensor, CheckpointError> {
    let refuse = |problem| Err(CheckpointError::tensor(file.path(), &name, problem));
    let dtype: StrDeserializer<'_, serde::de::value::Error> = entry.dtype.as_str().into_deserializer();
    let dtype = match Dtype::deserialize(dtype) {
        Ok(dtype) => dtype,
        Err(error) => return refuse(TensorProblem::Malformed { reason: format!("dtype: {}", reason(&error)) }),
    };
    let (begin, end) = entry.data_offsets;
    if end < begin {
        return refuse(TensorProblem::Reversed { begin, end });
    }
    let expected = match byte_len(dtype, &entry.shape) {
        Ok(expected) => expected,
        Err(problem) => return refuse(problem),
    };
    let byte_len = end - begin;
    if byte_len != expected {
        let dtype = dtype.to_string();
        return refuse(TensorProblem::ByteLen { byte_len, shape: entry.shape, dtype, expected });
    }
    Ok(HeaderTensor { name, dtype, shape: entry.shape, begin, end })
}

/// The bytes that `shape` of `dtype` takes.
pub(super) fn byte_len(dtype: Dtype, shape: &[usize]) -> Result<u64, TensorProblem> {
    let bits = shape
        .iter()
        .try_fold(1u64, |product, &len| product.checked_mul(len as u64))
        .and_then(|count| count.checked_mul(dtype.bitsize() as u64))
        .ok_or_else(|| TensorProblem::ShapeOverflow { shape: shape.to_vec() })?;
    if !bits.is_multiple_of(8) {
        return Err(TensorProblem::Ragged { shape: shape.to_vec(), dtype: dtype.to_string() });
    }
    Ok(bits / 8)
}

/// Checks that the tensors, sorted by offset, cover the data without overlap, hole or rest.
fn check_offsets(file: &PositionedFile, tensors: &[HeaderTensor], data_len: u64) -> Result<(), CheckpointError> {
    let mut expected = 0;
    for tensor in tensors {
        let (begin, end) = (tensor.begin, tensor.end);
        let problem = match begin.cmp(&expected) {
            _ if end > data_len => TensorProblem::OutOfRange { begin, end, data_len },
            std::cmp::Ordering::Less => TensorProblem::Overlap { begin, expected },
            std::cmp::Ordering::Greater => TensorProblem::Hole { begin, expected },
            std::cmp::Ordering::Equal => {
                expected = end;
                continue;
            }
        };
        return Err(CheckpointError::tensor(file.path(), &tensor.name, problem));
    }
    if expected != data_len {
        let problem = HeaderProblem::TrailingBytes { extra: data_len - expected, end: expected, data_len };
        return Err(CheckpointError::header(file.path(), problem));
    }
    Ok(())
}
