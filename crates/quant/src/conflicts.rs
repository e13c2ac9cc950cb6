//! Which options exclude one another, whatever the checkpoint?

use quant_core::recipe::Recipe;

use crate::error::Error;
use crate::outputs::Target;
use crate::pipeline::Options;

/// Refuses what has no meaning together.
pub(crate) fn refuse(options: &Options) -> Result<(), Error> {
    options.recipes().try_for_each(Recipe::check)?;
    if options.entropy && options.target != Target::Native {
        return Err(Error::refused(format!("--entropy is for --to native; {} was asked for", options.target.name())));
    }
    if options.entropy
        && let Some(recipe) = options.recipes().find(|r| r.codebook.vectors().is_some())
    {
        let name = recipe.family_name();
        return Err(Error::refused(format!("--entropy codes levels of single weights; {name} has indices of points")));
    }
    let has_no_levels = |r: &Recipe| !r.is_plain();
    if options.error_feedback.is_some() && options.recipes().any(has_no_levels) {
        let why = "--error-feedback rounds to the levels of one codebook; groups that choose, points and weights kept exact \
                   have no place in it";
        return Err(Error::refused(why));
    }
    Ok(())
}
