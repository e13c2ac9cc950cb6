//! Tiny models made by transformers (xtask/python/make_eval_fixtures.py) and what it computed with them.
#![allow(dead_code, reason = "each test file uses its own part")]

use std::path::{Path, PathBuf};

use quant_eval::calibration::{self, Calibration};
use quant_eval::model::Model;
use quant_eval::text::Windows;

pub const NAMES: [&str; 5] = ["llama", "mistral", "qwen2", "qwen3", "qwen2-windowed"];

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

pub fn quiet(_: usize, _: usize) {}

/// Tokens enough for blocks of 8 channels: 12 windows of 24, no two of them alike.
pub fn tokens() -> Vec<u32> {
    (0..288u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 20) % 96).collect()
}

pub fn windows() -> Windows {
    Windows::new(&tokens(), 24, 24, None).unwrap()
}

pub fn calibrate(model: &Model, folder: &Path) -> Calibration {
    let place = folder.join("moments");
    calibration::run(model, &windows(), &place, false, &mut quiet).unwrap();
    Calibration::open(&place).unwrap()
}

/// A copy of a tiny model with its configuration changed.
pub fn copy(name: &str, place: &Path, change: impl Fn(&mut serde_json::Value)) {
    let source = folder(name);
    std::fs::create_dir_all(place).unwrap();
    std::fs::copy(source.join("model.safetensors"), place.join("model.safetensors")).unwrap();
    let mut config = serde_json::from_slice(&std::fs::read(source.join("config.json")).unwrap()).unwrap();
    change(&mut config);
    std::fs::write(place.join("config.json"), config.to_string()).unwrap();
}
