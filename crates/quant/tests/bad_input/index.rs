//! Folders of shards.

use crate::samples::{shards, valid_safetensors};
use crate::{Case, folder};

const NAME: &str = "model.safetensors.index.json";

/// The two shards of the samples and this index.
fn index(name: &'static str, text: &str, says: &'static [&'static str]) -> Case {
    let [(a, a_bytes), (b, b_bytes)] = shards();
    folder(name, &[(NAME, text.as_bytes()), (a, &a_bytes), (b, &b_bytes)], says)
}

/// An index in which tensor `x` is in `shard` (a JSON string's inside).
fn shard(name: &'static str, shard: &str, says: &'static [&'static str]) -> Case {
    index(name, &format!(r#"{{"weight_map":{{"x":"{shard}"}}}}"#), says)
}

pub fn cases() -> Vec<Case> {
    [texts(), escapes(), disagreements()].into_iter().flatten().collect()
}

fn texts() -> Vec<Case> {
    vec![
        index("empty index", "", &[NAME, "not a safetensors index", "EOF"]),
        index("index not JSON", "{weight_map", &[NAME, "not a safetensors index", "line 1 column 2"]),
        index("index an array", "[]", &[NAME, "not a safetensors index"]),
        index("no weight_map", r#"{"metadata":{}}"#, &[NAME, "missing field `weight_map`"]),
        index("weight_map a list", r#"{"weight_map":["x"]}"#, &[NAME, "tensor names to shard file names"]),
        index("weight_map of numbers", r#"{"weight_map":{"x":1}}"#, &[NAME, "integer `1`"]),
        index("weight_map empty", r#"{"weight_map":{}}"#, &[NAME, "names no tensor"]),
        index("rubbish after the index", r#"{"weight_map":{"z":"b.safetensors"}}}"#, &[NAME, "trailing characters"]),
        index(
            "tensor twice",
            r#"{"weight_map":{"x":"a.safetensors","x":"b.safetensors"}}"#,
            &[NAME, "\"x\"", "named twice"],
        ),
    ]
}

fn escapes() -> Vec<Case> {
    let inside = "must be a relative path inside the folder";
    let cases = vec![
        shard("parent folder", "../a.safetensors", &[NAME, "\"x\"", "\"../a.safetensors\""]),
        shard("parent in the middle", "s/../../a.safetensors", &[NAME, "\"x\"", "\"s/../../a.safetensors\""]),
        shard("absolute", "/etc/passwd", &[NAME, "\"x\"", "\"/etc/passwd\""]),
        shard("backslashes", r"..\\a.safetensors", &[NAME, "\"x\"", "must be a relative path"]),
        shard("no name", "", &[NAME, "\"x\"", "\"\""]),
        shard("NUL", r"a\u0000", &[NAME, "\"x\"", "\"a\\0\""]),
    ];
    cases.iter().for_each(|case| assert!(crate::refusal(case).contains(inside), "{}", case.name));
    cases
}

fn disagreements() -> Vec<Case> {
    let [(_, a), _] = shards();
    let index_text = br#"{"weight_map":{"x":"a.safetensors","z":"b.safetensors"}}"#;
    let twice = br#"{"weight_map":{"x":"a.safetensors","y":"b.safetensors"}}"#;
    let truncated = &a[..a.len() - 1];
    vec![
        folder("missing shard", &[(NAME, index_text), ("a.safetensors", &a)], &[NAME, "\"b.safetensors\"", "missing"]),
        shard("shard a folder", ".", &[NAME, "\"x\""]),
        index("absent tensor", r#"{"weight_map":{"q":"a.safetensors"}}"#, &[NAME, "\"q\"", "not in", "a.safetensors"]),
        index(
            "tensor in the other shard",
            r#"{"weight_map":{"z":"b.safetensors","x":"b.safetensors","y":"a.safetensors"}}"#,
            &[NAME, "\"x\"", "is not in shard", "b.safetensors"],
        ),
        folder(
            "duplicate across shards",
            &[(NAME, twice), ("a.safetensors", &a), ("b.safetensors", &a)],
            &["b.safetensors", "\"x\"", "also in shard a.safetensors"],
        ),
        folder(
            "duplicate without an index",
            &[("one.safetensors", &a), ("two.safetensors", &a)],
            &["two.safetensors", "\"x\"", "also in shard one.safetensors"],
        ),
        folder(
            "second shard truncated",
            &[("a.safetensors", &valid_safetensors()[2].1), ("b.safetensors", truncated)],
            &["b.safetensors", "\"y\"", "[1, 3]", "out of range", "2 bytes"],
        ),
        folder(
            "empty shard",
            &[("a.safetensors", &a), ("b.safetensors", b"")],
            &["b.safetensors", "the file is empty"],
        ),
    ]
}
