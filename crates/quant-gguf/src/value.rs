//! Metadata values.

use std::io::Read;

use crate::error::{Fault, GgufError};
use crate::reader::Reader;

/// Arrays may hold arrays this deep; real files have none inside another.
pub(crate) const NESTING_MAX: usize = 4;

/// One metadata value.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Value {
    /// `uint8`
    U8(u8),
    /// `int8`
    I8(i8),
    /// `uint16`
    U16(u16),
    /// `int16`
    I16(i16),
    /// `uint32`
    U32(u32),
    /// `int32`
    I32(i32),
    /// `float32`
    F32(f32),
    /// `bool`
    Bool(bool),
    /// Text. Bytes that are not UTF-8, which occur in tokenizers, become U+FFFD.
    String(String),
    /// Values of one type.
    Array(Array),
    /// `uint64`
    U64(u64),
    /// `int64`
    I64(i64),
    /// `float64`
    F64(f64),
}

/// An array of one type, stored compactly: tokenizers hold hundreds of thousands of entries.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
#[allow(missing_docs, reason = "named as the variants of `Value`")]
pub enum Array {
    U8(Vec<u8>),
    I8(Vec<i8>),
    U16(Vec<u16>),
    I16(Vec<i16>),
    U32(Vec<u32>),
    I32(Vec<i32>),
    F32(Vec<f32>),
    Bool(Vec<bool>),
    String(Vec<String>),
    Array(Vec<Array>),
    U64(Vec<u64>),
    I64(Vec<i64>),
    F64(Vec<f64>),
}

impl Value {
    /// Any unsigned integer, or a signed one that is not negative.
    pub fn as_u64(&self) -> Option<u64> {
        match *self {
            Self::U8(v) => Some(v.into()),
            Self::U16(v) => Some(v.into()),
            Self::U32(v) => Some(v.into()),
            Self::U64(v) => Some(v),
            Self::I8(v) => v.try_into().ok(),
            Self::I16(v) => v.try_into().ok(),
            Self::I32(v) => v.try_into().ok(),
            Self::I64(v) => v.try_into().ok(),
            _ => None,
        }
    }

    /// A float of either width.
    pub fn as_f64(&self) -> Option<f64> {
        match *self {
            Self::F32(v) => Some(v.into()),
            Self::F64(v) => Some(v),
            _ => None,
        }
    }

    /// Text.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(v) => Some(v),
            _ => None,
        }
    }
}

/// Reads the value of `key`.
pub(crate) fn read<R: Read>(reader: &mut Reader<R>, key: &str) -> Result<Value, GgufError> {
    let cut = |fault: Fault| fault.of(format!("value of metadata key {key:?}"));
    let id = reader.u32().map_err(cut)?;
    Ok(match id {
        0 => Value::U8(u8::from_le_bytes(reader.array().map_err(cut)?)),
        1 => Value::I8(i8::from_le_bytes(reader.array().map_err(cut)?)),
        2 => Value::U16(u16::from_le_bytes(reader.array().map_err(cut)?)),
        3 => Value::I16(i16::from_le_bytes(reader.array().map_err(cut)?)),
        4 => Value::U32(u32::from_le_bytes(reader.array().map_err(cut)?)),
        5 => Value::I32(i32::from_le_bytes(reader.array().map_err(cut)?)),
        6 => Value::F32(f32::from_le_bytes(reader.array().map_err(cut)?)),
        7 => Value::Bool(truth(key, reader.array::<1>().map_err(cut)?[0])?),
        8 => Value::String(text(&reader.string().map_err(cut)?)),
        9 => Value::Array(read_array(reader, key, 1)?),
        10 => Value::U64(u64::from_le_bytes(reader.array().map_err(cut)?)),
        11 => Value::I64(i64::from_le_bytes(reader.array().map_err(cut)?)),
        12 => Value::F64(f64::from_le_bytes(reader.array().map_err(cut)?)),
        _ => return Err(GgufError::ValueType { key: key.to_owned(), id }),
    })
}

fn read_array<R: Read>(reader: &mut Reader<R>, key: &str, depth: usize) -> Result<Array, GgufError> {
    if depth > NESTING_MAX {
        return Err(GgufError::Nesting { key: key.to_owned() });
    }
    let cut = |fault: Fault| fault.of(format!("array of metadata key {key:?}"));
    let id = reader.u32().map_err(cut)?;
    let count = reader.u64().map_err(cut)?;
    Ok(match id {
        0 => Array::U8(reader.values(count, u8::from_le_bytes).map_err(cut)?),
        1 => Array::I8(reader.values(count, i8::from_le_bytes).map_err(cut)?),
        2 => Array::U16(reader.values(count, u16::from_le_bytes).map_err(cut)?),
        3 => Array::I16(reader.values(count, i16::from_le_bytes).map_err(cut)?),
        4 => Array::U32(reader.values(count, u32::from_le_bytes).map_err(cut)?),
        5 => Array::I32(reader.values(count, i32::from_le_bytes).map_err(cut)?),
        6 => Array::F32(reader.values(count, f32::from_le_bytes).map_err(cut)?),
        7 => {
            let bytes = reader.values(count, u8::from_le_bytes).map_err(cut)?;
            Array::Bool(bytes.into_iter().map(|byte| truth(key, byte)).collect::<Result<_, _>>()?)
        }
        8 => Array::String(many(reader, count, 8, cut, |reader| Ok(text(&reader.string().map_err(cut)?)))?),
        9 => Array::Array(many(reader, count, 12, cut, |reader| read_array(reader, key, depth + 1))?),
        10 => Array::U64(reader.values(count, u64::from_le_bytes).map_err(cut)?),
        11 => Array::I64(reader.values(count, i64::from_le_bytes).map_err(cut)?),
        12 => Array::F64(reader.values(count, f64::from_le_bytes).map_err(cut)?),
        _ => return Err(GgufError::ValueType { key: key.to_owned(), id }),
    })
}

/// `count` entries that take at least `byte_len_min` bytes each, which is checked before the first is read.
fn many<R: Read, T>(
    reader: &mut Reader<R>,
    count: u64,
    byte_len_min: u64,
    cut: impl Fn(Fault) -> GgufError,
    read_one: impl Fn(&mut Reader<R>) -> Result<T, GgufError>,
) -> Result<Vec<T>, GgufError> {
    reader.expect(count.saturating_mul(byte_len_min)).map_err(cut)?;
    (0..count).map(|_| read_one(reader)).collect()
}

/// Appends text as it is stored: its length in bytes, then the bytes.
pub(crate) fn write_string(text: &str, out: &mut Vec<u8>) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text.as_bytes());
}

/// Appends the type of a value and the value.
pub(crate) fn write(value: &Value, out: &mut Vec<u8>) {
    fn plain<const N: usize>(id: u32, bytes: [u8; N], out: &mut Vec<u8>) {
        out.extend(id.to_le_bytes());
        out.extend(bytes);
    }
    match value {
        Value::U8(v) => plain(0, v.to_le_bytes(), out),
        Value::I8(v) => plain(1, v.to_le_bytes(), out),
        Value::U16(v) => plain(2, v.to_le_bytes(), out),
        Value::I16(v) => plain(3, v.to_le_bytes(), out),
        Value::U32(v) => plain(4, v.to_le_bytes(), out),
        Value::I32(v) => plain(5, v.to_le_bytes(), out),
        Value::F32(v) => plain(6, v.to_le_bytes(), out),
        Value::Bool(v) => plain(7, [u8::from(*v)], out),
        Value::String(v) => {
            out.extend(8u32.to_le_bytes());
            write_string(v, out);
        }
        Value::Array(v) => {
            out.extend(9u32.to_le_bytes());
            write_array(v, out);
        }
        Value::U64(v) => plain(10, v.to_le_bytes(), out),
        Value::I64(v) => plain(11, v.to_le_bytes(), out),
        Value::F64(v) => plain(12, v.to_le_bytes(), out),
    }
}

fn write_array(array: &Array, out: &mut Vec<u8>) {
    fn plain<T: Copy, const N: usize>(id: u32, values: &[T], to: fn(T) -> [u8; N], out: &mut Vec<u8>) {
        begin(id, values.len(), out);
        values.iter().for_each(|&v| out.extend(to(v)));
    }
    fn begin(id: u32, count: usize, out: &mut Vec<u8>) {
        out.extend(id.to_le_bytes());
        out.extend((count as u64).to_le_bytes());
    }
    match array {
        Array::U8(v) => plain(0, v, u8::to_le_bytes, out),
        Array::I8(v) => plain(1, v, i8::to_le_bytes, out),
        Array::U16(v) => plain(2, v, u16::to_le_bytes, out),
        Array::I16(v) => plain(3, v, i16::to_le_bytes, out),
        Array::U32(v) => plain(4, v, u32::to_le_bytes, out),
        Array::I32(v) => plain(5, v, i32::to_le_bytes, out),
        Array::F32(v) => plain(6, v, f32::to_le_bytes, out),
        Array::Bool(v) => plain(7, v, |v| [u8::from(v)], out),
        Array::String(v) => {
            begin(8, v.len(), out);
            v.iter().for_each(|text| write_string(text, out));
        }
        Array::Array(v) => {
            begin(9, v.len(), out);
            v.iter().for_each(|array| write_array(array, out));
        }
        Array::U64(v) => plain(10, v, u64::to_le_bytes, out),
        Array::I64(v) => plain(11, v, i64::to_le_bytes, out),
        Array::F64(v) => plain(12, v, f64::to_le_bytes, out),
    }
}

fn truth(key: &str, value: u8) -> Result<bool, GgufError> {
    match value {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(GgufError::Bool { key: key.to_owned(), value }),
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
