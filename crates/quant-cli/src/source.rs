//! Names and files as sources.

mod distribution;

use std::cell::OnceCell;

use quant::{Error, samples};
use quant_core::design::discretised::{self, POINT_COUNT};
use quant_core::design::held_out;
use quant_core::source::{
    AbsmaxBlock, Density, Gaussian, GeneralizedGaussian, Histogram, Laplacian, Logistic, Mixture, Source, SourceError,
    StudentT, Uniform, WeightedSamples,
};

use crate::args::SourceArguments;
use crate::params::Params;

/// Names of densities.
pub const NAMES: &str =
    "gaussian, laplacian, uniform, logistic, student-t, generalized-gaussian, mixture, block-normalised";

/// Bins of the histogram that stands for samples where a density is needed.
pub const BIN_COUNT: usize = 128;

struct FromFile {
    own: WeightedSamples,
    /// All samples in their order; none where they are weighted.
    values: Option<Vec<f64>>,
    histogram: Histogram,
    held_out: Option<WeightedSamples>,
}

/// A source with its name.
pub struct Chosen {
    /// As typed.
    pub name: String,
    kind: Kind,
    points: OnceCell<WeightedSamples>,
}

enum Kind {
    Density(Box<dyn Density>),
    Samples(Box<FromFile>),
}

impl Chosen {
    /// The source that the arguments name; `share` of a file's samples are held out.
    pub fn new(arguments: &SourceArguments, params: &Params, share: Option<f64>) -> Result<Self, Error> {
        let name = arguments.source.clone();
        let kind = match density(&name, params)? {
            Some(_) if arguments.weights.is_some() => {
                return Err(Error::Refused("--weights is for samples from a file".into()));
            }
            Some(_) if share.is_some() => return Err(Error::Refused("--held-out is for samples from a file".into())),
            Some(density) => Kind::Density(density),
            None => from_file(arguments, share)?,
        };
        Ok(Self { name, kind, points: OnceCell::new() })
    }

    /// What designers take.
    pub fn source(&self) -> &dyn Source {
        match &self.kind {
            Kind::Density(density) => density,
            Kind::Samples(file) => &file.own,
        }
    }

    /// The density, or the histogram of the samples.
    pub fn density(&self) -> &dyn Density {
        match &self.kind {
            Kind::Density(density) => density,
            Kind::Samples(file) => &file.histogram,
        }
    }

    /// The samples of a file, without those held out.
    pub fn samples(&self) -> Option<&WeightedSamples> {
        match &self.kind {
            Kind::Density(_) => None,
            Kind::Samples(file) => Some(&file.own),
        }
    }

    /// All samples of a file in their order, held out or not; none for a density and for weighted samples.
    pub fn values(&self) -> Option<&[f64]> {
        match &self.kind {
            Kind::Density(_) => None,
            Kind::Samples(file) => file.values.as_deref(),
        }
    }

    /// The samples held out.
    pub fn held_out(&self) -> Option<&WeightedSamples> {
        match &self.kind {
            Kind::Density(_) => None,
            Kind::Samples(file) => file.held_out.as_ref(),
        }
    }

    /// What theory is of, where that is not quite the source.
    pub fn theory_note(&self) -> &'static str {
        match self.kind {
            Kind::Samples(_) => " (of the histogram)",
            Kind::Density(_) if self.is_block_normalised() => " (levels on the point masses at -1 and 1 not counted)",
            Kind::Density(_) => "",
        }
    }

    /// The end of the support, or 4 root mean squares where that is infinite.
    pub fn x_max(&self) -> f64 {
        let (low, high) = self.source().support();
        let end = high.max(-low);
        if end.is_finite() { end } else { 4.0 * self.source().energy().sqrt() }
    }

    /// True for densities whose moments take long to find, or whose tails need very many cells.
    pub fn is_slow(&self) -> bool {
        let quick = ["gaussian", "laplacian", "uniform", "mixture", "logistic", "generalized-gaussian"];
        matches!(self.kind, Kind::Density(_)) && !quick.contains(&self.name.as_str())
    }

    /// The density as points; made once.
    pub fn points(&self) -> Result<&WeightedSamples, SourceError> {
        if let Some(points) = self.points.get() {
            return Ok(points);
        }
        // Without tails a quarter is fine enough; and the block density is the slowest.
        let count = if self.is_block_normalised() { POINT_COUNT / 4 } else { POINT_COUNT };
        let points = discretised::points(self.density(), count)?;
        Ok(self.points.get_or_init(|| points))
    }

    /// True for samples divided by the largest magnitude of their block.
    pub fn is_block_normalised(&self) -> bool {
        self.name == "block-normalised"
    }
}

/// Any refusal of the library, as the façade's.
pub fn refused(error: impl std::fmt::Display) -> Error {
    Error::Refused(error.to_string())
}

fn boxed<D: Density + 'static>(density: D) -> Box<dyn Density> {
    Box::new(density)
}

/// The density called `name`; `None` where that looks like a file.
fn density(name: &str, params: &Params) -> Result<Option<Box<dyn Density>>, Error> {
    let place = || (params.get("mean", 0.0), params.get("deviation", 1.0));
    let density = match name {
        "gaussian" => Gaussian::new(place().0, place().1).map(boxed),
        "laplacian" => Laplacian::new(place().0, place().1).map(boxed),
        "logistic" => Logistic::new(place().0, place().1).map(boxed),
        "student-t" => StudentT::new(params.get("nu", 5.0), place().0, place().1).map(boxed),
        "generalized-gaussian" => GeneralizedGaussian::new(params.get("beta", 1.5), place().0, place().1).map(boxed),
        "uniform" => uniform(params).map(boxed),
        "mixture" => mixture(params).map(boxed),
        "block-normalised" => {
            let length = params.count("block", 64)?;
            return Ok(Some(boxed(AbsmaxBlock::new(Gaussian::STANDARD, length).map_err(refused)?)));
        }
        file if file.contains(['.', '/', ':']) || std::path::Path::new(file).exists() => return Ok(None),
        other => {
            let forms = samples::FORMS;
            let unknown = || {
                format!("--source {name:?} is unknown; one of {NAMES}, {}, or {forms} expected", distribution::NAMES)
            };
            return match distribution::named(other, params)? {
                Some(density) => Ok(Some(density)),
                None => Err(Error::Refused(unknown())),
            };
        }
    };
    density.map(Some).map_err(refused)
}

fn uniform(params: &Params) -> Result<Uniform, SourceError> {
    match (params.optional("low"), params.optional("high")) {
        (None, None) => Ok(Uniform::STANDARD),
        (low, high) => Uniform::new(low.unwrap_or(0.0), high.unwrap_or(1.0)),
    }
}

fn mixture(params: &Params) -> Result<Mixture<Gaussian>, SourceError> {
    let weight = params.get("weight2", 0.1);
    let first = Gaussian::new(params.get("mean", 0.0), params.get("deviation", 1.0))?;
    let second = Gaussian::new(params.get("mean2", 0.0), params.get("deviation2", 3.0))?;
    Mixture::new(vec![(1.0 - weight, first), (weight, second)])
}

fn from_file(arguments: &SourceArguments, share: Option<f64>) -> Result<Kind, Error> {
    let values = samples::read(&arguments.source)?;
    let weights = arguments.weights.as_deref().map(samples::read).transpose()?;
    if let Some(weights) = weights.as_ref().filter(|w| w.len() != values.len()) {
        let (w, n) = (weights.len(), values.len());
        return Err(Error::Refused(format!("{w} weights given for {n} samples")));
    }
    let weight = |i: usize| weights.as_ref().map_or(1.0, |w| w[i]);
    let points: Vec<(f64, f64)> = values.iter().enumerate().map(|(i, &x)| (x, weight(i))).collect();
    let named = |e: &dyn std::fmt::Display| Error::Refused(format!("{}: {e}", arguments.source));
    let source = |points| WeightedSamples::from_points(points).map_err(|e| named(&e));
    let (own, held_out) = match share {
        None => (source(points)?, None),
        Some(share) => {
            let (own, other) = held_out::split(points, share).map_err(|e| named(&e))?;
            (source(own)?, Some(source(other)?))
        }
    };
    let histogram = Histogram::of(&own, own.support(), BIN_COUNT).map_err(refused)?;
    let values = weights.is_none().then_some(values);
    Ok(Kind::Samples(Box::new(FromFile { own, values, histogram, held_out })))
}

/// The part of the line worth drawing: the support, or all but tails of 1 in 2000.
pub fn visible_range(source: &dyn Source) -> (f64, f64) {
    let (low, high) = source.support();
    let low = if low.is_finite() { low } else { source.quantile(5e-4) };
    let high = if high.is_finite() { high } else { source.quantile(1.0 - 5e-4) };
    let margin = 0.02 * if high > low { high - low } else { 1.0 };
    (low - margin, high + margin)
}
