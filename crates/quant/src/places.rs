//! Where an output may be written: never over the input, never over something that would be lost.

use std::fs;
use std::path::{Path, PathBuf};

use crate::checkpoint::Checkpoint;
use crate::error::Error;
use crate::files::OutputFiles;
use crate::partial::beside;

/// The path without a trailing slash and without `.` in the middle, so that suffixes land beside it.
pub(crate) fn normalised(output: &Path) -> PathBuf {
    output.components().collect()
}

/// Refuses an output that is the input, lies inside it, holds it, or exists.
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
    for suffix in [".partial", ".journal", ".replaced"] {
        if resolve(input).starts_with(resolve(&beside(output, suffix))) {
            return refuse(&format!("IN is what OUT{suffix} would be; give OUT another name"));
        }
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

/// With `--overwrite`, refuses to replace a file by a folder or the reverse, and a folder that holds any file the new
/// output does not have: it would be lost.
pub(crate) fn refuse_to_lose(output: &Path, files: &OutputFiles) -> Result<(), Error> {
    let refuse = |why: String| Err(Error::refused(format!("{}: {why}", output.display())));
    if beside(output, ".replaced").exists() {
        return refuse("OUT.replaced is there, an earlier output being replaced; move it away first".into());
    }
    match (output.is_dir(), files.single().is_some()) {
        (true, true) => return refuse("is a folder, and the output is one file; give OUT another name".into()),
        (false, false) if output.exists() => {
            return refuse("is a file, and the output is a folder; give OUT another name".into());
        }
        (false, _) => return Ok(()),
        (true, false) => {}
    }
    let known = files.names();
    match files_below(output, Path::new(""))?.into_iter().find(|path| !known.contains(path)) {
        Some(lost) => refuse(format!("--overwrite would lose {}, which the new output does not have", lost.display())),
        None => Ok(()),
    }
}

fn files_below(root: &Path, relative: &Path) -> Result<Vec<PathBuf>, Error> {
    let folder = root.join(relative);
    let mut found = Vec::new();
    for entry in fs::read_dir(&folder).map_err(Error::io("list", &folder))? {
        let entry = entry.map_err(Error::io("list", &folder))?;
        let path = relative.join(entry.file_name());
        if entry.path().is_dir() {
            found.extend(files_below(root, &path)?);
        } else {
            found.push(path);
        }
    }
    Ok(found)
}

/// Puts `from` in the place of OUT: an old folder steps aside first and is removed when the new one is in its place.
pub(crate) fn publish(from: &Path, output: &Path) -> Result<(), Error> {
    let aside = beside(output, ".replaced");
    let replaces = output.is_dir();
    if replaces {
        fs::rename(output, &aside).map_err(Error::io("move the old output to", &aside))?;
    }
    fs::rename(from, output).map_err(Error::io("rename the finished output to", output))?;
    if replaces { fs::remove_dir_all(&aside).map_err(Error::io("remove the old output", &aside)) } else { Ok(()) }
}
