//! Second moments of every linear input, on disk: one safetensors file for each layer, and a description beside them.
//!
//! A run sends all tokens through one layer after the other, so that one layer's moments are in memory at a time. What is
//! finished stays: a run that was killed goes on after its last whole layer. Moments are sums, so files merge by addition.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

use quant::Error;
use quant::checkpoint::Checkpoint;
use quant_core::dense::Dense;
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use serde::{Deserialize, Serialize};

use crate::layer::Input;
use crate::model::Model;
use crate::text::Windows;
use crate::{io, refused};

mod moments;
mod statistics;

pub use statistics::Statistics;

const FORMAT: &str = "quant-calibration/1";
/// Key of the metadata of a layer's file.
const TOKEN_COUNT: &str = "token_count";
const DESCRIPTION: &str = "calibration.json";

/// What a calibration was made from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Description {
    format: String,
    /// Fingerprint of the checkpoint.
    pub model: String,
    /// Decoder layers.
    pub layer_count: usize,
    /// Channels at each of the four inputs of a layer, by name.
    pub widths: BTreeMap<String, usize>,
    /// Tokens in a window.
    pub context: usize,
    /// The tokens, window after window.
    pub tokens: Vec<u32>,
}

impl Description {
    fn new(model: &Model, windows: &Windows) -> Self {
        let widths = Input::ALL.map(|input| (input.name().to_owned(), input.width(model.config())));
        Self {
            format: FORMAT.into(),
            model: model.checkpoint().checkpoint().fingerprint(),
            layer_count: model.config().layer_count,
            widths: widths.into(),
            context: windows.context(),
            tokens: windows.concat(),
        }
    }
}

/// An open calibration.
#[derive(Debug)]
pub struct Calibration {
    folder: PathBuf,
    description: Description,
}

fn layer_name(index: usize) -> String {
    format!("layer-{index:03}.safetensors")
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name: std::ffi::OsString = path.components().collect::<PathBuf>().into();
    name.push(suffix);
    name.into()
}

/// Accumulates moments over all windows and writes them to the folder `output`, which must not exist.
///
/// Work goes on in `output.partial`; with `resume`, after the last layer that an earlier run of the same model and tokens
/// finished. `progress` is told each layer.
pub fn run(
    model: &Model,
    windows: &Windows,
    output: &Path,
    resume: bool,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<(), Error> {
    let description = Description::new(model, windows);
    let partial = start(output, &description, resume)?;
    let count = description.layer_count;
    let (first, mut hidden) = match continued(&partial, count, description.tokens.len() * model.config().hidden)? {
        Some(state) => state,
        None => (0, model.embed(&description.tokens)?),
    };
    for index in first..count {
        let layer = model.layer(index)?;
        let mut statistics = Input::ALL.map(|input| Statistics::new(input.width(model.config())));
        model.advance(&layer, &mut hidden, windows.context(), &mut |input, rows| {
            statistics[input as usize].add(rows);
        });
        write_layer(&partial.join(layer_name(index)), &statistics)?;
        write_stream(&partial, index + 1, &hidden)?;
        progress(index + 1, count);
    }
    finish(&partial, output, count)
}

/// Adds calibrations of one model into a new one, `output`.
pub fn merge(parts: &[PathBuf], output: &Path, progress: &mut dyn FnMut(usize, usize)) -> Result<(), Error> {
    let parts: Vec<Calibration> = parts.iter().map(|path| Calibration::open(path)).collect::<Result<_, _>>()?;
    let Some(first) = parts.first() else { return Err(refused("no calibration to merge")) };
    let mut description = first.description.clone();
    for other in &parts[1..] {
        let theirs = &other.description;
        if (&theirs.model, &theirs.widths) != (&description.model, &description.widths) {
            let (a, b) = (first.folder.display(), other.folder.display());
            return Err(refused(format!("{b}: was made from another model than {a}; only equal models merge")));
        }
        description.tokens.extend(&theirs.tokens);
        // Windows of different lengths do not matter to moments; the shortest cuts the tokens of all.
        description.context = description.context.min(theirs.context);
    }
    let count = description.layer_count;
    let partial = start(output, &description, false)?;
    for index in 0..count {
        let mut sums = first.layer(index)?;
        for other in &parts[1..] {
            sums.iter_mut().zip(&other.layer(index)?).for_each(|(sum, theirs)| sum.merge(theirs));
        }
        write_layer(&partial.join(layer_name(index)), &sums)?;
        progress(index + 1, count);
    }
    finish(&partial, output, count)
}

fn start(output: &Path, description: &Description, resume: bool) -> Result<PathBuf, Error> {
    if output.exists() {
        return Err(refused(format!("{}: already exists; choose another name", output.display())));
    }
    let partial = beside(output, ".partial");
    let place = partial.join(DESCRIPTION);
    if partial.exists() {
        let path = partial.display();
        if !resume {
            return Err(refused(format!("{path}: an unfinished run is there; continue it with --resume or remove it")));
        }
        if read_description(&place)? != *description {
            return Err(refused(format!("{path}: cannot resume: it was made from another model, text or context")));
        }
        return Ok(partial);
    }
    fs::create_dir(&partial).map_err(io("create the folder", &partial))?;
    write_whole(&place, serde_json::to_string(description).expect("plain data").as_bytes())?;
    Ok(partial)
}

fn read_description(path: &Path) -> Result<Description, Error> {
    let text = fs::read_to_string(path).map_err(io("read", path))?;
    let described = serde_json::from_str(&text).ok().filter(|d: &Description| d.format == FORMAT);
    described.ok_or_else(|| refused(format!("{}: not a calibration of this program ({FORMAT})", path.display())))
}

/// Writes a file that appears under its name only when it is whole.
fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let fresh = beside(path, ".new");
    fs::write(&fresh, bytes).map_err(io("write", &fresh))?;
    fs::rename(&fresh, path).map_err(io("rename", path))
}

fn stream_name(index: usize) -> String {
    format!("stream-{index:03}.f32")
}

/// The residual stream before layer `index`, written after the layer before it: its presence says that layer is whole.
fn write_stream(partial: &Path, index: usize, hidden: &[f32]) -> Result<(), Error> {
    write_whole(&partial.join(stream_name(index)), bytemuck::cast_slice(hidden))?;
    let before = partial.join(stream_name(index - 1));
    if before.exists() { fs::remove_file(&before).map_err(io("remove", &before)) } else { Ok(()) }
}

/// Where an earlier run stopped: the next layer and the stream before it.
fn continued(partial: &Path, count: usize, len: usize) -> Result<Option<(usize, Vec<f32>)>, Error> {
    let Some(index) = (1..=count).rev().find(|index| partial.join(stream_name(*index)).is_file()) else {
        return Ok(None);
    };
    let path = partial.join(stream_name(index));
    let bytes = fs::read(&path).map_err(io("read", &path))?;
    let hidden: Vec<f32> = bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
    if hidden.len() != len {
        return Err(refused(format!("{}: has another length than this run's; remove the folder", path.display())));
    }
    Ok(Some((index, hidden)))
}

fn finish(partial: &Path, output: &Path, count: usize) -> Result<(), Error> {
    let stream = partial.join(stream_name(count));
    if stream.exists() {
        fs::remove_file(&stream).map_err(io("remove", &stream))?;
    }
    fs::rename(partial, output).map_err(io("rename", output))
}

fn write_layer(path: &Path, statistics: &[Statistics]) -> Result<(), Error> {
    let mut tensors: Vec<(String, Dtype, Vec<u8>)> = Vec::new();
    // One entry: the library writes several in no fixed order, and equal runs are to write equal bytes.
    let count = statistics[0].token_count();
    let metadata = HashMap::from([(TOKEN_COUNT.to_owned(), count.to_string())]);
    for (input, statistics) in Input::ALL.iter().zip(statistics) {
        let lower: Vec<u8> = statistics.lower_triangle().iter().flat_map(|x| x.to_le_bytes()).collect();
        let most: Vec<u8> = statistics.channel_max().iter().flat_map(|x| x.to_le_bytes()).collect();
        tensors.push((format!("{}.sum", input.name()), Dtype::F64, lower));
        tensors.push((format!("{}.max", input.name()), Dtype::F64, most));
        assert_eq!(statistics.token_count(), count, "every input of a layer sees every token");
    }
    let view = |(name, dtype, bytes): &'_ (String, Dtype, Vec<u8>)| (name.clone(), *dtype, bytes.len() / 8);
    let named: Vec<_> = tensors.iter().map(view).collect();
    let views = named.iter().zip(&tensors).map(|((name, dtype, len), (.., bytes))| {
        (name.as_str(), TensorView::new(*dtype, vec![*len], bytes).expect("eight bytes for each number"))
    });
    let fresh = beside(path, ".new");
    let written = safetensors::serialize_to_file(views, Some(metadata), &fresh);
    written.map_err(|error| io("write", &fresh)(std::io::Error::other(error)))?;
    fs::rename(&fresh, path).map_err(io("rename", path))
}

impl Calibration {
    /// Opens a folder written by [`run`] or [`merge`].
    pub fn open(folder: &Path) -> Result<Self, Error> {
        let place = folder.join(DESCRIPTION);
        if !place.is_file() {
            return Err(refused(format!("{}: not a calibration: it has no {DESCRIPTION}", folder.display())));
        }
        Ok(Self { folder: folder.to_owned(), description: read_description(&place)? })
    }

    /// What it was made from.
    pub fn description(&self) -> &Description {
        &self.description
    }

    /// Refuses a model of other sizes, and tells whether it is the very one.
    pub fn check(&self, model: &Model) -> Result<bool, Error> {
        let fits = self.description.layer_count == model.config().layer_count
            && Input::ALL.iter().all(|i| self.description.widths.get(i.name()) == Some(&i.width(model.config())));
        if !fits {
            return Err(refused(format!("{}: was made from a model of other sizes", self.folder.display())));
        }
        Ok(self.description.model == model.checkpoint().checkpoint().fingerprint())
    }

    /// The statistics of the four inputs of layer `index`, in the order of [`Input::ALL`].
    pub fn layer(&self, index: usize) -> Result<Vec<Statistics>, Error> {
        let path = self.folder.join(layer_name(index));
        let file = Checkpoint::open(&path)?;
        Input::ALL.iter().map(|input| self.read(&file, &path, *input)).collect()
    }

    /// The statistics of one input of layer `index`.
    pub fn input(&self, index: usize, input: Input) -> Result<Statistics, Error> {
        let path = self.folder.join(layer_name(index));
        self.read(&Checkpoint::open(&path)?, &path, input)
    }

    fn read(&self, file: &Checkpoint, path: &Path, input: Input) -> Result<Statistics, Error> {
        let refuse = |why: &str| refused(format!("{}: {} {why}", path.display(), input.name()));
        let width = *self.description.widths.get(input.name()).ok_or_else(|| refuse("has no width"))?;
        let numbers = |kind: &str, len: usize| {
            let name = format!("{}.{kind}", input.name());
            let found = file.tensors().iter().position(|t| t.name == name && t.byte_len == 8 * len as u64);
            let bytes = file.read_raw(found.ok_or_else(|| refuse("is missing or of another size"))?)?;
            Ok::<_, Error>(bytes.as_chunks::<8>().0.iter().map(|b| f64::from_le_bytes(*b)).collect::<Vec<f64>>())
        };
        let count = file.shards()[0].metadata.get(TOKEN_COUNT);
        let count: u64 = count.and_then(|c| c.parse().ok()).ok_or_else(|| refuse("has no token count"))?;
        let lower = numbers("sum", width * (width + 1) / 2)?;
        let most = numbers("max", width)?;
        if lower.iter().chain(&most).any(|x| !x.is_finite()) {
            return Err(refuse("holds a number that is not finite"));
        }
        Ok(Statistics::from_parts(Dense::zeros(width, width), &lower, most, count))
    }
}
