//! What does a `config.json` say of a decoder? Every field that changes what it computes is honoured or refused.

use std::path::Path;

use quant::Error;
use serde_json::Value;

use super::{Biases, Config, Rope, SIZE_MAX, Scaling, check_architecture};
use crate::refused;

/// A configuration with what of it is asked for. A field that is null is absent.
struct Fields<'a> {
    config: &'a Value,
    architecture: &'a str,
    path: &'a Path,
}

impl Fields<'_> {
    fn refuse(&self, why: &str) -> Error {
        refused(format!("{}: config.json: {why}", self.path.display()))
    }

    fn optional(&self, key: &str) -> Result<Option<usize>, Error> {
        let value = &self.config[key];
        match value.as_u64().filter(|n| (1..=SIZE_MAX).contains(n)) {
            Some(number) => Ok(Some(number as usize)),
            None if value.is_null() => Ok(None),
            None => Err(self.refuse(&format!("\"{key}\" is {value}; a whole number from 1 to {SIZE_MAX} expected"))),
        }
    }

    fn number(&self, key: &str) -> Result<usize, Error> {
        self.optional(key)?.ok_or_else(|| self.refuse(&format!("\"{key}\" is missing")))
    }

    fn flag(&self, key: &str) -> Result<bool, Error> {
        match &self.config[key] {
            Value::Null => Ok(false),
            Value::Bool(flag) => Ok(*flag),
            other => Err(self.refuse(&format!("\"{key}\" is {other}; true or false expected"))),
        }
    }

    /// Refuses a field that is neither absent nor `expected`.
    fn expect(&self, place: &Value, key: &str, expected: &Value) -> Result<(), Error> {
        let found = &place[key];
        // 1 and 1.0 are one number.
        let equal = found == expected || (found.is_number() && found.as_f64() == expected.as_f64());
        if found.is_null() || equal {
            return Ok(());
        }
        Err(self.refuse(&format!("\"{key}\" is {found}; {expected} is supported")))
    }
}

pub(super) fn read(config: &Value, path: &Path) -> Result<Config, Error> {
    let architecture = config["model_type"].as_str().unwrap_or("unnamed");
    check_architecture(architecture, path)?;
    let fields = Fields { config, architecture, path };
    fields.expect(config, "hidden_act", &"silu".into())?;
    fields.expect(config, "partial_rotary_factor", &1.into())?;
    let (hidden, heads) = (fields.number("hidden_size")?, fields.number("num_attention_heads")?);
    let layer_count = fields.number("num_hidden_layers")?;
    let head_width = match fields.optional("head_dim")? {
        Some(width) => width,
        None if hidden.is_multiple_of(heads) => hidden / heads,
        None => return Err(fields.refuse(&format!("{hidden} channels over {heads} heads; a multiple expected"))),
    };
    let epsilon = config["rms_norm_eps"].as_f64().filter(|e| e.is_finite() && *e > 0.0);
    let config = Config {
        architecture: architecture.into(),
        layer_count,
        hidden,
        feed_forward: fields.number("intermediate_size")?,
        heads,
        key_heads: fields.optional("num_key_value_heads")?.unwrap_or(heads),
        head_width,
        norm_epsilon: epsilon.ok_or_else(|| fields.refuse("\"rms_norm_eps\" is missing or no number above 0"))? as f32,
        rope: rope(&fields)?,
        sliding_windows: windows(&fields, layer_count)?,
        tied_head: Some(fields.flag("tie_word_embeddings")?),
        biases: biases(&fields)?,
    };
    config.checked(path)
}

/// θ and scaling stand at the top (`rope_theta`, `rope_scaling`) or, since transformers 5, under `rope_parameters`.
fn rope(fields: &Fields<'_>) -> Result<Rope, Error> {
    let none = Value::Null;
    let mut scaling = &none;
    for key in ["rope_scaling", "rope_parameters"] {
        match &fields.config[key] {
            Value::Null => {}
            Value::Object(_) => scaling = &fields.config[key],
            other => return Err(fields.refuse(&format!("\"{key}\" is {other}; fields expected"))),
        }
    }
    if let Some((key, _)) = scaling.as_object().into_iter().flatten().find(|(_, value)| value.is_object()) {
        return Err(fields.refuse(&format!("rope parameters for each kind of layer (\"{key}\") are not supported")));
    }
    fields.expect(scaling, "partial_rotary_factor", &1.into())?;
    let theta = scaling["rope_theta"].as_f64().or(fields.config["rope_theta"].as_f64()).unwrap_or(10_000.0);
    let number = |key: &str| {
        let usable = scaling[key].as_f64().filter(|x| x.is_finite() && *x > 0.0);
        usable.ok_or_else(|| fields.refuse(&format!("the rope scaling has no usable \"{key}\"")))
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
            let why = format!("rope scaling \"{other}\" is not supported; default, linear and llama3 are");
            return Err(fields.refuse(&why));
        }
    };
    Ok(Rope { theta, scaling })
}

/// Mistral has one window everywhere; Qwen, where it is switched on, from layer `max_window_layers` on, or where
/// `layer_types` says so; Llama none.
fn windows(fields: &Fields<'_>, layer_count: usize) -> Result<Vec<Option<usize>>, Error> {
    let window = fields.optional("sliding_window")?;
    let by_rule: Vec<Option<usize>> = match fields.architecture {
        "mistral" => vec![window; layer_count],
        "qwen2" | "qwen3" => {
            let window = window.filter(|_| fields.config["use_sliding_window"] == true);
            let full = match &fields.config["max_window_layers"] {
                Value::Null => 28,
                value => {
                    let refuse =
                        || fields.refuse(&format!("\"max_window_layers\" is {value}; a whole number expected"));
                    value.as_u64().ok_or_else(refuse)? as usize
                }
            };
            (0..layer_count).map(|layer| window.filter(|_| layer >= full)).collect()
        }
        _ if window.is_some() => return Err(fields.refuse("\"sliding_window\" is not supported for llama")),
        _ => vec![None; layer_count],
    };
    let types = match &fields.config["layer_types"] {
        Value::Null => return Ok(by_rule),
        Value::Array(types) if types.len() == layer_count => types,
        _ => return Err(fields.refuse(&format!("\"layer_types\" is not a list of {layer_count} kinds"))),
    };
    let by_type = |kind: &Value| match (kind.as_str(), window) {
        (Some("full_attention"), _) => Ok(None),
        (Some("sliding_attention"), Some(window)) => Ok(Some(window)),
        (Some("sliding_attention"), None) => Err(fields.refuse("a layer has \"sliding_attention\" and no window")),
        _ => Err(fields.refuse(&format!("layers of kind {kind} are not supported"))),
    };
    let by_type = types.iter().map(by_type).collect::<Result<Vec<_>, Error>>()?;
    let decides = fields.architecture.starts_with("qwen");
    if !decides && by_type != by_rule {
        let why = format!("\"layer_types\" contradicts what {} does with its window", fields.architecture);
        return Err(fields.refuse(&why));
    }
    Ok(by_type)
}

fn biases(fields: &Fields<'_>) -> Result<Biases, Error> {
    let (attention, feed_forward) = (fields.flag("attention_bias")?, fields.flag("mlp_bias")?);
    let (attention, output) = match fields.architecture {
        "llama" | "qwen3" => (attention, attention),
        "qwen2" => (true, false),
        _ => {
            fields.expect(fields.config, "attention_bias", &false.into())?;
            (false, false)
        }
    };
    if fields.architecture != "llama" {
        fields.expect(fields.config, "mlp_bias", &false.into())?;
    }
    Ok(Biases { attention: Some(attention), output: Some(output), feed_forward: Some(feed_forward) })
}
