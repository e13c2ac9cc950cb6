//! GGUF headers and data.

use crate::samples::writer::{GgufWriter, array, string};
use crate::samples::{GGUF, counting};
use crate::{Case, file};

const NAME: &str = "m.gguf";

fn case(name: &'static str, writer: &GgufWriter, says: &'static [&'static str]) -> Case {
    file(name, NAME, writer.build(), says)
}

/// One tensor `w`.
fn tensor(name: &'static str, lengths: &[u64], type_id: u32, data_len: u8, says: &'static [&'static str]) -> Case {
    case(name, &GgufWriter::default().tensor("w", lengths, type_id, counting(data_len)), says)
}

/// One metadata entry `k`.
fn entry(name: &'static str, type_id: u32, value: &[u8], says: &'static [&'static str]) -> Case {
    case(name, &GgufWriter::default().entry("k", type_id, value), says)
}

/// Tensors `a` and `b`, 32 bytes each, at these offsets.
fn pair(name: &'static str, a: u64, b: u64, says: &'static [&'static str]) -> Case {
    let writer = GgufWriter::default()
        .tensor("a", &[8], 0, counting(32))
        .with_last(|tensor| tensor.offset = Some(a))
        .tensor("b", &[8], 0, counting(32))
        .with_last(|tensor| tensor.offset = Some(b));
    case(name, &writer, says)
}

pub fn cases() -> Vec<Case> {
    [heads(), metadata(), tensors(), data()].into_iter().flatten().collect()
}

/// Magic, version, counts.
fn heads() -> Vec<Case> {
    let with = |change: fn(&mut GgufWriter)| {
        let mut writer = GgufWriter::default();
        change(&mut writer);
        writer
    };
    vec![
        file("bad magic", NAME, b"GGML\x03\0\0\0".to_vec(), &[NAME, "not a GGUF file", "47, 47, 4d, 4c"]),
        file("magic cut", NAME, GGUF[..3].to_vec(), &[NAME, "magic", "truncated", "4 bytes", "3 left"]),
        file("version cut", NAME, GGUF[..6].to_vec(), &[NAME, "version", "truncated", "byte 4", "2 left"]),
        case("version 1", &with(|w| w.version = 1), &[NAME, "version 1 is not supported", "2 and 3"]),
        case("version 4", &with(|w| w.version = 4), &[NAME, "version 4 is not supported", "2 and 3"]),
        case("big-endian", &with(|w| w.version = 3 << 24), &[NAME, "big-endian", "version 3", "little-endian"]),
        file("counts cut", NAME, GGUF[..12].to_vec(), &[NAME, "number of tensors", "truncated"]),
        case(
            "absurd tensors",
            &with(|w| w.tensor_count = Some(u64::MAX)),
            &[NAME, "18446744073709551615 tensors", "0"],
        ),
        case(
            "absurd metadata",
            &with(|w| w.metadata_count = Some(1 << 40)),
            &[NAME, "1099511627776 metadata", "at most"],
        ),
    ]
}

/// Metadata entries.
fn metadata() -> Vec<Case> {
    let long_key = GgufWriter { metadata_count: Some(1), metadata: vec![0xff; 8 + 5], ..GgufWriter::default() };
    let key_not_text =
        GgufWriter { metadata_count: Some(1), metadata: string(b"a\xffbcdefgh"), ..GgufWriter::default() };
    let deep = (0..5).fold(array(0, 0, &[]), |inner, _| array(9, 1, &inner));
    let alignment = |value| GgufWriter::default().u32("general.alignment", value);
    let narrow = GgufWriter::default().entry("general.alignment", 2, &[32, 0]);
    vec![
        case("key beyond the file", &long_key, &[NAME, "key of metadata entry 0", "at most 65535"]),
        case("key not UTF-8", &key_not_text, &[NAME, "key of metadata entry 0", "not UTF-8"]),
        case("key twice", &GgufWriter::default().u32("k", 1).u32("k", 1), &[NAME, "\"k\"", "twice"]),
        entry("unknown value type", 13, &[0; 8], &[NAME, "\"k\"", "value type 13", "0 to 12"]),
        entry("unknown element type", 9, &array(99, 0, &[]), &[NAME, "\"k\"", "value type 99", "0 to 12"]),
        entry("a third truth value", 7, &[2], &[NAME, "\"k\"", "bool 2", "0 or 1"]),
        entry("value cut", 10, &[1, 2, 3], &[NAME, "\"k\"", "truncated", "8 bytes", "3 left"]),
        entry("string beyond the file", 8, &[0xff; 8], &[NAME, "\"k\"", "18446744073709551615 bytes", "0 left"]),
        entry("array beyond the file", 9, &array(10, 1 << 61, &[]), &[NAME, "\"k\"", "truncated", "0 left"]),
        entry("strings beyond the file", 9, &array(8, 1 << 60, &[]), &[NAME, "\"k\"", "truncated", "0 left"]),
        entry("deep arrays", 9, &deep, &[NAME, "\"k\"", "nested deeper than 4"]),
        case("alignment zero", &alignment(0), &[NAME, "general.alignment", "U32(0)", "power of two"]),
        case("alignment 24", &alignment(24), &[NAME, "general.alignment", "U32(24)", "power of two"]),
        case("alignment of another type", &narrow, &[NAME, "general.alignment", "U16(32)", "uint32"]),
        case("split model", &GgufWriter::default().entry("split.count", 2, &[3, 0]), &[NAME, "3 files", "merge"]),
    ]
}

/// Tensor entries.
fn tensors() -> Vec<Case> {
    let two = GgufWriter::default().tensor("w", &[1], 0, counting(4)).tensor("w", &[1], 0, counting(4));
    let cut = GgufWriter::default().tensor("w", &[8, 8], 0, vec![]).build();
    let long = GgufWriter::default().tensor(&"n".repeat(65_536), &[1], 0, counting(4));
    vec![
        case("name twice", &two, &[NAME, "\"w\"", "twice"]),
        case("name too long", &long, &[NAME, "name of tensor 0", "65536 bytes", "at most 65535"]),
        file("tensor entry cut", NAME, cut[..cut.len() - 1].to_vec(), &[NAME, "\"w\"", "truncated", "7 left"]),
        tensor("five dimensions", &[1; 5], 0, 4, &[NAME, "\"w\"", "5 dimensions", "at most 4"]),
        tensor("zero length", &[4, 0], 0, 4, &[NAME, "\"w\"", "[0, 4]", "zero", "at least 1"]),
        tensor("shape overflow", &[1 << 32, 1 << 32], 0, 4, &[NAME, "\"w\"", "[4294967296, 4294967296]", "overflows"]),
        tensor("unknown type", &[4], 4, 16, &[NAME, "\"w\"", "unknown ggml type 4", "Q4_0 (2)"]),
        tensor("ragged row", &[33, 2], 2, 36, &[NAME, "\"w\"", "rows of 33", "32", "Q4_0"]),
        tensor("a type without decoder", &[256], 23, 136, &[NAME, "\"w\"", "IQ4_XS", "F32, F16 or BF16"]),
    ]
}

/// Places in the data.
fn data() -> Vec<Case> {
    let mut truncated = GgufWriter::default().tensor("w", &[8], 0, counting(32)).build();
    truncated.pop();
    vec![
        file("data truncated", NAME, truncated, &[NAME, "\"w\"", "[0, 32]", "out of range", "31 bytes", "truncated"]),
        pair("overlap", 0, 0, &[NAME, "\"b\"", "offset 0 overlaps tensor \"a\"", "ends at 32"]),
        pair("out of range", 0, 64, &[NAME, "\"b\"", "[64, 96]", "out of range", "64 bytes"]),
        pair("far out", 0, u64::MAX - 31, &[NAME, "\"b\"", "out of range"]),
        pair("misaligned", 0, 33, &[NAME, "\"b\"", "33", "multiple of the alignment 32"]),
    ]
}
