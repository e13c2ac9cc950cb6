//! One tensor of a checkpoint, decoded.

use std::path::Path;

use quant_core::tensor::{Dtype, Samples};

use super::{SamplesError, SamplesProblem, checked};
use crate::decoded::DecodedCheckpoint;
use crate::device::Device;
use crate::error::Error;

/// The weights of the tensor called `wanted`, in stored order.
pub fn read(path: &Path, wanted: Option<&str>) -> Result<Vec<f64>, Error> {
    let checkpoint = DecodedCheckpoint::open(path)?;
    let refuse = |problem| Error::from(SamplesError { path: path.to_owned(), problem });
    let index = find(&checkpoint, wanted).map_err(refuse)?;
    let bytes = checkpoint.read(index, Dtype::F32, &Device::cpu(None)?)?;
    let samples = Samples::from_bytes(&bytes, Dtype::F32).expect("the buffer is aligned");
    checked((0..samples.len()).map(|i| f64::from(samples.get(i))).collect()).map_err(refuse)
}

fn find(checkpoint: &DecodedCheckpoint, wanted: Option<&str>) -> Result<usize, SamplesProblem> {
    let tensors = checkpoint.tensors();
    let refuse = |problem: String| SamplesProblem::Tensor { problem, names: names(checkpoint) };
    let wanted = wanted.ok_or_else(|| refuse("a tensor must be named, as in FILE:TENSOR".into()))?;
    let index = tensors.iter().position(|t| t.name == wanted);
    let index = index.ok_or_else(|| refuse(format!("there is no tensor {wanted:?}")))?;
    if tensors[index].decoded_dtype.is_none() {
        return Err(refuse(format!("tensor {wanted:?} holds {}, not float weights", tensors[index].dtype)));
    }
    Ok(index)
}

/// The first few names.
fn names(checkpoint: &DecodedCheckpoint) -> String {
    let tensors = checkpoint.tensors();
    let mut names: Vec<String> = tensors.iter().take(4).map(|t| format!("{:?}", t.name)).collect();
    if tensors.len() > names.len() {
        names.push(format!("and {} more", tensors.len() - names.len()));
    }
    names.join(", ")
}
