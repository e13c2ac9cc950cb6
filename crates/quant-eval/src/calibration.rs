//! Second moments of every linear input, on disk: one safetensors file for each layer, and a description beside them.
//!
//! A run sends all tokens through one layer after the other, so that one layer's moments are in memory at a time. What is
//! finished stays: a run that was killed goes on after its last whole layer. Moments are sums, so files merge by addition.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

use quant::Error;
use quant::checkpoint::Checkpoint;
use quant_core::dense::Dense;
use safetensors::Dtype;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::config::Config;
use crate::layer::Input;
use crate::model::Model;
use crate::text::Windows;
use crate::unfinished::Unfinished;
use crate::weights::linear_names;
use crate::{fingerprint, io, refused, tensors};

mod moments;
mod statistics;

pub use statistics::Statistics;

const FORMAT: &str = "quant-calibration/2";
/// Key of the metadata of a layer's file.
const TOKEN_COUNT: &str = "token_count";
const DESCRIPTION: &str = "calibration.json";

/// What a calibration was made from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Description {
    format: String,
    /// Fingerprint of the model, see [`Model::fingerprint`].
    pub model: String,
    /// Decoder layers.
    pub layer_count: usize,
    /// Channels at each of the four inputs of a layer, by name.
    pub widths: BTreeMap<String, usize>,
    /// What was read; more than one after a merge.
    pub runs: Vec<Run>,
}

/// One reading of a text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// Equal for equal models and windows, and for those only.
    pub id: String,
    /// Tokens in a window.
    pub context: usize,
    /// The tokens, window after window.
    pub tokens: Vec<u32>,
}

impl Run {
    fn new(model: &str, windows: &Windows) -> Self {
        let (context, tokens) = (windows.context(), windows.concat());
        let mut hash = Sha256::new();
        hash.update(format!("{model} {context} "));
        tokens.iter().for_each(|token| hash.update(token.to_le_bytes()));
        let id = hash.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect();
        Self { id, context, tokens }
    }

    fn windows(&self) -> HashSet<&[u32]> {
        self.tokens.chunks_exact(self.context.max(1)).collect()
    }
}

impl Description {
    fn new(model: &Model, windows: &Windows) -> Result<Self, Error> {
        let widths = Input::ALL.map(|input| (input.name().to_owned(), input.width(model.config())));
        let fingerprint = model.fingerprint()?;
        Ok(Self {
            format: FORMAT.into(),
            runs: vec![Run::new(&fingerprint, windows)],
            model: fingerprint,
            layer_count: model.config().layer_count,
            widths: widths.into(),
        })
    }

    /// All tokens read, window after window.
    pub fn tokens(&self) -> Vec<u32> {
        self.runs.iter().flat_map(|run| run.tokens.iter().copied()).collect()
    }

    /// How many they are.
    pub fn token_count(&self) -> usize {
        self.runs.iter().map(|run| run.tokens.len()).sum()
    }

    /// Tokens of the shortest windows.
    pub fn context(&self) -> usize {
        self.runs.iter().map(|run| run.context).min().unwrap_or(0)
    }

    /// Why the two cannot be added, if they cannot.
    fn reason_against(&self, other: &Self) -> Option<String> {
        if (self.layer_count, &self.widths) != (other.layer_count, &other.widths) {
            return Some("was made from another model, of other sizes".into());
        }
        if self.model != other.model {
            return Some("was made from another model, of the same sizes".into());
        }
        for (ours, theirs) in self.runs.iter().flat_map(|ours| other.runs.iter().map(move |theirs| (ours, theirs))) {
            let (windows, context) = (ours.windows(), theirs.context);
            let shared = theirs.windows().into_iter().filter(|window| windows.contains(window)).count();
            if ours.id == theirs.id {
                return Some(format!("holds the same run {}, which would count twice", ours.id));
            } else if shared > 0 {
                return Some(format!(
                    "holds {shared} of the same windows of {context} tokens, which would count twice"
                ));
            }
        }
        None
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
    let description = Description::new(model, windows)?;
    let tokens = description.tokens();
    model.check_tokens(&tokens)?;
    let partial = start(output, &description, resume)?;
    let count = description.layer_count;
    let (first, mut hidden) = match continued(&partial, count, tokens.len() * model.config().hidden)? {
        Some(state) => state,
        None => (0, model.embed(&tokens)?),
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

/// Adds calibrations of one model into a new one, `output`. No window may be in two of them.
pub fn merge(parts: &[PathBuf], output: &Path, progress: &mut dyn FnMut(usize, usize)) -> Result<(), Error> {
    let parts: Vec<Calibration> = parts.iter().map(|path| Calibration::open(path)).collect::<Result<_, _>>()?;
    let Some(first) = parts.first() else { return Err(refused("no calibration to merge")) };
    let mut description = first.description.clone();
    for (index, other) in parts.iter().enumerate() {
        for earlier in &parts[..index] {
            if let Some(why) = earlier.description.reason_against(&other.description) {
                let (a, b) = (earlier.folder.display(), other.folder.display());
                return Err(refused(format!("{b}: {why}; it does not merge with {a}")));
            }
        }
        if index > 0 {
            description.runs.extend_from_slice(&other.description.runs);
        }
    }
    let count = description.layer_count;
    let partial = Unfinished::watch(start(output, &description, false)?);
    for index in 0..count {
        let mut sums = first.layer(index)?;
        for other in &parts[1..] {
            sums.iter_mut().zip(&other.layer(index)?).for_each(|(sum, theirs)| sum.merge(theirs));
        }
        write_layer(&partial.folder().join(layer_name(index)), &sums)?;
        progress(index + 1, count);
    }
    partial.finish(output)
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
    let refuse = |why: String| refused(format!("{}: {why}", path.display()));
    let value: serde_json::Value = serde_json::from_str(&text).map_err(|e| refuse(format!("not JSON: {e}")))?;
    match value["format"].as_str() {
        Some(FORMAT) => serde_json::from_value(value).map_err(|error| refuse(error.to_string())),
        Some(other) => Err(refuse(format!("format {other}; {FORMAT} expected: calibrate again"))),
        None => Err(refuse("not a calibration".into())),
    }
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
    let mut parts: Vec<(String, Vec<u8>)> = Vec::new();
    let count = statistics[0].token_count();
    for (input, statistics) in Input::ALL.iter().zip(statistics) {
        let bytes = |numbers: &[f64]| numbers.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>();
        parts.push((format!("{}.sum", input.name()), bytes(&statistics.lower_triangle())));
        parts.push((format!("{}.max", input.name()), bytes(&statistics.channel_max())));
        assert_eq!(statistics.token_count(), count, "every input of a layer sees every token");
    }
    let views: Vec<tensors::Tensor<'_>> = parts
        .iter()
        .map(|(name, bytes)| (name.as_str(), Dtype::F64, vec![bytes.len() / 8], bytes.as_slice()))
        .collect();
    let fresh = beside(path, ".new");
    tensors::write(&fresh, [(TOKEN_COUNT.to_owned(), count.to_string())].into(), &views)?;
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

    /// Whether it was made from the model of this checkpoint, in the same number format.
    pub fn is_from(&self, checkpoint: &Checkpoint) -> Result<bool, Error> {
        Ok(fingerprint::of(checkpoint, &Config::of(checkpoint)?)? == self.description.model)
    }

    /// Refuses a model of other sizes.
    pub fn check_sizes(&self, model: &Model) -> Result<(), Error> {
        let folder = self.folder.display();
        let (found, expected) = (self.description.layer_count, model.config().layer_count);
        if found != expected {
            return Err(refused(format!("{folder}: was made from a model of {found} layers; {expected} expected")));
        }
        for input in Input::ALL {
            let found = self.description.widths.get(input.name()).copied().unwrap_or(0);
            let (name, expected) = (input.name(), input.width(model.config()));
            if found != expected {
                let why = format!("of {found} channels at \"{name}\"; {expected} expected");
                return Err(refused(format!("{folder}: was made from a model {why}")));
            }
        }
        Ok(())
    }

    /// Refuses a model of other sizes, and one of equal sizes with another configuration or other weights.
    pub fn check(&self, model: &Model) -> Result<(), Error> {
        self.check_sizes(model)?;
        let (found, expected) = (&self.description.model, model.fingerprint()?);
        if *found == expected {
            return Ok(());
        }
        let head = |text: &str| text.chars().take(12).collect::<String>();
        let (folder, path) = (self.folder.display(), model.checkpoint().checkpoint().path().display());
        let (found, expected) = (head(found), head(&expected));
        let why = format!("was made from another model (fingerprint {found}) than {path} ({expected})");
        Err(refused(format!(
            "{folder}: {why}; calibrate that one, or give analyze, transform and eval --allow-other-weights"
        )))
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

    /// `E[x²]` of the input channels of every linear layer, by its name in Hugging Face folders and by that in GGUF files:
    /// sensitivity weights.
    pub fn input_energies(&self) -> Result<BTreeMap<String, Vec<f32>>, Error> {
        let mut energies = BTreeMap::new();
        for index in 0..self.description.layer_count {
            for (input, statistics) in Input::ALL.iter().zip(self.layer(index)?) {
                let diagonal: Vec<f32> = statistics.moment().diagonal_entries().iter().map(|&e| e as f32).collect();
                for name in linear_names(index, *input) {
                    energies.insert(name, diagonal.clone());
                }
            }
        }
        Ok(energies)
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
        let expected = self.description.token_count() as u64;
        if count != expected {
            return Err(refuse(&format!("has seen {count} tokens; {expected} expected from {DESCRIPTION}")));
        }
        let lower = numbers("sum", width * (width + 1) / 2)?;
        let most = numbers("max", width)?;
        if lower.iter().chain(&most).any(|x| !x.is_finite()) {
            return Err(refuse("holds a number that is not finite"));
        }
        Ok(Statistics::from_parts(Dense::zeros(width, width), &lower, most, count))
    }
}
