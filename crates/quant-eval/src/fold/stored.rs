//! Transforms that run online, as files beside the weights: `transforms/transforms.json` and `transforms.safetensors`.

use std::path::{Path, PathBuf};

use quant::Error;
use quant::checkpoint::{Checkpoint, Source, StoredDtype};
use quant::transformed;
use quant_core::transform::Hadamard;
use safetensors::Dtype;
use serde::{Deserialize, Serialize};

use super::OnlineStage;
use super::writer::{Tensors, write_f32};
use crate::layer::Input;
use crate::model::Model;
use crate::online::Online;
use crate::{io, refused};

const FORMAT: &str = "quant-transforms/1";
const TENSORS: &str = "transforms/transforms.safetensors";

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
    let path = folder.join(transformed::PLACE);
    let place = path.parent().expect("a place in a folder");
    std::fs::create_dir(place).map_err(io("create the folder", place))?;
    let text = serde_json::to_string_pretty(description).expect("plain data") + "\n";
    std::fs::write(&path, text).map_err(io("write", &path))?;
    write_f32(&folder.join(TENSORS), [("format".into(), "pt".into())].into(), tensors)
}

/// Tells the transforms of a folder from others.
pub(super) fn fingerprint(folder: &Path) -> Result<String, Error> {
    Ok(Checkpoint::open(&folder.join(TENSORS))?.fingerprint())
}

/// The online transforms of a folder.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredTransforms {
    /// The method they were built by.
    pub method: String,
    /// For each layer its four inputs.
    inputs: Vec<[Online; Input::ALL.len()]>,
}

impl StoredTransforms {
    /// What is to be applied at an input.
    ///
    /// # Panics
    /// For a layer that the model does not have.
    pub fn at(&self, layer: usize, input: Input) -> Online {
        self.inputs[layer][input as usize].clone()
    }
}

/// Reads the transforms that a model's weights expect, `None` when they expect none. Refuses weights and transforms that do
/// not belong together, and transforms that do not fit the model.
pub fn read(model: &Model) -> Result<Option<StoredTransforms>, Error> {
    let checkpoint = model.checkpoint().checkpoint();
    let folder = checkpoint.path();
    let path = folder.join(transformed::PLACE);
    let Some(mark) = transformed::expected(checkpoint)? else {
        if checkpoint.source() == Source::Folder && path.is_file() {
            let why = "transforms are here, but the weights beside them do not say that they expect any; restore what \
                       `quant transform` wrote, or remove them";
            return Err(refused(format!("{}: {why}", path.display())));
        }
        return Ok(None);
    };
    let refuse = |why: &str| refused(format!("{}: {why}", path.display()));
    let text = std::fs::read_to_string(&path).map_err(io("read", &path))?;
    let value: serde_json::Value = serde_json::from_str(&text).map_err(|e| refuse(&format!("not JSON: {e}")))?;
    if value["format"] != FORMAT {
        return Err(refuse(&format!("format {}; \"{FORMAT}\" expected", value["format"])));
    }
    let description: Description = serde_json::from_value(value).map_err(|e| refuse(&e.to_string()))?;
    if mark.transforms.is_some_and(|expected| fingerprint(folder).is_ok_and(|found| found != expected)) {
        return Err(refuse("the transforms beside it are not those that the weights expect"));
    }
    let file = File { tensors: Checkpoint::open(&folder.join(TENSORS))?, path: folder.join(TENSORS) };
    let mut inputs: Vec<[Option<Online>; 4]> = vec![Default::default(); model.config().layer_count];
    for stored in &description.inputs {
        let input = Input::ALL.into_iter().find(|input| input.name() == stored.input);
        let place = inputs.get_mut(stored.layer).zip(input);
        let what = format!("layer {}, input \"{}\"", stored.layer, stored.input);
        let Some((layer, input)) = place else { return Err(refuse(&format!("{what}: the model has no such input"))) };
        let stages = stored.stages.iter().map(|stage| file.stage(stage, input.width(model.config())));
        let online = Online { stages: stages.collect::<Result<_, Error>>()? };
        if layer[input as usize].replace(online).is_some() {
            return Err(refuse(&format!("{what} stands there twice")));
        }
    }
    let missing = |layer: usize, input: Input| refuse(&format!("layer {layer}, input \"{}\" is missing", input.name()));
    let of_layer = |(index, layer): (usize, [Option<Online>; 4])| {
        if let Some(input) = Input::ALL.into_iter().find(|input| layer[*input as usize].is_none()) {
            return Err(missing(index, input));
        }
        Ok(layer.map(Option::unwrap_or_default))
    };
    let inputs = inputs.into_iter().enumerate().map(of_layer).collect::<Result<_, Error>>()?;
    Ok(Some(StoredTransforms { method: description.method, inputs }))
}

/// The open file of tensors.
struct File {
    tensors: Checkpoint,
    path: PathBuf,
}

impl File {
    fn stage(&self, stage: &StoredStage, width: usize) -> Result<OnlineStage, Error> {
        Ok(match stage {
            StoredStage::Scaling(name) => OnlineStage::Scaling(self.values(name, &[width])?),
            StoredStage::Blocks(names) => {
                let blocks: Vec<_> = names.iter().map(|name| self.block(name, width)).collect::<Result<_, _>>()?;
                let channels: usize = blocks.iter().map(|(order, _)| order).sum();
                if channels != width {
                    let name = names.first().map_or("", String::as_str);
                    return Err(self.refuse(name, &format!("its blocks have {channels} channels; {width} expected")));
                }
                OnlineStage::Blocks(blocks)
            }
            StoredStage::Rotation(name) => {
                let signs = self.values(name, &[width])?;
                if let Some(at) = signs.iter().position(|s| s.abs() != 1.0) {
                    return Err(self.refuse(name, &format!("value {at} is {}; 1 or -1 expected", signs[at])));
                }
                OnlineStage::Rotation(Hadamard::with_signs(signs.into_iter().map(|s| s as i8).collect()))
            }
        })
    }

    fn block(&self, name: &str, width: usize) -> Result<(usize, Vec<f32>), Error> {
        let found = self.tensors.tensors().iter().find(|t| t.name == name);
        let order = found.and_then(|t| t.shape.first()).map_or(width, |order| (*order).min(width));
        Ok((order, self.values(name, &[order, order])?))
    }

    /// The values of an f32 tensor of this shape, all finite.
    fn values(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, Error> {
        let Some(index) = self.tensors.tensors().iter().position(|t| t.name == name) else {
            return Err(self.refuse(name, &format!("is missing; F32 {shape:?} expected")));
        };
        let tensor = &self.tensors.tensors()[index];
        if tensor.shape != shape || tensor.dtype != StoredDtype::Safetensors(Dtype::F32) {
            let (dtype, found) = (tensor.dtype.name(), &tensor.shape);
            return Err(self.refuse(name, &format!("{dtype} {found:?} found; F32 {shape:?} expected")));
        }
        let bytes = self.tensors.read_raw(index)?;
        let values = bytemuck::cast_slice::<u8, f32>(&bytes).to_vec();
        match values.iter().position(|value| !value.is_finite()) {
            Some(at) => Err(self.refuse(name, &format!("value {at} is {}; finite values expected", values[at]))),
            None => Ok(values),
        }
    }

    fn refuse(&self, name: &str, why: &str) -> Error {
        refused(format!("{}: tensor \"{name}\": {why}", self.path.display()))
    }
}
