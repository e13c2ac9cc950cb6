//! Vector quantizers of a file's samples, taken in their order.

use quant::{Error, samples};
use quant_core::design::vector::{
    MiniBatch, Points, ProductCodebook, ResidualCodebook, VectorCodebook, VectorDesigner, split,
};
use quant_core::measure::sqnr_db;
use quant_core::source::{Histogram, Source, WeightedSamples};
use quant_core::theory;
use serde_json::{Value, json};

use crate::args::Design as Arguments;
use crate::params::Params;
use crate::source::{BIN_COUNT, refused};

/// Their names.
pub const NAMES: [&str; 4] = ["vector-lloyd", "vector-mini-batch", "vector-product", "vector-residual"];

/// Codevectors at most; a design compares every sample with all of them.
const COUNT_MAX: usize = 65_536;

/// A vector quantizer with its cost.
pub struct Found {
    source: String,
    designer: String,
    dimension: usize,
    /// One codebook, or one per part or stage.
    codebooks: Vec<VectorCodebook>,
    point_count: usize,
    mse: f64,
    sqnr_db: f64,
    rate: f64,
    /// Share of the points that were held out, and their distortion.
    held_out: Option<(usize, f64)>,
    /// Steps and why they ended, for Lloyd's iteration.
    run: Option<(usize, &'static str)>,
    /// Zador's prediction for independent samples, in one and two dimensions.
    zador: Option<f64>,
}

/// Designs on all of the file's samples but those held out.
pub fn find(arguments: &Arguments) -> Result<Found, Error> {
    let (spec, name) = (&arguments.source.source, &arguments.designer.designer);
    let refuse = |text: &str| Err(Error::Refused(format!("{name}: {text}")));
    if arguments.source.weights.is_some() {
        return refuse("vectors take no --weights");
    }
    let constraints = &arguments.designer;
    if constraints.symmetric || constraints.zero || constraints.clip.is_some() || constraints.start.is_some() {
        return refuse("vectors take no --symmetric, --zero, --clip or --start");
    }
    let dimension = arguments.designer.dim.unwrap_or(2);
    let share = arguments.held_out.unwrap_or(0.0);
    if !(0.0..1.0).contains(&share) {
        return refuse("--held-out must be at least 0 and below 1");
    }
    let values: Vec<f32> = samples::read(spec)?.into_iter().map(|x| x as f32).collect();
    let named = |e: quant_core::design::vector::VectorError| Error::Refused(format!("{spec}: {e}"));
    let points = Points::new(&values, dimension).map_err(named)?;
    let params = Params::new(&arguments.source.param);
    let seed = params.count("seed", 1)? as u64;
    let (own, other) = split(points, share, seed);
    let own = Points::new(&own, dimension).map_err(named)?;
    let mut found = design(arguments, own, (&params, seed))?;
    params.finish()?;
    if !other.is_empty() {
        let other = Points::new(&other, dimension).map_err(named)?;
        found.held_out = Some((other.len(), found.mse_on(other)));
    }
    found.zador = zador(&values, dimension, &found);
    Ok(found)
}

fn design(arguments: &Arguments, own: Points<'_>, (params, seed): (&Params, u64)) -> Result<Found, Error> {
    let (name, dimension) = (arguments.designer.designer.as_str(), own.dimension());
    let restarts = params.count("restarts", 4)?;
    let designer = |count| VectorDesigner { restarts, seed, ..VectorDesigner::new(count) };
    let mut run = None;
    let codebooks = match name {
        "vector-lloyd" => {
            let design = designer(count(arguments, dimension)?).design(own).map_err(refused)?;
            run = Some((design.iterations, super::stop(design.stop)));
            vec![design.codebook]
        }
        "vector-mini-batch" => {
            let batch = MiniBatch { seed, ..MiniBatch::new(count(arguments, dimension)?) };
            vec![batch.design(own).map_err(refused)?]
        }
        "vector-product" => {
            let part_count = params.count("parts", 2)?;
            let width = dimension / part_count.max(1);
            let count = count(arguments, width.max(1))?;
            ProductCodebook::design(own, part_count, &designer(count)).map_err(refused)?.parts().to_vec()
        }
        _ => {
            let stages = params.count("stages", 2)?;
            let count = count(arguments, dimension)?;
            ResidualCodebook::design(own, stages, &designer(count)).map_err(refused)?.stages().to_vec()
        }
    };
    let bits: f64 = codebooks.iter().map(|c| (c.count() as f64).log2()).sum();
    let mut found = Found {
        source: arguments.source.source.clone(),
        designer: name.into(),
        dimension,
        codebooks,
        point_count: own.len(),
        mse: 0.0,
        sqnr_db: 0.0,
        rate: bits / dimension as f64,
        held_out: None,
        run,
        zador: None,
    };
    found.mse = found.mse_on(own);
    found.sqnr_db = sqnr_db(own.energy() / (own.len() * dimension) as f64, found.mse);
    Ok(found)
}

/// Codevectors of a codebook of this dimension.
fn count(arguments: &Arguments, dimension: usize) -> Result<usize, Error> {
    let count = match (arguments.designer.levels, arguments.designer.bits) {
        (Some(n), _) => Some(n),
        (None, Some(bits)) => u32::try_from(dimension).ok().and_then(|d| 1usize.checked_shl(bits * d)),
        (None, None) => {
            return Err(Error::Refused("vectors need --levels (codevectors) or --bits (per sample)".into()));
        }
    };
    count.filter(|n| (2..=COUNT_MAX).contains(n)).ok_or_else(|| {
        Error::Refused(format!("a codebook of dimension {dimension} can have 2 to {COUNT_MAX} codevectors here"))
    })
}

/// The high-rate formula for independent samples with the histogram of these.
fn zador(values: &[f32], dimension: usize, found: &Found) -> Option<f64> {
    let constant = match dimension {
        1 => theory::G1,
        2 => theory::G2,
        _ => return None,
    };
    let whole = (found.codebooks.len() == 1).then(|| found.codebooks[0].count())?;
    let source = WeightedSamples::new(values.iter().map(|&x| f64::from(x)), None).ok()?;
    let histogram = Histogram::of(&source, source.support(), BIN_COUNT).ok()?;
    Some(theory::zador(&histogram, dimension as u32, constant, whole))
}

impl Found {
    fn mse_on(&self, points: Points<'_>) -> f64 {
        let width = self.codebooks[0].dimension();
        let in_parts = width < self.dimension;
        let square = |x: &[f32]| -> f64 {
            if in_parts {
                return x.chunks_exact(width).zip(&self.codebooks).map(|(x, part)| part.nearest(x).1).sum();
            }
            let mut rest = x.to_vec();
            for stage in &self.codebooks {
                let code = stage.nearest(&rest).0;
                rest.iter_mut().zip(stage.get(code)).for_each(|(x, y)| *x = (f64::from(*x) - y) as f32);
            }
            rest.iter().map(|&x| f64::from(x).powi(2)).sum()
        };
        points.iter().map(square).sum::<f64>() / (points.len() * self.dimension) as f64
    }

    fn gap_db(&self, other: f64) -> f64 {
        if other == self.mse { 0.0 } else { 10.0 * (other / self.mse).log10() }
    }

    /// For people.
    pub fn text(&self) -> String {
        let sizes: Vec<String> = self.codebooks.iter().map(|c| c.count().to_string()).collect();
        let mut lines = vec![
            ("source", format!("{}, {} points of {} samples", self.source, self.point_count, self.dimension)),
            ("designer", format!("{}, {} codevectors", self.designer, sizes.join(" + "))),
            ("MSE", format!("{:.6e} squared units of the source, per sample", self.mse)),
            ("SQNR", format!("{:.4} dB", self.sqnr_db)),
            ("rate", format!("{:.4} bits per sample", self.rate)),
        ];
        if let Some((steps, stop)) = self.run {
            lines.push(("iterations", format!("{steps} steps of the best start, stop: {stop}")));
        }
        if let Some((count, mse)) = self.held_out {
            let gap = self.gap_db(mse);
            lines.push(("held out", format!("{count} points, MSE {mse:.6e}, {gap:+.4} dB of distortion")));
        }
        if let Some(zador) = self.zador {
            let gap = 10.0 * (self.mse / zador).log10();
            let words =
                format!("Zador MSE {zador:.6e} for independent samples (of the histogram); design {gap:+.4} dB");
            lines.push(("high rate", words));
        }
        let first = &self.codebooks[0];
        let mut text: String = (0..first.count().min(16)).map(|k| format!("y_{k} = {:.4?}\n", first.get(k))).collect();
        if first.count() > 16 || self.codebooks.len() > 1 {
            text += "…  the others with --json\n";
        }
        text.push('\n');
        lines.iter().for_each(|(name, value)| text += &format!("{name:<14}{value}\n"));
        text
    }

    /// For programs.
    pub fn json(&self) -> Value {
        let vectors = |c: &VectorCodebook| (0..c.count()).map(|k| c.get(k).to_vec()).collect::<Vec<_>>();
        let mut value = json!({
            "source": self.source,
            "designer": self.designer,
            "dimension": self.dimension,
            "codebooks": self.codebooks.iter().map(vectors).collect::<Vec<_>>(),
            "point_count": self.point_count,
            "mse": self.mse,
            "sqnr_db": self.sqnr_db,
            "rate_bits": self.rate,
        });
        if let Some((steps, stop)) = self.run {
            value["iterations"] = json!(steps);
            value["stop"] = json!(stop);
        }
        if let Some((count, mse)) = self.held_out {
            value["held_out"] = json!({"point_count": count, "mse": mse, "gap_db": self.gap_db(mse)});
        }
        if let Some(zador) = self.zador {
            value["theory"] = json!({"zador_mse": zador, "zador_gap_db": 10.0 * (self.mse / zador).log10()});
        }
        value
    }
}
