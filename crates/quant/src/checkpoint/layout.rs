//! Where each tensor of a safetensors file to be written goes, known before the first is computed.
//!
//! All shapes are known up front, so the header is written first and each tensor straight to its place, in any order
//! and from any thread.

use std::collections::{BTreeMap, HashSet};

use safetensors::Dtype;
use safetensors::tensor::TensorInfo;
use serde::Serialize;

use super::TensorProblem;
use super::error::quoted;
use super::header::{HEADER_LEN_MAX, LENGTH_LEN, METADATA_KEY, byte_len};

/// A safetensors file in the making.
#[derive(Clone, Debug, Default)]
pub struct SafetensorsLayout {
    metadata: BTreeMap<String, String>,
    tensors: Vec<Planned>,
    names: HashSet<String>,
}

#[derive(Clone, Debug)]
struct Planned {
    name: String,
    dtype: Dtype,
    shape: Vec<usize>,
    byte_len: u64,
}

/// Why a layout was refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LayoutError {
    /// A name given before, or one that the format keeps for itself.
    #[error("tensor name {} is taken; every name must be different and none may be `__metadata__`", quoted(name))]
    NameTaken {
        /// The name.
        name: String,
    },
    /// A shape that cannot be stored.
    #[error("tensor {}: {problem}", quoted(name))]
    Shape {
        /// The name.
        name: String,
        /// Why not.
        problem: TensorProblem,
    },
    /// Data or header beyond what readers accept.
    #[error("{what} of {byte_len} bytes is too large; at most {max} are allowed")]
    TooLarge {
        /// Header or data.
        what: &'static str,
        /// Bytes asked for.
        byte_len: u64,
        /// Bytes allowed.
        max: u64,
    },
}

/// A tensor's place in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot {
    /// The name.
    pub name: String,
    /// The number format.
    pub dtype: Dtype,
    /// Lengths, the fastest-varying last.
    pub shape: Vec<usize>,
    /// Position of the first byte, counted from the start of the file.
    pub offset: u64,
    /// Bytes it takes.
    pub byte_len: u64,
}

/// A finished layout.
#[derive(Clone, Debug)]
pub struct FileLayout {
    /// The first bytes of the file: length and header, a multiple of 8 bytes together.
    pub header: Vec<u8>,
    /// One slot for each tensor, in the order they were added.
    pub slots: Vec<Slot>,
    /// Bytes of the whole file.
    pub byte_len: u64,
}

impl SafetensorsLayout {
    /// A file without tensors, with `metadata` under `__metadata__`.
    pub fn new(metadata: BTreeMap<String, String>) -> Self {
        Self { metadata, ..Self::default() }
    }

    /// Adds a tensor and returns its position in [`FileLayout::slots`].
    pub fn add(&mut self, name: &str, dtype: Dtype, shape: &[usize]) -> Result<usize, LayoutError> {
        if name == METADATA_KEY || !self.names.insert(name.to_owned()) {
            return Err(LayoutError::NameTaken { name: name.to_owned() });
        }
        let byte_len =
            byte_len(dtype, shape).map_err(|problem| LayoutError::Shape { name: name.to_owned(), problem })?;
        self.tensors.push(Planned { name: name.to_owned(), dtype, shape: shape.to_vec(), byte_len });
        Ok(self.tensors.len() - 1)
    }

    /// Places the tensors and writes the header.
    ///
    /// The data is ordered by falling alignment, then as added, like the reference writer's: PyTorch refuses to view
    /// a tensor that does not begin at a multiple of its sample size.
    pub fn finish(self) -> Result<FileLayout, LayoutError> {
        let mut order: Vec<usize> = (0..self.tensors.len()).collect();
        order.sort_by_key(|&at| std::cmp::Reverse(self.tensors[at].dtype));
        let begins = place(&self.tensors, &order)?;
        let header = header_bytes(&self.metadata, &self.tensors, &order, &begins)?;
        let data_begin = header.len() as u64;
        let data_len: u64 = self.tensors.iter().map(|tensor| tensor.byte_len).sum();
        let slots = self.tensors.into_iter().zip(begins).map(|(tensor, begin)| Slot {
            name: tensor.name,
            dtype: tensor.dtype,
            shape: tensor.shape,
            offset: data_begin + begin,
            byte_len: tensor.byte_len,
        });
        Ok(FileLayout { slots: slots.collect(), byte_len: data_begin + data_len, header })
    }
}

/// Where each tensor begins in the data, one for each as added.
fn place(tensors: &[Planned], order: &[usize]) -> Result<Vec<u64>, LayoutError> {
    // What file systems address, header included; hence no sum below can overflow.
    const DATA_LEN_MAX: u64 = i64::MAX as u64 - 2 * HEADER_LEN_MAX;
    let mut begins = vec![0; tensors.len()];
    let mut end = 0u64;
    for &at in order {
        begins[at] = end;
        end = end.saturating_add(tensors[at].byte_len);
        if end > DATA_LEN_MAX {
            return Err(LayoutError::TooLarge { what: "data", byte_len: end, max: DATA_LEN_MAX });
        }
    }
    Ok(begins)
}

/// Length and JSON, padded with spaces to a multiple of 8.
fn header_bytes(
    metadata: &BTreeMap<String, String>,
    tensors: &[Planned],
    order: &[usize],
    begins: &[u64],
) -> Result<Vec<u8>, LayoutError> {
    let json = serde_json::to_vec(&HeaderJson { metadata, tensors, order, begins }).expect("string keys only");
    let padded_len = json.len().next_multiple_of(8);
    if padded_len as u64 > HEADER_LEN_MAX {
        return Err(LayoutError::TooLarge { what: "header", byte_len: padded_len as u64, max: HEADER_LEN_MAX });
    }
    let mut header = Vec::with_capacity(LENGTH_LEN as usize + padded_len);
    header.extend_from_slice(&(padded_len as u64).to_le_bytes());
    header.extend_from_slice(&json);
    header.resize(LENGTH_LEN as usize + padded_len, b' ');
    Ok(header)
}

struct HeaderJson<'a> {
    metadata: &'a BTreeMap<String, String>,
    tensors: &'a [Planned],
    order: &'a [usize],
    begins: &'a [u64],
}

impl Serialize for HeaderJson<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeMap;
        let mut map = serializer.serialize_map(None)?;
        if !self.metadata.is_empty() {
            map.serialize_entry(METADATA_KEY, self.metadata)?;
        }
        for &at in self.order {
            let tensor = &self.tensors[at];
            let at_byte = |offset: u64| usize::try_from(offset).map_err(serde::ser::Error::custom);
            let data_offsets = (at_byte(self.begins[at])?, at_byte(self.begins[at] + tensor.byte_len)?);
            let info = TensorInfo { dtype: tensor.dtype, shape: tensor.shape.clone(), data_offsets };
            map.serialize_entry(&tensor.name, &info)?;
        }
        map.end()
    }
}
