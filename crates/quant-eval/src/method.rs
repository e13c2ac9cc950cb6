//! Which transform goes before quantization, and how are weights quantized after it?

use std::sync::Arc;

use quant::{Error, Recipe};
use quant_core::backend::SamplesMut;
use quant_core::dense::Dense;
use quant_core::grid::GridKind;
use quant_core::linear::{self, LinearError};
use quant_core::quantize::quantize;
use quant_core::tensor::{Matrix, Samples};
use quant_core::transform::cat::{self, Options, Weighting};
use quant_core::transform::{Hadamard, Stage, Transform, scaling};
use quant_cpu::{Cpu, CpuOptions};
use rayon::prelude::*;

use crate::calibration::Statistics;
use crate::layer::Linear;
use crate::place::Place;
use crate::refused;

/// A transform, by the way it is built.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Method {
    /// None.
    Identity,
    /// Channel scaling by largest magnitudes, α = 1/2, without or with a rotation after it.
    Smooth {
        /// Whether a Hadamard rotation follows.
        rotated: bool,
    },
    /// A randomized Hadamard rotation.
    Hadamard,
    /// CAT with blocks of so many channels, then a rotation; the whole width with `usize::MAX`.
    Cat {
        /// Channels of a block.
        block: usize,
        /// Whether a Hadamard rotation follows, as it should.
        rotated: bool,
    },
}

impl Method {
    /// The method called `name`: identity, smooth, smooth-hadamard, hadamard, cat or cat-unrotated. `block` is for the last
    /// two; `None` for the whole width.
    pub fn named(name: &str, block: Option<usize>) -> Result<Self, Error> {
        let block = block.unwrap_or(usize::MAX);
        Ok(match name {
            "identity" => Self::Identity,
            "smooth" => Self::Smooth { rotated: false },
            "smooth-hadamard" => Self::Smooth { rotated: true },
            "hadamard" => Self::Hadamard,
            "cat" => Self::Cat { block, rotated: true },
            "cat-unrotated" => Self::Cat { block, rotated: false },
            _ => {
                let known = "identity, smooth, smooth-hadamard, hadamard, cat, cat-unrotated";
                return Err(refused(format!("unknown method \"{name}\"; methods are {known}")));
            }
        })
    }

    /// Whether second moments of the inputs are needed to build it.
    pub fn needs_calibration(self) -> bool {
        !matches!(self, Self::Identity | Self::Hadamard)
    }

    /// What is built instead where there are too few tokens for the blocks asked for: a scaling.
    pub fn fallen(self) -> Self {
        match self {
            Self::Cat { rotated, .. } => Self::Cat { block: 1, rotated },
            other => other,
        }
    }

    /// What a result is called of which `fell_back` of `inputs` inputs got a scaling instead.
    ///
    /// ```
    /// use quant_eval::method::Method;
    /// let cat = Method::Cat { block: 128, rotated: true };
    /// assert_eq!(cat.label_of_result(0, 120), "cat-128");
    /// assert_eq!(cat.label_of_result(120, 120), "cat-1 (too few tokens for cat-128)");
    /// assert_eq!(cat.label_of_result(30, 120), "cat-128 (too few tokens: cat-1 at 30 of 120 inputs)");
    /// ```
    pub fn label_of_result(self, fell_back: usize, inputs: usize) -> String {
        let (asked, fallen) = (self.label(), self.fallen().label());
        match fell_back {
            0 => asked,
            all if all == inputs => format!("{fallen} (too few tokens for {asked})"),
            some => format!("{asked} (too few tokens: {fallen} at {some} of {inputs} inputs)"),
        }
    }

    /// What a table calls it.
    pub fn label(self) -> String {
        match self {
            Self::Identity => "identity".into(),
            Self::Smooth { rotated: false } => "smooth".into(),
            Self::Smooth { rotated: true } => "smooth+H".into(),
            Self::Hadamard => "hadamard".into(),
            Self::Cat { block, rotated } => {
                let suffix = if rotated { "" } else { " without H" };
                if block == usize::MAX { format!("cat-full{suffix}") } else { format!("cat-{block}{suffix}") }
            }
        }
    }
}

/// How transforms are built, whatever the method.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Build {
    /// ε of the damping, see [`cat::DAMPING`].
    pub damping: f64,
    /// How weights that share an input are added.
    pub weighting: Weighting,
    /// Of the signs of rotations.
    pub seed: u64,
}

impl Default for Build {
    fn default() -> Self {
        Self { damping: cat::DAMPING, weighting: Weighting::OutputEnergy, seed: 1 }
    }
}

/// A transform, and whether it is the one that was asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct Built {
    /// The transform.
    pub transform: Transform,
    /// There were too few tokens for the blocks asked for, and this is the scaling instead.
    pub fell_back: bool,
}

impl Build {
    /// The transform of `method` at a place. Channels that must share a factor get one, so that every scaling folds: the
    /// best one for their moments added up, or for the largest of their magnitudes.
    pub fn transform(
        &self,
        method: Method,
        statistics: Option<&Statistics>,
        place: &Place<'_>,
    ) -> Result<Built, Error> {
        self.check()?;
        let (width, linears) = (place.width(), place.linears());
        let seed = self.seed.wrapping_mul(1 << 32).wrapping_add(place.number());
        let none = Transform::identity(width);
        let (aligned, rotated, fell_back) = match method {
            Method::Identity => (none, false, false),
            Method::Hadamard => (none, true, false),
            Method::Smooth { rotated } => {
                let joined = |most: &[f64]| place.joined(most, f64::max);
                let (inputs, weights) = (joined(&needed(statistics)?.channel_max()), joined(&channel_max(&linears)));
                let factors = place.spread(&scaling::smooth_quant(&inputs, &weights, 0.5));
                (none.then(Stage::Scaling(factors)), rotated, false)
            }
            Method::Cat { block, rotated } => {
                let statistics = needed(statistics)?;
                let asked = Options { damping: self.damping, ..Options::new(block.min(width)) };
                let options = asked.for_tokens(statistics.token_count(), width);
                let stage = self.aligning(&statistics.moment(), options, place)?;
                (none.then(stage), rotated, options.block != asked.block)
            }
        };
        let rotation = || Stage::Rotation(Hadamard::seeded(width, seed));
        Ok(Built { transform: if rotated { aligned.then(rotation()) } else { aligned }, fell_back })
    }

    /// Refuses a damping that makes no sense.
    pub fn check(&self) -> Result<(), Error> {
        if self.damping.is_finite() && self.damping >= 0.0 {
            return Ok(());
        }
        Err(refused(format!("a damping of {}; a finite number of 0 or more expected", self.damping)))
    }

    fn aligning(&self, moment: &Dense, options: Options, place: &Place<'_>) -> Result<Stage, Error> {
        let weights = self.weight_moment(&place.linears(), moment);
        if options.block > 1 {
            return cat::align(moment, &weights, options).map_err(failed);
        }
        let joined = |moment: &Dense| place.joined(&moment.diagonal_entries(), |a, b| a + b);
        let factors = scaling::balancing(&joined(moment), &joined(&weights), options.damping);
        Ok(Stage::Scaling(place.spread(&factors)))
    }

    /// Sw of the linear layers that share an input.
    pub fn weight_moment(&self, linears: &[&Linear], input_moment: &Dense) -> Dense {
        let grams: Vec<Dense> = linears.par_iter().map(|linear| linear::gram(&dense(linear))).collect();
        cat::shared_weight_moment(&grams, input_moment, self.weighting)
    }
}

fn needed(statistics: Option<&Statistics>) -> Result<&Statistics, Error> {
    statistics.ok_or_else(|| refused("this method needs second moments; give --calibration"))
}

/// An error of linear algebra on data, as refused input.
pub fn failed(error: LinearError) -> Error {
    refused(error.to_string())
}

/// The weights of a linear layer in f64.
pub fn dense(linear: &Linear) -> Dense {
    let values = linear.weight.iter().map(|&w| f64::from(w)).collect();
    Dense::new(linear.outputs(), linear.inputs, values)
}

/// The largest magnitude of each input channel over all layers that share it.
fn channel_max(linears: &[&Linear]) -> Vec<f64> {
    let mut most = vec![0.0f64; linears[0].inputs];
    for row in linears.iter().flat_map(|linear| linear.weight.chunks_exact(linear.inputs)) {
        most.iter_mut().zip(row).for_each(|(m, w)| *m = m.max(f64::from(w.abs())));
    }
    most
}

/// How weights are quantized.
#[derive(Clone, Debug)]
pub enum WeightRule {
    /// A uniform symmetric grid for each row, rounded to nearest.
    Grid {
        /// Bits and symmetry.
        kind: GridKind,
        /// Whether the range is searched for least squared error.
        clipped: bool,
    },
    /// Codebooks and scales by a recipe.
    Codebook {
        /// What to do.
        recipe: Recipe,
        /// Where.
        backend: Arc<Cpu>,
    },
}

impl WeightRule {
    /// `rtn4` (a symmetric grid for each row, round to nearest; 2 to 8 bits), `rtn4-clip` (its range searched), or the name
    /// of a preset. `group` changes the groups of a preset.
    pub fn named(name: &str, group: Option<quant_core::grouping::GroupLength>) -> Result<Self, Error> {
        let (bare, clipped) = name.strip_suffix("-clip").map_or((name, false), |bare| (bare, true));
        if let Some(bits) = bare.strip_prefix("rtn").and_then(|b| b.parse().ok()).filter(|b| (2..=8).contains(b)) {
            if group.is_some() {
                return Err(refused(format!("{name} has one scale a row; --group is for presets")));
            }
            return Ok(Self::Grid { kind: GridKind::symmetric(bits), clipped });
        }
        let recipe = Recipe::preset(name).map_err(|error| refused(format!("{error}; or rtn2 to rtn8, rtn4-clip")))?;
        let recipe = group.map_or(Ok(recipe), |group| recipe.with_group(group))?;
        let backend = Cpu::new(CpuOptions::default()).map_err(|error| refused(format!("cpu: {error}")))?;
        Ok(Self::Codebook { recipe, backend: Arc::new(backend) })
    }

    /// Replaces weights by what a decoder would see.
    pub fn round(&self, weight: &mut [f32], inputs: usize, name: &str) -> Result<(), Error> {
        match self {
            Self::Grid { kind, clipped } => {
                weight.par_chunks_exact_mut(inputs).for_each(|row| {
                    let wide: Vec<f64> = row.iter().map(|&w| f64::from(w)).collect();
                    let grid = if *clipped { kind.fit_clipped(&wide) } else { kind.fit(wide.iter().copied()) };
                    row.iter_mut().zip(&wide).for_each(|(w, &x)| *w = grid.round(x) as f32);
                });
                Ok(())
            }
            Self::Codebook { recipe, backend } => {
                let rows = weight.len() / inputs;
                let matrix = Matrix::new(Samples::F32(weight), rows, inputs).expect("whole rows");
                let refuse = |error| refused(format!("{name}: {error}"));
                let quantized = quantize(&**backend, matrix, recipe).map_err(refuse)?;
                quantized.decode(&**backend, &mut SamplesMut::F32(weight)).unwrap_or_else(|never| match never {});
                Ok(())
            }
        }
    }
}
