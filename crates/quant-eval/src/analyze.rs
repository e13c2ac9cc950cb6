//! Why does each linear layer lose what it loses, and what would each transform change?

use quant::Error;
use quant_core::analysis::{self, Factors, db, gaussian_concentration};
use quant_core::grid::{Extent, GridKind, Symmetry};
use quant_core::linear;
use quant_core::measure::sqnr_db;
use rayon::prelude::*;
use serde::Serialize;

use crate::calibration::{Calibration, Statistics};
use crate::layer::{Input, Layer, Linear};
use crate::method::{Build, Method, dense, failed};
use crate::model::Model;
use crate::online::{self, Online};
use crate::ops;
use crate::refused;
use crate::text::Windows;

/// What to analyze.
#[derive(Clone, Debug)]
pub struct Options {
    /// Transforms to compare.
    pub methods: Vec<Method>,
    /// How they are built.
    pub build: Build,
    /// Grid of each token.
    pub activations: GridKind,
    /// Grid of each row of weights.
    pub weights: GridKind,
    /// Layers to look at; all when `None`.
    pub layers: Option<Vec<usize>>,
}

/// One linear layer under one transform. All but the SQNRs are factors, in dB.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Outcome {
    /// The transform.
    pub method: String,
    /// C(x) of the transformed inputs.
    pub input_concentration_db: f64,
    /// C(W) of the transformed weights.
    pub weight_concentration_db: f64,
    /// A, equal for all rotations of a transform.
    pub alignment_db: f64,
    /// SQNR that the factors predict.
    pub predicted_sqnr_db: f64,
    /// The same with the product of both errors.
    pub predicted_with_product_sqnr_db: f64,
    /// SQNR of the quantized layer on the scored tokens.
    pub measured_sqnr_db: f64,
    /// There were too few calibration tokens, and this is the scaling instead.
    pub fell_back: bool,
}

/// One linear layer.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LinearReport {
    /// The name of its weight.
    pub name: String,
    /// Decoder layer.
    pub layer: usize,
    /// `q_proj`, `down_proj`, …
    pub kind: String,
    /// Channels of the output.
    pub outputs: usize,
    /// Channels of the input.
    pub inputs: usize,
    /// A of the layer as it is, on the calibration tokens.
    pub alignment_db: f64,
    /// A*, the most that an invertible map can reach.
    pub alignment_max_db: f64,
    /// A* over A.
    pub headroom_db: f64,
    /// What limits it, in words.
    pub limit: String,
    /// Each transform, in the order asked for.
    pub outcomes: Vec<Outcome>,
}

impl LinearReport {
    /// The outcome of the method with this label.
    pub fn outcome(&self, label: &str) -> Option<&Outcome> {
        self.outcomes.iter().find(|o| o.method == label)
    }
}

/// Analyzes every linear layer: transforms from `calibration`, scores on the tokens of `windows`.
pub fn analyze(
    model: &Model,
    calibration: &Calibration,
    windows: &Windows,
    options: &Options,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Vec<LinearReport>, Error> {
    calibration.check(model)?;
    let count = model.config().layer_count;
    if let Some(layer) = options.layers.iter().flatten().find(|layer| **layer >= count) {
        return Err(refused(format!("layer {layer}: the model has layers 0 to {}", count - 1)));
    }
    let last = options.layers.as_ref().map_or(count, |layers| layers.iter().max().map_or(0, |l| l + 1).min(count));
    let mut hidden = model.embed(&windows.concat())?;
    let mut reports = Vec::new();
    for index in 0..last {
        let layer = model.layer(index)?;
        let mut inputs = Input::ALL.map(|_| Vec::new());
        model.advance(&layer, &mut hidden, windows.context(), &mut |input, rows| {
            inputs[input as usize].extend_from_slice(rows);
        });
        if options.layers.as_ref().is_none_or(|layers| layers.contains(&index)) {
            let statistics = calibration.layer(index)?;
            for (input, rows) in Input::ALL.into_iter().zip(inputs) {
                let scene =
                    Scene { index, input, layer: &layer, statistics: &statistics[input as usize], rows, options };
                reports.extend(scene.reports()?);
            }
        }
        progress(index + 1, last);
    }
    Ok(reports)
}

/// One input of one layer, with everything that is known of it.
struct Scene<'a> {
    index: usize,
    input: Input,
    layer: &'a Layer,
    statistics: &'a Statistics,
    rows: Vec<f32>,
    options: &'a Options,
}

impl Scene<'_> {
    fn reports(&self) -> Result<Vec<LinearReport>, Error> {
        let linears = self.layer.linears(self.input);
        let exact: Vec<Vec<f32>> = linears.iter().map(|l| ops::product(&self.rows, &l.weight, l.inputs)).collect();
        let mut outcomes: Vec<Vec<Outcome>> = vec![Vec::new(); linears.len()];
        let all = self.options.methods.par_iter().map(|method| self.outcomes(*method, &linears, &exact));
        for found in all.collect::<Result<Vec<_>, Error>>()? {
            outcomes.iter_mut().zip(found).for_each(|(all, one)| all.push(one));
        }
        let moment = self.statistics.moment();
        let report = |(linear, outcomes): (&&Linear, Vec<Outcome>)| {
            let weights = dense(linear);
            let gram = linear::gram(&weights);
            let alignment = analysis::alignment(&moment, &gram);
            let most = if linear.outputs() < linear.inputs {
                analysis::alignment_max_of_output(&linear::output_moment(&weights, &moment))
            } else {
                analysis::alignment_max(&moment, &gram)
            };
            let most = most.map_err(failed)?;
            let headroom_db = db(most / alignment);
            Ok(LinearReport {
                name: Model::linear_name(self.index, linear.name),
                layer: self.index,
                kind: linear.name.into(),
                outputs: linear.outputs(),
                inputs: linear.inputs,
                alignment_db: db(alignment),
                alignment_max_db: db(most),
                headroom_db,
                limit: self.limit(linear, headroom_db),
                outcomes,
            })
        };
        linears.par_iter().zip(outcomes).map(report).collect()
    }

    /// All linear layers of the input under one transform: inputs are transformed and rounded once.
    fn outcomes(&self, method: Method, linears: &[&Linear], exact: &[Vec<f32>]) -> Result<Vec<Outcome>, Error> {
        let place = (self.index * Input::ALL.len() + self.input as usize) as u64;
        let built = self.options.build.transform(method, Some(self.statistics), linears, place)?;
        let width = linears[0].inputs;
        let mut rows = self.rows.clone();
        Online::of(built.transform.stages()).apply(&mut rows, width);
        let (input_energy, input_ranges) = energies(&rows, width, self.options.activations.symmetry);
        online::round_rows(&mut rows, width, self.options.activations);
        let outcome = |(linear, exact): (&&Linear, &Vec<f32>)| {
            let mut weight = linear.weight.clone();
            online::transform_weights(&mut weight, &built.transform);
            let (weight_energy, weight_ranges) = energies(&weight, width, self.options.weights.symmetry);
            online::round_rows(&mut weight, width, self.options.weights);
            let energy: f64 = exact.iter().map(|&y| f64::from(y).powi(2)).sum();
            let factors = Factors {
                input_concentration: input_energy / input_ranges,
                weight_concentration: weight_energy / weight_ranges,
                alignment: energy / (input_energy * weight_energy),
                input_grid: self.options.activations,
                weight_grid: self.options.weights,
                width,
            };
            let output = ops::product(&rows, &weight, width);
            let error: f64 = exact.iter().zip(&output).map(|(a, b)| f64::from(a - b).powi(2)).sum();
            Outcome {
                method: method.label(),
                input_concentration_db: db(factors.input_concentration),
                weight_concentration_db: db(factors.weight_concentration),
                alignment_db: db(factors.alignment),
                predicted_sqnr_db: factors.sqnr_db(),
                predicted_with_product_sqnr_db: factors.sqnr_with_product_db(),
                measured_sqnr_db: sqnr_db(energy, error),
                fell_back: built.fell_back,
            }
        };
        Ok(linears.iter().zip(exact).map(outcome).collect())
    }

    /// Which factor is furthest below what it could be: concentrations below the Gaussian level, that a rotation brings
    /// them to, and alignment below A*.
    fn limit(&self, linear: &Linear, headroom_db: f64) -> String {
        let (inputs, weights) = (self.options.activations.symmetry, self.options.weights.symmetry);
        let shortfall = |rows: &[f32], symmetry: Symmetry| {
            let (energy, ranges) = energies(rows, linear.inputs, symmetry);
            db(gaussian_concentration(linear.inputs, symmetry)) - db(energy / ranges)
        };
        let inputs = shortfall(&self.rows, inputs);
        let weights = shortfall(&linear.weight, weights);
        if inputs.max(weights).max(headroom_db) < 1.0 {
            "near its ceiling: only more bits help".into()
        } else if headroom_db >= inputs.max(weights) {
            format!("alignment: {headroom_db:.1} dB below the best map")
        } else if inputs >= weights {
            format!("input concentration: outliers cost {inputs:.1} dB")
        } else {
            format!("weight concentration: outliers cost {weights:.1} dB")
        }
    }
}

/// Σ‖v‖² and Σ r(v)² over rows.
fn energies(rows: &[f32], width: usize, symmetry: Symmetry) -> (f64, f64) {
    let of = |row: &[f32]| {
        let energy: f64 = row.iter().map(|&x| f64::from(x).powi(2)).sum();
        let range = Extent::of(row.iter().map(|&x| f64::from(x))).range(symmetry);
        (energy, range * range)
    };
    // Added in order, so that reports do not depend on threads.
    let all: Vec<(f64, f64)> = rows.par_chunks_exact(width).map(of).collect();
    all.into_iter().fold((0.0, 0.0), |sum, one| (sum.0 + one.0, sum.1 + one.1))
}
