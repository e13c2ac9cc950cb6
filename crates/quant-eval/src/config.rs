//! Which decoder is it, and how large are its parts? From `config.json` or a GGUF header.

use std::path::Path;

use quant::Error;
use quant::checkpoint::Checkpoint;
use serde_json::Value;

use crate::refused;

/// The architectures whose forward pass is here, as `config.json` names them.
pub const SUPPORTED: [&str; 4] = ["llama", "mistral", "qwen2", "qwen3"];

/// Sizes and constants of a decoder.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// One of [`SUPPORTED`]; SmolLM2 calls itself llama.
    pub architecture: String,
    /// Decoder layers.
    pub layer_count: usize,
    /// Channels of the residual stream.
    pub hidden: usize,
    /// Channels between the two halves of the feed-forward block.
    pub feed_forward: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads; query heads share them in equal groups.
    pub key_heads: usize,
    /// Channels of a head.
    pub head_width: usize,
    /// ε of RMSNorm.
    pub norm_epsilon: f32,
    /// Rotary position embedding.
    pub rope: Rope,
    /// Tokens that a token can look back at, itself included; none for all.
    pub sliding_window: Option<usize>,
}

/// Rotary position embedding (Su et al. 2021).
#[derive(Clone, Debug, PartialEq)]
pub struct Rope {
    /// θ: frequencies are θ^(−2i/width).
    pub theta: f64,
    /// How frequencies are changed for long contexts.
    pub scaling: Scaling,
}

/// Changes of the frequencies.
#[derive(Clone, Debug, PartialEq)]
pub enum Scaling {
    /// None.
    None,
    /// All divided by a factor.
    Linear(f64),
    /// Llama 3.1: low frequencies divided by a factor, high ones kept, a ramp between.
    Llama3 {
        /// Divisor of low frequencies.
        factor: f64,
        /// Wavelengths beyond `original_context/low` are low frequencies.
        low: f64,
        /// Wavelengths below `original_context/high` are high frequencies.
        high: f64,
        /// Context before the change.
        original_context: f64,
    },
    /// A divisor for each frequency, as GGUF stores Llama 3.1's in `rope_freqs.weight`.
    Divisors(Vec<f32>),
}

impl Config {
    /// Reads what the checkpoint says of itself; refuses an architecture whose forward pass is not here.
    pub fn of(checkpoint: &Checkpoint) -> Result<Self, Error> {
        match (checkpoint.config(), checkpoint.gguf_metadata()) {
            (Some(config), _) => from_json(config, checkpoint.path()),
            (None, Some(metadata)) => from_gguf(metadata, checkpoint.path()),
            (None, None) => Err(refused(format!(
                "{}: a lone safetensors file does not say what it computes; give the folder with its config.json",
                checkpoint.path().display()
            ))),
        }
    }
}

fn check_architecture(name: &str, path: &Path) -> Result<(), Error> {
    if SUPPORTED.contains(&name) {
        return Ok(());
    }
    let known = SUPPORTED.join(", ");
    Err(refused(format!("{}: architecture \"{name}\" is not supported; supported are {known}", path.display())))
}

fn from_json(config: &Value, path: &Path) -> Result<Config, Error> {
    let architecture = config["model_type"].as_str().unwrap_or("unnamed");
    check_architecture(architecture, path)?;
    let missing = |key: &str| refused(format!("{}: config.json has no usable \"{key}\"", path.display()));
    let number = |key: &str| config[key].as_u64().filter(|n| *n > 0).map(|n| n as usize).ok_or_else(|| missing(key));
    if let Some(activation) = config["hidden_act"].as_str().filter(|a| *a != "silu") {
        return Err(refused(format!("{}: activation \"{activation}\" is not supported; silu is", path.display())));
    }
    let (hidden, heads) = (number("hidden_size")?, number("num_attention_heads")?);
    let key_heads = number("num_key_value_heads").unwrap_or(heads);
    // Qwen2 has a window that is switched off unless it says otherwise.
    let windowed = config["use_sliding_window"].as_bool().unwrap_or(architecture == "mistral");
    Ok(Config {
        architecture: architecture.into(),
        layer_count: number("num_hidden_layers")?,
        hidden,
        feed_forward: number("intermediate_size")?,
        heads,
        key_heads,
        head_width: number("head_dim").unwrap_or(hidden / heads),
        norm_epsilon: config["rms_norm_eps"].as_f64().ok_or_else(|| missing("rms_norm_eps"))? as f32,
        rope: rope_from_json(config, path)?,
        sliding_window: config["sliding_window"].as_u64().filter(|_| windowed).map(|n| n as usize),
    })
    .and_then(|config| config.checked(path))
}

/// θ and scaling stand at the top (`rope_theta`, `rope_scaling`) or, since transformers 5, under `rope_parameters`.
fn rope_from_json(config: &Value, path: &Path) -> Result<Rope, Error> {
    let scaling = [&config["rope_parameters"], &config["rope_scaling"]].into_iter().find(|v| v.is_object());
    let none = Value::Null;
    let scaling = scaling.unwrap_or(&none);
    let theta = scaling["rope_theta"].as_f64().or(config["rope_theta"].as_f64()).unwrap_or(10_000.0);
    let number = |key: &str| {
        let missing = || refused(format!("{}: the rope scaling in config.json has no \"{key}\"", path.display()));
        scaling[key].as_f64().ok_or_else(missing)
    };
    let kind = scaling["rope_type"].as_str().or(scaling["type"].as_str()).unwrap_or("default");
    let scaling = match kind {
        "default" => Scaling::None,
        "linear" => Scaling::Linear(number("factor")?),
        "llama3" => Scaling::Llama3 {
            factor: number("factor")?,
            low: number("low_freq_factor")?,
            high: number("high_freq_factor")?,
            original_context: number("original_max_position_embeddings")?,
        },
        other => {
            let path = path.display();
            return Err(refused(format!("{path}: rope scaling \"{other}\" is not supported; linear and llama3 are")));
        }
    };
    Ok(Rope { theta, scaling })
}

fn from_gguf(metadata: &[(String, quant_gguf::Value)], path: &Path) -> Result<Config, Error> {
    let value = |key: &str| metadata.iter().find(|(name, _)| name == key).map(|(_, value)| value);
    let architecture = value("general.architecture").and_then(|v| v.as_str()).unwrap_or("unnamed");
    check_architecture(architecture, path)?;
    let key = |name: &str| format!("{architecture}.{name}");
    let missing = |name: &str| refused(format!("{}: the header has no usable \"{}\"", path.display(), key(name)));
    let optional = |name: &str| value(&key(name)).and_then(|v| v.as_u64()).filter(|n| *n > 0).map(|n| n as usize);
    let number = |name: &str| optional(name).ok_or_else(|| missing(name));
    let float = |name: &str| value(&key(name)).and_then(|v| v.as_f64());
    let (hidden, heads) = (number("embedding_length")?, number("attention.head_count")?);
    let scaling = match (value(&key("rope.scaling.type")).and_then(|v| v.as_str()), float("rope.scaling.factor")) {
        (None | Some("none"), _) => Scaling::None,
        (Some("linear"), Some(factor)) => Scaling::Linear(factor),
        (Some(other), _) => {
            return Err(refused(format!("{}: rope scaling \"{other}\" is not supported; linear is", path.display())));
        }
    };
    let config = Config {
        architecture: architecture.into(),
        layer_count: number("block_count")?,
        hidden,
        feed_forward: number("feed_forward_length")?,
        heads,
        key_heads: optional("attention.head_count_kv").unwrap_or(heads),
        head_width: optional("attention.key_length").unwrap_or(hidden / heads),
        norm_epsilon: float("attention.layer_norm_rms_epsilon")
            .ok_or_else(|| missing("attention.layer_norm_rms_epsilon"))? as f32,
        rope: Rope { theta: float("rope.freq_base").unwrap_or(10_000.0), scaling },
        sliding_window: optional("attention.sliding_window"),
    };
    config.checked(path)
}

impl Config {
    fn checked(self, path: &Path) -> Result<Self, Error> {
        let refuse = |why: String| Err(refused(format!("{}: {why}", path.display())));
        if !self.heads.is_multiple_of(self.key_heads) {
            return refuse(format!(
                "{} query heads over {} key heads; a multiple expected",
                self.heads, self.key_heads
            ));
        }
        if !self.head_width.is_multiple_of(2) {
            return refuse(format!("heads of {} channels; an even number expected", self.head_width));
        }
        Ok(self)
    }
}
