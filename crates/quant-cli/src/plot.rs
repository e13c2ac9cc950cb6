//! `quant plot`, and the picture of `quant curve`.

mod analysis;
mod chart;
mod file;
mod methods;
mod pictures;
mod render;

use std::path::Path;

use quant::Error;
use quant::methods::MeasuredMethod;
use quant_core::design::scaled::Scale;
use quant_core::design::{Constraints, Design, normal_float, uniform};
use quant_eval::analyze::LinearReport;

use crate::args::{DesignerArguments, Picture, Plot as Arguments, PlotKind, SourceArguments};
use crate::curve::Row;
use crate::designer::{self, range};
use crate::params::Params;
use crate::source::{Chosen, refused};

pub use file::check;

/// Runs the command.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    match &arguments.kind {
        PlotKind::Codebook { source, designer, output } => codebook(source, designer, output),
        PlotKind::Compressors(picture) => {
            let chosen = choose(picture)?;
            write(&pictures::compressors(&chosen), &picture.output)
        }
        PlotKind::Cells(picture) => {
            let (chosen, pair) = pair(picture)?;
            write(&pictures::cells(&chosen, &pair), &picture.output)
        }
        PlotKind::Errors(picture) => {
            let (chosen, pair) = pair(picture)?;
            write(&pictures::errors(&chosen, &pair), &picture.output)
        }
    }
}

/// Draws the table of `quant curve`.
pub fn curve(chosen: &Chosen, rows: &[Row], path: &Path) -> anyhow::Result<()> {
    file::write(&pictures::curve(chosen, rows), path)?;
    eprintln!("wrote {}", path.display());
    Ok(())
}

/// Draws what `quant compare-methods` found.
pub fn methods(measured: &[MeasuredMethod], title: &str, path: &Path) -> anyhow::Result<()> {
    file::write(&methods::methods(measured, title), path)?;
    eprintln!("wrote {}", path.display());
    Ok(())
}

/// Draws what `quant analyze` found.
pub fn analysis(reports: &[LinearReport], title: &str, path: &Path) -> anyhow::Result<()> {
    file::write(&analysis::factors(reports, title), path)?;
    eprintln!("wrote {}", path.display());
    Ok(())
}

fn write(chart: &chart::Chart, path: &Path) -> anyhow::Result<()> {
    file::write(chart, path)?;
    println!("wrote {}", path.display());
    Ok(())
}

fn codebook(source: &SourceArguments, arguments: &DesignerArguments, output: &Path) -> anyhow::Result<()> {
    check(output)?;
    let params = Params::new(&source.param);
    let chosen = Chosen::new(source, &params, None)?;
    let outcome = designer::run(arguments, &chosen, &params)?;
    params.finish()?;
    write(&pictures::codebook(&chosen, &arguments.designer, &outcome.design), output)
}

fn choose(picture: &Picture) -> Result<Chosen, Error> {
    check(&picture.output)?;
    let params = Params::new(&picture.source.param);
    let chosen = Chosen::new(&picture.source, &params, None)?;
    params.finish()?;
    Ok(chosen)
}

/// The uniform and the NormalFloat quantizer of as many bits, both with the range of least distortion.
fn pair(picture: &Picture) -> Result<(Chosen, [(String, Design); 2]), Error> {
    let chosen = choose(picture)?;
    let (source, bits, none) = (chosen.source(), picture.bits, Constraints::default());
    let uniform = uniform::design(source, 1 << bits, range(None, source), &none).map_err(refused)?;
    let float = normal_float::design(bits, source, Scale::Optimal, &none).map_err(refused)?;
    Ok((chosen, [(format!("uniform, {bits} bits"), uniform), (format!("NF{bits}"), float)]))
}
