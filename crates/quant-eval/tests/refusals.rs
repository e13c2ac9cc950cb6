//! Is what cannot be evaluated refused, by name, and with what could be?

mod common;

use quant_eval::model::Model;
use serde_json::{Value, json};

/// A tiny model with its configuration changed.
fn changed(name: &str, change: impl Fn(&mut Value)) -> Result<(), quant::Error> {
    let folder = tempfile::tempdir().unwrap();
    common::copy(name, folder.path(), change);
    let model = Model::open(folder.path())?;
    (0..model.config().layer_count).try_for_each(|index| model.layer(index).map(|_| ()))
}

fn refuses(name: &str, change: impl Fn(&mut Value), words: &[&str]) {
    let error = changed(name, change).expect_err("the change makes it unusable");
    let text = error.to_string();
    assert!(error.is_refused_input() && !text.contains('\n'), "{text}");
    words.iter().for_each(|word| assert!(text.contains(word), "\"{text}\" without \"{word}\""));
}

#[test]
fn another_architecture_is_refused_and_the_supported_ones_are_named() {
    refuses("llama", |c| c["model_type"] = "mamba".into(), &["mamba", "not supported", "llama, mistral, qwen2, qwen3"]);
    refuses("llama", |c| c["model_type"] = "bert".into(), &["bert"]);
}

#[test]
fn sizes_that_do_not_fit_the_weights_are_refused() {
    let refuses = |change: fn(&mut Value), words: &[&str]| refuses("llama", change, words);
    refuses(|c| c["intermediate_size"] = 41.into(), &["gate_proj", "[40, 24]", "[41, 24]"]);
    refuses(|c| c["num_key_value_heads"] = 3.into(), &["4 query heads over 3"]);
    refuses(|c| c["num_hidden_layers"] = Value::Null, &["num_hidden_layers"]);
    refuses(|c| c["num_key_value_heads"] = 0.into(), &["num_key_value_heads", "whole number from 1"]);
    refuses(|c| c["hidden_size"] = (1u64 << 60).into(), &["hidden_size"]);
    refuses(|c| c["num_hidden_layers"] = 1.into(), &["model.layers.1", "1 layers only"]);
    refuses(|c| c["rms_norm_eps"] = "small".into(), &["rms_norm_eps"]);
}

/// Every field that changes what a model computes, set to what the forward pass does not do.
#[test]
fn a_configuration_that_means_another_computation_is_refused() {
    let cases: [(&str, &str, Value, &[&str]); 22] = [
        ("llama", "hidden_act", json!("gelu"), &["gelu", "silu"]),
        ("llama", "hidden_act", json!(3), &["hidden_act", "silu"]),
        ("llama", "partial_rotary_factor", json!(0.5), &["partial_rotary_factor", "0.5", "1 is supported"]),
        ("llama", "rope_parameters", json!({"rope_type": "yarn", "factor": 2.0}), &["yarn", "linear and llama3"]),
        ("llama", "rope_parameters", json!({"rope_type": "dynamic", "factor": 2.0}), &["dynamic"]),
        ("llama", "rope_parameters", json!({"rope_type": "linear"}), &["factor"]),
        ("llama", "rope_parameters", json!({"partial_rotary_factor": 0.25}), &["partial_rotary_factor", "0.25"]),
        ("llama", "rope_parameters", json!({"full_attention": {"rope_theta": 1e4}}), &["full_attention"]),
        ("llama", "rope_parameters", json!("yarn"), &["rope_parameters", "yarn"]),
        ("llama", "rope_parameters", json!({"rope_theta": -1.0}), &["theta"]),
        ("llama", "sliding_window", json!(6), &["sliding_window", "llama"]),
        ("llama", "layer_types", json!(["full_attention", "sliding_attention"]), &["sliding_attention"]),
        ("mistral", "layer_types", json!(["full_attention", "full_attention"]), &["layer_types", "mistral"]),
        ("qwen2", "layer_types", json!(["full_attention", "linear_attention"]), &["linear_attention"]),
        ("qwen2", "layer_types", json!(["full_attention"]), &["layer_types", "list of 2"]),
        ("qwen2", "layer_types", json!(["full_attention", "sliding_attention"]), &["sliding_attention", "no window"]),
        ("llama", "attention_bias", json!(true), &["q_proj.bias", "missing"]),
        ("llama", "mlp_bias", json!(true), &["gate_proj.bias", "missing"]),
        ("mistral", "attention_bias", json!(true), &["attention_bias", "false is supported"]),
        ("qwen3", "attention_bias", json!("yes"), &["attention_bias", "true or false"]),
        ("llama", "tie_word_embeddings", json!(false), &["lm_head.weight", "missing"]),
        ("mistral", "tie_word_embeddings", json!(true), &["lm_head.weight", "tie_word_embeddings"]),
    ];
    for (name, field, value, words) in cases {
        refuses(name, |config| config[field] = value.clone(), words);
        changed(name, |_| ()).expect("it is the change that is refused");
    }
}

/// A field of the same meaning, or of none, is no reason to refuse.
#[test]
fn a_configuration_that_says_the_same_in_other_words_is_taken() {
    for (name, field, value) in [
        ("llama", "partial_rotary_factor", json!(1.0)),
        ("llama", "head_dim", Value::Null),
        ("llama", "hidden_act", Value::Null),
        ("qwen2", "layer_types", Value::Null),
        ("qwen2-windowed", "layer_types", Value::Null),
        ("mistral", "layer_types", json!(["sliding_attention", "sliding_attention"])),
    ] {
        changed(name, |config| config[field] = value.clone()).unwrap_or_else(|e| panic!("{name}, {field}: {e}"));
    }
}

/// The architecture decides which tensors there are: too few and too many are both another computation.
#[test]
fn weights_of_another_architecture_are_refused() {
    refuses("llama", |c| c["model_type"] = "qwen3".into(), &["q_norm.weight", "missing"]);
    refuses("qwen3", |c| c["model_type"] = "qwen2".into(), &["_norm.weight", "no part of a layer of qwen2"]);
    let untyped = |c: &mut Value| {
        c["model_type"] = "llama".into();
        c["layer_types"] = Value::Null;
    };
    refuses("qwen2", untyped, &["_proj.bias", "is there"]);
}

#[test]
fn a_lone_safetensors_file_does_not_say_what_it_computes() {
    let error = Model::open(&common::folder("llama").join("model.safetensors")).unwrap_err();
    assert!(error.is_refused_input() && error.to_string().contains("config.json"), "{error}");
}
