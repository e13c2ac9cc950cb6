//! What does an error of each weight matter? Sensitivity weights from files, checked against the tensors that they are for.

mod imatrix;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use quant_core::sensitivity::Weights;

use crate::checkpoint::{Checkpoint, TensorEntry};
use crate::error::Error;
use crate::outputs::Subject;
use crate::outputs::hugging_face::in_pairs;
use crate::plan::{Action, Plan};
use crate::transpose::transposed;

/// Sensitivity weights by tensor.
#[derive(Debug)]
pub struct Sensitivities {
    /// Where they come from: a file or a folder.
    path: PathBuf,
    form: Form,
}

#[derive(Debug)]
enum Form {
    /// A checkpoint with a tensor of weights under the name of each tensor.
    Stored(Box<Checkpoint>),
    /// One weight for each input channel, or for each of each expert.
    PerColumn(BTreeMap<String, Vec<f32>>),
}

impl Sensitivities {
    /// Opens a safetensors file, or a folder of them: under the name of each tensor a float tensor of its shape, or a vector with
    /// one weight for each input channel. Or an importance matrix of llama.cpp, by its ending `.dat` or `.gguf`, whose names
    /// are understood for Hugging Face's too.
    pub fn open(path: &Path) -> Result<Self, Error> {
        if let Some(weights) = imatrix::read(path)? {
            return Ok(Self::per_column(path, weights));
        }
        crate::partial::refuse_unfinished(path)?;
        let checkpoint = Checkpoint::open(path)?;
        Ok(Self { path: path.to_owned(), form: Form::Stored(Box::new(checkpoint)) })
    }

    /// Weights of input channels by tensor, which were read from `path`.
    pub fn per_column(path: &Path, weights: BTreeMap<String, Vec<f32>>) -> Self {
        Self { path: path.to_owned(), form: Form::PerColumn(weights) }
    }

    /// The file or folder, as text.
    pub fn origin(&self) -> String {
        self.path.display().to_string()
    }

    /// What tells these weights from others.
    pub(crate) fn fingerprint(&self) -> String {
        match &self.form {
            Form::Stored(checkpoint) => format!("weights {}", checkpoint.fingerprint()),
            Form::PerColumn(weights) => {
                let mut hash = crc32fast::Hasher::new();
                for (name, values) in weights {
                    hash.update(name.as_bytes());
                    values.iter().for_each(|w| hash.update(&w.to_le_bytes()));
                }
                format!("weights {:08x}", hash.finalize())
            }
        }
    }

    fn refused(&self, name: &str, why: impl std::fmt::Display) -> Error {
        Error::refused(format!("{}: tensor \"{name}\": {why}", self.path.display()))
    }

    fn stored<'a>(checkpoint: &'a Checkpoint, name: &str) -> Option<(usize, &'a TensorEntry)> {
        checkpoint.tensors().iter().enumerate().find(|(_, t)| t.name == name)
    }

    /// Refuses weights of the wrong shape before anything is quantized, and weights of no tensor that is.
    pub(crate) fn check(&self, checkpoint: &Checkpoint, plan: &Plan) -> Result<(), Error> {
        let mut found = 0;
        for (entry, action) in checkpoint.tensors().iter().zip(&plan.actions) {
            let Action::Quantize(matrices, _) = action else { continue };
            let name = &entry.name;
            let count = match &self.form {
                Form::PerColumn(weights) => per_column(weights, name).map(Vec::len),
                Form::Stored(stored) => match Self::stored(stored, name) {
                    Some((_, weights)) if weights.dtype.float().is_none() => {
                        return Err(self.refused(name, format!("dtype {}; weights are floats", weights.dtype.name())));
                    }
                    Some((_, weights)) if weights.shape != entry.shape && weights.shape.len() != 1 => {
                        let (theirs, ours) = (&weights.shape, &entry.shape);
                        return Err(self.refused(name, format!("shape {theirs:?}; {ours:?} or a vector expected")));
                    }
                    stored => stored.map(|(_, weights)| weights.shape.iter().product()),
                },
            };
            let Some(count) = count else { continue };
            let of_experts = matrices.columns * matrices.count;
            if count != matrices.columns && count != of_experts && count != entry.shape.iter().product::<usize>() {
                let columns = matrices.columns;
                return Err(self.refused(name, format!("{count} weights; {columns} input channels expected")));
            }
            found += 1;
        }
        match found {
            0 => Err(Error::refused(format!("{}: no weights for any tensor to quantize", self.path.display()))),
            _ => Ok(()),
        }
    }

    /// Tensors of `plan` that are quantized and have no weights here.
    pub fn lacking<'a>(&self, checkpoint: &'a Checkpoint, plan: &Plan) -> Vec<&'a str> {
        let has = |name: &str| match &self.form {
            Form::PerColumn(weights) => per_column(weights, name).is_some(),
            Form::Stored(stored) => Self::stored(stored, name).is_some(),
        };
        let planned = checkpoint.tensors().iter().zip(&plan.actions);
        let quantized = planned.filter(|(_, action)| matches!(action, Action::Quantize(..)));
        quantized.map(|(entry, _)| entry.name.as_str()).filter(|name| !has(name)).collect()
    }

    /// The weights of each matrix of a tensor, if there are any.
    pub(crate) fn of(&self, subject: &Subject<'_>) -> Result<Option<Vec<Weights>>, Error> {
        let (name, m) = (&subject.entry.name, subject.matrices);
        let (mut values, is_per_column) = match &self.form {
            Form::PerColumn(weights) => match per_column(weights, name) {
                Some(values) => (values.clone(), true),
                None => return Ok(None),
            },
            Form::Stored(checkpoint) => match Self::stored(checkpoint, name) {
                Some((index, entry)) => (read(checkpoint, index)?, entry.shape.len() == 1),
                None => return Ok(None),
            },
        };
        if is_per_column && values.len() == m.columns {
            values = (0..m.count).flat_map(|_| values.iter().copied()).collect();
        } else if !is_per_column {
            // Weights lie as the samples will.
            let bytes: &[u8] = bytemuck::cast_slice(&values);
            let moved = match m.paired_heads {
                _ if m.transposed => Some(transposed(bytes, m.columns, m.rows, 4)),
                Some(heads) => Some(in_pairs(bytes, m.rows, heads)),
                None => None,
            };
            if let Some(moved) = moved {
                values = bytemuck::cast_slice(&moved).to_vec();
            }
        }
        let len = values.len() / m.count;
        let weights = |part: Vec<f32>| Weights::new(part, m.rows, m.columns).map_err(|e| self.refused(name, e));
        if m.count == 1 {
            return Ok(Some(vec![weights(values)?]));
        }
        values.chunks(len.max(1)).map(|part| weights(part.to_vec())).collect::<Result<_, _>>().map(Some)
    }
}

fn per_column<'a>(weights: &'a BTreeMap<String, Vec<f32>>, name: &str) -> Option<&'a Vec<f32>> {
    weights.get(name).or_else(|| weights.get(&imatrix::gguf_name(name)?))
}

fn read(checkpoint: &Checkpoint, index: usize) -> Result<Vec<f32>, Error> {
    let dtype = checkpoint.tensors()[index].dtype.float().expect("checked to be floats");
    let bytes = checkpoint.read_samples(index)?;
    let samples = quant_core::tensor::Samples::from_bytes(&bytes, dtype).expect("the buffer is aligned");
    Ok(samples.to_f32())
}
