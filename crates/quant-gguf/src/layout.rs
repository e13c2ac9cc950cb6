//! Where each tensor of a GGUF file to be written goes, known before the first is computed.
//!
//! All shapes and types are known up front, so the header is written first and each tensor straight to its place, in
//! any order and from any thread. What [`crate::Header::read`] refuses is refused here too.

use std::collections::HashSet;

use crate::header::{DIMENSIONS_MAX, HEADER_LEN_MAX, NAME_LEN_MAX, alignment, byte_len};
use crate::types::GgmlType;
use crate::value::{Value, write, write_string};
use crate::{GgufError, TensorProblem};

/// The version that is written.
const VERSION: u32 = 3;
/// A name and the zero after it fill at most ggml's 64 bytes (`GGML_MAX_NAME`).
const TENSOR_NAME_LEN_MAX: usize = 63;

/// A tensor to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedTensor {
    /// The name, at most 63 bytes.
    pub name: String,
    /// Lengths, the fastest-varying last: ggml's own order reversed.
    pub shape: Vec<usize>,
    /// How it is stored.
    pub ggml_type: GgmlType,
}

/// A tensor's place in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TensorPlace {
    /// Position of the first byte, counted from the start of the file.
    pub offset: u64,
    /// Bytes it takes.
    pub byte_len: u64,
}

/// A finished layout.
#[derive(Clone, Debug, PartialEq)]
pub struct FileLayout {
    /// The first bytes of the file. Zeros follow up to the first tensor, between tensors and after the last.
    pub header: Vec<u8>,
    /// One place for each tensor, in the order given.
    pub places: Vec<TensorPlace>,
    /// Bytes of the whole file.
    pub byte_len: u64,
}

/// Why a layout was refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LayoutError {
    /// What a reader would refuse.
    #[error(transparent)]
    Format(#[from] GgufError),
    /// A name that runtimes have no room for.
    #[error("{what} {name:?} has {len} bytes; at most {max} are allowed")]
    NameTooLong {
        /// `tensor` or `metadata key`.
        what: &'static str,
        /// The name.
        name: String,
        /// Its length in bytes.
        len: usize,
        /// Bytes allowed.
        max: usize,
    },
    /// Header or data beyond what readers accept.
    #[error("a {what} of {byte_len} bytes is too large; at most {max} are allowed")]
    TooLarge {
        /// Header or file.
        what: &'static str,
        /// Bytes asked for.
        byte_len: u64,
        /// Bytes allowed.
        max: u64,
    },
}

/// Lays out a file with this metadata and these tensors, in this order.
///
/// ```
/// use quant_gguf::{GgmlType, Header, PlannedTensor, Value, lay_out};
/// let tensor = PlannedTensor { name: "w".into(), shape: vec![2, 64], ggml_type: GgmlType::IQ4_NL };
/// let layout = lay_out(&[("general.architecture".into(), Value::String("llama".into()))], &[tensor]).unwrap();
/// let mut file = layout.header.clone();
/// file.resize(layout.byte_len as usize, 0);
/// let header = Header::read(&file[..], layout.byte_len).unwrap();
/// assert_eq!((header.tensors[0].offset, header.tensors[0].byte_len), (layout.places[0].offset, 4 * 18));
/// ```
pub fn lay_out(metadata: &[(String, Value)], tensors: &[PlannedTensor]) -> Result<FileLayout, LayoutError> {
    let alignment = alignment(metadata)?;
    check_names(metadata, tensors)?;
    let mut places = place(tensors, alignment)?;
    let header = header_bytes(metadata, tensors, &places);
    let header_len = header.len() as u64;
    if header_len > HEADER_LEN_MAX {
        return Err(LayoutError::TooLarge { what: "header", byte_len: header_len, max: HEADER_LEN_MAX });
    }
    let data_begin = header_len.next_multiple_of(alignment);
    let mut byte_len = data_begin;
    for place in &mut places {
        place.offset += data_begin;
        byte_len = (place.offset + place.byte_len).next_multiple_of(alignment);
    }
    Ok(FileLayout { header, places, byte_len })
}

/// Metadata entries as they are stored, one after the other.
pub fn metadata_bytes(metadata: &[(String, Value)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (key, value) in metadata {
        write_string(key, &mut bytes);
        write(value, &mut bytes);
    }
    bytes
}

fn check_names(metadata: &[(String, Value)], tensors: &[PlannedTensor]) -> Result<(), LayoutError> {
    let mut names = HashSet::new();
    for PlannedTensor { name, .. } in tensors {
        check_len("tensor", name, TENSOR_NAME_LEN_MAX)?;
        if !names.insert(name.as_str()) {
            return Err(GgufError::tensor(name, TensorProblem::Duplicate).into());
        }
    }
    names.clear();
    for (key, _) in metadata {
        check_len("metadata key", key, NAME_LEN_MAX as usize)?;
        if !names.insert(key) {
            return Err(GgufError::DuplicateKey { key: key.clone() }.into());
        }
    }
    Ok(())
}

fn check_len(what: &'static str, name: &str, max: usize) -> Result<(), LayoutError> {
    if name.len() <= max {
        return Ok(());
    }
    Err(LayoutError::NameTooLong { what, name: name.chars().take(80).collect(), len: name.len(), max })
}

/// Places relative to the data.
fn place(tensors: &[PlannedTensor], alignment: u64) -> Result<Vec<TensorPlace>, LayoutError> {
    // What file systems address, less a header and the padding; hence no sum above can overflow.
    const DATA_LEN_MAX: u64 = i64::MAX as u64 - 2 * HEADER_LEN_MAX - (1 << 33);
    let mut end = 0u64;
    let mut places = Vec::new();
    for PlannedTensor { name, shape, ggml_type } in tensors {
        let refuse = |problem| GgufError::tensor(name, problem);
        if shape.len() > DIMENSIONS_MAX as usize {
            return Err(refuse(TensorProblem::Dimensions { count: shape.len() as u32 }).into());
        }
        let lengths: Vec<u64> = shape.iter().map(|&len| len as u64).collect();
        let byte_len = byte_len(*ggml_type, &lengths).map_err(refuse)?;
        let offset = end.next_multiple_of(alignment);
        places.push(TensorPlace { offset, byte_len });
        end = offset.saturating_add(byte_len);
        if end > DATA_LEN_MAX {
            return Err(LayoutError::TooLarge { what: "file", byte_len: end, max: DATA_LEN_MAX });
        }
    }
    Ok(places)
}

fn header_bytes(metadata: &[(String, Value)], tensors: &[PlannedTensor], places: &[TensorPlace]) -> Vec<u8> {
    let mut header = b"GGUF".to_vec();
    header.extend(VERSION.to_le_bytes());
    header.extend((tensors.len() as u64).to_le_bytes());
    header.extend((metadata.len() as u64).to_le_bytes());
    header.extend(metadata_bytes(metadata));
    for (tensor, place) in tensors.iter().zip(places) {
        write_string(&tensor.name, &mut header);
        header.extend((tensor.shape.len() as u32).to_le_bytes());
        header.extend(tensor.shape.iter().rev().flat_map(|&len| (len as u64).to_le_bytes()));
        header.extend(tensor.ggml_type.id().to_le_bytes());
        header.extend(place.offset.to_le_bytes());
    }
    header
}
