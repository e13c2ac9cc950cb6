//! Where does a checkpoint keep each weight? Hugging Face's names, or GGUF's with its order of query and key rows.

use quant::Error;
use quant::checkpoint::Source;
use quant::decoded::DecodedCheckpoint;
use quant::device::Device;
use quant_core::tensor::Dtype;

use crate::config::Config;
use crate::layer::{Layer, Linear};
use crate::refused;

/// Hugging Face's name of each linear layer of a decoder layer, and GGUF's.
pub(crate) const LINEARS: [(&str, &str, &str); 7] = [
    ("q_proj", "self_attn.q_proj", "attn_q"),
    ("k_proj", "self_attn.k_proj", "attn_k"),
    ("v_proj", "self_attn.v_proj", "attn_v"),
    ("o_proj", "self_attn.o_proj", "attn_output"),
    ("gate_proj", "mlp.gate_proj", "ffn_gate"),
    ("up_proj", "mlp.up_proj", "ffn_up"),
    ("down_proj", "mlp.down_proj", "ffn_down"),
];

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

    /// The output head; the embedding when there is none.
    pub fn head(&self, config: &Config, vocabulary: usize) -> Result<Option<Vec<f32>>, Error> {
        self.optional(self.name("lm_head.weight", "output.weight"), &[vocabulary, config.hidden])
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
            let mut bias = self.optional(&format!("{place}.bias"), &[outputs])?;
            if self.is_interleaved && which < 2 {
                weight = in_halves(&weight, inputs, config.head_width);
                bias = bias.map(|b| in_halves(&b, 1, config.head_width));
            }
            Ok::<_, Error>(Linear { name, weight, inputs, bias })
        };
        let norm =
            |hugging_face: &str, gguf: &str| self.tensor(&format!("{}.weight", place(hugging_face, gguf)), &[hidden]);
        let head_norm = |hugging_face: &str, gguf: &str| {
            self.optional(&format!("{}.weight", place(hugging_face, gguf)), &[config.head_width])
        };
        let q_norm = head_norm("self_attn.q_norm", "attn_q_norm")?;
        let k_norm = head_norm("self_attn.k_norm", "attn_k_norm")?;
        Ok(Layer {
            attention_norm: norm("input_layernorm", "attn_norm")?,
            feed_forward_norm: norm("post_attention_layernorm", "ffn_norm")?,
            attention: [linear(0, queries, hidden)?, linear(1, keys, hidden)?, linear(2, keys, hidden)?],
            output: linear(3, hidden, queries)?,
            feed_forward: [linear(4, inner, hidden)?, linear(5, inner, hidden)?],
            down: linear(6, hidden, inner)?,
            head_norms: q_norm.zip(k_norm).map(|(q, k)| [q, k]),
        })
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
