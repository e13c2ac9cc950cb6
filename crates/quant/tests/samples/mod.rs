//! Small valid checkpoints, built in code: what the tests mangle and the fuzzers start from.

#![allow(dead_code, reason = "each user needs some of it")]

#[path = "../../../quant-gguf/tests/writer/mod.rs"]
pub mod writer;

use writer::{GgufWriter, array, string};

/// A safetensors file of any header and data.
pub fn safetensors(header: impl AsRef<[u8]>, data: &[u8]) -> Vec<u8> {
    let header = header.as_ref();
    [&(header.len() as u64).to_le_bytes(), header, data].concat()
}

/// Bytes 0, 1, 2, ...
pub fn counting(len: u8) -> Vec<u8> {
    (0..len).collect()
}

/// Valid safetensors files by name.
pub fn valid_safetensors() -> Vec<(&'static str, Vec<u8>)> {
    let mixed = r#"{"__metadata__":{"format":"pt","k":"v"},
        "w":{"dtype":"BF16","shape":[2,3],"data_offsets":[12,24]},"b":{"dtype":"F32","shape":[3],"data_offsets":[0,12]},
        "empty":{"dtype":"F16","shape":[0,4],"data_offsets":[24,24]},"s":{"dtype":"F64","shape":[],"data_offsets":[24,32]},
        "codes":{"dtype":"U8","shape":[5],"data_offsets":[32,37]},"f4":{"dtype":"F4","shape":[2,3],"data_offsets":[37,40]}}"#;
    let one = r#"{"w":{"dtype":"F32","shape":[1,1],"data_offsets":[0,4]}}    "#;
    let squeezellm = r#"{"a.qweight":{"dtype":"I32","shape":[3,1],"data_offsets":[0,12]},
        "a.lookup_table":{"dtype":"F32","shape":[1,8],"data_offsets":[12,44]},"a.rows":{"dtype":"I32","shape":[2],"data_offsets":[44,52]},
        "a.cols":{"dtype":"I32","shape":[1],"data_offsets":[52,56]},"a.vals":{"dtype":"F32","shape":[1],"data_offsets":[56,60]}}"#;
    let sparse = [vec![0x77; 12], vec![1; 32], vec![0, 0, 0, 0, 1, 0, 0, 0, 31, 0, 0, 0, 0, 0, 128, 63]].concat();
    let any_precision = r#"{"a.qweight":{"dtype":"I32","shape":[3,1,1],"data_offsets":[0,12]},
        "a.lut3":{"dtype":"F16","shape":[1,8],"data_offsets":[12,28]}}"#;
    let lut_b = r#"{"a.weight_packed":{"dtype":"U8","shape":[1,1,192],"data_offsets":[0,192]},
        "a.weight_codebook":{"dtype":"F8_E4M3","shape":[1,1,8],"data_offsets":[192,200]}}"#;
    vec![
        ("mixed", safetensors(mixed, &counting(40))),
        ("one", safetensors(one, &[0, 0, 128, 63])),
        ("none", safetensors("{}", &[])),
        ("null_metadata", safetensors(r#"{"__metadata__":null}"#, &[])),
        ("squeezellm", safetensors(squeezellm, &sparse)),
        ("any_precision", safetensors(any_precision, &counting(28))),
        ("lut_b", safetensors(lut_b, &counting(200))),
    ]
}

/// Valid GGUF files by name: every value type, every type that is decoded, one that is not.
pub fn valid_gguf() -> Vec<(&'static str, Vec<u8>)> {
    let values = GgufWriter { version: 2, ..GgufWriter::default() }
        .text("general.architecture", "llama")
        .entry("u8", 0, &[200])
        .entry("bool", 7, &[1])
        .entry("f32", 6, &1.5f32.to_le_bytes())
        .entry("u64", 10, &9u64.to_le_bytes())
        .entry("i16s", 9, &array(3, 2, &[1, 0, 2, 0]))
        .entry("words", 9, &array(8, 2, &[string(b"a"), string(b"bc")].concat()))
        .entry("nested", 9, &array(9, 1, &array(0, 2, &[1, 2])));
    let aligned = GgufWriter { alignment: 8, ..GgufWriter::default() }
        .u32("general.alignment", 8)
        .tensor("v", &[3], 0, counting(12))
        .tensor("scalar", &[], 1, vec![0, 0x3c])
        .tensor("w4d", &[2, 1, 1, 2], 30, counting(8));
    let blocks: [(u32, u64, usize); 11] = [
        (2, 32, 18),
        (3, 32, 20),
        (6, 32, 22),
        (7, 32, 24),
        (8, 32, 34),
        (10, 256, 84),
        (11, 256, 110),
        (12, 256, 144),
        (13, 256, 176),
        (14, 256, 210),
        (15, 256, 292),
    ];
    let decoded = blocks.iter().fold(GgufWriter::default(), |writer, &(type_id, len, byte_len)| {
        writer.tensor(&format!("blk.{type_id}"), &[len, 2], type_id, counting(250).repeat(3)[..2 * byte_len].to_vec())
    });
    let not_decoded = GgufWriter::default().tensor("iq", &[32], 20, counting(18)).tensor("i", &[2], 26, counting(8));
    vec![
        ("values", values.build()),
        ("aligned", aligned.build()),
        ("decoded", decoded.build()),
        ("not_decoded", not_decoded.build()),
    ]
}

/// The two shards that [`valid_indexes`] speak of.
pub fn shards() -> [(&'static str, Vec<u8>); 2] {
    let x_y =
        r#"{"x":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"y":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}}"#;
    let z = r#"{"z":{"dtype":"F32","shape":[],"data_offsets":[0,4]}}"#;
    [("a.safetensors", safetensors(x_y, &[1, 2, 3])), ("b.safetensors", safetensors(z, &[0; 4]))]
}

/// Valid `model.safetensors.index.json` texts by name.
pub fn valid_indexes() -> Vec<(&'static str, Vec<u8>)> {
    let all =
        r#"{"metadata":{"total_size":7},"weight_map":{"x":"a.safetensors","y":"a.safetensors","z":"b.safetensors"}}"#;
    let some = r#"{"weight_map":{"z":"b.safetensors"},"other":[1,{"a":null}]}"#;
    vec![("all", all.into()), ("some", some.into())]
}

/// The beginning of a GGUF file, up to the counts.
pub const GGUF: [u8; 24] = *b"GGUF\x03\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
