//! Two checkpoints side by side: per tensor MSE, SQNR and largest error.

use quant_core::measure::sqnr_db;
use quant_core::tensor::Dtype;
use serde::Serialize;

use crate::decoded::{DecodedCheckpoint, DecodedTensor};
use crate::device::Device;
use crate::error::Error;

/// One tensor in both checkpoints.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ComparedTensor {
    /// Its name.
    pub name: String,
    /// Its shape in the first checkpoint.
    pub shape: Vec<usize>,
    /// How the second checkpoint stores it.
    pub method: String,
    /// Mean squared difference.
    pub mse: Option<f64>,
    /// 10·log₁₀(Σa²/Σ(a − b)²) in dB; absent where the weights are equal.
    pub sqnr_db: Option<f64>,
    /// max |a − b|.
    pub error_max: Option<f64>,
    /// Why the two could not be compared.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// Sums for totals: weights, Σ(a − b)², Σa².
    #[serde(skip)]
    pub sums: (u64, f64, f64),
}

/// All tensors of both checkpoints.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Comparison {
    /// Weights compared.
    pub weight_count: u64,
    /// Mean squared difference over all of them.
    pub mse: f64,
    /// SQNR over all of them in dB; absent where all are equal.
    pub sqnr_db: Option<f64>,
    /// Largest difference.
    pub error_max: f64,
    /// Tensor by tensor, in the first checkpoint's order.
    pub tensors: Vec<ComparedTensor>,
    /// Names that only the first checkpoint has.
    pub only_in_a: Vec<String>,
    /// Names that only the second checkpoint has.
    pub only_in_b: Vec<String>,
}

/// Compares every float tensor that both checkpoints have; `a` is the signal, `b` the approximation.
pub fn run(
    a: &DecodedCheckpoint,
    b: &DecodedCheckpoint,
    device: &Device,
    tell: &dyn Fn(&ComparedTensor),
) -> Result<Comparison, Error> {
    let position = |name: &str| b.tensors().iter().position(|t| t.name == name);
    let (mut tensors, mut only_in_a) = (Vec::new(), Vec::new());
    for (index, tensor) in a.tensors().iter().enumerate() {
        let Some(other) = position(&tensor.name) else {
            only_in_a.push(tensor.name.clone());
            continue;
        };
        let compared = compare(a, index, b, other, device)?;
        tell(&compared);
        tensors.push(compared);
    }
    let in_a = |t: &&DecodedTensor| !a.tensors().iter().any(|s| s.name == t.name);
    let only_in_b: Vec<String> = b.tensors().iter().filter(in_a).map(|t| t.name.clone()).collect();
    if tensors.is_empty() {
        let (a, b) = (a.checkpoint().path().display(), b.checkpoint().path().display());
        return Err(Error::refused(format!("{a} and {b} have no tensor name in common")));
    }
    Ok(total(tensors, only_in_a, only_in_b))
}

fn total(tensors: Vec<ComparedTensor>, only_in_a: Vec<String>, only_in_b: Vec<String>) -> Comparison {
    let weight_count = tensors.iter().map(|t| t.sums.0).sum();
    let squared_error: f64 = tensors.iter().map(|t| t.sums.1).sum();
    let energy: f64 = tensors.iter().map(|t| t.sums.2).sum();
    Comparison {
        weight_count,
        mse: if weight_count == 0 { 0.0 } else { squared_error / weight_count as f64 },
        sqnr_db: Some(sqnr_db(energy, squared_error)).filter(|db| db.is_finite()),
        error_max: tensors.iter().filter_map(|t| t.error_max).fold(0.0, f64::max),
        tensors,
        only_in_a,
        only_in_b,
    }
}

fn compare(
    a: &DecodedCheckpoint,
    index: usize,
    b: &DecodedCheckpoint,
    other: usize,
    device: &Device,
) -> Result<ComparedTensor, Error> {
    let (first, second) = (&a.tensors()[index], &b.tensors()[other]);
    let mut compared = ComparedTensor {
        name: first.name.clone(),
        shape: first.shape.clone(),
        method: second.method.clone(),
        mse: None,
        sqnr_db: None,
        error_max: None,
        problem: None,
        sums: (0, 0.0, 0.0),
    };
    if first.shape != second.shape {
        compared.problem = Some(format!("shapes differ: {:?} and {:?}", first.shape, second.shape));
    } else if first.decoded_dtype.is_none() || second.decoded_dtype.is_none() {
        compared.problem = Some(format!("not floats: {} and {}", first.dtype, second.dtype));
    } else {
        let (x, y) = (a.read(index, Dtype::F32, device)?, b.read(other, Dtype::F32, device)?);
        measure(&mut compared, bytemuck::cast_slice(&x), bytemuck::cast_slice(&y));
    }
    Ok(compared)
}

fn measure(compared: &mut ComparedTensor, x: &[f32], y: &[f32]) {
    let not_finite = |values: &[f32]| values.iter().position(|v| !v.is_finite());
    for (which, values) in [("first", x), ("second", y)] {
        if let Some(index) = not_finite(values) {
            compared.problem = Some(format!("weight {index} of the {which} is {}", values[index]));
            return;
        }
    }
    let (mut squared_error, mut energy, mut error_max) = (0.0, 0.0, 0.0f64);
    for (&x, &y) in x.iter().zip(y) {
        let error = f64::from(x) - f64::from(y);
        squared_error += error * error;
        energy += f64::from(x) * f64::from(x);
        error_max = error_max.max(error.abs());
    }
    compared.sums = (x.len() as u64, squared_error, energy);
    compared.mse = Some(if x.is_empty() { 0.0 } else { squared_error / x.len() as f64 });
    compared.sqnr_db = Some(sqnr_db(energy, squared_error)).filter(|db| db.is_finite());
    compared.error_max = Some(error_max);
}
