//! A checkpoint with transforms in its weights: folded into a neighbour where that is possible, kept for run time where not.
//!
//! Channel scalings fold away: at the inputs of attention and the feed-forward block into the norm before them, at `down`
//! into the rows of `up`, at `o` into the rows of `v` (where query heads share a key head, they share the scaling). Blocks
//! and rotations cannot pass a norm, a product or the residual stream; they are stored beside the weights in `transforms/`
//! and [`crate::perplexity`] applies them. A model without them is an ordinary checkpoint that any runtime loads.

use std::fs;
use std::path::{Path, PathBuf};

use quant::Error;
use quant::checkpoint::Source;
use quant::transformed::Mark;
use quant_core::transform::{Stage, Transform};
use serde::Serialize;

use crate::calibration::Calibration;
use crate::config::Config;
use crate::layer::{Input, Layer};
use crate::method::{Build, Method};
use crate::model::Model;
use crate::online::{self, Online, OnlineStage};
use crate::place::Place;
use crate::unfinished::Unfinished;
use crate::{io, refused};

mod stored;
mod writer;

use stored::{Description, StoredInput};
pub use stored::{StoredTransforms, read};
use writer::Writer;

/// What was written.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// The transform, and how many inputs got a scaling instead.
    pub method: String,
    /// All inputs.
    pub inputs: usize,
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

/// Writes `model` with the transforms of `method` to the folder `output`, which must not exist.
pub fn fold(
    model: &Model,
    calibration: Option<&Calibration>,
    method: Method,
    build: &Build,
    output: &Path,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Report, Error> {
    build.check()?;
    calibration.map_or(Ok(()), |c| c.check_sizes(model))?;
    let partial = start(model, output)?;
    let mut writer = Writer::new(model, partial.folder());
    let mut report = Report {
        method: method.label(),
        inputs: 0,
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
        let before = report.clone();
        for input in Input::ALL {
            let place = Place { config: model.config(), layer: &layer, index, input };
            let of_input = statistics.as_ref().map(|s| &s[input as usize]);
            let built = build.transform(method, of_input, &place)?;
            report.inputs += 1;
            report.fell_back += usize::from(built.fell_back);
            let linears = place.linears().iter().map(|l| l.weight.len() as u64).sum::<u64>();
            report.linear_operations += linears;
            report.online_operations += built.transform.operations();
            let left = transform_input(&mut layer, model.config(), input, &built.transform);
            report.folded += usize::from(left.stages.len() < built.transform.stages().len());
            report.online += usize::from(!left.stages.is_empty());
            stored.push(StoredInput::new(index, input, &left, &mut tensors));
        }
        let label = method.label_of_result(report.fell_back - before.fell_back, Input::ALL.len());
        writer.write_layer(index, &layer, &Mark::new(label, report.online - before.online))?;
        progress(index + 1, count);
    }
    report.method = method.label_of_result(report.fell_back, report.inputs);
    let mut mark = Mark::new(report.method.clone(), report.online);
    writer.write_rest(&mark)?;
    if report.online > 0 {
        let description = Description::new(report.method.clone(), stored);
        report.online_len_bytes = stored::write(partial.folder(), &description, &tensors)?;
        mark.transforms = Some(stored::fingerprint(partial.folder())?);
    }
    writer.finish(&mark)?;
    partial.finish(output)?;
    Ok(report)
}

/// Makes the folder to write into, beside the final one.
fn start(model: &Model, output: &Path) -> Result<Unfinished, Error> {
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
    let Some(name) = output.file_name() else {
        return Err(refused(format!("{}: not the name of a folder to write", output.display())));
    };
    let partial: PathBuf = output.with_file_name(format!("{}.partial", name.to_string_lossy()));
    if partial.exists() {
        return Err(refused(format!("{}: an unfinished run is there; remove it", partial.display())));
    }
    fs::create_dir(&partial).map_err(io("create the folder", &partial))?;
    Ok(Unfinished::watch(partial))
}

/// Transforms the weights that read at `input`; what is left for run time.
fn transform_input(layer: &mut Layer, config: &Config, input: Input, transform: &Transform) -> Online {
    let (first, rest) = match transform.stages() {
        [Stage::Scaling(m), rest @ ..] => (Some(m), rest),
        all => (None, all),
    };
    first.into_iter().for_each(|m| scale_producer(layer, config, input, m));
    for linear in layer.linears_mut(input) {
        online::transform_weights(&mut linear.weight, transform);
    }
    Online::of(rest)
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
            // Row r of v is read by the first query head of its group, and by others, which have the same factors.
            let (width, group) = (config.head_width, config.heads / config.key_heads);
            let shared = |row: usize| m[row / width * group * width + row % width];
            let v = &mut layer.attention[2];
            scale(&mut v.weight, v.inputs, &shared);
            v.bias.iter_mut().for_each(|bias| scale(bias, 1, &shared));
        }
    }
}

/// Opens a model that has no transforms to be applied at run time: its inputs are those that its weights expect.
pub fn open_untransformed(path: &Path) -> Result<Model, Error> {
    let model = Model::open(path)?;
    if read(&model)?.is_some() {
        let path = path.display();
        let why = "has transforms that run online; `quant eval` and `quant quantize` take it";
        return Err(refused(format!("{path}: {why}, everything else the original")));
    }
    Ok(model)
}
