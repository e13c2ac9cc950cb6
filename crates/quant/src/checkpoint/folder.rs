//! What a folder holds: the shards of a checkpoint and the files to carry along with it.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use super::index::{INDEX_NAME, Index};
use super::{CheckpointError, IndexProblem, PlaceProblem};

/// Folders are searched this deep for files to carry along; a model repository has two or three levels.
const DEPTH_MAX: usize = 8;

/// The weights of a folder.
#[derive(Debug)]
pub(super) enum Found {
    /// File names in order, and the index when one says which tensor is where.
    Safetensors { shards: Vec<String>, index: Option<(PathBuf, Index)> },
    /// One GGUF file.
    Gguf(String),
}

/// Finds the weights: `model.safetensors`, else the index and its shards, else all *.safetensors, else the only *.gguf.
///
/// `model.safetensors` goes first because transformers takes it first.
pub(super) fn find(folder: &Path) -> Result<Found, CheckpointError> {
    if folder.join("model.safetensors").exists() {
        return Ok(Found::Safetensors { shards: vec!["model.safetensors".to_owned()], index: None });
    }
    let index_path = folder.join(INDEX_NAME);
    if index_path.exists() {
        return find_indexed(folder, index_path);
    }
    let names = file_names(folder)?;
    let with = |extension: &str| -> Vec<String> {
        names.iter().filter(|name| has_extension(Path::new(name), &[extension])).cloned().collect()
    };
    let shards = with("safetensors");
    if !shards.is_empty() {
        return Ok(Found::Safetensors { shards, index: None });
    }
    match &with("gguf")[..] {
        [] => Err(CheckpointError::place(folder, nothing_in(&names))),
        [only] => Ok(Found::Gguf(only.clone())),
        [first, second, ..] => {
            let problem =
                PlaceProblem::ManyGguf { count: with("gguf").len(), first: first.clone(), second: second.clone() };
            Err(CheckpointError::place(folder, problem))
        }
    }
}

fn find_indexed(folder: &Path, index_path: PathBuf) -> Result<Found, CheckpointError> {
    let index = Index::read(&index_path)?;
    let shards = index.shards();
    if let Some((shard, tensor)) = shards.iter().find(|(shard, _)| !folder.join(shard).is_file()) {
        let (shard, tensor) = ((*shard).to_owned(), (*tensor).to_owned());
        return Err(CheckpointError::index(&index_path, IndexProblem::MissingShard { tensor, shard }));
    }
    let shards = shards.into_keys().map(str::to_owned).collect();
    Ok(Found::Safetensors { shards, index: Some((index_path, index)) })
}

/// Why there is nothing to read.
fn nothing_in(names: &[String]) -> PlaceProblem {
    match names.iter().find(|name| is_pickle(Path::new(name))) {
        Some(example) => PlaceProblem::PickleFolder { example: example.clone() },
        None => PlaceProblem::NoCheckpoint,
    }
}

/// Names of the regular files of a folder, sorted. A name that is not Unicode cannot be a shard's and is passed over.
fn file_names(folder: &Path) -> Result<Vec<String>, CheckpointError> {
    let at = |error| CheckpointError::io(folder, error);
    let mut names = Vec::new();
    for entry in folder.read_dir().map_err(at)? {
        let entry = entry.map_err(at)?;
        if entry.path().is_file() {
            names.extend(entry.file_name().into_string());
        }
    }
    names.sort();
    Ok(names)
}

/// True for a file of pickled weights, by name.
pub(super) fn is_pickle(path: &Path) -> bool {
    has_extension(path, &["bin", "pt", "pth", "pkl", "ckpt"])
}

pub(super) fn has_extension(path: &Path, extensions: &[&str]) -> bool {
    let extension = path.extension().and_then(OsStr::to_str).unwrap_or_default();
    extensions.iter().any(|candidate| extension.eq_ignore_ascii_case(candidate))
}

/// The files beside the weights, relative to the folder and sorted.
#[derive(Debug, Default)]
pub(super) struct Beside {
    /// Configuration, tokenizer, licence, ...: carried along.
    pub carried: Vec<PathBuf>,
    /// The same weights in another form: left out.
    pub left_out: Vec<PathBuf>,
}

/// Lists the files beside the ones that are `read`: the shards and their index.
pub(super) fn beside(folder: &Path, read: &[String]) -> Result<Beside, CheckpointError> {
    let mut beside = Beside::default();
    walk(folder, Path::new(""), 0, &mut |relative| {
        if read.iter().any(|name| Path::new(name) == relative) {
        } else if is_other_weights(&relative) {
            beside.left_out.push(relative);
        } else {
            beside.carried.push(relative);
        }
    })?;
    beside.carried.sort();
    beside.left_out.sort();
    Ok(beside)
}

/// Weights that must not stand beside quantized ones: they would be loaded instead, or double the size.
///
/// A safetensors file in a sub-folder belongs to a part of its own (an adapter, a pooling layer) and is carried along.
fn is_other_weights(relative: &Path) -> bool {
    let name = relative.file_name().and_then(OsStr::to_str).unwrap_or_default();
    let top = relative.components().count() == 1;
    has_extension(relative, &["gguf", "pt", "pth", "ckpt", "h5", "msgpack", "onnx", "onnx_data"])
        || (name.starts_with("pytorch_model") && has_extension(relative, &["bin"]))
        || name.ends_with(".index.json")
        || (top && has_extension(relative, &["safetensors"]))
}

/// Visits regular files (links to files included), but no hidden folder and no linked one.
fn walk(folder: &Path, relative: &Path, depth: usize, visit: &mut impl FnMut(PathBuf)) -> Result<(), CheckpointError> {
    let here = folder.join(relative);
    let at = |error| CheckpointError::io(&here, error);
    for entry in here.read_dir().map_err(at)? {
        let entry = entry.map_err(at)?;
        let name = entry.file_name();
        let kind = entry.file_type().map_err(at)?;
        if kind.is_dir() {
            if depth + 1 < DEPTH_MAX && !name.as_encoded_bytes().starts_with(b".") {
                walk(folder, &relative.join(name), depth + 1, visit)?;
            }
        } else if entry.path().is_file() {
            visit(relative.join(name));
        }
    }
    Ok(())
}
