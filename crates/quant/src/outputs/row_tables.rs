//! What can SqueezeLLM's and any-precision's layouts hold? A table of levels for each output channel, and nothing around it.
//!
//! The loaders of both replace linear layers by classes of their own without looking at what is stored, so a layer that
//! stayed dense would be left with the numbers that it was initialised with: that is refused, by name.

use quant_core::grouping::GroupLength;
use quant_core::recipe::{CodebookRule, Recipe};

use super::{Target, any_precision};
use crate::checkpoint::{Checkpoint, Source};
use crate::error::Error;
use crate::plan::{Action, Matrices, Plan};
use crate::select::Selection;

/// Codes come in words of 32 bits, or planes of them.
pub(super) const COLUMNS_MULTIPLE: usize = 32;

/// Refuses a recipe or a source that neither layout holds; `bits` are the code widths of the layout.
pub(super) fn check_recipe(
    checkpoint: &Checkpoint,
    target: &Target,
    bits: std::ops::RangeInclusive<usize>,
    recipe: &Recipe,
) -> Result<(), Error> {
    let name = target.name();
    if checkpoint.source() != Source::Folder || checkpoint.config().is_none() {
        let path = checkpoint.path().display();
        return Err(Error::refused(format!("{path}: --to {name} needs a model folder with a config.json")));
    }
    let is_per_row = recipe.codebook == CodebookRule::KmeansRow
        && recipe.group == GroupLength::Row
        && recipe.scale.is_none()
        && recipe.switch.is_none();
    let has_room = bits.contains(&recipe.bit_width.bits());
    let outliers_fit = recipe.outliers.is_none() || *target == Target::SqueezeLlm;
    if is_per_row && has_room && outliers_fit {
        return Ok(());
    }
    let (first, last) = (bits.start(), bits.end());
    let outliers = if *target == Target::SqueezeLlm { "with or without outliers" } else { "without outliers" };
    Err(Error::refused(format!(
        "--to {name} holds one table of levels per output channel, kmeans{first}-row to kmeans{last}-row, {outliers}; \
         {recipe} was asked for"
    )))
}

/// Why the layout has no place for this tensor, if it has none.
pub(super) fn reason_against(name: &str, matrices: &Matrices, target: &Target, recipe: &Recipe) -> Option<String> {
    let (rows, columns) = (matrices.rows, matrices.columns);
    if module(name).is_none() || !is_linear(name) {
        Some("the loader quantizes linear layers only".into())
    } else if matrices.count > 1 || matrices.transposed {
        Some("the loader knows linear layers of [output, input] channels only".into())
    } else if !columns.is_multiple_of(COLUMNS_MULTIPLE) {
        Some(format!("{columns} input channels are not a multiple of {COLUMNS_MULTIPLE}"))
    } else if recipe.outliers.is_some_and(|rule| rule.count(rows * columns) == 0) {
        Some("it is too small for a single outlier, which the sparse kernels need".into())
    } else if *target == Target::SqueezeLlm && i32::try_from(rows * columns).is_err() {
        Some("it has more weights than 32-bit indices reach".into())
    } else {
        None
    }
}

/// The layer of a weight.
pub(crate) fn module(name: &str) -> Option<&str> {
    name.strip_suffix(".weight")
}

/// Embeddings, norms and heads are read dense by both loaders.
pub(super) fn is_linear(name: &str) -> bool {
    Selection::default().reason_to_skip(name).is_none()
}

/// Refuses a plan in which a linear layer stays dense, or whose layers any-precision cannot describe.
pub(crate) fn check_plan(checkpoint: &Checkpoint, plan: &Plan, target: &Target) -> Result<(), Error> {
    if !target.has_row_tables() {
        return Ok(());
    }
    for (entry, action) in checkpoint.tensors().iter().zip(&plan.actions) {
        let Action::Dense { reason, .. } = action else { continue };
        if entry.shape.len() == 2 && module(&entry.name).is_some() && is_linear(&entry.name) {
            let (path, name) = (checkpoint.shards()[entry.shard].path.display(), &entry.name);
            let target = target.name();
            return Err(Error::refused(format!(
                "{path}: tensor \"{name}\": --to {target} leaves no linear layer dense: {reason}"
            )));
        }
    }
    match target {
        Target::AnyPrecision => any_precision::architecture(checkpoint, plan).map(|_| ()),
        _ => Ok(()),
    }
}
