//! A checkpoint with transforms in its weights: folded into a neighbour where that is possible, kept for run time where not.
//!
//! Channel scalings fold away: at the inputs of attention and the feed-forward block into the norm before them, at `down`
//! into the rows of `up`, at `o` into the rows of `v` (where query heads share a key head, they share the scaling). Blocks
//! and rotations cannot pass a norm, a product or the residual stream; they are stored beside the weights in `transforms/`
//! and [`crate::perplexity`] applies them. A model without them is an ordinary checkpoint that any runtime loads.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

use quant::Error;
use quant::checkpoint::Source;
use quant_core::tensor::Dtype as FloatDtype;
use quant_core::transform::Stage;
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use serde::Serialize;

use crate::calibration::Calibration;
use crate::config::Config;
use crate::layer::{Input, Layer};
use crate::method::{Build, Method};
use crate::model::Model;
use crate::online::{self, Online, OnlineStage};
use crate::{io, refused};

mod stored;

use stored::{Description, StoredInput};
pub use stored::{StoredTransforms, read};

/// What was written.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// The transform.
    pub method: String,
    /// Inputs whose scaling went into a neighbour.
    pub folded: usize,
    /// Inputs with something left for run time.
    pub online: usize,
    /// Inputs where too few calibration tokens made it a scaling.
    pub fell_back: usize,
    /// Multiplications and additions at run time for each token.
    pub online_operations: u64,
    /// Multiplications of all linear layers for each token.
    pub linear_operations: u64,
    /// Bytes of what is stored for run time.
    pub online_len_bytes: u64,
}

/// A file of tensors in the making.
type Tensors = Vec<(String, Vec<usize>, Vec<f32>)>;

/// Writes `model` with the transforms of `method` to the folder `output`, which must not exist.
pub fn fold(
    model: &Model,
    calibration: Option<&Calibration>,
    method: Method,
    build: &Build,
    output: &Path,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Report, Error> {
    let partial = start(model, output)?;
    let mut writer = Writer { model, folder: &partial, index: BTreeMap::new(), len_bytes: 0 };
    let mut report = Report {
        method: method.label(),
        folded: 0,
        online: 0,
        fell_back: 0,
        online_operations: 0,
        linear_operations: 0,
        online_len_bytes: 0,
    };
    let (mut stored, mut tensors) = (Vec::new(), Vec::new());
    let count = model.config().layer_count;
    for index in 0..count {
        let mut layer = model.layer(index)?;
        let statistics = calibration.map(|c| c.layer(index)).transpose()?;
        for input in Input::ALL {
            let place = (index * Input::ALL.len() + input as usize) as u64;
            let of_input = statistics.as_ref().map(|s| &s[input as usize]);
            let built = build.transform(method, of_input, &layer.linears(input), place)?;
            report.fell_back += usize::from(built.fell_back);
            let linears = layer.linears(input).iter().map(|l| l.weight.len() as u64).sum::<u64>();
            report.linear_operations += linears;
            report.online_operations += built.transform.operations();
            let left = transform_input(&mut layer, model.config(), input, built.transform.stages());
            report.folded += usize::from(left.stages.len() < built.transform.stages().len());
            report.online += usize::from(!left.stages.is_empty());
            stored.push(StoredInput::new(index, input, &left, &mut tensors));
        }
        writer.write_layer(index, count, &layer)?;
        progress(index + 1, count);
    }
    writer.write_rest(count)?;
    if report.online > 0 {
        report.online_len_bytes = stored::write(&partial, &Description::new(method.label(), stored), &tensors)?;
    }
    writer.finish()?;
    fs::rename(&partial, output).map_err(io("rename", output))?;
    Ok(report)
}

/// Makes the folder to write into, beside the final one.
fn start(model: &Model, output: &Path) -> Result<PathBuf, Error> {
    let checkpoint = model.checkpoint().checkpoint();
    if checkpoint.source() != Source::Folder {
        return Err(refused(format!(
            "{}: only folders can be transformed; GGUF has no place for it",
            checkpoint.path().display()
        )));
    }
    if output.exists() {
        return Err(refused(format!("{}: already exists; choose another name", output.display())));
    }
    let partial =
        output.with_file_name(format!("{}.partial", output.file_name().unwrap_or_default().to_string_lossy()));
    if partial.exists() {
        return Err(refused(format!("{}: an unfinished run is there; remove it", partial.display())));
    }
    fs::create_dir(&partial).map_err(io("create the folder", &partial))?;
    Ok(partial)
}

/// Transforms the weights that read at `input`; what is left for run time.
fn transform_input(layer: &mut Layer, config: &Config, input: Input, stages: &[Stage]) -> Online {
    let (first, rest) = match stages {
        [Stage::Scaling(m), rest @ ..] => (Some(m.clone()), rest),
        _ => (None, stages),
    };
    let mut transform = quant_core::transform::Transform::identity(input.width(config));
    if let Some(mut m) = first {
        if input == Input::Output {
            tie_heads(&mut m, config);
        }
        scale_producer(layer, config, input, &m);
        transform = transform.then(Stage::Scaling(m));
    }
    for stage in rest {
        transform = transform.then(stage.clone());
    }
    for linear in layer.linears_mut(input) {
        online::transform_weights(&mut linear.weight, &transform);
    }
    Online::of(rest)
}

/// Query heads that share a key head get one scaling, the geometric mean of theirs: they read the same rows of v.
fn tie_heads(m: &mut [f64], config: &Config) {
    let (width, group) = (config.head_width, config.heads / config.key_heads);
    for heads in m.chunks_exact_mut(group * width) {
        for channel in 0..width {
            let product: f64 = (0..group).map(|h| heads[h * width + channel].ln()).sum();
            let mean = (product / group as f64).exp();
            (0..group).for_each(|h| heads[h * width + channel] = mean);
        }
    }
}

/// Multiplies what makes the input's channels.
fn scale_producer(layer: &mut Layer, config: &Config, input: Input, m: &[f64]) {
    let scale = |values: &mut [f32], width: usize, factor: &dyn Fn(usize) -> f64| {
        for (row, values) in values.chunks_exact_mut(width).enumerate() {
            values.iter_mut().for_each(|x| *x = (f64::from(*x) * factor(row)) as f32);
        }
    };
    let plain = |row: usize| m[row];
    match input {
        Input::Attention => scale(&mut layer.attention_norm, 1, &plain),
        Input::FeedForward => scale(&mut layer.feed_forward_norm, 1, &plain),
        Input::Down => {
            let up = &mut layer.feed_forward[1];
            scale(&mut up.weight, up.inputs, &plain);
            up.bias.iter_mut().for_each(|bias| scale(bias, 1, &plain));
        }
        Input::Output => {
            // Row r of v is read by the first query head of its group, among others.
            let (width, group) = (config.head_width, config.heads / config.key_heads);
            let shared = |row: usize| m[row / width * group * width + row % width];
            let v = &mut layer.attention[2];
            scale(&mut v.weight, v.inputs, &shared);
            v.bias.iter_mut().for_each(|bias| scale(bias, 1, &shared));
        }
    }
}

/// Writes safetensors layer by layer, and the index that says which tensor is where.
struct Writer<'a> {
    model: &'a Model,
    folder: &'a Path,
    index: BTreeMap<String, String>,
    len_bytes: u64,
}

impl Writer<'_> {
    fn write(&mut self, file: &str, tensors: &Tensors) -> Result<(), Error> {
        let path = self.folder.join(file);
        self.len_bytes += write_f32(&path, tensors)?;
        self.index.extend(tensors.iter().map(|(name, ..)| (name.clone(), file.to_owned())));
        Ok(())
    }

    fn write_layer(&mut self, index: usize, count: usize, layer: &Layer) -> Result<(), Error> {
        let place = format!("model.layers.{index}");
        let gain = |name: &str, gain: &[f32]| (format!("{place}.{name}.weight"), vec![gain.len()], gain.to_vec());
        let mut tensors = vec![
            gain("input_layernorm", &layer.attention_norm),
            gain("post_attention_layernorm", &layer.feed_forward_norm),
        ];
        if let Some([q, k]) = &layer.head_norms {
            tensors.extend([gain("self_attn.q_norm", q), gain("self_attn.k_norm", k)]);
        }
        for linear in Input::ALL.iter().flat_map(|input| layer.linears(*input)) {
            let name = Model::linear_name(index, linear.name);
            if let Some(bias) = &linear.bias {
                tensors.push((name.replace(".weight", ".bias"), vec![bias.len()], bias.clone()));
            }
            tensors.push((name, vec![linear.outputs(), linear.inputs], linear.weight.clone()));
        }
        self.write(&shard(index, count), &tensors)
    }

    /// Everything that belongs to no layer: embedding, last norm, head.
    fn write_rest(&mut self, count: usize) -> Result<(), Error> {
        let checkpoint = self.model.checkpoint();
        let device = quant::device::Device::cpu(None)?;
        let mut tensors = Vec::new();
        for (index, tensor) in checkpoint.tensors().iter().enumerate() {
            if self.index.contains_key(&tensor.name) || tensor.decoded_dtype.is_none() {
                continue;
            }
            let bytes = checkpoint.read(index, FloatDtype::F32, &device)?;
            tensors.push((tensor.name.clone(), tensor.shape.clone(), bytemuck::cast_slice::<u8, f32>(&bytes).to_vec()));
        }
        self.write(&shard(count, count), &tensors)
    }

    fn finish(self) -> Result<(), Error> {
        let index = serde_json::json!({"metadata": {"total_size": self.len_bytes}, "weight_map": self.index});
        let text = serde_json::to_string_pretty(&index).expect("plain data");
        let path = self.folder.join("model.safetensors.index.json");
        fs::write(&path, text).map_err(io("write", &path))?;
        let checkpoint = self.model.checkpoint().checkpoint();
        for relative in checkpoint.side_files() {
            let (from, to) = (checkpoint.path().join(relative), self.folder.join(relative));
            if let Some(parent) = to.parent() {
                fs::create_dir_all(parent).map_err(io("create the folder", parent))?;
            }
            fs::copy(&from, &to).map_err(io("copy", &from))?;
        }
        // What is written is not quantized, whatever the source was.
        if let Some(mut config) = checkpoint.config().filter(|c| c.get("quantization_config").is_some()).cloned() {
            config.as_object_mut().expect("it has a key").remove("quantization_config");
            let path = self.folder.join("config.json");
            let text = serde_json::to_string_pretty(&config).expect("plain data");
            fs::write(&path, text).map_err(io("write", &path))?;
        }
        Ok(())
    }
}

/// Opens a model that has no transforms to be applied at run time: its inputs are those that its weights expect.
pub fn open_untransformed(path: &Path) -> Result<Model, Error> {
    let model = Model::open(path)?;
    if path.is_dir() && read(path)?.is_some() {
        let path = path.display();
        let why = "has transforms that run online; `quant eval` and `quant quantize` take it";
        return Err(refused(format!("{path}: {why}, everything else the original")));
    }
    Ok(model)
}

/// Layer `index`, and the rest at the end.
fn shard(index: usize, count: usize) -> String {
    format!("model-{:05}-of-{:05}.safetensors", index + 1, count + 1)
}

/// Writes f32 tensors; bytes of them.
fn write_f32(path: &Path, tensors: &Tensors) -> Result<u64, Error> {
    let views = tensors.iter().map(|(name, shape, values)| {
        let bytes = bytemuck::cast_slice(values);
        (name.as_str(), TensorView::new(Dtype::F32, shape.clone(), bytes).expect("the shape is the values'"))
    });
    let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    let written = safetensors::serialize_to_file(views, Some(metadata), path);
    written.map_err(|error| io("write", path)(std::io::Error::other(error)))?;
    Ok(tensors.iter().map(|(.., values)| 4 * values.len() as u64).sum())
}
