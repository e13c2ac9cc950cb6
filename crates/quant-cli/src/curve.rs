//! `quant curve`: designers against theory over a range of bits.

use quant::Error;
use quant_core::design::entropy_constrained::EntropyConstrained;
use quant_core::design::lloyd_max::LloydMax;
use quant_core::design::scaled::Scale;
use quant_core::design::{Constraints, Design, DesignError, companded, normal_float, optimal, uniform};
use quant_core::measure::sqnr_db;
use quant_core::theory;
use serde_json::{Value, json};

use crate::args::Curve as Arguments;
use crate::designer::{at_rate, range};
use crate::params::Params;
use crate::source::{Chosen, refused};
use crate::table::Table;
use crate::{json, plot};

/// Columns: JSON key, name in the table and on the plot.
pub const COLUMNS: [(&str, &str); 7] = [
    ("uniform", "(A) uniform"),
    ("lloyd_max", "(B) Lloyd-Max"),
    ("compander", "(C) compander"),
    ("ecsq", "ECSQ"),
    ("nf", "NF"),
    ("zador", "Zador"),
    ("shannon", "Shannon bound"),
];

/// What a quantizer, or a formula, reaches at some number of bits.
#[derive(Clone, Copy, Debug)]
pub struct Point {
    /// Distortion, in squared units of the source.
    pub mse: f64,
    /// Signal-to-quantization-noise ratio in dB.
    pub sqnr_db: f64,
    /// Entropy of the codes, for designs.
    pub entropy_bits: Option<f64>,
}

/// One row: bits, then a point per column; none where a designer does not exist.
pub struct Row {
    /// Bits per sample: log₂ M, and the entropy of ECSQ.
    pub bits: u32,
    /// In the order of [`COLUMNS`].
    pub points: [Option<Point>; 7],
}

/// Runs the command.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let params = Params::new(&arguments.source.param);
    let chosen = Chosen::new(&arguments.source, &params, None)?;
    params.finish()?;
    if let Some(path) = &arguments.plot {
        plot::check(path)?;
    }
    let rows = (arguments.bits.0..=arguments.bits.1).map(|b| row(&chosen, b)).collect::<Result<Vec<Row>, Error>>()?;
    if let Some(path) = &arguments.plot {
        plot::curve(&chosen, &rows, path)?;
    }
    let to_stdout = json::write_if_asked(arguments.json.as_deref(), || json(&chosen.name, &rows))?;
    if !to_stdout {
        print!("{}", text(&chosen, &rows));
    }
    Ok(())
}

fn row(chosen: &Chosen, bits: u32) -> Result<Row, Error> {
    let (source, density, m) = (chosen.source(), chosen.density(), 1usize << bits);
    let none = Constraints::default();
    let energy = source.energy();
    let design = |found: Result<Design, DesignError>| -> Result<Option<Point>, Error> {
        let found = found.map_err(refused)?;
        Ok(Some(Point { mse: found.mse, sqnr_db: found.sqnr_db, entropy_bits: Some(found.entropy_bits) }))
    };
    let formula = |mse: f64| Some(Point { mse, sqnr_db: sqnr_db(energy, mse), entropy_bits: None });
    let best = match chosen.samples() {
        Some(samples) => optimal::design(samples, m, &none),
        None => LloydMax::new(m).design(source),
    };
    let companded = companded::design(density, m, &none).map(|found| Design::closed_form(found.codebook, source));
    let nf = || design(normal_float::design(bits, source, Scale::Optimal, &none));
    Ok(Row {
        bits,
        points: [
            design(uniform::design(source, m, range(None, source), &none))?,
            design(best)?,
            design(companded)?,
            design(at_rate(&EntropyConstrained::default(), chosen, f64::from(bits)))?,
            if (2..=8).contains(&bits) { nf()? } else { None },
            formula(theory::panter_dite(density, m)),
            formula(theory::shannon_lower_bound(density, f64::from(bits))),
        ],
    })
}

fn json(source: &str, rows: &[Row]) -> Value {
    let point = |p: &Point| json!({"mse": p.mse, "sqnr_db": p.sqnr_db, "entropy_bits": p.entropy_bits});
    let row = |row: &Row| {
        let mut value = json!({"bits": row.bits});
        for ((key, _), found) in COLUMNS.iter().zip(&row.points) {
            value[*key] = found.as_ref().map_or(Value::Null, point);
        }
        value
    };
    json!({"source": source, "rows": rows.iter().map(row).collect::<Vec<_>>()})
}

fn text(chosen: &Chosen, rows: &[Row]) -> String {
    let names: Vec<&str> = std::iter::once("bits").chain(COLUMNS.iter().map(|(_, name)| *name)).collect();
    let table = |show: &dyn Fn(&Point) -> String| {
        let mut table = Table::new(&names, false);
        for row in rows {
            let cells = row.points.iter().map(|p| p.as_ref().map_or("-".into(), show));
            table.row(std::iter::once(row.bits.to_string()).chain(cells).collect());
        }
        table.render()
    };
    let exact = chosen.samples().map_or("", |_| "; (B) is the exact optimum");
    let of = chosen.theory_note();
    let tight = match chosen.name.as_str() {
        "gaussian" => "for the Gaussian it is D(R) itself",
        _ => "a lower bound of D(R), which it meets only as bits grow",
    };
    format!(
        "SQNR (dB), source {}{exact}\n{}\nMSE (squared units of the source)\n{}\n\
         ECSQ has an entropy of at most that many bits; all others have 2^bits levels. Zador: (1/12M²)(∫f^⅓)³{of}.\n\
         Shannon bound: no code of that many bits has less distortion; {tight}{of}.\n",
        chosen.name,
        table(&|p| format!("{:.3}", p.sqnr_db)),
        table(&|p| format!("{:.4e}", p.mse)),
    )
}
