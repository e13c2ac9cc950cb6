//! Which levels and scales does a matrix get, where every group has a scale of its own or none?

use super::alternated;
use crate::backend::Backend;
use crate::codebook::Codebooks;
use crate::design::{Bins, certified, optimal};
use crate::grouping::Grouping;
use crate::recipe::{CodebookRule, Recipe};
use crate::reference::{inverse_scales, normalised};
use crate::scale::{ScaleRule, ScaleSearch, level_max};
use crate::tensor::Matrix;

/// Bins of the histogram that a tensor-wide codebook of scaled samples is designed from.
const DESIGN_BIN_COUNT: usize = 1 << 16;

type CodebooksAndScales = (Codebooks, Option<Vec<f32>>);

/// Codebooks, and a scale for each group where the recipe wants any. `weights` are as in [`Backend::fit_rows`]; codebooks
/// are designed with them, searched scales are not.
pub(super) fn codebooks_and_scales<B: Backend>(
    backend: &B,
    matrix: Matrix<'_>,
    weights: Option<&[f32]>,
    grouping: Grouping,
    recipe: &Recipe,
) -> Result<CodebooksAndScales, B::Fault> {
    let Some(rule) = recipe.scale else {
        return Ok((design_unscaled(backend, matrix, weights, recipe)?, None));
    };
    if let Some(codebooks) = recipe.fixed_codebooks() {
        let scales = match recipe.codebook {
            // Its levels are in the unit of the largest magnitude, and the outer ones lie below it.
            CodebookRule::BlockNormalFloat if rule == ScaleRule::Absmax => {
                absmax_scales(backend, matrix, grouping, 1.0)?
            }
            _ => choose_scales(backend, matrix, grouping, &codebooks, rule)?,
        };
        return Ok((codebooks, Some(scales)));
    }
    if rule != ScaleRule::Absmax {
        let codebooks = alternated::codebooks(backend, matrix, weights, recipe, rule)?;
        let scales = search_scales(backend, matrix, grouping, &codebooks, rule)?;
        return Ok((codebooks, Some(scales)));
    }
    let scales = absmax_scales(backend, matrix, grouping, 1.0)?;
    let codebooks = design_scaled(backend, matrix, weights, (grouping, &inverse_scales(&scales)), recipe)?;
    Ok((codebooks, Some(scales)))
}

fn choose_scales<B: Backend>(
    backend: &B,
    matrix: Matrix<'_>,
    grouping: Grouping,
    codebooks: &Codebooks,
    rule: ScaleRule,
) -> Result<Vec<f32>, B::Fault> {
    if rule != ScaleRule::Absmax {
        return search_scales(backend, matrix, grouping, codebooks, rule);
    }
    // The largest *positive* level: an integer grid reaches one step further below zero, which absmax scaling leaves.
    let top = codebooks.levels(0).last().copied().filter(|&y| y > 0.0).unwrap_or(level_max(codebooks.levels(0)));
    absmax_scales(backend, matrix, grouping, 1.0 / top)
}

/// The largest magnitude of each group, times `level_max_inverse`.
fn absmax_scales<B: Backend>(
    backend: &B,
    matrix: Matrix<'_>,
    grouping: Grouping,
    level_max_inverse: f32,
) -> Result<Vec<f32>, B::Fault> {
    let mut scales = vec![0.0; grouping.group_count()];
    backend.absmax_scales(matrix, grouping, level_max_inverse, &mut scales)?;
    Ok(scales)
}

pub(super) fn search_scales<B: Backend>(
    backend: &B,
    matrix: Matrix<'_>,
    grouping: Grouping,
    codebooks: &Codebooks,
    rule: ScaleRule,
) -> Result<Vec<f32>, B::Fault> {
    let signed = rule == ScaleRule::SignedSearch;
    let mut scales = vec![0.0; grouping.group_count()];
    let has_levels = |row: usize| level_max(codebooks.levels(row)) > 0.0;
    if codebooks.count() == 1 {
        if has_levels(0) {
            let search = ScaleSearch::new(codebooks, grouping.length(), signed);
            backend.search_scales(matrix, grouping, &search, &mut scales)?;
        }
        return Ok(scales);
    }
    let search = |row: usize| {
        let own = Codebooks::from_levels(codebooks.level_count(), [codebooks.levels(row)]);
        ScaleSearch::new(&own, grouping.length(), signed)
    };
    let searches: Vec<_> = (0..matrix.rows()).map(|row| has_levels(row).then(|| search(row))).collect();
    backend.search_scales_of_rows(matrix, grouping, &searches, &mut scales)?;
    Ok(scales)
}

/// A codebook in the unit of the samples.
fn design_unscaled<B: Backend>(
    backend: &B,
    matrix: Matrix<'_>,
    weights: Option<&[f32]>,
    recipe: &Recipe,
) -> Result<Codebooks, B::Fault> {
    let level_count = recipe.bit_width.level_count();
    if recipe.codebook == CodebookRule::KmeansRow {
        return backend.fit_rows(matrix, None, weights, level_count);
    }
    if matrix.is_empty() {
        return Ok(Codebooks::from_levels(level_count, [[0.0]]));
    }
    if let Some(weights) = weights {
        return Ok(fit_weighted(matrix, weights, None, level_count));
    }
    Ok(shared(&certified::fit_finite(backend, matrix, level_count)?.levels, level_count))
}

/// A codebook for samples divided by their group's largest magnitude.
fn design_scaled<B: Backend>(
    backend: &B,
    matrix: Matrix<'_>,
    weights: Option<&[f32]>,
    normalisation: (Grouping, &[f32]),
    recipe: &Recipe,
) -> Result<Codebooks, B::Fault> {
    let level_count = recipe.bit_width.level_count();
    if recipe.codebook == CodebookRule::KmeansRow {
        return backend.fit_rows(matrix, Some(normalisation), weights, level_count);
    }
    if let Some(weights) = weights {
        return Ok(fit_weighted(matrix, weights, Some(normalisation), level_count));
    }
    let bins = Bins::covering(-1.0, 1.0, DESIGN_BIN_COUNT);
    let points = backend.histogram(matrix, Some(normalisation), &bins)?.points(&bins);
    Ok(fit_shared(&points, level_count))
}

/// One codebook of least weighted error.
fn fit_weighted(
    matrix: Matrix<'_>,
    weights: &[f32],
    normalisation: Option<(Grouping, &[f32])>,
    level_count: usize,
) -> Codebooks {
    let columns = matrix.columns();
    let sample = |i: usize| normalised(matrix.samples().get(i), i / columns, i % columns, normalisation);
    let samples: Vec<f32> = (0..matrix.len()).map(sample).collect();
    let weights: Vec<f32> = match weights.len() == columns {
        true => (0..matrix.len()).map(|i| weights[i % columns]).collect(),
        false => weights.to_vec(),
    };
    Codebooks::from_levels(level_count, [optimal::fit_levels(&samples, Some(&weights), level_count)])
}

pub(super) fn fit_shared(points: &[(f64, f64)], level_count: usize) -> Codebooks {
    if points.is_empty() {
        return Codebooks::from_levels(level_count, [[0.0]]);
    }
    shared(&optimal::fit_points(points, level_count).levels, level_count)
}

fn shared(levels: &[f64], level_count: usize) -> Codebooks {
    let mut levels: Vec<f32> = levels.iter().map(|&y| y as f32).collect();
    levels.dedup();
    Codebooks::from_levels(level_count, [levels])
}
