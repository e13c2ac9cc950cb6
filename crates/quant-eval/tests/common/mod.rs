//! Tiny models made by transformers (xtask/python/make_eval_fixtures.py) and what it computed with them.
#![allow(dead_code, reason = "each test file uses its own part")]

use std::path::PathBuf;

use quant_eval::model::Model;
use quant_eval::text::Windows;

pub const NAMES: [&str; 4] = ["llama", "mistral", "qwen2", "qwen3"];

pub fn folder(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

#[derive(serde::Deserialize)]
pub struct Expected {
    pub tokens: Vec<u32>,
    pub log_likelihoods: Vec<f64>,
    /// Of the last token.
    pub logits: Vec<Vec<f64>>,
}

pub fn expected(name: &str) -> Expected {
    let text = std::fs::read_to_string(folder(name).join("expected.json")).expect("committed");
    serde_json::from_str(&text).expect("JSON")
}

pub fn open(name: &str) -> (Model, Windows, Expected) {
    let expected = expected(name);
    let model = Model::open(&folder(name)).expect("a supported model");
    let length = expected.tokens.len();
    (model, Windows::new(&expected.tokens, length, length, None).expect("one window"), expected)
}
