//! A Hugging Face folder as GGUF: what llama.cpp calls each tensor, in which order it wants rows, what its header says.
//!
//! Names, keys and the order of query and key rows are those of llama.cpp's own `convert_hf_to_gguf.py`, for decoders of
//! the Llama family whose tokenizer is a byte-level BPE.

mod tokenizer;

use std::path::Path;

use quant_gguf::Value;

use crate::checkpoint::{AlignedBytes, Checkpoint};
use crate::error::Error;

/// `model_type` of config.json, and llama.cpp's name of the architecture.
pub const ARCHITECTURES: [(&str, &str); 4] =
    [("llama", "llama"), ("mistral", "llama"), ("qwen2", "qwen2"), ("qwen3", "qwen3")];

/// Parts of a layer: Hugging Face's names and GGUF's.
const PARTS: [(&str, &str); 11] = [
    ("input_layernorm", "attn_norm"),
    ("post_attention_layernorm", "ffn_norm"),
    ("self_attn.q_proj", "attn_q"),
    ("self_attn.k_proj", "attn_k"),
    ("self_attn.v_proj", "attn_v"),
    ("self_attn.o_proj", "attn_output"),
    ("self_attn.q_norm", "attn_q_norm"),
    ("self_attn.k_norm", "attn_k_norm"),
    ("mlp.gate_proj", "ffn_gate"),
    ("mlp.up_proj", "ffn_up"),
    ("mlp.down_proj", "ffn_down"),
];

/// Where a tensor goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// llama.cpp's name.
    pub name: String,
    /// Heads whose rows go from halves to pairs.
    pub paired_heads: Option<usize>,
}

/// How a folder becomes a GGUF file.
#[derive(Clone, Debug)]
pub struct Conversion {
    /// All of the header but what depends on types.
    pub metadata: Vec<(String, Value)>,
    /// Each tensor's place; none for what llama.cpp does not read.
    pub places: Vec<Option<Place>>,
    /// `rope_freqs.weight`, the divisors of rotary frequencies, where the model has them.
    pub rope_divisors: Option<Vec<f32>>,
}

impl Conversion {
    /// For the folder of `checkpoint` and its tensors of these names and shapes.
    pub fn new<'a>(
        checkpoint: &Checkpoint,
        tensors: impl Iterator<Item = (&'a str, &'a [usize])> + Clone,
    ) -> Result<Self, Error> {
        let path = checkpoint.path();
        let Some(config) = checkpoint.config() else {
            return Err(refused(path, "--to gguf needs a model folder with a config.json, or a .gguf file"));
        };
        let model = Model::of(config, path)?;
        let embedding = tensors.clone().find(|(name, _)| *name == "model.embed_tokens.weight");
        let entries = embedding.and_then(|(_, shape)| shape.first().copied());
        let entries = entries.ok_or_else(|| refused(path, "it has no tensor \"model.embed_tokens.weight\""))?;
        let places = tensors.map(|(name, _)| model.place(name, path)).collect::<Result<_, _>>()?;
        let mut metadata = model.metadata(path, entries)?;
        metadata.extend(tokenizer::metadata(path, config, entries)?);
        Ok(Self { metadata, places, rope_divisors: model.rope_divisors(path)? })
    }

    /// The same for a checkpoint whose tensors are stored as they are.
    pub fn of(checkpoint: &Checkpoint) -> Result<Self, Error> {
        Self::new(checkpoint, checkpoint.tensors().iter().map(|t| (t.name.as_str(), t.shape.as_slice())))
    }
}

fn refused(path: &Path, why: &str) -> Error {
    Error::refused(format!("{}: {why}", path.display()))
}

/// What config.json says.
struct Model<'a> {
    config: &'a serde_json::Value,
    /// llama.cpp's.
    architecture: &'static str,
    layers: usize,
    heads: usize,
    key_heads: usize,
    head_width: usize,
}

impl<'a> Model<'a> {
    fn of(config: &'a serde_json::Value, path: &Path) -> Result<Self, Error> {
        let named = config["model_type"].as_str().unwrap_or("unnamed");
        let known = ARCHITECTURES.iter().find(|(name, _)| *name == named);
        let (_, architecture) = known.ok_or_else(|| {
            let known = ARCHITECTURES.map(|(name, _)| name).join(", ");
            refused(path, &format!("architecture \"{named}\" cannot be written as GGUF; {known} can"))
        })?;
        let (layers, heads) =
            (number(config, "num_hidden_layers", path)?, number(config, "num_attention_heads", path)?);
        let hidden = number(config, "hidden_size", path)?;
        Ok(Self {
            config,
            architecture,
            layers,
            heads,
            key_heads: number(config, "num_key_value_heads", path).unwrap_or(heads),
            head_width: number(config, "head_dim", path).unwrap_or(hidden / heads),
        })
    }

    /// Where the tensor called `name` goes; none for what is computed or stands for the embedding.
    fn place(&self, name: &str, path: &Path) -> Result<Option<Place>, Error> {
        let whole = |name: &str| Ok(Some(Place { name: name.into(), paired_heads: None }));
        match name {
            "model.embed_tokens.weight" => return whole("token_embd.weight"),
            "model.norm.weight" => return whole("output_norm.weight"),
            "lm_head.weight" if self.config["tie_word_embeddings"] == true => return Ok(None),
            "lm_head.weight" => return whole("output.weight"),
            _ if name.ends_with("rotary_emb.inv_freq") => return Ok(None),
            _ => {}
        }
        let place = self.layer_place(name);
        place.map(Some).ok_or_else(|| {
            let family = self.architecture;
            refused(path, &format!("tensor \"{name}\": llama.cpp has no place for it in a {family}"))
        })
    }

    fn layer_place(&self, name: &str) -> Option<Place> {
        let (layer, rest) = name.strip_prefix("model.layers.")?.split_once('.')?;
        let layer: usize = layer.parse().ok().filter(|layer| *layer < self.layers)?;
        let (part, kind) = rest.rsplit_once('.').filter(|(_, kind)| ["weight", "bias"].contains(kind))?;
        let (_, theirs) = PARTS.iter().find(|(ours, _)| *ours == part)?;
        // Only the llama graph turns neighbours; the others turn halves as Hugging Face does.
        let paired_heads = match *theirs {
            "attn_q" if self.architecture == "llama" => Some(self.heads),
            "attn_k" if self.architecture == "llama" => Some(self.key_heads),
            _ => None,
        };
        Some(Place { name: format!("blk.{layer}.{theirs}.{kind}"), paired_heads })
    }

    fn metadata(&self, path: &Path, entries: usize) -> Result<Vec<(String, Value)>, Error> {
        let number = |key: &str| number(self.config, key, path);
        let epsilon = self.config["rms_norm_eps"].as_f64();
        let epsilon = epsilon.ok_or_else(|| refused(path, "config.json has no usable \"rms_norm_eps\""))?;
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        // A llama graph looks back at everything; beyond the window it would compute something else.
        let window = number("sliding_window").ok().filter(|_| self.config["model_type"] == "mistral");
        let context = number("max_position_embeddings")?;
        let mut metadata = vec![
            ("general.architecture".to_owned(), Value::String(self.architecture.into())),
            ("general.type".to_owned(), Value::String("model".into())),
            ("general.name".to_owned(), Value::String(name)),
        ];
        let mut own = |key: &str, value| metadata.push((format!("{}.{key}", self.architecture), value));
        let count = |n: usize| Value::U32(u32::try_from(n).unwrap_or(u32::MAX));
        own("block_count", count(self.layers));
        own("context_length", count(context.min(window.unwrap_or(context))));
        own("embedding_length", count(number("hidden_size")?));
        own("feed_forward_length", count(number("intermediate_size")?));
        own("attention.head_count", count(self.heads));
        own("attention.head_count_kv", count(self.key_heads));
        own("attention.layer_norm_rms_epsilon", Value::F32(epsilon as f32));
        own("attention.key_length", count(self.head_width));
        own("attention.value_length", count(self.head_width));
        own("rope.dimension_count", count(self.head_width));
        own("rope.freq_base", Value::F32(self.theta() as f32));
        own("vocab_size", count(entries));
        if self.rope_kind() == "linear" {
            own("rope.scaling.type", Value::String("linear".into()));
            own("rope.scaling.factor", Value::F32(self.rope_number("factor", path)? as f32));
        }
        Ok(metadata)
    }

    /// Rotary parameters stand at the top or, since transformers 5, under `rope_parameters`.
    fn rope(&self) -> &serde_json::Value {
        let objects = [&self.config["rope_parameters"], &self.config["rope_scaling"]];
        objects.into_iter().find(|v| v.is_object()).unwrap_or(&serde_json::Value::Null)
    }

    fn theta(&self) -> f64 {
        self.rope()["rope_theta"].as_f64().or(self.config["rope_theta"].as_f64()).unwrap_or(10_000.0)
    }

    fn rope_kind(&self) -> &str {
        self.rope()["rope_type"].as_str().or(self.rope()["type"].as_str()).unwrap_or("default")
    }

    fn rope_number(&self, key: &str, path: &Path) -> Result<f64, Error> {
        let missing = || refused(path, &format!("the rope scaling in config.json has no \"{key}\""));
        self.rope()[key].as_f64().ok_or_else(missing)
    }

    /// Llama 3.1: frequencies of wavelengths beyond context/low are divided by a factor, those below context/high kept,
    /// and those between divided by 1/((1 − s)/factor + s), s = (context/wavelength − low)/(high − low).
    fn rope_divisors(&self, path: &Path) -> Result<Option<Vec<f32>>, Error> {
        match self.rope_kind() {
            "default" | "linear" => return Ok(None),
            "llama3" => {}
            other => {
                let why = format!("rope scaling \"{other}\" cannot be written as GGUF; linear and llama3 can");
                return Err(refused(path, &why));
            }
        }
        let number = |key| self.rope_number(key, path);
        let (factor, low, high) = (number("factor")?, number("low_freq_factor")?, number("high_freq_factor")?);
        let context = number("original_max_position_embeddings")?;
        let divisor = |i: usize| {
            let wavelength = std::f64::consts::TAU * self.theta().powf((2 * i) as f64 / self.head_width as f64);
            let smooth = ((context / wavelength - low) / (high - low)).clamp(0.0, 1.0);
            (1.0 / ((1.0 - smooth) / factor + smooth)) as f32
        };
        Ok(Some((0..self.head_width / 2).map(divisor).collect()))
    }
}

fn number(config: &serde_json::Value, key: &str, path: &Path) -> Result<usize, Error> {
    let found = config[key].as_u64().filter(|n| *n > 0).and_then(|n| usize::try_from(n).ok());
    found.ok_or_else(|| refused(path, &format!("config.json has no usable \"{key}\"")))
}

/// Where row `row` of a matrix in pairs stands in one in halves: 0, half, 1, half + 1, … of each head.
pub(crate) fn row_in_halves(row: usize, head_width: usize) -> usize {
    let (head, place) = (row / head_width, row % head_width);
    head * head_width + place / 2 + place % 2 * (head_width / 2)
}

/// Rows of `heads` heads from halves, which Hugging Face's rotary embedding turns, to pairs, which llama.cpp's does.
/// `rows` is the number of all rows, a multiple of 2·`heads`.
pub(crate) fn in_pairs(bytes: &[u8], rows: usize, heads: usize) -> AlignedBytes {
    let (row_len, head_width) = (bytes.len() / rows, rows / heads);
    let mut out = AlignedBytes::zeroed(bytes.len());
    for (row, to) in out.chunks_exact_mut(row_len).enumerate() {
        to.copy_from_slice(&bytes[row_in_halves(row, head_width) * row_len..][..row_len]);
    }
    out
}

/// Whether a tensor of this shape has rows that can be put in pairs for so many heads.
pub(crate) fn has_heads(shape: &[usize], heads: usize) -> bool {
    shape.first().is_some_and(|rows| *rows > 0 && rows.is_multiple_of(2 * heads))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn model(config: &serde_json::Value) -> Result<Model<'_>, Error> {
        Model::of(config, Path::new("m"))
    }

    fn llama() -> serde_json::Value {
        json!({"model_type": "llama", "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
            "num_key_value_heads": 2, "intermediate_size": 96, "max_position_embeddings": 128, "rms_norm_eps": 1e-5})
    }

    #[test]
    fn names_and_heads_are_llama_cpps() {
        let config = llama();
        let model = model(&config).unwrap();
        let place = |name: &str| model.place(name, Path::new("m")).unwrap().map(|p| (p.name, p.paired_heads));
        assert_eq!(place("model.layers.1.self_attn.k_proj.weight"), Some(("blk.1.attn_k.weight".into(), Some(2))));
        assert_eq!(place("model.layers.0.self_attn.q_proj.bias"), Some(("blk.0.attn_q.bias".into(), Some(4))));
        assert_eq!(place("model.layers.0.mlp.down_proj.weight"), Some(("blk.0.ffn_down.weight".into(), None)));
        assert_eq!(place("lm_head.weight"), Some(("output.weight".into(), None)));
        assert_eq!(place("model.layers.0.self_attn.rotary_emb.inv_freq"), None);
        let error = model.place("model.layers.2.mlp.down_proj.weight", Path::new("m")).unwrap_err();
        assert_eq!(
            error.to_string(),
            "m: tensor \"model.layers.2.mlp.down_proj.weight\": llama.cpp has no place for it in a llama"
        );
    }

    #[test]
    fn other_architectures_and_scalings_are_refused_with_the_list() {
        let config = json!({"model_type": "gemma"});
        let error = model(&config).err().unwrap().to_string();
        assert_eq!(error, "m: architecture \"gemma\" cannot be written as GGUF; llama, mistral, qwen2, qwen3 can");
        let mut config = llama();
        config["rope_scaling"] = json!({"rope_type": "yarn", "factor": 4.0});
        let error = model(&config).unwrap().rope_divisors(Path::new("m")).unwrap_err();
        assert_eq!(error.to_string(), "m: rope scaling \"yarn\" cannot be written as GGUF; linear and llama3 can");
    }

    #[test]
    fn divisors_of_llama_3_rise_from_1_to_the_factor() {
        let mut config = llama();
        config["head_dim"] = json!(128);
        config["rope_theta"] = json!(500_000.0);
        config["rope_scaling"] = json!({"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0,
            "high_freq_factor": 4.0, "original_max_position_embeddings": 8192});
        let divisors = model(&config).unwrap().rope_divisors(Path::new("m")).unwrap().unwrap();
        assert_eq!((divisors.len(), divisors[0], divisors[63]), (64, 1.0, 8.0));
        // i = 32: wavelength 2π·√500000 = 4442.9, s = (8192/4442.9 − 1)/3 = 0.28130, divisor 1/((1 − s)/8 + s).
        assert!((divisors[32] - 2.694_93).abs() < 1e-3, "{}", divisors[32]);
        assert!(divisors.is_sorted());
    }

    #[test]
    fn rows_in_pairs_alternate_between_the_halves_of_a_head() {
        let bytes: Vec<u8> = (0..8).flat_map(|row| [row, row]).collect();
        let paired: Vec<u8> = in_pairs(&bytes, 8, 2).chunks(2).map(|row| row[0]).collect();
        assert_eq!(paired, [0, 2, 1, 3, 4, 6, 5, 7]);
    }
}
