//! What stands in for a real model where none can be fetched?
//!
//! Weights with the features that make quantizing real ones hard: a scale of its own for every row, a mixture of a normal
//! and a heavy-tailed (Student-t) distribution, and a few input channels that are several times larger than the others.

use super::Model;
use anyhow::{Context, Result};
use half::bf16;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use rand_distr::{Distribution, Normal, StudentT};
use safetensors::tensor::{Dtype, TensorView};
use serde_json::json;
use std::path::Path;

const SEED: u64 = 2026;
const HIDDEN: usize = 768;
const FEED_FORWARD: usize = 2048;
const KEY_VALUE: usize = 256;
const LAYERS: usize = 4;
const VOCABULARY: usize = 2048;

/// Share of the samples that come from the heavy-tailed part.
const HEAVY_SHARE: f64 = 0.1;
/// Share of the input channels that are outliers, and by how much.
const OUTLIER_SHARE: f64 = 0.004;
const OUTLIER_GAIN: f32 = 6.0;

/// A folder as Hugging Face lays it out, with bf16 weights.
pub fn model(cache: &Path) -> Result<Model> {
    let folder = cache.join("generated");
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let mut random = SmallRng::seed_from_u64(SEED);
    let tensors: Vec<(String, Vec<usize>, Vec<u8>)> = shapes()
        .into_iter()
        .map(|(name, shape)| {
            let samples = if shape.len() == 1 { vec![1.0; shape[0]] } else { matrix(&mut random, shape[0], shape[1]) };
            let bytes = samples.iter().flat_map(|&x| bf16::from_f32(x).to_le_bytes()).collect();
            (name, shape, bytes)
        })
        .collect();
    let views = tensors.iter().map(|(name, shape, bytes)| {
        let view = TensorView::new(Dtype::BF16, shape.clone(), bytes).expect("bytes were made for this shape");
        (name.as_str(), view)
    });
    let metadata = Some([("format".to_owned(), "pt".to_owned())].into());
    let path = folder.join("model.safetensors");
    safetensors::serialize_to_file(views, metadata, &path)
        .with_context(|| format!("cannot write {}", path.display()))?;
    std::fs::write(folder.join("config.json"), format!("{:#}\n", config())).context("cannot write config.json")?;
    let weight_count: usize = tensors.iter().map(|(_, shape, _)| shape.iter().product::<usize>()).sum();
    let description = format!("{:.1} M generated weights, {LAYERS} layers, bf16", weight_count as f64 / 1e6);
    Ok(Model { description, path: folder })
}

/// Names and shapes of a Llama.
fn shapes() -> Vec<(String, Vec<usize>)> {
    let mut list = vec![
        ("model.embed_tokens.weight".to_owned(), vec![VOCABULARY, HIDDEN]),
        ("model.norm.weight".to_owned(), vec![HIDDEN]),
    ];
    for layer in 0..LAYERS {
        let of_layer = [
            ("input_layernorm", vec![HIDDEN]),
            ("post_attention_layernorm", vec![HIDDEN]),
            ("self_attn.q_proj", vec![HIDDEN, HIDDEN]),
            ("self_attn.k_proj", vec![KEY_VALUE, HIDDEN]),
            ("self_attn.v_proj", vec![KEY_VALUE, HIDDEN]),
            ("self_attn.o_proj", vec![HIDDEN, HIDDEN]),
            ("mlp.gate_proj", vec![FEED_FORWARD, HIDDEN]),
            ("mlp.up_proj", vec![FEED_FORWARD, HIDDEN]),
            ("mlp.down_proj", vec![HIDDEN, FEED_FORWARD]),
        ];
        list.extend(of_layer.map(|(name, shape)| (format!("model.layers.{layer}.{name}.weight"), shape)));
    }
    list
}

fn config() -> serde_json::Value {
    json!({
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_act": "silu",
        "hidden_size": HIDDEN,
        "intermediate_size": FEED_FORWARD,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HIDDEN / 64,
        "num_key_value_heads": KEY_VALUE / 64,
        "head_dim": 64,
        "vocab_size": VOCABULARY,
        "max_position_embeddings": 2048,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "tie_word_embeddings": true,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "torch_dtype": "bfloat16"
    })
}

fn matrix(random: &mut SmallRng, rows: usize, columns: usize) -> Vec<f32> {
    let normal = Normal::new(0.0f32, 1.0).expect("1 is a standard deviation");
    let heavy = StudentT::new(4.0f32).expect("4 degrees of freedom are positive");
    let gain = |random: &mut SmallRng| if random.random_bool(OUTLIER_SHARE) { OUTLIER_GAIN } else { 1.0 };
    let gains: Vec<f32> = (0..columns).map(|_| gain(random)).collect();
    let mut samples = Vec::with_capacity(rows * columns);
    for _ in 0..rows {
        let row_scale = 0.02 * (0.3 * normal.sample(random)).exp();
        for gain in &gains {
            let heavy_part = random.random_bool(HEAVY_SHARE);
            let sample = if heavy_part { 2.0 * heavy.sample(random) } else { normal.sample(random) };
            samples.push(row_scale * gain * sample);
        }
    }
    samples
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_weights_have_heavy_tails_and_are_the_same_each_time() {
        let samples = matrix(&mut SmallRng::seed_from_u64(SEED), 64, 512);
        let moment = |p: i32| samples.iter().map(|&x| f64::from(x).powi(p)).sum::<f64>() / samples.len() as f64;
        assert!(moment(4) / moment(2).powi(2) > 5.0, "kurtosis of a normal distribution is 3");
        assert_eq!(samples, matrix(&mut SmallRng::seed_from_u64(SEED), 64, 512));
    }

    #[test]
    fn the_folder_is_a_readable_checkpoint() {
        let cache = tempfile::tempdir().expect("a temporary folder");
        let model = model(cache.path()).expect("a writable folder");
        let bytes = std::fs::read(model.path.join("model.safetensors")).expect("the file was written");
        let tensors = safetensors::SafeTensors::deserialize(&bytes).expect("the file is well formed");
        assert_eq!(tensors.len(), 2 + 9 * LAYERS);
        let down = tensors.tensor("model.layers.3.mlp.down_proj.weight").expect("the tensor was written");
        assert_eq!((down.dtype(), down.shape()), (Dtype::BF16, &[HIDDEN, FEED_FORWARD][..]));
    }
}
