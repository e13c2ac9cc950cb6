//! How likely does a model, or what quantization leaves of it, find a text?

use quant::Error;
use quant_core::grid::GridKind;

use crate::layer::{Input, Layer};
use crate::method::WeightRule;
use crate::model::Model;
use crate::online::{self, Online};
use crate::text::Windows;

/// What is done to the model while it is evaluated.
pub struct Plan<'a> {
    /// The map at each input of each layer, made when the layer is read.
    pub transforms: &'a dyn Fn(usize, Input, &Layer) -> Result<Prepared, Error>,
    /// How weights are quantized; none to leave them.
    pub weights: Option<WeightRule>,
    /// The grid of each token at every linear input; none to leave activations.
    pub activations: Option<GridKind>,
}

/// What is done at one input.
#[derive(Clone, Debug)]
pub struct Prepared {
    /// Applied to inputs at run time.
    pub online: Online,
    /// Applied to the weights that read them; none when they are transformed already.
    pub weights: Option<quant_core::transform::Transform>,
}

impl Prepared {
    /// Nothing at all.
    pub fn nothing() -> Self {
        Self { online: Online::identity(), weights: None }
    }
}

impl Plan<'static> {
    /// The model as it is.
    pub fn full_precision() -> Self {
        Self { transforms: &|_, _, _| Ok(Prepared::nothing()), weights: None, activations: None }
    }
}

/// −ln p of every scored token.
#[derive(Clone, Debug, PartialEq)]
pub struct Score {
    /// In nats, in the order of the text.
    pub negative_log_likelihoods: Vec<f64>,
}

impl Score {
    /// Tokens scored.
    pub fn token_count(&self) -> usize {
        self.negative_log_likelihoods.len()
    }

    /// Mean of −ln p, in nats per token.
    pub fn mean(&self) -> f64 {
        self.negative_log_likelihoods.iter().sum::<f64>() / self.token_count().max(1) as f64
    }

    /// e to the mean: tokens that the model is as uncertain among.
    pub fn perplexity(&self) -> f64 {
        self.mean().exp()
    }
}

/// Sends all windows through the model, one layer after the other. `progress` is told each layer as it is finished.
pub fn evaluate(
    model: &Model,
    windows: &Windows,
    plan: &Plan<'_>,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Score, Error> {
    let count = model.config().layer_count;
    let mut hidden = model.embed(&windows.concat())?;
    for index in 0..count {
        let mut layer = model.layer(index)?;
        let online = prepare(&mut layer, index, plan)?;
        model.advance(&layer, &mut hidden, windows.context(), &mut |input, rows| {
            let width = input.width(model.config());
            online[input as usize].apply(rows, width);
            if let Some(grid) = plan.activations {
                online::round_rows(rows, width, grid);
            }
        });
        progress(index + 1, count);
    }
    let all = model.negative_log_likelihoods(&hidden, windows)?;
    let predicted = windows.context() - 1;
    let scored = |(at, _): &(usize, f64)| windows.is_scored(at / predicted, at % predicted + 1);
    let kept = all.into_iter().enumerate().filter(scored).map(|(_, x)| x).collect();
    Ok(Score { negative_log_likelihoods: kept })
}

/// Transforms and quantizes the weights of a layer; what is left for run time, by input.
fn prepare(layer: &mut Layer, index: usize, plan: &Plan<'_>) -> Result<Vec<Online>, Error> {
    let mut online = Vec::new();
    for input in Input::ALL {
        let prepared = (plan.transforms)(index, input, layer)?;
        for linear in layer.linears_mut(input) {
            if let Some(transform) = &prepared.weights {
                online::transform_weights(&mut linear.weight, transform);
            }
            if let Some(rule) = &plan.weights {
                rule.round(&mut linear.weight, linear.inputs, linear.name)?;
            }
        }
        online.push(prepared.online);
    }
    Ok(online)
}
