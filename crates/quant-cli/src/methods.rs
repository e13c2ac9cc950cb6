//! Finer methods: from arguments to recipes, weights and plans; and `quant compare-methods`.

use std::collections::BTreeMap;
use std::path::Path;

use quant::checkpoint::Checkpoint;
use quant::device::Device;
use quant::methods::{Allocation, Goal, MeasuredMethod, allocate, measure};
use quant::outputs::Target;
use quant::pipeline::Options;
use quant::plan::{Action, Plan};
use quant::select::Selection;
use quant::sensitivities::Sensitivities;
use quant::{Error, Recipe};
use quant_eval::calibration::Calibration;
use serde_json::json;

use crate::args::{CompareMethods, Refinement};
use crate::progress::Lines;
use crate::table::Table;
use crate::{json, plot};

/// A recipe with the steps, shapes and outliers asked for.
pub fn refined(recipe: Recipe, refinement: &Refinement) -> Result<Recipe, Error> {
    let mut recipe = recipe;
    if refinement.step_bits.is_some() || refinement.shape_bits.is_some() {
        let of_preset = recipe.switch.map(|s| (u32::from(s.step_bits), u32::from(s.shape_bits))).unwrap_or_default();
        let (steps, shapes) = (refinement.step_bits, refinement.shape_bits);
        recipe = recipe.with_switch(steps.unwrap_or(of_preset.0), shapes.unwrap_or(of_preset.1))?;
    }
    if let Some(fraction) = refinement.outliers {
        recipe = recipe.with_outliers(fraction, refinement.outliers_by_sensitivity)?;
    }
    Ok(recipe)
}

/// Sensitivity weights from safetensors, or from second moments on disk.
pub fn sensitivities(path: &Path) -> Result<Sensitivities, Error> {
    if path.join("calibration.json").is_file() {
        return Ok(Sensitivities::per_column(path, Calibration::open(path)?.input_energies()?));
    }
    Sensitivities::open(path)
}

/// Tensors without weights are quantized for plain error, which nobody should have to find out from the result.
pub fn warn_of_missing_weights(checkpoint: &Checkpoint, options: &Options) {
    let Some(sensitivities) = &options.sensitivities else { return };
    // What is wrong with the plan is told by the run.
    let Ok(plan) = Plan::new(checkpoint, options) else { return };
    let quantized = plan.actions.iter().filter(|action| matches!(action, Action::Quantize(..))).count();
    let lacking = sensitivities.lacking(checkpoint, &plan);
    // Weights of none at all are refused.
    if let Some(first) = lacking.first().filter(|_| lacking.len() < quantized) {
        let (place, count) = (sensitivities.origin(), lacking.len());
        eprintln!(
            "warning: {place} has no weights for {count} of {quantized} tensors, which are quantized as if all of \
             theirs were 1; the first is \"{first}\""
        );
    }
}

/// The recipes of a plan given.
pub fn planned(refinement: &Refinement) -> Result<BTreeMap<String, Recipe>, Error> {
    match &refinement.plan {
        Some(path) => Allocation::read(path)?.recipes(path),
        None => Ok(BTreeMap::new()),
    }
}

/// The recipes that a rate or an SQNR asked for leads to: measured, printed, and written if wanted.
pub fn allocated(
    checkpoint: &Checkpoint,
    refinement: &Refinement,
    options: &Options,
    device: &Device,
) -> anyhow::Result<BTreeMap<String, Recipe>> {
    let goal = match (refinement.rate, refinement.target_sqnr) {
        (Some(bits), _) => Goal::RateBits(bits),
        (None, Some(db)) => Goal::SqnrDb(db),
        (None, None) if refinement.save_plan.is_some() => {
            return Err(Error::Refused("--save-plan needs --rate or --target-sqnr".into()).into());
        }
        (None, None) => return Ok(BTreeMap::new()),
    };
    if !matches!(options.target, Target::Native | Target::Dense { .. }) {
        let why = format!(
            "--to {} holds one recipe; --rate and --target-sqnr are for native and dense",
            options.target.name()
        );
        return Err(Error::Refused(why).into());
    }
    let bits = match goal {
        // A tensor that gets 3 bits more or less than the mean is rare, and each width costs a run.
        Goal::RateBits(rate) => (rate.floor() as u32).saturating_sub(2).clamp(2, 8)..=(rate.ceil() as u32 + 2).min(8),
        Goal::SqnrDb(_) => 2..=8,
    };
    let recipes: Vec<Recipe> = bits.filter_map(|bits| options.recipe.with_bits(bits).ok()).collect();
    if recipes.is_empty() {
        let why = format!("{} has no other number of bits to choose from", options.recipe.family_name());
        return Err(Error::Refused(why).into());
    }
    let lines = Lines::new(checkpoint.tensors().len());
    let methods = measure(checkpoint, options, &recipes, None, device, &|name| lines.tell(name))?;
    lines.clear();
    let allocation = allocate(&methods, goal)?;
    eprint!("{}", described(&allocation, &methods));
    if let Some(path) = &refinement.save_plan {
        allocation.write(path)?;
        eprintln!("wrote the plan {}", path.display());
    }
    Ok(allocation.recipes(Path::new("plan"))?)
}

/// How many tensors got what, with what that recipe alone would do.
fn described(allocation: &Allocation, methods: &[MeasuredMethod]) -> String {
    let mut table = Table::new(&["recipe", "tensors", "alone: rate\n(bits)", "alone: SQNR\n(dB)"], false);
    for method in methods {
        let count = allocation.tensors.values().filter(|r| **r == method.recipe).count();
        table.row(vec![
            method.recipe.clone(),
            count.to_string(),
            format!("{:.4}", method.rate_bits),
            db(method.sqnr_db),
        ]);
    }
    let (rate, sqnr_db) = (allocation.rate_bits, db(allocation.sqnr_db));
    format!("{}plan: {rate:.4} bits per weight, {sqnr_db} dB\n", table.render())
}

fn db(value: Option<f64>) -> String {
    value.map_or("-".into(), |v| format!("{v:.2}"))
}

/// `quant compare-methods`.
pub fn run(arguments: &CompareMethods) -> anyhow::Result<()> {
    let recipes = recipes(arguments)?;
    if let Some(path) = &arguments.plot {
        plot::check(path)?;
    }
    let checkpoint = Checkpoint::open(&arguments.input).map_err(Error::from)?;
    let taken: Vec<&Path> = checkpoint.shards().iter().map(|shard| shard.path.as_path()).collect();
    json::check_place(arguments.json.as_deref(), &taken)?;
    let mut options = Options::new(recipes[0]);
    options.target = Target::Native;
    options.selection = Selection::new(&arguments.include, &arguments.exclude, None)?;
    options.sensitivities = arguments.weights.as_deref().map(sensitivities).transpose()?;
    warn_of_missing_weights(&checkpoint, &options);
    let device = Device::cpu(arguments.threads)?;
    let lines = Lines::new(checkpoint.tensors().len());
    let methods = measure(&checkpoint, &options, &recipes, arguments.sample, &device, &|name| lines.tell(name))?;
    lines.clear();
    if let Some(path) = &arguments.plot {
        plot::methods(&methods, &arguments.input.display().to_string(), path)?;
    }
    let to_stdout = json::write_if_asked(arguments.json.as_deref(), || json!({"methods": json::plain(&methods)}))?;
    if !to_stdout {
        print!("{}", table(&methods));
    }
    Ok(())
}

fn recipes(arguments: &CompareMethods) -> Result<Vec<Recipe>, Error> {
    if !arguments.recipe.is_empty() {
        return arguments.recipe.iter().map(|text| Ok(text.parse()?)).collect();
    }
    let named = |family: &str, bits: u32| match family.strip_suffix("-row") {
        Some(prefix) => Recipe::preset(&format!("{prefix}{bits}-row")),
        None => Recipe::preset(&format!("{family}{bits}")),
    };
    let bits = || arguments.bits.0..=arguments.bits.1;
    let all = arguments.methods.iter().flat_map(|family| bits().map(move |bits| named(family, bits)));
    Ok(all.collect::<Result<Vec<_>, _>>()?)
}

fn table(methods: &[MeasuredMethod]) -> String {
    let head = ["recipe", "rate\n(bits)", "SQNR\n(dB)", "MSE", "seconds", "Mw/s", "front"];
    let mut table = Table::new(&head, false);
    for method in methods {
        table.row(vec![
            method.recipe.clone(),
            format!("{:.4}", method.rate_bits),
            db(method.sqnr_db),
            format!("{:.3e}", method.mse),
            format!("{:.2}", method.seconds),
            format!("{:.1}", method.weights_per_second / 1e6),
            if method.is_on_front { "*".into() } else { String::new() },
        ]);
    }
    let weights: u64 = methods.first().map_or(0, |m| m.tensors.iter().map(|t| t.weight_count).sum());
    let tensors = methods.first().map_or(0, |m| m.tensors.len());
    format!(
        "{}\n{weights} weights of {tensors} tensors; * no other recipe has a lower rate and less error\n",
        table.render()
    )
}
