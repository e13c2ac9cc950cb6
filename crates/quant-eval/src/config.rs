//! Which decoder is it, and how large are its parts? From `config.json` or a GGUF header.

use std::path::Path;

use quant::Error;
use quant::checkpoint::Checkpoint;
use serde::Serialize;

use crate::refused;

mod gguf;
mod json;

/// The architectures whose forward pass is here, as `config.json` names them.
pub const SUPPORTED: [&str; 4] = ["llama", "mistral", "qwen2", "qwen3"];

/// Beyond any size of a real decoder, and small enough that no product of two overflows.
const SIZE_MAX: u64 = 1 << 24;

/// Sizes and constants of a decoder.
#[derive(Clone, Debug, PartialEq, Serialize)]
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
    /// For each layer the tokens that a token can look back at, itself included; none for all.
    pub sliding_windows: Vec<Option<usize>>,
    /// Whether the embedding is the output head, too; not known of GGUF, where a head that is absent says so.
    pub tied_head: Option<bool>,
    /// Which linear layers have a bias.
    pub biases: Biases,
}

/// Which linear layers have a bias; not known of GGUF, where those that are there count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Biases {
    /// q, k and v.
    pub attention: Option<bool>,
    /// o.
    pub output: Option<bool>,
    /// gate, up and down.
    pub feed_forward: Option<bool>,
}

/// Rotary position embedding (Su et al. 2021).
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Rope {
    /// θ: frequencies are θ^(−2i/width).
    pub theta: f64,
    /// How frequencies are changed for long contexts.
    pub scaling: Scaling,
}

/// Changes of the frequencies.
#[derive(Clone, Debug, PartialEq, Serialize)]
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
            (Some(config), _) => json::read(config, checkpoint.path()),
            (None, Some(metadata)) => gguf::read(metadata, checkpoint.path()),
            (None, None) => Err(refused(format!(
                "{}: a lone safetensors file does not say what it computes; give the folder with its config.json",
                checkpoint.path().display()
            ))),
        }
    }

    /// Whether each query and key head has a norm of its own.
    pub fn has_head_norms(&self) -> bool {
        self.architecture == "qwen3"
    }
}

fn check_architecture(name: &str, path: &Path) -> Result<(), Error> {
    if SUPPORTED.contains(&name) {
        return Ok(());
    }
    let known = SUPPORTED.join(", ");
    Err(refused(format!("{}: architecture \"{name}\" is not supported; supported are {known}", path.display())))
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
        if !(self.rope.theta.is_finite() && self.rope.theta > 0.0) {
            return refuse(format!("a rope theta of {}; a finite number above 0 expected", self.rope.theta));
        }
        Ok(self)
    }
}
