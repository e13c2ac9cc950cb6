//! Samples from files that are not checkpoints: arrays, tables, sound, pictures; and single tensors of checkpoints.
//!
//! The name says what a file is: `.npy`, `.csv` or `.txt` with an optional `:COLUMN`, `.wav`, `.png`, and
//! `.safetensors:TENSOR`, `.gguf:TENSOR` or `FOLDER:TENSOR`. Values come as they are stored, in f64, except sound, which
//! is divided by full scale. Every value must be finite.

mod array;
mod error;
mod picture;
mod sound;
mod tensor;
mod text;

use std::path::Path;

pub use error::{SamplesError, SamplesProblem};

use crate::error::Error;

/// What a name of a file may be, for help texts and messages.
pub const FORMS: &str = "FILE.npy, FILE.csv[:COLUMN], FILE.txt[:COLUMN], FILE.wav, FILE.png, FILE.safetensors:TENSOR, \
                         FILE.gguf:TENSOR or FOLDER:TENSOR";

/// Reads the samples that `spec` names; see the [module](self) for its forms.
///
/// ```
/// # let folder = tempfile::tempdir().unwrap();
/// let path = folder.path().join("a.csv");
/// std::fs::write(&path, "time,weight\n0,0.5\n1,-2\n").unwrap();
/// assert_eq!(quant::samples::read(&format!("{}:weight", path.display())).unwrap(), [0.5, -2.0]);
/// ```
pub fn read(spec: &str) -> Result<Vec<f64>, Error> {
    let (path, part) = split(spec);
    let path = Path::new(path);
    let samples = match kind(path) {
        "npy" => array::parse(&bytes(path)?),
        "csv" | "txt" | "tsv" => text::parse(&bytes(path)?, part),
        "wav" => sound::parse(&bytes(path)?),
        "png" => picture::parse(&bytes(path)?),
        _ if path.is_dir() || matches!(kind(path), "safetensors" | "gguf") => return tensor::read(path, part),
        _ => Err(SamplesProblem::UnknownForm),
    };
    let samples = samples.and_then(checked).map_err(|problem| SamplesError { path: path.to_owned(), problem })?;
    Ok(samples)
}

/// The file and what is wanted of it: cut at the first colon behind which no part of an existing file's name is.
fn split(spec: &str) -> (&str, Option<&str>) {
    if Path::new(spec).exists() {
        return (spec, None);
    }
    let is_file = |at: &usize| !kind(Path::new(&spec[..*at])).is_empty() || Path::new(&spec[..*at]).is_dir();
    match spec.match_indices(':').map(|(at, _)| at).find(is_file) {
        Some(at) => (&spec[..at], Some(&spec[at + 1..])),
        None => (spec, None),
    }
}

const KINDS: [&str; 8] = ["npy", "csv", "txt", "tsv", "wav", "png", "safetensors", "gguf"];

fn kind(path: &Path) -> &'static str {
    let extension = path.extension().and_then(|e| e.to_str()).unwrap_or_default().to_ascii_lowercase();
    KINDS.into_iter().find(|&k| k == extension).unwrap_or_default()
}

fn bytes(path: &Path) -> Result<Vec<u8>, Error> {
    let failed = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::NotFound => {
            Error::from(SamplesError { path: path.to_owned(), problem: SamplesProblem::Missing })
        }
        _ => Error::Io { action: "read the samples", path: path.to_owned(), source: error },
    };
    std::fs::read(path).map_err(failed)
}

fn checked(samples: Vec<f64>) -> Result<Vec<f64>, SamplesProblem> {
    if samples.is_empty() {
        return Err(SamplesProblem::Empty);
    }
    match samples.iter().position(|x| !x.is_finite()) {
        Some(index) => Err(SamplesProblem::NotFinite { index, value: samples[index] }),
        None => Ok(samples),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_colon_behind_a_known_ending_parts_file_and_column() {
        assert_eq!(split("a:b.csv:weight"), ("a:b.csv", Some("weight")));
        assert_eq!(split("m.safetensors:model.layers.0:x"), ("m.safetensors", Some("model.layers.0:x")));
        assert_eq!(split("x.npy"), ("x.npy", None));
    }
}
