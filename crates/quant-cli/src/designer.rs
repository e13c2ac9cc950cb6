//! Names of designers, and their calls.

use quant::Error;
use quant_core::codebook::Codebook;
use quant_core::design::dead_zone::DeadZone;
use quant_core::design::entropy_constrained::{EntropyConstrained, Start as GridStart};
use quant_core::design::float_format::{self, FloatFormat};
use quant_core::design::lloyd_max::LloydMax;
use quant_core::design::scaled::{self, Scale};
use quant_core::design::start::Start;
use quant_core::design::{
    Constraints, Design, DesignError, a_law, companded, discretised, logarithmic, mu_law, normal_float, optimal,
    power_law, uniform,
};
use quant_core::source::Source;

use crate::args::{DesignerArguments, RangeName, StartName};
use crate::params::Params;
use crate::source::{Chosen, refused};

/// A way to find a codebook.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Designer {
    LloydMax,
    KMeans,
    Uniform,
    Compander,
    MuLaw,
    ALaw,
    PowerLaw,
    G711MuLaw,
    G711ALaw,
    DeadZone,
    Logarithmic,
    Float(FloatFormat),
    BitsandbytesFp4,
    NormalFloat,
    StudentFloat,
    BlockNormalFloat,
    EntropyConstrained,
}

const NAMES: [(&str, Designer); 21] = [
    ("lloyd-max", Designer::LloydMax),
    ("k-means", Designer::KMeans),
    ("uniform", Designer::Uniform),
    ("compander", Designer::Compander),
    ("mu-law", Designer::MuLaw),
    ("a-law", Designer::ALaw),
    ("power-law", Designer::PowerLaw),
    ("g711-mu-law", Designer::G711MuLaw),
    ("g711-a-law", Designer::G711ALaw),
    ("dead-zone", Designer::DeadZone),
    ("logarithmic", Designer::Logarithmic),
    ("fp4-e2m1", Designer::Float(FloatFormat::E2M1)),
    ("fp6-e2m3", Designer::Float(FloatFormat::E2M3)),
    ("fp6-e3m2", Designer::Float(FloatFormat::E3M2)),
    ("fp8-e4m3", Designer::Float(FloatFormat::E4M3)),
    ("fp8-e5m2", Designer::Float(FloatFormat::E5M2)),
    ("fp4-bitsandbytes", Designer::BitsandbytesFp4),
    ("nf", Designer::NormalFloat),
    ("student-float", Designer::StudentFloat),
    ("block-nf", Designer::BlockNormalFloat),
    ("ecsq", Designer::EntropyConstrained),
];

/// A design with what else its designer reports.
#[derive(Debug)]
pub struct Outcome {
    /// The codebook and its cost.
    pub design: Design,
    /// A number of the designer's own: JSON key, words with the unit, value.
    pub note: Option<(&'static str, &'static str, f64)>,
}

/// Finds a codebook as asked.
pub fn run(arguments: &DesignerArguments, chosen: &Chosen, params: &Params) -> Result<Outcome, Error> {
    let known = NAMES.iter().find(|(name, _)| *name == arguments.designer);
    let Some(&(_, designer)) = known else {
        let names: Vec<&str> = NAMES.iter().map(|(name, _)| *name).collect();
        let (wrong, names) = (&arguments.designer, names.join(", "));
        let data = crate::design::DATA_NAMES.join(", ");
        return Err(Error::Refused(format!("--designer {wrong:?} is unknown; one of {names}, {data} expected")));
    };
    let level_count = level_count(designer, arguments)?;
    let call = Call { arguments, chosen, params, level_count, constraints: constraints(arguments) };
    let (design, note) = match designer {
        Designer::DeadZone => call.dead_zone()?,
        Designer::Logarithmic => call.logarithmic()?,
        other => (call.design(other)?, None),
    };
    Ok(Outcome { design, note })
}

fn constraints(arguments: &DesignerArguments) -> Constraints {
    Constraints { clip: arguments.clip, symmetric: arguments.symmetric, zero: arguments.zero }
}

/// Levels that the designer's format fixes.
fn fixed_count(designer: Designer) -> Option<(usize, u32)> {
    match designer {
        Designer::Float(format) => Some((format.levels().len(), format.bit_width())),
        Designer::BitsandbytesFp4 => Some((float_format::bitsandbytes_fp4_levels().len(), 4)),
        Designer::G711MuLaw => Some((255, 8)),
        Designer::G711ALaw => Some((256, 8)),
        _ => None,
    }
}

fn level_count(designer: Designer, arguments: &DesignerArguments) -> Result<usize, Error> {
    let (name, refuse) = (&arguments.designer, |text: String| Err(Error::Refused(text)));
    if let Some((count, width)) = fixed_count(designer) {
        let fits = arguments.levels.is_none_or(|n| n == count) && arguments.bits.is_none_or(|b| b == width);
        let text = || format!("{name} has {count} levels in {width} bits; leave --levels and --bits away");
        return if fits { Ok(count) } else { refuse(text()) };
    }
    let zero_amid = matches!(designer, Designer::DeadZone | Designer::Logarithmic);
    match (arguments.levels, arguments.bits) {
        (Some(n @ 2..=65_536), None) => Ok(n),
        (Some(n), _) => refuse(format!("--levels is {n}; 2 to 65536 levels are possible")),
        (None, Some(b @ 2..=16)) if zero_amid => Ok((1 << b) - 1),
        (None, Some(b @ 1..=16)) if !zero_amid => Ok(1 << b),
        (None, Some(b)) => refuse(format!("--bits is {b}; {} to 16 bits are possible", if zero_amid { 2 } else { 1 })),
        (None, None) => refuse(format!("{name} needs --levels or --bits")),
    }
}

type Noted = (Design, Option<(&'static str, &'static str, f64)>);

struct Call<'a> {
    arguments: &'a DesignerArguments,
    chosen: &'a Chosen,
    params: &'a Params,
    level_count: usize,
    constraints: Constraints,
}

impl Call<'_> {
    fn design(&self, designer: Designer) -> Result<Design, Error> {
        let (source, m, constraints) = (self.chosen.source(), self.level_count, &self.constraints);
        let x_max = || self.params.get("x_max", self.chosen.x_max());
        let design = match designer {
            Designer::LloydMax => self.lloyd_max()?.design(source),
            Designer::KMeans => match self.chosen.samples() {
                Some(samples) => optimal::design(samples, m, constraints),
                None => return Err(Error::Refused("k-means needs samples; lloyd-max designs for a density".into())),
            },
            Designer::Uniform => uniform::design(source, m, self.range(), constraints),
            Designer::Compander => return self.compander(),
            Designer::MuLaw => mu_law::design(source, m, (self.params.get("mu", 255.0), x_max()), constraints),
            Designer::ALaw => a_law::design(source, m, (self.params.get("a", 87.6), x_max()), constraints),
            Designer::PowerLaw => power_law::design(source, m, (self.params.get("power", 0.75), x_max()), constraints),
            Designer::G711MuLaw => return self.coder(&mu_law::g711_codebook()),
            Designer::G711ALaw => return self.coder(&a_law::g711_codebook()),
            Designer::Float(format) => float_format::design(format, source, self.scale()?, constraints),
            Designer::EntropyConstrained => self.entropy_constrained(self.grid_start()?),
            _ => return self.scaled(designer),
        };
        design.map_err(refused)
    }

    fn lloyd_max(&self) -> Result<LloydMax, Error> {
        let start = match self.arguments.start {
            Some(StartName::Uniform) => Start::Uniform,
            Some(StartName::Quantile) => Start::Quantile,
            Some(StartName::Compander) | None => Start::Compander,
            Some(_) => return Err(Error::Refused("lloyd-max starts from `uniform`, `quantile` or `compander`".into())),
        };
        Ok(LloydMax { start, constraints: self.constraints, ..LloydMax::new(self.level_count) })
    }

    fn grid_start(&self) -> Result<GridStart, Error> {
        match self.arguments.start {
            Some(StartName::Best) | None => Ok(GridStart::Best),
            Some(StartName::Odd) => Ok(GridStart::Odd),
            Some(StartName::Even) => Ok(GridStart::Even),
            Some(_) => Err(Error::Refused("ecsq starts from `best`, `odd` or `even`".into())),
        }
    }

    fn range(&self) -> uniform::Range {
        let (low, high) = (self.params.optional("low"), self.params.optional("high"));
        match (self.params.optional("percentile"), low, high) {
            (Some(p), _, _) => uniform::Range::Percentile(p),
            (None, Some(low), Some(high)) if self.chosen.name != "uniform" => uniform::Range::Fixed(low, high),
            _ => range(self.arguments.range, self.chosen.source()),
        }
    }

    /// The compander of the density, measured on the source.
    fn compander(&self) -> Result<Design, Error> {
        let found = companded::design(self.chosen.density(), self.level_count, &self.constraints).map_err(refused)?;
        Ok(Design::closed_form(found.codebook, self.chosen.source()))
    }

    fn coder(&self, codebook: &Codebook) -> Result<Design, Error> {
        let x_max = self.params.get("x_max", self.chosen.x_max());
        Ok(Design::closed_form(codebook.scaled(x_max).map_err(refused)?, self.chosen.source()))
    }

    fn scale(&self) -> Result<Scale, Error> {
        match self.arguments.scale.as_deref() {
            None if self.chosen.is_block_normalised() => Ok(Scale::Fixed(1.0)),
            None | Some("optimal") => Ok(Scale::Optimal),
            Some("absmax") => Ok(Scale::Absmax),
            Some(number) => number.parse().map(Scale::Fixed).map_err(|_| {
                Error::Refused(format!("--scale is {number:?}; `optimal`, `absmax` or a number above 0 expected"))
            }),
        }
    }

    fn scaled(&self, designer: Designer) -> Result<Design, Error> {
        let wide = |levels: Vec<f32>| levels.into_iter().map(f64::from).collect::<Vec<f64>>();
        let levels = match designer {
            Designer::BitsandbytesFp4 => wide(float_format::bitsandbytes_fp4_levels()),
            Designer::NormalFloat => wide(normal_float::levels(self.bits()?)),
            Designer::StudentFloat => {
                normal_float::student_levels(self.bits()?, self.params.get("nu", 5.0)).map_err(refused)?
            }
            _ => {
                let design = normal_float::block_levels(self.bits()?, self.params.count("block", 64)?);
                design.map_err(refused)?.codebook.levels().to_vec()
            }
        };
        scaled::design(&levels, self.chosen.source(), self.scale()?, &self.constraints).map_err(refused)
    }

    /// Bits of a NormalFloat format.
    fn bits(&self) -> Result<u32, Error> {
        let (m, name) = (self.level_count, &self.arguments.designer);
        let text = || format!("{name} has 4, 8, 16, 32, 64, 128 or 256 levels (2 to 8 bits), not {m}");
        let bits = m.is_power_of_two().then(|| m.ilog2()).filter(|b| (2..=8).contains(b));
        bits.ok_or_else(|| Error::Refused(text()))
    }

    fn entropy_constrained(&self, start: GridStart) -> Result<Design, DesignError> {
        let designer = EntropyConstrained { start, constraints: self.constraints, ..EntropyConstrained::default() };
        match (self.params.optional("lambda"), self.params.get("rate", (self.level_count as f64).log2())) {
            (Some(lambda), _) => designer.design(self.chosen.source(), lambda),
            (None, rate) => at_rate(&designer, self.chosen, rate),
        }
    }

    fn dead_zone(&self) -> Result<Noted, Error> {
        let x_max = self.params.get("x_max", self.chosen.x_max());
        let covering = DeadZone::covering(x_max, self.level_count, self.params.get("zero_width", 2.0));
        let step = self.params.get("step", covering.step);
        let reconstruction = self.params.get("reconstruction", covering.reconstruction);
        let quantizer = DeadZone { step, reconstruction, ..covering };
        let found = quantizer.design(self.chosen.source(), &self.constraints).map_err(refused)?;
        Ok((found.design, Some(("zero_share", "share of samples that become 0", found.zero_share))))
    }

    fn logarithmic(&self) -> Result<Noted, Error> {
        let x_max = self.params.get("x_max", self.chosen.x_max());
        let range = (self.params.get("x_min", x_max / 100.0), x_max);
        let found = logarithmic::design(self.chosen.source(), self.level_count, range, &self.constraints);
        let found = found.map_err(refused)?;
        let words = "largest relative error for x_min <= |x| <= x_max";
        Ok((found.design, Some(("relative_error_max", words, found.relative_error_max))))
    }
}

/// The entropy-constrained design of a rate in bits; for densities whose moments are slow, from 3 bits on, by way of many
/// points.
pub fn at_rate(designer: &EntropyConstrained, chosen: &Chosen, rate: f64) -> Result<Design, DesignError> {
    if chosen.is_slow() && rate > 3.0 {
        return discretised::entropy_constrained(designer, chosen.density(), chosen.points()?, rate);
    }
    designer.for_rate(chosen.source(), rate)
}

/// The range rule asked for; by default the one that suits the source.
pub fn range(asked: Option<RangeName>, source: &dyn Source) -> uniform::Range {
    match asked {
        Some(RangeName::Symmetric) => uniform::Range::Symmetric,
        Some(RangeName::Asymmetric) => uniform::Range::Asymmetric,
        Some(RangeName::Absmax) => uniform::Range::Absmax,
        None if source.symmetry() == Some(0.0) => uniform::Range::Symmetric,
        None => uniform::Range::Asymmetric,
    }
}
