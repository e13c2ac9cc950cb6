//! Why does each linear layer lose what it loses, and what would each transform change?

use quant::Error;
use quant_core::analysis::{self, Factors, Repairs, db};
use quant_core::grid::{Extent, GridKind, Symmetry};
use quant_core::linear;
use quant_core::measure::sqnr_db;
use rayon::prelude::*;
use serde::Serialize;

use crate::calibration::{Calibration, Statistics};
use crate::layer::{Input, Linear};
use crate::method::{Build, Method, dense, failed};
use crate::model::Model;
use crate::online::{self, Online};
use crate::ops;
use crate::place::Place;
use crate::refused;
use crate::text::Windows;

/// No factor whose repair gains less is said to limit a layer.
const NEAR_DB: f64 = 1.0;

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
    /// The transform that was asked for.
    pub asked: String,
    /// The transform that was built, and for lack of which tokens if it is another.
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
    /// A* over A: what the predicted SQNR gains in the best alignment.
    pub headroom_db: f64,
    /// What it gains when the inputs alone become as concentrated as Gaussian samples, no transform applied before.
    pub input_concentration_repair_db: f64,
    /// What it gains when the weights alone do.
    pub weight_concentration_repair_db: f64,
    /// The factor whose repair gains most: `alignment`, `input concentration`, `weight concentration`, or `bits` when none
    /// gains 1 dB.
    pub limited_by: String,
    /// The same in words, with its gain.
    pub limit: String,
    /// Each transform, in the order asked for.
    pub outcomes: Vec<Outcome>,
}

impl LinearReport {
    /// The outcome of the method asked for under this label.
    pub fn outcome(&self, label: &str) -> Option<&Outcome> {
        self.outcomes.iter().find(|o| o.asked == label)
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
    calibration.check_sizes(model)?;
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
                let place = Place { config: model.config(), layer: &layer, index, input };
                let scene = Scene { place, statistics: &statistics[input as usize], rows, options };
                reports.extend(scene.reports()?);
            }
        }
        progress(index + 1, last);
    }
    Ok(reports)
}

/// One input of one layer, with everything that is known of it.
struct Scene<'a> {
    place: Place<'a>,
    statistics: &'a Statistics,
    rows: Vec<f32>,
    options: &'a Options,
}

impl Scene<'_> {
    fn reports(&self) -> Result<Vec<LinearReport>, Error> {
        let linears = self.place.linears();
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
            let repairs = self.factors(linear, alignment).repairs(most);
            let (limited_by, limit) = limit(&repairs);
            Ok(LinearReport {
                name: Model::linear_name(self.place.index, linear.name),
                layer: self.place.index,
                kind: linear.name.into(),
                outputs: linear.outputs(),
                inputs: linear.inputs,
                alignment_db: db(alignment),
                alignment_max_db: db(most),
                headroom_db: db(most / alignment),
                input_concentration_repair_db: repairs.input_concentration_db,
                weight_concentration_repair_db: repairs.weight_concentration_db,
                limited_by: limited_by.into(),
                limit,
                outcomes,
            })
        };
        linears.par_iter().zip(outcomes).map(report).collect()
    }

    /// All linear layers of the input under one transform: inputs are transformed and rounded once.
    fn outcomes(&self, method: Method, linears: &[&Linear], exact: &[Vec<f32>]) -> Result<Vec<Outcome>, Error> {
        let built = self.options.build.transform(method, Some(self.statistics), &self.place)?;
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
                asked: method.label(),
                method: method.label_of_result(usize::from(built.fell_back), 1),
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

    /// The factors of a linear layer as it is, with its alignment on the calibration tokens, to which A* belongs.
    fn factors(&self, linear: &Linear, alignment: f64) -> Factors {
        let (input_grid, weight_grid) = (self.options.activations, self.options.weights);
        let (input_energy, input_ranges) = energies(&self.rows, linear.inputs, input_grid.symmetry);
        let (weight_energy, weight_ranges) = energies(&linear.weight, linear.inputs, weight_grid.symmetry);
        Factors {
            input_concentration: input_energy / input_ranges,
            weight_concentration: weight_energy / weight_ranges,
            alignment,
            input_grid,
            weight_grid,
            width: linear.inputs,
        }
    }
}

/// The factor whose repair gains most, and in words.
fn limit(gains: &Repairs) -> (&'static str, String) {
    let named = [
        ("alignment", gains.alignment_db),
        ("input concentration", gains.input_concentration_db),
        ("weight concentration", gains.weight_concentration_db),
    ];
    let (factor, gain) = named.into_iter().max_by(|a, b| a.1.total_cmp(&b.1)).expect("three factors");
    if gain < NEAR_DB {
        return ("bits", "only more bits help".into());
    }
    (factor, format!("{factor}: {gain:.1} dB"))
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
