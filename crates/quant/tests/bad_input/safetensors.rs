//! Safetensors headers and data.

use crate::samples::{counting, safetensors};
use crate::{Case, file};

const NAME: &str = "m.safetensors";

/// A header with one entry for tensor `w`, and `data_len` bytes of data.
fn entry(name: &'static str, entry: &str, data_len: u8, says: &'static [&'static str]) -> Case {
    header(name, &format!(r#"{{"w":{entry}}}"#), data_len, says)
}

fn header(name: &'static str, header: &str, data_len: u8, says: &'static [&'static str]) -> Case {
    file(name, NAME, safetensors(header, &counting(data_len)), says)
}

/// Tensors `a` and `b`, two bytes each, at these offsets of four bytes of data.
fn pair(name: &'static str, a: [u64; 2], b: [u64; 2], says: &'static [&'static str]) -> Case {
    let entry = |offsets: [u64; 2]| format!(r#"{{"dtype":"U8","shape":[2],"data_offsets":{offsets:?}}}"#);
    header(name, &format!(r#"{{"a":{},"b":{}}}"#, entry(a), entry(b)), 4, says)
}

fn length(name: &'static str, header_len: u64, says: &'static [&'static str]) -> Case {
    file(name, NAME, [&header_len.to_le_bytes()[..], b"{}"].concat(), says)
}

pub fn cases() -> Vec<Case> {
    [whole(), entries(), offsets()].into_iter().flatten().collect()
}

/// The header as a whole.
fn whole() -> Vec<Case> {
    vec![
        file("seven bytes", NAME, vec![1; 7], &[NAME, "7 bytes", "too few", "8"]),
        length("header beyond the file", 3, &[NAME, "header length 3", "beyond the file", "at most 2"]),
        length(
            "header length of all ones",
            u64::MAX,
            &[NAME, "18446744073709551615", "too large", "at most 100000000"],
        ),
        length("header over 100 MB", 100_000_001, &[NAME, "100000001", "too large", "at most 100000000"]),
        file("no header at all", NAME, vec![0; 8], &[NAME, "not a JSON object", "EOF"]),
        file("header not UTF-8", NAME, safetensors(b"{\"\xff\":1}", &[]), &[NAME, "not UTF-8 from byte 2"]),
        header("header not JSON", "hello", 0, &[NAME, "not a JSON object", "line 1 column 1"]),
        header("header cut off", r#"{"w":{"dtype":"F32","sha"#, 0, &[NAME, "\"w\"", "EOF"]),
        header("header an array", "[1]", 0, &[NAME, "sequence", "object of tensors"]),
        header("header a number", "17", 0, &[NAME, "17", "object of tensors"]),
        header("rubbish after the header", "{} x", 0, &[NAME, "trailing characters"]),
        header("metadata not strings", r#"{"__metadata__":{"a":1}}"#, 0, &[NAME, "__metadata__", "integer `1`"]),
        header("metadata twice", r#"{"__metadata__":{},"__metadata__":{}}"#, 0, &[NAME, "__metadata__", "twice"]),
    ]
}

/// One entry by itself.
fn entries() -> Vec<Case> {
    vec![
        entry("entry null", "null", 0, &[NAME, "\"w\"", "malformed", "null"]),
        entry("no dtype", r#"{"shape":[1],"data_offsets":[0,4]}"#, 4, &[NAME, "\"w\"", "missing field `dtype`"]),
        entry("no shape", r#"{"dtype":"F32","data_offsets":[0,4]}"#, 4, &[NAME, "\"w\"", "missing field `shape`"]),
        entry("no offsets", r#"{"dtype":"F32","shape":[1]}"#, 4, &[NAME, "\"w\"", "missing field `data_offsets`"]),
        entry(
            "unknown dtype",
            r#"{"dtype":"F33","shape":[1],"data_offsets":[0,4]}"#,
            4,
            &[NAME, "\"w\"", "unknown variant `F33`", "`BF16`"],
        ),
        entry("negative length", r#"{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}"#, 4, &[NAME, "\"w\"", "`-1`"]),
        entry(
            "three offsets",
            r#"{"dtype":"F32","shape":[1],"data_offsets":[0,4,8]}"#,
            4,
            &[NAME, "\"w\"", "malformed"],
        ),
        entry(
            "shape overflow",
            r#"{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,4]}"#,
            4,
            &[NAME, "\"w\"", "[4294967296, 4294967296]", "overflows", "2^64"],
        ),
        entry(
            "byte length not shape times dtype",
            r#"{"dtype":"BF16","shape":[2,3],"data_offsets":[0,10]}"#,
            10,
            &[NAME, "\"w\"", "10 bytes", "[2, 3]", "BF16", "12"],
        ),
        entry(
            "half a byte",
            r#"{"dtype":"F4","shape":[3],"data_offsets":[0,2]}"#,
            2,
            &[NAME, "\"w\"", "[3]", "F4", "whole number of bytes"],
        ),
        entry(
            "not samples",
            r#"{"dtype":"I64","shape":[1],"data_offsets":[0,8]}"#,
            8,
            &[NAME, "\"w\"", "I64", "F32, F16 or BF16"],
        ),
        header(
            "duplicate name",
            r#"{"w":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},"w":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}"#,
            0,
            &[NAME, "\"w\"", "twice"],
        ),
        header("a name to shout", r#"{"\u001b[31m":{}}"#, 0, &[NAME, "\"\\u{1b}[31m\"", "missing field"]),
    ]
}

/// Places in the data.
fn offsets() -> Vec<Case> {
    vec![
        pair("overlap", [0, 2], [1, 3], &[NAME, "\"b\"", "offset 1 overlaps", "ends at 2"]),
        pair("the same place", [0, 2], [0, 2], &[NAME, "\"b\"", "offset 0 overlaps", "ends at 2"]),
        pair("past the end", [0, 2], [3, 5], &[NAME, "\"b\"", "[3, 5]", "out of range", "4 bytes"]),
        pair("hole in front", [1, 3], [3, 5], &[NAME, "\"a\"", "offset 1", "hole", "ends at 0"]),
        pair("reversed", [2, 0], [2, 4], &[NAME, "\"a\"", "[2, 0]", "reversed"]),
        pair("far out", [0, 2], [u64::MAX - 2, u64::MAX], &[NAME, "\"b\"", "out of range", "4 bytes"]),
        entry(
            "hole behind a tensor",
            r#"{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"v":{"dtype":"U8","shape":[1],"data_offsets":[2,3]}"#,
            3,
            &[NAME, "\"v\"", "offset 2", "hole", "ends at 1"],
        ),
        entry(
            "data truncated",
            r#"{"dtype":"F32","shape":[2],"data_offsets":[0,8]}"#,
            7,
            &[NAME, "\"w\"", "[0, 8]", "7 bytes", "truncated"],
        ),
        entry(
            "trailing bytes",
            r#"{"dtype":"F32","shape":[2],"data_offsets":[0,8]}"#,
            9,
            &[NAME, "1 trailing bytes", "byte 8", "9"],
        ),
    ]
}
