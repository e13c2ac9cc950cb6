//! Paths that hold no checkpoint.

use crate::samples::{GGUF, safetensors, shards, valid_gguf};
use crate::{Case, file, folder};

pub fn cases() -> Vec<Case> {
    let gguf = valid_gguf().remove(0).1;
    let [(_, shard), _] = shards();
    vec![
        Case { name: "missing file", files: vec![], open: "no.safetensors", says: &["no.safetensors", "no such file"] },
        Case { name: "missing folder", files: vec![], open: "no/model", says: &["model", "no such file or folder"] },
        file("empty safetensors", "m.safetensors", vec![], &["m.safetensors", "the file is empty"]),
        file("empty gguf", "m.gguf", vec![], &["m.gguf", "the file is empty"]),
        file("config alone", "config.json", b"{}".to_vec(), &["config.json", "no checkpoint", "folder"]),
        file("pickle by content", "m.weights", b"PK\x03\x04zip".to_vec(), &["m.weights", "pickled", "safetensors"]),
        file("pickle by name", "pytorch_model.bin", vec![0x80; 64], &["pytorch_model.bin", "pickled", "safetensors"]),
        folder("empty folder", &[], &["no checkpoint", "*.safetensors", "*.gguf"]),
        folder("folder with a tokenizer only", &[("tokenizer.json", b"{}")], &["no checkpoint"]),
        folder(
            "pickle-only folder",
            &[("config.json", b"{}"), ("pytorch_model.bin", b"PK\x03\x04")],
            &["only pickled weights (pytorch_model.bin)", "safetensors are needed"],
        ),
        folder("two ggufs", &[("b.gguf", &gguf), ("a.gguf", &gguf)], &["2 GGUF files (a.gguf, b.gguf", "name one"]),
        folder(
            "bad config",
            &[("config.json", b"{,}"), ("model.safetensors", &shard)],
            &["config.json", "not valid JSON", "line 1 column 2"],
        ),
        folder(
            "bad shard in a folder",
            &[("model.safetensors", &safetensors("[]", &[]))],
            &["model.safetensors", "JSON"],
        ),
        folder("bad gguf in a folder", &[("m.gguf", &GGUF[..3])], &["m.gguf", "magic", "truncated"]),
    ]
}
