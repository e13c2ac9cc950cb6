//! From arguments to the façade and back to text.

use std::path::Path;

use quant::checkpoint::Checkpoint;
use quant::compare::ComparedTensor;
use quant::decoded::DecodedCheckpoint;
use quant::device::Device;
use quant::feedback::ErrorFeedback;
use quant::outputs::Target;
use quant::pipeline::{self, Options};
use quant::report::{Report, rows_by_kind};
use quant::select::{SKIP_DEFAULTS, Selection};
use quant::{Error, Recipe};
use quant_eval::calibration::Calibration;

use crate::args::{Command, Compare, Dequantize, Devices, Inspect, Quantize, To};
use crate::progress::{Lines, TerminalProgress};
use crate::{curve, design, interrupt, json, methods, model, plot, table};

/// Runs one command.
pub fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Quantize(arguments) => quantize(&arguments),
        Command::Dequantize(arguments) => dequantize(&arguments),
        Command::Inspect(arguments) => inspect(&arguments),
        Command::Compare(arguments) => compare(&arguments),
        Command::CompareMethods(arguments) => methods::run(&arguments),
        Command::Devices(arguments) => devices(&arguments),
        Command::Design(arguments) => design::run(&arguments),
        Command::Curve(arguments) => curve::run(&arguments),
        Command::Plot(arguments) => plot::run(&arguments),
        Command::Calibrate(arguments) => model::calibrate::run(&arguments),
        Command::Analyze(arguments) => model::analyze::run(&arguments),
        Command::Transform(arguments) => model::transform::run(&arguments),
        Command::Eval(arguments) => model::eval::run(&arguments),
    }
}

fn recipe(arguments: &Quantize) -> Result<Recipe, Error> {
    let mut recipe = Recipe::preset(&arguments.preset)?;
    if let Some(bits) = arguments.bits {
        recipe = recipe.with_bits(bits)?;
    }
    if let Some(group) = arguments.group {
        recipe = recipe.with_group(group)?;
    }
    if let Some(scale) = arguments.scale {
        recipe = recipe.with_scale(scale.into())?;
    }
    recipe = if arguments.double_quant { recipe.with_double_quant()? } else { recipe };
    if let Some(dtype) = arguments.scale_dtype {
        recipe = recipe.with_scale_storage(dtype.into())?;
    }
    methods::refined(recipe, &arguments.refinement)
}

fn options(arguments: &Quantize) -> Result<Options, Error> {
    let target = match (arguments.to, arguments.dtype) {
        (To::Dense, dtype) => Target::Dense { dtype: dtype.map(Into::into) },
        (_, Some(_)) => return Err(Error::Refused("--dtype is for --to dense only".into())),
        (To::Native, None) => Target::Native,
        (To::Bitsandbytes, None) => Target::Bitsandbytes,
        (To::Gguf, None) => Target::Gguf,
        (To::Squeezellm, None) => Target::SqueezeLlm,
        (To::AnyPrecision, None) => Target::AnyPrecision,
        (To::LutB, None) => Target::LutB,
    };
    Ok(Options {
        recipe: recipe(arguments)?,
        exceptions: methods::planned(&arguments.refinement)?,
        sensitivities: arguments.refinement.weights.as_deref().map(methods::sensitivities).transpose()?,
        target,
        selection: Selection::new(&arguments.include, &arguments.exclude, arguments.skip.as_deref())?,
        error_feedback: error_feedback(arguments)?,
        entropy: arguments.entropy,
        strict: arguments.strict,
        resume: arguments.resume,
        overwrite: arguments.overwrite,
    })
}

fn error_feedback(arguments: &Quantize) -> Result<Option<ErrorFeedback>, Error> {
    let Some(folder) = &arguments.error_feedback else { return Ok(None) };
    let checkpoint = Checkpoint::open(&arguments.input).map_err(Error::from)?;
    if checkpoint.config().is_some_and(|config| config.get("quant_transform").is_some()) {
        let why = "holds transforms; --error-feedback needs moments of the inputs that its weights see, which no calibration has";
        return Err(Error::Refused(format!("{}: {why}", arguments.input.display())));
    }
    let moments = std::sync::Arc::new(Calibration::open(folder)?);
    Ok(Some(ErrorFeedback { moments, damping: arguments.damping, activation_order: arguments.activation_order }))
}

/// Moments of other weights of the same sizes are no error: of the same model in another number format they are right.
fn warn_of_other_weights(checkpoint: &Checkpoint, arguments: &Quantize) -> Result<(), Error> {
    let Some(folder) = &arguments.error_feedback else { return Ok(()) };
    let (place, path) = (folder.display(), checkpoint.path().display());
    match Calibration::open(folder)?.is_from(checkpoint) {
        Ok(true) => {}
        Ok(false) => eprintln!("warning: {place} was made from other weights than {path}"),
        Err(_) => eprintln!("warning: {path} does not say enough to tell whether {place} was made from it"),
    }
    Ok(())
}

fn quantize(arguments: &Quantize) -> anyhow::Result<()> {
    let mut options = options(arguments)?;
    let checkpoint = Checkpoint::open(&arguments.input).map_err(Error::from)?;
    let mut taken: Vec<&Path> = checkpoint.shards().iter().map(|s| s.path.as_path()).collect();
    taken.push(&arguments.output);
    json::check_place(arguments.json.as_deref(), &taken)?;
    json::check_place_of("--save-plan", arguments.refinement.save_plan.as_deref(), &taken)?;
    announce(&checkpoint, arguments, &options);
    warn_of_other_weights(&checkpoint, arguments)?;
    methods::warn_of_missing_weights(&checkpoint, &options);
    let device = Device::open(&arguments.device, arguments.threads)?;
    options.exceptions.extend(methods::allocated(&checkpoint, &arguments.refinement, &options, &device)?);
    if arguments.dry_run {
        return dry_run(&checkpoint, arguments, &options);
    }
    interrupt::say_how_to_resume();
    let progress = TerminalProgress::new();
    let report = pipeline::run(&checkpoint, &arguments.output, &options, &device, &progress)?;
    progress.clear();
    list_substitutions(&report);
    let to_stdout = json::write_if_asked(arguments.json.as_deref(), || json::report(&report))?;
    if !to_stdout {
        print!("{}", table::report(&report));
        println!("wrote {}", arguments.output.display());
    }
    advise(&report, &options);
    Ok(())
}

fn announce(checkpoint: &Checkpoint, arguments: &Quantize, options: &Options) {
    let bytes: u64 = checkpoint.tensors().iter().map(|t| t.byte_len).sum();
    eprintln!(
        "{}: {} tensors, {} in {} file(s)",
        checkpoint.path().display(),
        checkpoint.tensors().len(),
        table::size(bytes),
        checkpoint.shards().len()
    );
    eprintln!("recipe: {}, to {}", options.recipe_text(), options.target.name());
    match &arguments.skip {
        None => eprintln!("left dense (--skip): {}", SKIP_DEFAULTS.join(" ")),
        Some(patterns) => eprintln!("left dense (--skip): {}", patterns.join(" ")),
    }
    for path in checkpoint.left_out() {
        eprintln!("note: {} is not part of the checkpoint and is not carried over", path.display());
    }
}

/// What was wanted quantized and stayed dense, a line per kind and reason.
fn list_substitutions(report: &Report) {
    let substituted: Vec<_> = report.tensors.iter().filter(|t| t.substituted).cloned().collect();
    for row in rows_by_kind(&substituted) {
        let reason = row.reason.unwrap_or_default();
        eprintln!("left dense: {} tensor(s) {}, {} weights: {reason}", row.tensor_count, row.kind, row.weight_count);
    }
}

/// What a newcomer would otherwise find out from a loader.
fn advise(report: &Report, options: &Options) {
    let totals = &report.totals;
    let is_decoded = !matches!(options.target, Target::Dense { dtype: None } | Target::Gguf);
    if totals.output_len_bytes > totals.source_len_bytes && is_decoded {
        eprintln!(
            "note: the output is larger than the source: tensors that are not quantized are carried over in full \
             precision, GGUF blocks as F32"
        );
    }
    if options.target == Target::SqueezeLlm {
        let is_odd = |t: &&quant::report::TensorReport| t.is_quantized() && t.shape.iter().any(|n| n % 128 != 0);
        let odd = report.tensors.iter().filter(is_odd).count();
        if odd > 0 {
            eprintln!(
                "note: {odd} layer(s) have sizes that are not multiples of 128, as SqueezeLLM's CUDA kernels assume"
            );
        }
    }
    if options.target == Target::LutB {
        eprintln!("note: lut-b is experimental: the format is a prototype's, and no released runtime reads it");
    }
    if options.target == Target::Native {
        eprintln!(
            "note: transformers does not load native files; --to bitsandbytes and --to dense make folders it loads"
        );
    }
}

fn dry_run(checkpoint: &Checkpoint, arguments: &Quantize, options: &Options) -> anyhow::Result<()> {
    let pipeline::DryRun { tensors, output_len_bytes } = pipeline::dry_run(checkpoint, options)?;
    let to_stdout = json::write_if_asked(arguments.json.as_deref(), || json::plan(&tensors))?;
    if !to_stdout {
        print!("{}", table::plan(&tensors, &rows_by_kind(&tensors), output_len_bytes));
        println!("dry run: nothing was written");
        if options.codes_entropy() {
            println!(
                "sizes and rates are those of packed codes; entropy coding lowers them by what the codes turn out to be"
            );
        }
    }
    Ok(())
}

fn open(path: &Path) -> Result<DecodedCheckpoint, Error> {
    DecodedCheckpoint::open(path)
}

fn dequantize(arguments: &Dequantize) -> anyhow::Result<()> {
    let input = open(&arguments.input)?;
    let device = Device::cpu(arguments.threads)?;
    let lines = Lines::new(input.tensors().len());
    let tell = |tensor: &quant::decoded::DecodedTensor| lines.tell(&tensor.name);
    let dtype = arguments.dtype.map(Into::into);
    quant::dequantize::run(&input, &arguments.output, dtype, arguments.overwrite, &device, &tell)?;
    lines.clear();
    println!("wrote {}", arguments.output.display());
    Ok(())
}

/// What a report must not replace.
fn files_of(checkpoint: &DecodedCheckpoint) -> Vec<&Path> {
    checkpoint.checkpoint().shards().iter().map(|shard| shard.path.as_path()).collect()
}

fn inspect(arguments: &Inspect) -> anyhow::Result<()> {
    let checkpoint = open(&arguments.input)?;
    json::check_place(arguments.json.as_deref(), &files_of(&checkpoint))?;
    let inspection = quant::inspect::run(&checkpoint);
    let to_stdout = json::write_if_asked(arguments.json.as_deref(), || json::plain(&inspection))?;
    if !to_stdout {
        print!("{}", table::inspection(&inspection));
    }
    Ok(())
}

fn compare(arguments: &Compare) -> anyhow::Result<()> {
    let (a, b) = (open(&arguments.a)?, open(&arguments.b)?);
    json::check_place(arguments.json.as_deref(), &[files_of(&a), files_of(&b)].concat())?;
    let device = Device::cpu(arguments.threads)?;
    let lines = Lines::new(a.tensors().len());
    let tell = |tensor: &ComparedTensor| lines.tell(&tensor.name);
    let comparison = quant::compare::run(&a, &b, &device, &tell)?;
    lines.clear();
    let to_stdout = json::write_if_asked(arguments.json.as_deref(), || json::plain(&comparison))?;
    if !to_stdout {
        print!("{}", table::comparison(&comparison));
    }
    Ok(())
}

fn devices(arguments: &Devices) -> anyhow::Result<()> {
    json::check_place(arguments.json.as_deref(), &[])?;
    let devices = quant::device::inventory()?;
    let to_stdout = json::write_if_asked(arguments.json.as_deref(), || json::plain(&devices))?;
    if !to_stdout {
        print!("{}", table::devices(&devices));
    }
    Ok(())
}
