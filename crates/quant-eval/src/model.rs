//! A decoder that is read layer by layer: embedding, layers, likelihoods.

use std::path::Path;

use quant::Error;
use quant::decoded::DecodedCheckpoint;
use rayon::prelude::*;

use crate::config::{Config, Scaling};
use crate::layer::{Input, Layer};
use crate::rope::Angles;
use crate::text::Windows;
use crate::weights::Weights;
use crate::{fingerprint, ops, refused};

/// Tokens that go through a layer at a time.
const BATCH: usize = 2048;
/// Tokens whose logits are held at a time, for each thread.
const LOGIT_ROWS: usize = 64;

/// An open model. Only the embedding is kept; layers are read when they are asked for.
#[derive(Debug)]
pub struct Model {
    config: Config,
    weights: Weights,
    embedding: Vec<f32>,
}

impl Model {
    /// Opens a folder with config.json and safetensors (dense, native or bitsandbytes), or a GGUF file.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let checkpoint = DecodedCheckpoint::open(path)?;
        let mut config = Config::of(checkpoint.checkpoint())?;
        let weights = Weights::new(checkpoint, &config)?;
        if let Some(divisors) = weights.rope_divisors(&config)? {
            config.rope.scaling = Scaling::Divisors(divisors);
        }
        weights.check_names(&config)?;
        let embedding = weights.embedding(&config)?;
        weights.check_head(&config, &embedding)?;
        Ok(Self { config, weights, embedding })
    }

    /// Sizes and constants.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The checkpoint behind it.
    pub fn checkpoint(&self) -> &DecodedCheckpoint {
        self.weights.checkpoint()
    }

    /// Tells it from models of another configuration or of other weights, wherever its files lie.
    pub fn fingerprint(&self) -> Result<String, Error> {
        fingerprint::of(self.checkpoint().checkpoint(), &self.config)
    }

    /// Entries of the vocabulary.
    pub fn vocabulary(&self) -> usize {
        self.embedding.len() / self.config.hidden
    }

    /// Layer `index`, read from the checkpoint.
    pub fn layer(&self, index: usize) -> Result<Layer, Error> {
        self.weights.layer(&self.config, index)
    }

    /// The checkpoint's name of a linear layer's weight, as in Hugging Face folders.
    pub fn linear_name(index: usize, which: &str) -> String {
        Weights::linear_name(index, which)
    }

    /// Refuses tokens outside the vocabulary.
    pub fn check_tokens(&self, tokens: &[u32]) -> Result<(), Error> {
        let entries = self.vocabulary();
        match tokens.iter().find(|token| **token as usize >= entries) {
            None => Ok(()),
            Some(token) => Err(refused(format!("token {token} is not in the model's vocabulary of {entries} entries"))),
        }
    }

    /// The residual stream before the first layer, `tokens × hidden`; refuses tokens outside the vocabulary.
    pub fn embed(&self, tokens: &[u32]) -> Result<Vec<f32>, Error> {
        self.check_tokens(tokens)?;
        let hidden = self.config.hidden;
        let row = |token: &u32| &self.embedding[*token as usize * hidden..][..hidden];
        Ok(tokens.iter().flat_map(row).copied().collect())
    }

    /// Sends the residual stream of whole windows through one layer, some windows at a time.
    pub fn advance(&self, layer: &Layer, hidden: &mut [f32], window: usize, tap: &mut dyn FnMut(Input, &mut [f32])) {
        let angles = Angles::new(&self.config.rope, self.config.head_width, window);
        let batch = (BATCH / window).max(1) * window * self.config.hidden;
        for hidden in hidden.chunks_mut(batch) {
            layer.forward(&self.config, &angles, hidden, window, tap);
        }
    }

    /// −ln p of every token after the first of each window, from the stream after the last layer:
    /// `windows × (window − 1)`, in nats.
    pub fn negative_log_likelihoods(&self, hidden: &[f32], windows: &Windows) -> Result<Vec<f64>, Error> {
        let width = self.config.hidden;
        let norm = self.weights.final_norm(&self.config)?;
        let head = self.weights.head(&self.config, self.vocabulary())?;
        let head = head.as_deref().unwrap_or(&self.embedding);
        let mut hidden = hidden.to_vec();
        ops::rms_norm(&mut hidden, &norm, self.config.norm_epsilon);
        let length = windows.context();
        let next: Vec<Option<u32>> =
            windows.iter().flat_map(|window| (0..length).map(move |i| window.get(i + 1).copied())).collect();
        let score = |(x, next): (&[f32], &[Option<u32>])| {
            let logits = ops::product(x, head, width);
            let one = |(row, next): (&[f32], &Option<u32>)| {
                next.map(|token| ops::log_sum_exp(row) - f64::from(row[token as usize]))
            };
            logits.chunks_exact(self.vocabulary()).zip(next).filter_map(one).collect::<Vec<f64>>()
        };
        let parts: Vec<Vec<f64>> =
            hidden.par_chunks(LOGIT_ROWS * width).zip(next.par_chunks(LOGIT_ROWS)).map(score).collect();
        Ok(parts.concat())
    }

    /// The logits of the last layer's stream: `tokens × vocabulary`. For short inputs.
    pub fn logits(&self, hidden: &[f32]) -> Result<Vec<f32>, Error> {
        let norm = self.weights.final_norm(&self.config)?;
        let head = self.weights.head(&self.config, self.vocabulary())?;
        let mut hidden = hidden.to_vec();
        ops::rms_norm(&mut hidden, &norm, self.config.norm_epsilon);
        Ok(ops::product(&hidden, head.as_deref().unwrap_or(&self.embedding), self.config.hidden))
    }
}
