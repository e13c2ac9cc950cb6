//! What does a GGUF header say of a decoder?

use std::path::Path;

use quant::Error;
use quant_gguf::Value;

use super::{Biases, Config, Rope, SIZE_MAX, Scaling, check_architecture};
use crate::refused;

/// A header with what of it is asked for.
struct Header<'a> {
    metadata: &'a [(String, Value)],
    architecture: &'a str,
    path: &'a Path,
}

impl Header<'_> {
    fn value(&self, key: &str) -> Option<&Value> {
        let key = format!("{}.{key}", self.architecture);
        self.metadata.iter().find(|(name, _)| *name == key).map(|(_, value)| value)
    }

    fn optional(&self, key: &str) -> Option<usize> {
        self.value(key).and_then(Value::as_u64).filter(|n| (1..=SIZE_MAX).contains(n)).map(|n| n as usize)
    }

    fn number(&self, key: &str) -> Result<usize, Error> {
        let missing = || self.refuse(&format!("has no usable \"{}.{key}\"", self.architecture));
        self.optional(key).ok_or_else(missing)
    }

    fn float(&self, key: &str) -> Option<f64> {
        self.value(key).and_then(Value::as_f64)
    }

    fn refuse(&self, why: &str) -> Error {
        refused(format!("{}: the header {why}", self.path.display()))
    }
}

pub(super) fn read(metadata: &[(String, Value)], path: &Path) -> Result<Config, Error> {
    let name = metadata.iter().find(|(name, _)| name == "general.architecture").and_then(|(_, value)| value.as_str());
    let architecture = name.unwrap_or("unnamed");
    check_architecture(architecture, path)?;
    let header = Header { metadata, architecture, path };
    let (hidden, heads) = (header.number("embedding_length")?, header.number("attention.head_count")?);
    let head_width = header.optional("attention.key_length").unwrap_or(hidden / heads);
    // Keys that have to be absent, or to say what every supported model does.
    let plain = [
        ("attention.value_length", head_width, "value heads"),
        ("rope.dimension_count", head_width, "rotary channels of a head"),
        ("expert_count", 0, "experts"),
    ];
    for (key, expected, what) in plain {
        if let Some(found) = header.optional(key).filter(|found| *found != expected) {
            return Err(
                header.refuse(&format!("has {found} for \"{architecture}.{key}\" ({what}); {expected} is supported"))
            );
        }
    }
    let layer_count = header.number("block_count")?;
    let epsilon = header.float("attention.layer_norm_rms_epsilon");
    let missing = || header.refuse(&format!("has no usable \"{architecture}.attention.layer_norm_rms_epsilon\""));
    let config = Config {
        architecture: architecture.into(),
        layer_count,
        hidden,
        feed_forward: header.number("feed_forward_length")?,
        heads,
        key_heads: header.optional("attention.head_count_kv").unwrap_or(heads),
        head_width,
        norm_epsilon: epsilon.ok_or_else(missing)? as f32,
        rope: Rope { theta: header.float("rope.freq_base").unwrap_or(10_000.0), scaling: scaling(&header)? },
        sliding_windows: vec![header.optional("attention.sliding_window"); layer_count],
        tied_head: None,
        biases: Biases::default(),
    };
    config.checked(path)
}

fn scaling(header: &Header<'_>) -> Result<Scaling, Error> {
    let kind = header.value("rope.scaling.type").and_then(Value::as_str).unwrap_or("none");
    match (kind, header.float("rope.scaling.factor").filter(|f| f.is_finite() && *f > 0.0)) {
        ("none", _) => Ok(Scaling::None),
        ("linear", Some(factor)) => Ok(Scaling::Linear(factor)),
        ("linear", None) => Err(header.refuse("has linear rope scaling without a usable factor")),
        (other, _) => Err(header.refuse(&format!("has rope scaling \"{other}\", which is not supported; linear is"))),
    }
}
