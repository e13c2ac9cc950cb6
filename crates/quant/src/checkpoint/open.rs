//! Opening: what the path is, which files it means, and whether they agree.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use super::error::reason;
use super::file::PositionedFile;
use super::folder::{self, Beside, Found};
use super::index::Index;
use super::{
    Checkpoint, CheckpointError, IndexProblem, PlaceProblem, Shard, Source, StoredDtype, TensorEntry, TensorProblem,
    gguf, header,
};

/// The first bytes of a GGUF file.
const GGUF_MAGIC: &[u8] = b"GGUF";
/// The first bytes of a zip archive, which is what `torch.save` writes.
const ZIP_MAGIC: &[u8] = b"PK\x03\x04";

pub(super) fn open(path: &Path) -> Result<Checkpoint, CheckpointError> {
    if path.metadata().map_err(|error| CheckpointError::io(path, error))?.is_dir() {
        return open_folder(path);
    }
    let file = PositionedFile::open(path)?;
    match kind_of(&file)? {
        Source::Gguf => open_gguf(path, file),
        _ => open_safetensors_file(path, file),
    }
}

/// Recognises a file by content, then by extension.
fn kind_of(file: &PositionedFile) -> Result<Source, CheckpointError> {
    let path = file.path();
    let head = file.head(4)?;
    if head == GGUF_MAGIC || (!head.is_empty() && folder::has_extension(path, &["gguf"])) {
        return Ok(Source::Gguf);
    }
    let problem = if head.is_empty() {
        PlaceProblem::Empty
    } else if folder::has_extension(path, &["json"]) {
        PlaceProblem::Json
    } else if head == ZIP_MAGIC || folder::is_pickle(path) {
        PlaceProblem::Pickle
    } else {
        return Ok(Source::SafetensorsFile);
    };
    Err(CheckpointError::place(path, problem))
}

fn open_safetensors_file(path: &Path, file: PositionedFile) -> Result<Checkpoint, CheckpointError> {
    let mut parts = Parts::default();
    parts.add_safetensors(file_name(path), file)?;
    Ok(parts.into_checkpoint(Source::SafetensorsFile, path))
}

fn open_gguf(path: &Path, file: PositionedFile) -> Result<Checkpoint, CheckpointError> {
    let header = gguf::read_header(&file)?;
    let mut parts = Parts::default();
    let digest = file.digest(header.data_begin)?;
    for tensor in header.tensors {
        parts.add_tensor(path, gguf::entry(tensor))?;
    }
    parts.shards.push(Shard::new(file_name(path), file, digest, BTreeMap::new()));
    let gguf_metadata = Some(header.metadata);
    Ok(Checkpoint { gguf_metadata, ..parts.into_checkpoint(Source::Gguf, path) })
}

fn open_folder(path: &Path) -> Result<Checkpoint, CheckpointError> {
    let (mut read, index) = match folder::find(path)? {
        Found::Safetensors { shards, index } => (shards, index),
        Found::Gguf(name) => return open(&path.join(name)),
    };
    let mut parts = Parts::default();
    for shard in &read {
        parts.add_safetensors(shard.clone(), PositionedFile::open(&path.join(shard))?)?;
    }
    if let Some((index_path, index)) = &index {
        parts.check_index(index_path, index)?;
        read.push(file_name(index_path));
    }
    let Beside { carried, left_out } = folder::beside(path, &read)?;
    let config = read_config(path)?;
    Ok(Checkpoint { config, side_files: carried, left_out, ..parts.into_checkpoint(Source::Folder, path) })
}

/// The folder's `config.json`, if it has one.
fn read_config(folder: &Path) -> Result<Option<serde_json::Value>, CheckpointError> {
    let path = folder.join("config.json");
    if !path.exists() {
        return Ok(None);
    }
    let file = PositionedFile::open(&path)?;
    let bytes = file.head(header::HEADER_LEN_MAX)?;
    serde_json::from_slice(&bytes)
        .map(Some)
        .map_err(|error| CheckpointError::place(&path, PlaceProblem::Config { reason: reason(&error) }))
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Tensors and shards as they are collected.
#[derive(Default)]
struct Parts {
    tensors: Vec<TensorEntry>,
    shards: Vec<Shard>,
    /// Position in `tensors` by name.
    by_name: HashMap<String, usize>,
}

impl Parts {
    fn add_safetensors(&mut self, file_name: String, file: PositionedFile) -> Result<(), CheckpointError> {
        if file.byte_len() == 0 {
            return Err(CheckpointError::place(file.path(), PlaceProblem::Empty));
        }
        let header = header::read(&file)?;
        let shard = self.shards.len();
        for tensor in header.tensors {
            self.add_tensor(
                file.path(),
                TensorEntry {
                    name: tensor.name,
                    shape: tensor.shape,
                    dtype: StoredDtype::Safetensors(tensor.dtype),
                    shard,
                    byte_len: tensor.end - tensor.begin,
                    offset: header.data_begin + tensor.begin,
                },
            )?;
        }
        let digest = file.digest(header.data_begin)?;
        self.shards.push(Shard::new(file_name, file, digest, header.metadata));
        Ok(())
    }

    fn add_tensor(&mut self, path: &Path, tensor: TensorEntry) -> Result<(), CheckpointError> {
        if let Some(&first) = self.by_name.get(&tensor.name) {
            let other = self.shards[self.tensors[first].shard].file_name.clone();
            let problem = TensorProblem::DuplicateAcrossShards { other };
            return Err(CheckpointError::tensor(path, &tensor.name, problem));
        }
        self.by_name.insert(tensor.name.clone(), self.tensors.len());
        self.tensors.push(tensor);
        Ok(())
    }

    /// Checks that each tensor of the index is in the shard that the index names.
    fn check_index(&self, index_path: &Path, index: &Index) -> Result<(), CheckpointError> {
        for (tensor, shard) in &index.weight_map {
            let held = self.by_name.get(tensor).map(|&at| &self.shards[self.tensors[at].shard].file_name);
            if held != Some(shard) {
                let (tensor, shard) = (tensor.clone(), shard.clone());
                return Err(CheckpointError::index(index_path, IndexProblem::AbsentTensor { tensor, shard }));
            }
        }
        Ok(())
    }

    fn into_checkpoint(self, source: Source, path: &Path) -> Checkpoint {
        Checkpoint {
            source,
            path: path.to_owned(),
            tensors: self.tensors,
            shards: self.shards,
            gguf_metadata: None,
            config: None,
            side_files: Vec::new(),
            left_out: Vec::new(),
        }
    }
}
