//! Does a folder written as GGUF compute what it computed? Tiny random models of every supported architecture.

mod common;

use std::path::Path;

use common::{NAMES, expected, folder};
use quant::decoded::DecodedCheckpoint;
use quant::device::Device;
use quant::{checkpoint::Checkpoint, dequantize};
use quant_core::tensor::Dtype;
use quant_eval::model::Model;
use serde_json::{Value, json};

/// The model called `name` with a byte-level tokenizer of 90 tokens beside it.
fn with_tokenizer(name: &str, to: &Path) {
    std::fs::create_dir(to).unwrap();
    for file in ["config.json", "model.safetensors"] {
        std::fs::copy(folder(name).join(file), to.join(file)).unwrap();
    }
    let vocabulary: serde_json::Map<String, Value> = (0..90).map(|i| (format!("t{i}"), json!(i))).collect();
    let tokenizer = json!({
        "added_tokens": [{"id": 3, "content": "<|end|>", "special": true}],
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "use_regex": true},
        "model": {"type": "BPE", "vocab": vocabulary, "merges": ["t 1", "t 2"]},
    });
    std::fs::write(to.join("tokenizer.json"), tokenizer.to_string()).unwrap();
    std::fs::write(to.join("tokenizer_config.json"), json!({"eos_token": "<|end|>"}).to_string()).unwrap();
}

fn logits(path: &Path, tokens: &[u32]) -> Vec<f32> {
    let model = Model::open(path).unwrap();
    let mut hidden = model.embed(tokens).unwrap();
    for index in 0..model.config().layer_count {
        let layer = model.layer(index).unwrap();
        model.advance(&layer, &mut hidden, tokens.len(), &mut |_, _| ());
    }
    model.logits(&hidden).unwrap()
}

#[test]
fn a_folder_written_as_gguf_has_the_same_logits() {
    let place = tempfile::tempdir().unwrap();
    let device = Device::cpu(Some(2)).unwrap();
    for name in NAMES {
        let (input, output) = (place.path().join(name), place.path().join(format!("{name}.gguf")));
        with_tokenizer(name, &input);
        let opened = DecodedCheckpoint::open(&input).unwrap();
        dequantize::run(&opened, &output, Some(Dtype::F32), false, &device, &|_| {}).unwrap();
        let tokens = expected(name).tokens;
        // Within the window of the mistral, which a llama graph does not know.
        let tokens = &tokens[..tokens.len().min(6)];
        let (found, exact) = (logits(&output, tokens), logits(&input, tokens));
        let scale = exact.iter().fold(0.0, |m: f32, x| m.max(x.abs()));
        // Divisors of frequencies are f32 in the file.
        let near = |(a, b): (&f32, &f32)| (a - b).abs() < 1e-5 * scale;
        assert!(found.iter().zip(&exact).all(near), "{name}: {found:?} instead of {exact:?}");
    }
}

#[test]
fn header_and_tokenizer_are_llama_cpps() {
    let place = tempfile::tempdir().unwrap();
    let (input, output) = (place.path().join("tiny"), place.path().join("tiny.gguf"));
    with_tokenizer("llama", &input);
    let opened = DecodedCheckpoint::open(&input).unwrap();
    dequantize::run(&opened, &output, Some(Dtype::Bf16), false, &Device::cpu(Some(2)).unwrap(), &|_| {}).unwrap();
    let written = Checkpoint::open(&output).unwrap();
    let header = written.gguf_metadata().unwrap();
    let text = |key: &str| {
        let value = header.iter().find(|(name, _)| name == key).map(|(_, value)| value);
        value.map_or("absent".into(), |value| format!("{value:?}"))
    };
    assert_eq!(text("general.architecture"), "String(\"llama\")");
    assert_eq!(text("general.file_type"), "U32(32)");
    assert_eq!(text("tokenizer.ggml.pre"), "String(\"gpt-2\")");
    assert_eq!(text("tokenizer.ggml.eos_token_id"), "U32(3)");
    assert_eq!(text("tokenizer.ggml.add_bos_token"), "Bool(false)");
    assert!(text("tokenizer.ggml.tokens").contains("\"t2\", \"<|end|>\", \"t4\""), "{}", text("tokenizer.ggml.tokens"));
    assert!(text("tokenizer.ggml.tokens").ends_with("\"[PAD95]\"]))"), "{}", text("tokenizer.ggml.tokens"));
    assert_eq!(text("tokenizer.ggml.merges"), "Array(String([\"t 1\", \"t 2\"]))");
    for tensor in written.tensors() {
        let expected = if tensor.shape.len() == 1 { "F32" } else { "BF16" };
        assert_eq!(tensor.dtype.name(), expected, "{}", tensor.name);
    }
}

#[test]
fn what_llama_cpp_does_not_know_is_refused_in_a_line() {
    let place = tempfile::tempdir().unwrap();
    let output = place.path().join("out.gguf");
    let refused = |folder: &str, change: &dyn Fn(&Path), part: &str| {
        let input = place.path().join(folder);
        with_tokenizer("llama", &input);
        change(&input);
        let opened = DecodedCheckpoint::open(&input).unwrap();
        let device = Device::cpu(Some(1)).unwrap();
        let error = dequantize::run(&opened, &output, None, false, &device, &|_| {}).unwrap_err();
        assert!(error.is_refused_input() && error.to_string().contains(part), "{error}");
        assert!(!output.exists());
    };
    let edit = |file: &'static str, from: &'static str, to: &'static str| {
        move |folder: &Path| {
            let text = std::fs::read_to_string(folder.join(file)).unwrap();
            assert!(text.contains(from), "{text}");
            std::fs::write(folder.join(file), text.replace(from, to)).unwrap();
        }
    };
    refused("arch", &edit("config.json", "\"llama\"", "\"gpt_neox\""), "llama, mistral, qwen2, qwen3 can");
    refused(
        "split",
        &edit("tokenizer.json", "\"ByteLevel\"", "\"Metaspace\""),
        "GPT-2, SmolLM, Llama 3 or Qwen2 does can",
    );
    refused("json", &edit("tokenizer.json", "{", ""), "tokenizer.json: not JSON");
    refused("none", &|folder| std::fs::remove_file(folder.join("tokenizer.json")).unwrap(), "put tokenizer.json into");
    refused("many", &edit("tokenizer.json", "\"id\":3", "\"id\":96"), "the embedding has 96 entries");
}
