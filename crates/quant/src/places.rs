//! Where an output may be written: never over the input, never over something that would be lost.

use std::fs;
use std::path::{Path, PathBuf};

use crate::checkpoint::Checkpoint;
use crate::error::Error;
use crate::files::OutputFiles;

/// Refuses an output that is the input, lies inside it, or exists.
pub(crate) fn refuse_collisions(checkpoint: &Checkpoint, output: &Path, overwrite: bool) -> Result<(), Error> {
    let input = checkpoint.path();
    let refuse = |why: &str| Err(Error::refused(format!("{}: {why}", output.display())));
    let resolved = resolve(output);
    if resolved == resolve(input) {
        return refuse("IN and OUT are the same; give OUT another name");
    }
    if input.is_dir() && resolved.starts_with(resolve(input)) {
        return refuse("OUT lies inside IN; give it a place outside");
    }
    if checkpoint.shards().iter().any(|s| resolve(&s.path) == resolved) {
        return refuse("OUT is a file of the input; give OUT another name");
    }
    if output.is_dir() && resolve(input).starts_with(&resolved) {
        return refuse("OUT is a folder that holds IN; give OUT another name");
    }
    if output.exists() && !overwrite {
        return refuse("already exists; remove it, choose another name, or add --overwrite");
    }
    match resolved.parent() {
        Some(parent) if !parent.is_dir() => {
            refuse(&format!("the folder {} does not exist; create it first", parent.display()))
        }
        _ => Ok(()),
    }
}

/// The absolute path with symbolic links resolved, as far as it exists.
fn resolve(path: &Path) -> PathBuf {
    if let Ok(resolved) = path.canonicalize() {
        return resolved;
    }
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    match (absolute.parent().and_then(|p| p.canonicalize().ok()), absolute.file_name()) {
        (Some(parent), Some(name)) => parent.join(name),
        _ => absolute,
    }
}

/// With `--overwrite`, refuses to replace a folder that holds files the new output does not have: they would be lost.
pub(crate) fn refuse_to_lose(output: &Path, files: &OutputFiles) -> Result<(), Error> {
    if !output.is_dir() {
        return Ok(());
    }
    let known = files.names();
    for entry in fs::read_dir(output).map_err(Error::io("list", output))? {
        let name = entry.map_err(Error::io("list", output))?.file_name();
        let is_known = known.iter().any(|path| path.iter().next() == Some(name.as_os_str()));
        let is_ours = name.to_string_lossy().ends_with(".safetensors") || name == "model.safetensors.index.json";
        if !is_known && !is_ours {
            return Err(Error::refused(format!(
                "{}: --overwrite would lose {}, which the new output does not have",
                output.display(),
                name.to_string_lossy()
            )));
        }
    }
    Ok(())
}

/// Removes what the finished output replaces.
pub(crate) fn clear_old_output(output: &Path) -> Result<(), Error> {
    if output.is_dir() { fs::remove_dir_all(output).map_err(Error::io("replace", output)) } else { Ok(()) }
}
