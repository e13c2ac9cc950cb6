//! Is what cannot be evaluated refused, by name, and with what could be?

mod common;

use quant_eval::model::Model;

/// The tiny Llama with its configuration changed.
fn changed(change: impl Fn(&mut serde_json::Value)) -> quant::Error {
    let folder = tempfile::tempdir().unwrap();
    let source = common::folder("llama");
    std::fs::copy(source.join("model.safetensors"), folder.path().join("model.safetensors")).unwrap();
    let mut config = serde_json::from_slice(&std::fs::read(source.join("config.json")).unwrap()).unwrap();
    change(&mut config);
    std::fs::write(folder.path().join("config.json"), config.to_string()).unwrap();
    let error = Model::open(folder.path()).map(|model| model.layer(0).map(|_| ())).and_then(|layer| layer);
    error.expect_err("the change makes it unusable")
}

fn refuses(change: impl Fn(&mut serde_json::Value), words: &[&str]) {
    let error = changed(change);
    assert!(error.is_refused_input(), "{error}");
    let text = error.to_string();
    words.iter().for_each(|word| assert!(text.contains(word), "\"{text}\" without \"{word}\""));
}

#[test]
fn another_architecture_is_refused_and_the_supported_ones_are_named() {
    refuses(|c| c["model_type"] = "mamba".into(), &["mamba", "not supported", "llama, mistral, qwen2, qwen3"]);
    refuses(|c| c["hidden_act"] = "gelu".into(), &["gelu", "silu"]);
    refuses(|c| c["rope_parameters"]["rope_type"] = "yarn".into(), &["yarn", "linear and llama3"]);
}

#[test]
fn sizes_that_do_not_fit_the_weights_are_refused() {
    refuses(|c| c["intermediate_size"] = 41.into(), &["gate_proj", "[40, 24]", "[41, 24]"]);
    refuses(|c| c["num_key_value_heads"] = 3.into(), &["4 query heads over 3"]);
    refuses(|c| c["num_hidden_layers"] = serde_json::Value::Null, &["num_hidden_layers"]);
}

#[test]
fn a_lone_safetensors_file_does_not_say_what_it_computes() {
    let error = Model::open(&common::folder("llama").join("model.safetensors")).unwrap_err();
    assert!(error.is_refused_input() && error.to_string().contains("config.json"), "{error}");
}

#[test]
fn an_encoder_is_refused() {
    let error = changed(|c| c["model_type"] = "bert".into());
    assert!(error.to_string().contains("bert"), "{error}");
}
