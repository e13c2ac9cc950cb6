//! Why samples were refused.

use std::path::PathBuf;

/// A file that holds no usable samples.
#[derive(Debug, thiserror::Error)]
#[error("{}: {problem}", path.display())]
pub struct SamplesError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub problem: SamplesProblem,
}

/// What is wrong with a file of samples.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum SamplesProblem {
    /// There is no such file.
    #[error("no such file")]
    Missing,
    /// The name has an unknown ending.
    #[error("not a known form of samples; one of {} expected", super::FORMS)]
    UnknownForm,
    /// No value at all.
    #[error("there are no samples in it")]
    Empty,
    /// A value is NaN or infinite.
    #[error("sample {index} is {value}; every sample must be finite")]
    NotFinite {
        /// Its position, the first being 0.
        index: usize,
        /// Its value.
        value: f64,
    },
    /// The header of an array does not say what it should.
    #[error("not a .npy array: {0}")]
    Npy(String),
    /// The array's number format is not supported.
    #[error("number format {0:?} is not supported; f8, f4, f2, i1 to i8 or u1 to u8 expected")]
    NpyFormat(String),
    /// The file ends early.
    #[error("the file ends after {found} of {expected} bytes")]
    Truncated {
        /// Bytes that the header promises.
        expected: u64,
        /// Bytes there are.
        found: u64,
    },
    /// A field of a text file is no number.
    #[error("line {line}, column {column}: {text:?} is not a number")]
    NotANumber {
        /// The first being 1.
        line: usize,
        /// The first being 1.
        column: usize,
        /// What is there.
        text: String,
    },
    /// A line has too few fields.
    #[error("line {line} has {found} columns; column {wanted} is missing")]
    ShortLine {
        /// The first being 1.
        line: usize,
        /// Fields on it.
        found: usize,
        /// Column wanted, the first being 1.
        wanted: usize,
    },
    /// The wanted column is not in the head.
    #[error("there is no column {wanted:?}; the columns are {names}")]
    NoColumn {
        /// Name or number wanted.
        wanted: String,
        /// Names there are.
        names: String,
    },
    /// The text is not UTF-8.
    #[error("byte {0} is not UTF-8 text")]
    NotText(usize),
    /// The sound cannot be decoded.
    #[error("not a readable .wav file: {0}; PCM of 8, 16, 24 or 32 bits or 32-bit float expected")]
    Sound(String),
    /// The picture cannot be decoded.
    #[error("not a readable .png file: {0}")]
    Picture(String),
    /// Which tensor was not said, or there is none of that name.
    #[error("{problem}; it holds {names}")]
    Tensor {
        /// What was asked for.
        problem: String,
        /// Names of tensors there are.
        names: String,
    },
}
