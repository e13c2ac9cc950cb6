//! Do the weights of a checkpoint expect inputs that a transform has been applied to, and is that transform beside them?
//!
//! `quant transform` says so in `config.json` and in the metadata of every safetensors file, so that neither a lost folder
//! nor a lost configuration turns the weights into noise without a word.

use serde::{Deserialize, Serialize};

use crate::checkpoint::{Checkpoint, Source};
use crate::error::Error;

/// The key of the mark in `config.json`.
pub const CONFIG_KEY: &str = "quant_transform";
/// The key of the mark, as JSON, in the `__metadata__` of a safetensors file.
pub const METADATA_KEY: &str = "quant.transform";
/// The version written, and the only one read.
pub const VERSION: u64 = 1;
/// Where the description of the transforms is, relative to the folder of the weights.
pub const PLACE: &str = "transforms/transforms.json";

/// What transformed weights say of themselves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// [`VERSION`].
    pub version: u64,
    /// The method, as tables call it.
    pub method: String,
    /// Inputs, of the layers in this file or of the whole model, that a transform is applied to at run time; 0 when
    /// everything was folded.
    pub online_input_count: usize,
    /// In `config.json` only: the fingerprint of the file that holds the transforms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transforms: Option<String>,
}

impl Mark {
    /// A mark of this version.
    pub fn new(method: String, online_input_count: usize) -> Self {
        Self { version: VERSION, method, online_input_count, transforms: None }
    }

    /// What a checkpoint says of itself: its configuration, or else the file with most to say.
    pub fn of(checkpoint: &Checkpoint) -> Result<Option<Self>, Error> {
        let mut marks = Vec::new();
        if let Some(value) = checkpoint.config().and_then(|config| config.get(CONFIG_KEY)) {
            marks.push(parse(value.clone(), &checkpoint.path().join("config.json"))?);
        }
        for shard in checkpoint.shards() {
            if let Some(text) = shard.metadata.get(METADATA_KEY) {
                let value = serde_json::from_str(text).unwrap_or(serde_json::Value::Null);
                marks.push(parse(value, &shard.path)?);
            }
        }
        // Of equal counts the first.
        Ok(marks.into_iter().rev().max_by_key(|mark: &Self| mark.online_input_count))
    }
}

fn parse(value: serde_json::Value, path: &std::path::Path) -> Result<Mark, Error> {
    let path = path.display();
    if let Some(version) = value["version"].as_u64().filter(|version| *version != VERSION) {
        return Err(Error::refused(format!("{path}: the transform's mark has version {version}; {VERSION} expected")));
    }
    serde_json::from_value(value).map_err(|error| Error::refused(format!("{path}: the transform's mark: {error}")))
}

/// The mark of weights that expect transforms at run time; refuses weights that have lost them.
pub fn expected(checkpoint: &Checkpoint) -> Result<Option<Mark>, Error> {
    let Some(mark) = Mark::of(checkpoint)?.filter(|mark| mark.online_input_count > 0) else { return Ok(None) };
    let (path, method) = (checkpoint.path(), &mark.method);
    let refuse = |why: &str| {
        let path = path.display();
        Err(Error::refused(format!("{path}: its weights expect inputs transformed at run time ({method}), {why}")))
    };
    if checkpoint.source() != Source::Folder {
        return refuse("and a lone file does not hold the transforms; give the folder that `quant transform` wrote");
    }
    if !path.join(PLACE).is_file() {
        return refuse(&format!(
            "and {PLACE} is missing; copy transforms/ from the folder that `quant transform` wrote"
        ));
    }
    Ok(Some(mark))
}

/// Refuses to write weights that expect transforms in a format whose readers do not apply them.
pub(crate) fn refuse_foreign_target(checkpoint: &Checkpoint, target: &crate::outputs::Target) -> Result<(), Error> {
    let Some(mark) = expected(checkpoint)? else { return Ok(()) };
    if *target == crate::outputs::Target::Native {
        return Ok(());
    }
    let (path, method, name) = (checkpoint.path().display(), mark.method, target.name());
    let why = format!("which what reads --to {name} does not do; use --to native, or a transform that folds");
    Err(Error::refused(format!("{path}: its weights expect inputs transformed at run time ({method}), {why}")))
}
