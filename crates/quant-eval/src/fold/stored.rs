//! Transforms that run online, as files beside the weights: `transforms/transforms.json` and `transforms.safetensors`.

use std::path::Path;

use quant::Error;
use quant::checkpoint::Checkpoint;
use quant_core::transform::Hadamard;
use serde::{Deserialize, Serialize};

use super::{OnlineStage, Tensors, write_f32};
use crate::layer::Input;
use crate::online::Online;
use crate::{io, refused};

const FORMAT: &str = "quant-transforms/1";
const FOLDER: &str = "transforms";

/// What a folder says of its transforms.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Description {
    format: String,
    method: String,
    inputs: Vec<StoredInput>,
}

/// The stages at one input, in order.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct StoredInput {
    layer: usize,
    input: String,
    stages: Vec<StoredStage>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum StoredStage {
    /// A tensor of one factor for each channel.
    Scaling(String),
    /// One tensor for each block, `order × order`.
    Blocks(Vec<String>),
    /// x → (core ⊗ Sylvester)·diag(signs)·x/√d: signs as a tensor of ±1; the core follows from the width.
    Rotation(String),
}

impl Description {
    pub fn new(method: String, inputs: Vec<StoredInput>) -> Self {
        Self { format: FORMAT.into(), method, inputs }
    }
}

impl StoredInput {
    /// Names the stages' tensors and adds them to `tensors`.
    pub fn new(layer: usize, input: Input, online: &Online, tensors: &mut Tensors) -> Self {
        let mut keep = |name: String, shape: Vec<usize>, values: Vec<f32>| {
            tensors.push((name.clone(), shape, values));
            name
        };
        let place = |what: &str| format!("layers.{layer}.{}.{what}", input.name());
        let mut stage = |stage: &OnlineStage| match stage {
            OnlineStage::Scaling(m) => StoredStage::Scaling(keep(place("scaling"), vec![m.len()], m.clone())),
            OnlineStage::Blocks(blocks) => {
                let block = |(index, (order, values)): (usize, &(usize, Vec<f32>))| {
                    keep(place(&format!("block.{index}")), vec![*order, *order], values.clone())
                };
                StoredStage::Blocks(blocks.iter().enumerate().map(block).collect())
            }
            OnlineStage::Rotation(hadamard) => {
                let signs: Vec<f32> = hadamard.signs().iter().map(|&s| f32::from(s)).collect();
                StoredStage::Rotation(keep(place("signs"), vec![signs.len()], signs))
            }
        };
        Self { layer, input: input.name().into(), stages: online.stages.iter().map(&mut stage).collect() }
    }
}

/// Writes both files into `folder`; bytes of the tensors.
pub(super) fn write(folder: &Path, description: &Description, tensors: &Tensors) -> Result<u64, Error> {
    let place = folder.join(FOLDER);
    std::fs::create_dir(&place).map_err(io("create the folder", &place))?;
    let text = serde_json::to_string_pretty(description).expect("plain data");
    let path = place.join("transforms.json");
    std::fs::write(&path, text).map_err(io("write", &path))?;
    write_f32(&place.join("transforms.safetensors"), tensors)
}

/// The online transforms of a folder.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredTransforms {
    /// The method they were built by.
    pub method: String,
    inputs: Vec<(usize, String, Online)>,
}

impl StoredTransforms {
    /// What is to be applied at an input; nothing when the folder says nothing.
    pub fn at(&self, layer: usize, input: Input) -> Online {
        let found = self.inputs.iter().find(|(l, i, _)| (*l, i.as_str()) == (layer, input.name()));
        found.map(|(.., online)| online.clone()).unwrap_or_default()
    }
}

/// Reads the transforms of a model folder; `None` when it has none.
pub fn read(folder: &Path) -> Result<Option<StoredTransforms>, Error> {
    let path = folder.join(FOLDER).join("transforms.json");
    if !path.is_file() {
        return Ok(None);
    }
    let refuse = |why: &str| refused(format!("{}: {why}", path.display()));
    let text = std::fs::read_to_string(&path).map_err(io("read", &path))?;
    let description: Description = serde_json::from_str(&text).map_err(|e| refuse(&e.to_string()))?;
    if description.format != FORMAT {
        return Err(refuse(&format!("format \"{}\"; {FORMAT} expected", description.format)));
    }
    let tensors = Checkpoint::open(&folder.join(FOLDER).join("transforms.safetensors"))?;
    let values = |name: &str| {
        let found = tensors.tensors().iter().position(|t| t.name == name);
        let bytes = tensors.read_samples(found.ok_or_else(|| refuse(&format!("tensor \"{name}\" is missing")))?)?;
        Ok::<_, Error>(bytemuck::cast_slice::<u8, f32>(&bytes).to_vec())
    };
    let stage = |stage: &StoredStage| {
        Ok(match stage {
            StoredStage::Scaling(name) => OnlineStage::Scaling(values(name)?),
            StoredStage::Blocks(names) => {
                let block = |name: &String| {
                    let values = values(name)?;
                    let order = values.len().isqrt();
                    if order * order == values.len() {
                        Ok((order, values))
                    } else {
                        Err(refuse("a block is not square"))
                    }
                };
                OnlineStage::Blocks(names.iter().map(block).collect::<Result<_, Error>>()?)
            }
            StoredStage::Rotation(name) => {
                let signs: Vec<i8> = values(name)?.into_iter().map(|s| if s < 0.0 { -1 } else { 1 }).collect();
                OnlineStage::Rotation(Hadamard::with_signs(signs))
            }
        })
    };
    let input = |stored: &StoredInput| {
        let stages = stored.stages.iter().map(stage).collect::<Result<_, Error>>()?;
        Ok((stored.layer, stored.input.clone(), Online { stages }))
    };
    let inputs = description.inputs.iter().map(input).collect::<Result<_, Error>>()?;
    Ok(Some(StoredTransforms { method: description.method, inputs }))
}
