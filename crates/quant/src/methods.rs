//! What would each of several recipes make of a checkpoint? Rate, distortion and time, measured tensor by tensor; and the
//! choice among them for a mean rate or an SQNR.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

use quant_core::allocate::{self, Point};
use quant_core::measure::sqnr_db;
use quant_core::recipe::Recipe;
use serde::{Deserialize, Serialize};

use crate::checkpoint::Checkpoint;
use crate::device::{Device, with_backend};
use crate::error::Error;
use crate::outputs::Subject;
use crate::pipeline::Options;
use crate::plan::{Action, Plan};
use crate::work::{quantize_matrices, stored_bits};

/// What one recipe made of one tensor.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MeasuredTensor {
    /// Its name.
    pub name: String,
    /// Its weights.
    pub weight_count: u64,
    /// Bits stored for it in the native format, all side information included.
    pub stored_bits: u64,
    /// Σ (x − Q(x))².
    pub squared_error: f64,
    /// Σ x².
    pub energy: f64,
    /// Σ w·(x − Q(x))² where there are sensitivity weights w, else [`Self::squared_error`].
    pub cost: f64,
    /// Wall time of quantizing it.
    pub seconds: f64,
}

/// What one recipe made of all tensors.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MeasuredMethod {
    /// The recipe in words.
    pub recipe: String,
    /// Bits per weight, all side information included.
    pub rate_bits: f64,
    /// Mean squared error.
    pub mse: f64,
    /// SQNR in dB; absent where there is no error.
    pub sqnr_db: Option<f64>,
    /// Wall time.
    pub seconds: f64,
    /// Weights per second.
    pub weights_per_second: f64,
    /// Whether no other recipe has both a lower rate and a higher SQNR.
    pub is_on_front: bool,
    /// Each tensor.
    pub tensors: Vec<MeasuredTensor>,
}

impl MeasuredMethod {
    fn new(recipe: &Recipe, tensors: Vec<MeasuredTensor>) -> Self {
        let sum = |of: &dyn Fn(&MeasuredTensor) -> f64| tensors.iter().map(of).sum::<f64>();
        let weight_count = sum(&|t| t.weight_count as f64).max(1.0);
        let (error, seconds) = (sum(&|t| t.squared_error), sum(&|t| t.seconds));
        Self {
            recipe: recipe.to_string(),
            rate_bits: sum(&|t| t.stored_bits as f64) / weight_count,
            mse: error / weight_count,
            sqnr_db: Some(sqnr_db(sum(&|t| t.energy), error)).filter(|db| db.is_finite()),
            seconds,
            weights_per_second: weight_count / seconds.max(1e-9),
            is_on_front: false,
            tensors,
        }
    }
}

/// Measures `recipes` on the tensors that `options` selects; on some of them, evenly spaced, when they have more than
/// `weights_max` weights together. `tell` is called with each tensor's name.
pub fn measure(
    checkpoint: &Checkpoint,
    options: &Options,
    recipes: &[Recipe],
    weights_max: Option<u64>,
    device: &Device,
    tell: &dyn Fn(&str),
) -> Result<Vec<MeasuredMethod>, Error> {
    crate::plan::refuse_quantized(checkpoint)?;
    let plan = Plan::new(checkpoint, options)?;
    if let Some(sensitivities) = &options.sensitivities {
        sensitivities.check(checkpoint, &plan)?;
    }
    let mut measured = vec![Vec::new(); recipes.len()];
    for (index, matrices) in sampled(checkpoint, &plan, weights_max) {
        let entry = &checkpoint.tensors()[index];
        tell(&entry.name);
        let subject = |recipe| Subject { entry, matrices, recipe };
        let weights = options.sensitivities.as_ref().map(|s| s.of(&subject(&options.recipe))).transpose()?.flatten();
        for (recipe, tensors) in recipes.iter().zip(&mut measured) {
            let (subject, bytes) = (subject(recipe), checkpoint.read_samples(index)?);
            let start = Instant::now();
            let quantized = with_backend!(device, backend => {
                quantize_matrices(backend, checkpoint, &subject, weights.as_deref(), None, bytes).map(|(q, _)| q)
            })?;
            let seconds = start.elapsed().as_secs_f64();
            let sum = |of: &dyn Fn(&quant_core::quantize::Quantized) -> f64| quantized.iter().map(of).sum::<f64>();
            tensors.push(MeasuredTensor {
                name: entry.name.clone(),
                weight_count: entry.sample_count() as u64,
                stored_bits: stored_bits(&subject, &quantized, &options.target),
                squared_error: sum(&|q| q.distortion.squared_error),
                energy: sum(&|q| q.distortion.energy),
                cost: sum(&|q| q.weighted.map_or(q.distortion.squared_error, |w| w.squared_error)),
                seconds,
            });
        }
    }
    let mut methods: Vec<MeasuredMethod> =
        recipes.iter().zip(measured).map(|(recipe, tensors)| MeasuredMethod::new(recipe, tensors)).collect();
    mark_front(&mut methods);
    Ok(methods)
}

/// The tensors to measure: all that are quantized, or every so many.
fn sampled(checkpoint: &Checkpoint, plan: &Plan, weights_max: Option<u64>) -> Vec<(usize, crate::plan::Matrices)> {
    let of = |(index, action): (usize, &Action)| match action {
        Action::Quantize(matrices, _) => Some((index, *matrices)),
        Action::Dense { .. } => None,
    };
    let all: Vec<_> = plan.actions.iter().enumerate().filter_map(of).collect();
    let count = |&(index, _): &(usize, _)| checkpoint.tensors()[index].sample_count() as u64;
    let total: u64 = all.iter().map(count).sum();
    let Some(most) = weights_max.filter(|&most| most < total) else { return all };
    // Evenly spaced and from the middle outwards, so that no kind of layer is always met first.
    let step = (total as f64 / most as f64).ceil() as usize;
    let step = (step..all.len()).find(|s| all.len() % s != 0).unwrap_or(step.max(1));
    all.iter().skip((step / 2).min(all.len().saturating_sub(1))).step_by(step).copied().collect()
}

fn mark_front(methods: &mut [MeasuredMethod]) {
    let points: Vec<(f64, f64)> = methods.iter().map(|m| (m.rate_bits, m.mse)).collect();
    for (method, &(rate, mse)) in methods.iter_mut().zip(&points) {
        let is_worse = |&(r, e): &(f64, f64)| r <= rate && e <= mse && (r < rate || e < mse);
        method.is_on_front = !points.iter().any(is_worse);
    }
}

/// What an allocation is to reach.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Goal {
    /// At most so many bits per weight in the mean, at the least distortion.
    RateBits(f64),
    /// At least so much SQNR in dB, at the lowest rate.
    SqnrDb(f64),
}

/// Which recipe each tensor gets. Written and read as JSON.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Allocation {
    /// 1.
    pub version: u32,
    /// Mean bits per weight of the tensors named.
    pub rate_bits: f64,
    /// Their SQNR in dB, where there is an error.
    pub sqnr_db: Option<f64>,
    /// The recipe of each tensor, in words.
    pub tensors: BTreeMap<String, String>,
}

/// The recipe of each tensor that reaches `goal`, among those measured. Where there are sensitivity weights, least distortion
/// means least weighted distortion, and the SQNR to reach is the plain one still.
pub fn allocate(methods: &[MeasuredMethod], goal: Goal) -> Result<Allocation, Error> {
    let tensor_count = methods.first().map_or(0, |m| m.tensors.len());
    let all = || (0..tensor_count).map(|t| methods.iter().map(move |m| &m.tensors[t]));
    let weight_count: f64 = all().filter_map(|mut t| t.next()).map(|t| t.weight_count as f64).sum();
    let energy: f64 = all().filter_map(|mut t| t.next()).map(|t| t.energy).sum();
    let points = |of: &dyn Fn(&MeasuredTensor) -> Point| all().map(|t| t.map(of).collect()).collect::<Vec<Vec<_>>>();
    let (points, limit) = match goal {
        Goal::RateBits(bits) => (points(&|t| Point { size: t.stored_bits as f64, cost: t.cost }), bits * weight_count),
        Goal::SqnrDb(db) => {
            (points(&|t| Point { size: t.squared_error, cost: t.stored_bits as f64 }), energy * 10f64.powf(-db / 10.0))
        }
    };
    let chosen = allocate::minimise(&points, limit).ok_or_else(|| out_of_reach(methods, goal))?;
    let picked: Vec<&MeasuredTensor> = chosen.iter().enumerate().map(|(t, &m)| &methods[m].tensors[t]).collect();
    let error: f64 = picked.iter().map(|t| t.squared_error).sum();
    let name = |(t, &m): (usize, &usize)| (methods[m].tensors[t].name.clone(), methods[m].recipe.clone());
    Ok(Allocation {
        version: 1,
        rate_bits: picked.iter().map(|t| t.stored_bits as f64).sum::<f64>() / weight_count,
        sqnr_db: Some(sqnr_db(energy, error)).filter(|db| db.is_finite()),
        tensors: chosen.iter().enumerate().map(name).collect(),
    })
}

fn out_of_reach(methods: &[MeasuredMethod], goal: Goal) -> Error {
    let least = methods.iter().map(|m| m.rate_bits).fold(f64::INFINITY, f64::min);
    let most = methods.iter().filter_map(|m| m.sqnr_db).fold(f64::NEG_INFINITY, f64::max);
    Error::refused(match goal {
        Goal::RateBits(bits) => format!("--rate {bits}: the recipes tried need {least:.4} bits per weight at least"),
        Goal::SqnrDb(db) => format!("--target-sqnr {db}: the recipes tried reach {most:.2} dB at most"),
    })
}

impl Allocation {
    /// Reads a plan.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let refuse = |why: String| Error::refused(format!("{}: {why}", path.display()));
        let text = std::fs::read(path).map_err(|e| refuse(format!("cannot be read: {e}")))?;
        let plan: Self = serde_json::from_slice(&text).map_err(|e| refuse(format!("not a plan: {e}")))?;
        if plan.version != 1 {
            return Err(refuse(format!("plan version {}; this program reads version 1", plan.version)));
        }
        Ok(plan)
    }

    /// The recipes by tensor; `path` is where the plan came from, for messages.
    pub fn recipes(&self, path: &Path) -> Result<BTreeMap<String, Recipe>, Error> {
        let parse = |(name, text): (&String, &String)| match text.parse() {
            Ok(recipe) => Ok((name.clone(), recipe)),
            Err(error) => Err(Error::refused(format!("{}: tensor \"{name}\": {error}", path.display()))),
        };
        self.tensors.iter().map(parse).collect()
    }

    /// Writes the plan, which appears only when it is whole.
    pub fn write(&self, path: &Path) -> Result<(), Error> {
        let text = serde_json::to_string_pretty(self).expect("plain data") + "\n";
        crate::whole::write(path, text.as_bytes())
    }
}
