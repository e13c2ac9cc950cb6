//! Where does a checkpoint keep each weight? Hugging Face's names, or GGUF's with its order of query and key rows.

use quant::Error;
use quant::checkpoint::Source;
use quant::decoded::DecodedCheckpoint;
use quant::device::Device;
use quant_core::tensor::Dtype;

use crate::config::Config;
use crate::layer::{Input, Layer, Linear};
use crate::refused;

/// Hugging Face's name of each linear layer of a decoder layer, and GGUF's.
const LINEARS: [(&str, &str, &str); 7] = [
    ("q_proj", "self_attn.q_proj", "attn_q"),
    ("k_proj", "self_attn.k_proj", "attn_k"),
    ("v_proj", "self_attn.v_proj", "attn_v"),
    ("o_proj", "self_attn.o_proj", "attn_output"),
    ("gate_proj", "mlp.gate_proj", "ffn_gate"),
    ("up_proj", "mlp.up_proj", "ffn_up"),
    ("down_proj", "mlp.down_proj", "ffn_down"),
];

/// The names, in Hugging Face folders and in GGUF files, of the linear layers of layer `index` that read at `input`.
pub(crate) fn linear_names(index: usize, input: Input) -> impl Iterator<Item = String> {
    let range = match input {
        Input::Attention => 0..3,
        Input::Output => 3..4,
        Input::FeedForward => 4..6,
        Input::Down => 6..7,
    };
    let both = move |&(_, place, gguf): &(&str, &str, &str)| {
        [format!("model.layers.{index}.{place}.weight"), format!("blk.{index}.{gguf}.weight")]
    };
    LINEARS[range].iter().flat_map(both)
}

/// Reads the tensors of one decoder as f32.
#[derive(Debug)]
pub struct Weights {
    checkpoint: DecodedCheckpoint,
    device: Device,
    is_gguf: bool,
    /// Whether GGUF's query and key rows lie in pairs, which only the llama converter does.
    is_interleaved: bool,
}

impl Weights {
    pub fn new(checkpoint: DecodedCheckpoint, config: &Config) -> Result<Self, Error> {
        let is_gguf = checkpoint.checkpoint().source() == Source::Gguf;
        let is_interleaved = is_gguf && config.architecture == "llama";
        Ok(Self { checkpoint, device: Device::cpu(None)?, is_gguf, is_interleaved })
    }

    pub fn checkpoint(&self) -> &DecodedCheckpoint {
        &self.checkpoint
    }

    /// The name in this checkpoint of tensor `hugging_face` or `gguf`.
    fn name<'a>(&self, hugging_face: &'a str, gguf: &'a str) -> &'a str {
        if self.is_gguf { gguf } else { hugging_face }
    }

    /// A tensor that may be absent, with its shape checked.
    pub fn optional(&self, name: &str, shape: &[usize]) -> Result<Option<Vec<f32>>, Error> {
        let Some(index) = self.checkpoint.tensors().iter().position(|t| t.name == name) else { return Ok(None) };
        let refuse = |why: String| {
            let path = self.checkpoint.checkpoint().path().display();
            Err(refused(format!("{path}: tensor \"{name}\": {why}")))
        };
        let tensor = &self.checkpoint.tensors()[index];
        if tensor.shape != shape {
            return refuse(format!("shape {:?}; the configuration asks for {shape:?}", tensor.shape));
        }
        if tensor.decoded_dtype.is_none() {
            return refuse(format!("dtype {} is no float", tensor.dtype));
        }
        let bytes = self.checkpoint.read(index, Dtype::F32, &self.device)?;
        Ok(Some(bytemuck::cast_slice::<u8, f32>(&bytes).to_vec()))
    }

    /// A tensor that must be there.
    pub fn tensor(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, Error> {
        let path = self.checkpoint.checkpoint().path().display();
        self.optional(name, shape)?.ok_or_else(|| refused(format!("{path}: tensor \"{name}\" is missing")))
    }

    pub fn embedding(&self, config: &Config) -> Result<Vec<f32>, Error> {
        let name = self.name("model.embed_tokens.weight", "token_embd.weight");
        let tensor = self.checkpoint.tensors().iter().find(|t| t.name == name);
        let vocabulary = tensor.and_then(|t| t.shape.first()).copied().unwrap_or(0);
        self.tensor(name, &[vocabulary, config.hidden])
    }

    /// The output head; nothing when it is the embedding.
    pub fn head(&self, config: &Config, vocabulary: usize) -> Result<Option<Vec<f32>>, Error> {
        let (name, shape) = (self.name("lm_head.weight", "output.weight"), [vocabulary, config.hidden]);
        match config.tied_head {
            Some(true) => Ok(None),
            Some(false) => self.tensor(name, &shape).map(Some),
            None => self.optional(name, &shape),
        }
    }

    /// Refuses a head that the configuration does not have, and the lack of one that it has: programs differ in which of
    /// the two they believe.
    pub fn check_head(&self, config: &Config, embedding: &[f32]) -> Result<(), Error> {
        let name = self.name("lm_head.weight", "output.weight");
        let shape = [embedding.len() / config.hidden, config.hidden];
        let is_there = self.checkpoint.tensors().iter().any(|t| t.name == name);
        let path = self.checkpoint.checkpoint().path().display();
        let says = "the configuration (\"tie_word_embeddings\") says that the embedding is the head";
        match config.tied_head {
            Some(false) if !is_there => Err(refused(format!(
                "{path}: tensor \"{name}\" is missing, and nowhere is it said that the embedding is it"
            ))),
            Some(true) if is_there && self.tensor(name, &shape)? != embedding => {
                Err(refused(format!("{path}: tensor \"{name}\" differs from the embedding, but {says}")))
            }
            _ => Ok(()),
        }
    }

    /// Refuses tensors that the forward pass would pass over: they belong to another architecture, or to more layers.
    pub fn check_names(&self, config: &Config) -> Result<(), Error> {
        let (prefix, rest) = if self.is_gguf {
            ("blk.", ["output_norm.bias"; 2])
        } else {
            ("model.layers.", ["model.norm.bias", "lm_head.bias"])
        };
        let refuse = |name: &str, why: String| {
            let path = self.checkpoint.checkpoint().path().display();
            Err(refused(format!("{path}: tensor \"{name}\": {why}")))
        };
        for tensor in self.checkpoint.tensors() {
            let Some((layer, place)) = tensor.name.strip_prefix(prefix).and_then(|rest| rest.split_once('.')) else {
                if rest.contains(&tensor.name.as_str()) {
                    return refuse(&tensor.name, format!("no part of a {}", config.architecture));
                }
                continue;
            };
            if layer.parse().is_ok_and(|layer: usize| layer >= config.layer_count) {
                return refuse(&tensor.name, format!("the configuration has {} layers only", config.layer_count));
            }
            if !self.is_known(place, config) {
                return refuse(&tensor.name, format!("no part of a layer of {}", config.architecture));
            }
        }
        Ok(())
    }

    /// Whether the forward pass reads a tensor of a layer, or may pass over it.
    fn is_known(&self, place: &str, config: &Config) -> bool {
        let norms = [("input_layernorm", "attn_norm"), ("post_attention_layernorm", "ffn_norm")];
        let head_norms = [("self_attn.q_norm", "attn_q_norm"), ("self_attn.k_norm", "attn_k_norm")];
        // Frequencies that old checkpoints stored, and that follow from the configuration.
        if place == "self_attn.rotary_emb.inv_freq" {
            return true;
        }
        let Some((module, what)) = place.rsplit_once('.') else { return false };
        let is = |names: &[(&str, &str)]| names.iter().any(|(hf, gguf)| self.name(hf, gguf) == module);
        let is_linear = LINEARS.iter().any(|(_, hf, gguf)| self.name(hf, gguf) == module);
        let is_norm = is(&norms) || (config.has_head_norms() && is(&head_norms));
        (is_linear && ["weight", "bias"].contains(&what)) || (is_norm && what == "weight")
    }

    pub fn final_norm(&self, config: &Config) -> Result<Vec<f32>, Error> {
        self.tensor(self.name("model.norm.weight", "output_norm.weight"), &[config.hidden])
    }

    /// Divisors of rotary frequencies that a GGUF of Llama 3.1 carries.
    pub fn rope_divisors(&self, config: &Config) -> Result<Option<Vec<f32>>, Error> {
        self.optional("rope_freqs.weight", &[config.head_width / 2])
    }

    /// The name of linear layer `which` (`q_proj`, …) of layer `index`, as in Hugging Face folders.
    pub fn linear_name(index: usize, which: &str) -> String {
        let (_, place, _) = LINEARS.iter().find(|(name, ..)| *name == which).expect("one of the seven");
        format!("model.layers.{index}.{place}.weight")
    }

    /// Everything of layer `index`.
    pub fn layer(&self, config: &Config, index: usize) -> Result<Layer, Error> {
        let place = |hugging_face: &str, gguf: &str| {
            if self.is_gguf { format!("blk.{index}.{gguf}") } else { format!("model.layers.{index}.{hugging_face}") }
        };
        let (hidden, inner) = (config.hidden, config.feed_forward);
        let (queries, keys) = (config.heads * config.head_width, config.key_heads * config.head_width);
        let linear = |which: usize, outputs: usize, inputs: usize| {
            let (name, hugging_face, gguf) = LINEARS[which];
            let place = place(hugging_face, gguf);
            let mut weight = self.tensor(&format!("{place}.weight"), &[outputs, inputs])?;
            let mut bias = self.bias(&format!("{place}.bias"), outputs, bias_of(config, which))?;
            if self.is_interleaved && which < 2 {
                weight = in_halves(&weight, inputs, config.head_width);
                bias = bias.map(|b| in_halves(&b, 1, config.head_width));
            }
            Ok::<_, Error>(Linear { name, weight, inputs, bias })
        };
        let norm =
            |hugging_face: &str, gguf: &str| self.tensor(&format!("{}.weight", place(hugging_face, gguf)), &[hidden]);
        let head_norm = |hugging_face: &str, gguf: &str| {
            self.tensor(&format!("{}.weight", place(hugging_face, gguf)), &[config.head_width])
        };
        let head_norms = || {
            Ok::<_, Error>([
                head_norm("self_attn.q_norm", "attn_q_norm")?,
                head_norm("self_attn.k_norm", "attn_k_norm")?,
            ])
        };
        Ok(Layer {
            attention_norm: norm("input_layernorm", "attn_norm")?,
            feed_forward_norm: norm("post_attention_layernorm", "ffn_norm")?,
            attention: [linear(0, queries, hidden)?, linear(1, keys, hidden)?, linear(2, keys, hidden)?],
            output: linear(3, hidden, queries)?,
            feed_forward: [linear(4, inner, hidden)?, linear(5, inner, hidden)?],
            down: linear(6, hidden, inner)?,
            head_norms: config.has_head_norms().then(head_norms).transpose()?,
            sliding_window: config.sliding_windows[index],
        })
    }

    /// A bias that must be there, must not be, or may be.
    fn bias(&self, name: &str, outputs: usize, expected: Option<bool>) -> Result<Option<Vec<f32>>, Error> {
        let found = self.optional(name, &[outputs])?;
        if expected.is_none_or(|expected| expected == found.is_some()) {
            return Ok(found);
        }
        let path = self.checkpoint.checkpoint().path().display();
        let is = if found.is_some() { "there" } else { "missing" };
        Err(refused(format!("{path}: tensor \"{name}\" is {is}, against what the configuration says of biases")))
    }
}

/// Whether linear layer `which` of [`LINEARS`] has a bias.
fn bias_of(config: &Config, which: usize) -> Option<bool> {
    match which {
        0..3 => config.biases.attention,
        3 => config.biases.output,
        _ => config.biases.feed_forward,
    }
}

/// Rows of each head from pairs (0, half, 1, half + 1, …) to halves, the order that [`crate::rope`] turns.
fn in_halves(rows: &[f32], width: usize, head_width: usize) -> Vec<f32> {
    let half = head_width / 2;
    let row = |at: usize| {
        let (head, place) = (at / head_width, at % head_width);
        let from = head * head_width + 2 * (place % half) + place / half;
        &rows[from * width..][..width]
    };
    (0..rows.len() / width).flat_map(row).copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_become_halves_in_every_head() {
        let pairs = [0.0, 2.0, 1.0, 3.0, 10.0, 12.0, 11.0, 13.0];
        assert_eq!(in_halves(&pairs, 1, 4), [0.0, 1.0, 2.0, 3.0, 10.0, 11.0, 12.0, 13.0]);
        let wide = [0.0, 0.5, 1.0, 1.5];
        assert_eq!(in_halves(&wide, 2, 2), wide);
    }
}
