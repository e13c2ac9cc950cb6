//! `quant transform`.

use quant_eval::fold::{fold, open_untransformed};
use quant_eval::method::Method;

use super::{calibration_of, layers, on_threads, warn_of_fall_back};
use crate::args::Transform;
use crate::{json, table};

/// Runs the command.
pub fn run(arguments: &Transform) -> anyhow::Result<()> {
    let method = arguments.method.chosen(Method::Hadamard)?;
    json::check_place(arguments.json.as_deref(), &[&arguments.model, &arguments.output])?;
    let model = open_untransformed(&arguments.model)?;
    let calibration = calibration_of(&arguments.method, &model)?;
    let build = arguments.method.build();
    let report = on_threads(arguments.threads, || {
        fold(&model, calibration.as_ref(), method, &build, &arguments.output, &mut layers("transforming"))
    })??;
    if let Some(calibration) = &calibration {
        warn_of_fall_back("input(s)", report.fell_back, calibration);
    }
    if !json::write_if_asked(arguments.json.as_deref(), || json::plain(&report))? {
        println!("method        {}", report.method);
        println!("folded        {} inputs, scalings in norms and neighbouring weights", report.folded);
        let share = 100.0 * report.online_operations as f64 / report.linear_operations as f64;
        let size = table::size(report.online_len_bytes);
        println!("online        {} inputs, {size}, {share:.1} % of the linear layers' operations", report.online);
        println!("wrote         {}", arguments.output.display());
    }
    if report.online > 0 {
        eprintln!("note: other runtimes do not apply the transforms in {}/transforms", arguments.output.display());
    }
    Ok(())
}
