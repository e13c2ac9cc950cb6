//! What happens to each tensor of a checkpoint, decided from names and shapes before a weight is read.

use quant_core::quantize::stored_bits;
use quant_core::rate::StoredBits;
use quant_core::recipe::Recipe;

use crate::checkpoint::{Checkpoint, Source, StoredDtype, TensorEntry};
use crate::error::Error;
use crate::outputs::dense::plain_dtype;
use crate::outputs::hugging_face::{Conversion, has_heads};
use crate::outputs::manifest::KEY;
use crate::outputs::{Subject, Target, lut_b, row_tables};
use crate::pipeline::Options;

/// The matrices of a tensor that is quantized.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Matrices {
    /// One, or as many as a fused tensor has experts.
    pub count: usize,
    /// Output channels of each.
    pub rows: usize,
    /// Input channels of each.
    pub columns: usize,
    /// Whether the tensor is stored `[in, out]`, as GPT-2's Conv1D weights are.
    pub transposed: bool,
    /// Heads whose rows go from halves to pairs before anything else, as llama.cpp wants query and key rows.
    pub paired_heads: Option<usize>,
}

/// What happens to one tensor.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Its matrices are quantized by this recipe.
    Quantize(Matrices, Recipe),
    /// It is carried over as it is.
    Dense {
        /// Why.
        reason: String,
        /// True when the tensor was wanted quantized and only its shape, dtype or the target stand in the way.
        substituted: bool,
    },
}

/// The plan of a run: one action per tensor, in the checkpoint's order.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What happens to each tensor.
    pub actions: Vec<Action>,
    /// How a Hugging Face folder becomes a GGUF file, where it does.
    pub conversion: Option<Conversion>,
}

impl Plan {
    /// Decides for every tensor, by names and shapes alone.
    pub fn new(checkpoint: &Checkpoint, options: &Options) -> Result<Self, Error> {
        let (tensors, target, selection) = (checkpoint.tensors(), &options.target, &options.selection);
        selection.check_used(tensors.iter().map(|t| t.name.as_str()))?;
        target.check_recipe(checkpoint, &options.recipe)?;
        check_exceptions(checkpoint, options)?;
        if *target == Target::LutB {
            lut_b::check_options(options)?;
        }
        let conv1d = has_conv1d_weights(tensors);
        let actions: Vec<Action> = tensors.iter().map(|t| action(t, options, conv1d)).collect();
        let mut plan = Self { actions, conversion: None };
        if *target == Target::Gguf && checkpoint.source() == Source::Folder {
            plan.convert(checkpoint)?;
        }
        if *target != Target::Gguf {
            plan.refuse_undecodable(checkpoint)?;
        }
        row_tables::check_plan(checkpoint, &plan, target)?;
        if options.strict {
            plan.refuse_substitutions(checkpoint)?;
        }
        if !plan.actions.iter().any(|a| matches!(a, Action::Quantize(..))) {
            return Err(Error::refused(format!(
                "{}: no tensor is left to quantize: of {} tensors, {}",
                checkpoint.path().display(),
                tensors.len(),
                plan.dense_summary()
            )));
        }
        Ok(plan)
    }

    /// Plans the way to GGUF: what llama.cpp does not read is left out, and query and key rows are put in its order.
    fn convert(&mut self, checkpoint: &Checkpoint) -> Result<(), Error> {
        let conversion = Conversion::of(checkpoint)?;
        for ((action, entry), place) in self.actions.iter_mut().zip(checkpoint.tensors()).zip(&conversion.places) {
            let paired_heads = place.as_ref().and_then(|place| place.paired_heads);
            let refuse = |why: String| {
                Err(Error::refused(format!("{}: tensor \"{}\": {why}", checkpoint.path().display(), entry.name)))
            };
            if paired_heads.is_some_and(|heads| !has_heads(&entry.shape, heads)) {
                return refuse(format!("shape {:?}: its rows are not those of the heads in config.json", entry.shape));
            }
            match (action, place) {
                (Action::Quantize(matrices, _), Some(_)) => matrices.paired_heads = paired_heads,
                (action, None) => {
                    *action = Action::Dense { reason: "llama.cpp does not read it".into(), substituted: false };
                }
                (Action::Dense { .. }, Some(_)) if entry.dtype.float().is_none() => {
                    return refuse(format!("dtype {}; F32, F16 or BF16 expected", entry.dtype.name()));
                }
                (Action::Dense { .. }, Some(_)) => {}
            }
        }
        self.conversion = Some(conversion);
        Ok(())
    }

    /// A GGUF tensor that no reader decodes cannot be written to safetensors at all.
    fn refuse_undecodable(&self, checkpoint: &Checkpoint) -> Result<(), Error> {
        let is_undecodable = |dtype: &StoredDtype| {
            matches!(dtype, StoredDtype::Ggml(_)) && dtype.float().is_none() && plain_dtype(&dtype.name()).is_none()
        };
        match checkpoint.tensors().iter().find(|t| is_undecodable(&t.dtype)) {
            None => Ok(()),
            Some(tensor) => {
                let (file, name) = (checkpoint.path().display(), &tensor.name);
                let why = format!("type {} cannot be decoded", tensor.dtype.name());
                Err(Error::refused(format!("{file}: tensor \"{name}\": {why}")))
            }
        }
    }

    fn refuse_substitutions(&self, checkpoint: &Checkpoint) -> Result<(), Error> {
        for (tensor, action) in checkpoint.tensors().iter().zip(&self.actions) {
            if let Action::Dense { reason, substituted: true } = action {
                let file = &checkpoint.shards()[tensor.shard].path;
                let (file, name) = (file.display(), &tensor.name);
                return Err(Error::refused(format!("{file}: tensor \"{name}\" would stay dense (--strict): {reason}")));
            }
        }
        Ok(())
    }

    fn dense_summary(&self) -> String {
        let mut reasons: Vec<(&str, usize)> = Vec::new();
        for action in &self.actions {
            let Action::Dense { reason, .. } = action else { continue };
            match reasons.iter_mut().find(|(known, _)| known == reason) {
                Some((_, count)) => *count += 1,
                None => reasons.push((reason, 1)),
            }
        }
        if reasons.is_empty() {
            return "none at all".into();
        }
        reasons.iter().map(|(reason, count)| format!("{count} stay dense ({reason})")).collect::<Vec<_>>().join(", ")
    }
}

/// Tensors with recipes of their own must exist, and the target must hold more than one recipe.
fn check_exceptions(checkpoint: &Checkpoint, options: &Options) -> Result<(), Error> {
    let refuse = |why: String| Err(Error::refused(format!("{}: {why}", checkpoint.path().display())));
    let known = |name: &&String| !checkpoint.tensors().iter().any(|t| t.name == **name);
    if let Some(name) = options.exceptions.keys().find(known) {
        return refuse(format!("the plan names tensor \"{name}\", which is not there"));
    }
    match options.target {
        Target::Native | Target::Dense { .. } => Ok(()),
        _ if options.exceptions.is_empty() => Ok(()),
        _ => refuse(format!("--to {} holds one recipe; a plan needs native or dense", options.target.name())),
    }
}

/// Bits that `matrices` will take when quantized by `recipe`.
fn planned_bits(entry: &TensorEntry, matrices: &Matrices, recipe: &Recipe) -> StoredBits {
    let dtype = entry.dtype.float().expect("only float tensors have matrices");
    let mut bits = StoredBits::default();
    for _ in 0..matrices.count {
        bits.merge(&stored_bits(recipe, matrices.rows, matrices.columns, dtype));
    }
    bits
}

fn action(entry: &TensorEntry, options: &Options, conv1d: bool) -> Action {
    let recipe = options.recipe_of(&entry.name);
    if let Some(reason) = options.selection.reason_to_skip(&entry.name) {
        return Action::Dense { reason, substituted: false };
    }
    match matrices(entry, !options.selection.include.is_empty(), conv1d) {
        Err(dense) => dense,
        Ok(matrices) => match reason_against(entry, &matrices, recipe, &options.target) {
            Some(reason) => Action::Dense { reason, substituted: true },
            None => Action::Quantize(matrices, *recipe),
        },
    }
}

/// Why a tensor that has matrices is better left dense.
fn reason_against(entry: &TensorEntry, matrices: &Matrices, recipe: &Recipe, target: &Target) -> Option<String> {
    let is_foreign = matches!(target, Target::Gguf | Target::LutB) || target.has_row_tables();
    if is_foreign && let Some(reason) = target.reason_against(&entry.name, matrices, recipe) {
        return Some(reason);
    }
    let planned = match target {
        _ if is_foreign => target.rate_bits(&Subject { entry, matrices: *matrices, recipe }),
        _ => planned_bits(entry, matrices, recipe).total_bits(),
    };
    let dense = 8 * target.carried_len_bytes(entry);
    if planned >= dense {
        let rate = |bits: u64| bits as f64 / entry.sample_count() as f64;
        let (planned, dense) = (rate(planned), rate(dense));
        return Some(format!("{planned:.1} bits per weight with its side information, {dense:.1} dense"));
    }
    target.reason_against(&entry.name, matrices, recipe)
}

/// Refuses what is quantized already: its codes and scales would be taken for weights; and what is not whole.
pub(crate) fn refuse_quantized(checkpoint: &Checkpoint) -> Result<(), Error> {
    crate::partial::refuse_unfinished(checkpoint.path())?;
    let by_config = checkpoint.config().and_then(|c| c.get("quantization_config"));
    let method = by_config.map(|c| c["quant_method"].as_str().unwrap_or("an unnamed method").to_owned());
    let native = checkpoint.shards().iter().any(|s| s.metadata.contains_key(KEY)).then(|| "quant".to_owned());
    let has_state = |t: &TensorEntry| t.name.contains(".quant_state.bitsandbytes__");
    let state = checkpoint.tensors().iter().any(has_state).then(|| "bitsandbytes".to_owned());
    let is_table = |t: &TensorEntry| [".qweight", ".weight_codebook"].iter().any(|end| t.name.ends_with(end));
    let tables = checkpoint.tensors().iter().any(is_table).then(|| "another tool".to_owned());
    match native.or(state).or(method).or(tables) {
        None => Ok(()),
        Some(method) => Err(Error::refused(format!(
            "{}: already quantized by {method}; quantize the original, or `quant dequantize` this one first",
            checkpoint.path().display()
        ))),
    }
}

/// The matrices of a selected tensor, or why it has none. A vector counts as substituted only when it was asked for.
fn matrices(entry: &TensorEntry, asked_for: bool, conv1d: bool) -> Result<Matrices, Action> {
    let dense = |reason: String, substituted| Err(Action::Dense { reason, substituted });
    if entry.dtype.float().is_none() {
        return dense(format!("dtype {}", entry.dtype.name()), is_small_float(&entry.dtype));
    }
    let shape = entry.shape.as_slice();
    if shape.iter().product::<usize>() == 0 {
        return dense("empty".into(), false);
    }
    match *shape {
        [] | [_] => dense(format!("{}-D", shape.len()), asked_for),
        [rows, columns] if conv1d && is_conv1d_name(&entry.name) => {
            Ok(Matrices { count: 1, rows: columns, columns: rows, transposed: true, paired_heads: None })
        }
        [rows, columns] => Ok(Matrices { count: 1, rows, columns, transposed: false, paired_heads: None }),
        [count, rows, columns] if is_expert_name(&entry.name) => {
            Ok(Matrices { count, rows, columns, transposed: false, paired_heads: None })
        }
        _ => dense(format!("{}-D and not a stack of experts", shape.len()), true),
    }
}

fn is_small_float(dtype: &StoredDtype) -> bool {
    let name = dtype.name();
    name.starts_with('F')
}

fn is_expert_name(name: &str) -> bool {
    name.contains("expert") || name.contains("_exps")
}

/// GPT-2 stores its linear layers `[in, out]`. Told by the data: a fused `c_attn` is three times wider than tall there,
/// and taller than wide where it is an ordinary linear layer.
fn has_conv1d_weights(tensors: &[TensorEntry]) -> bool {
    let fused = |t: &&TensorEntry| t.name.ends_with("attn.c_attn.weight") && t.shape.len() == 2;
    tensors.iter().find(fused).is_some_and(|t| t.shape[1] == 3 * t.shape[0])
}

fn is_conv1d_name(name: &str) -> bool {
    ["c_attn.weight", "c_proj.weight", "c_fc.weight", "q_attn.weight"].iter().any(|suffix| name.ends_with(suffix))
}
