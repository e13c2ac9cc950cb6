//! Which codebook goes with searched scales? Codebook and scales are fitted in turn until neither moves.
//!
//! With scales s the error is Σ w·s²·(x/s − level)²: a codebook for scaled samples that weigh w·s². With a codebook the scales
//! are searched as [`crate::scale`] defines it. Either step lowers what the other left, but for the grid of candidates.

use super::scaled::search_scales;
use crate::backend::Backend;
use crate::codebook::Codebooks;
use crate::design::normal_float;
use crate::excerpt::Excerpt;
use crate::grouping::Grouping;
use crate::recipe::{CodebookRule, Recipe};
use crate::reference::{inverse_scales, normalised};
use crate::scale::{ScaleRule, level_max};
use crate::sensitivity::weights_of_rows;
use crate::tensor::Matrix;

/// Rounds at most: on blocks of N(0,1) the tenth gains less than 0.001 dB.
const ROUNDS: usize = 10;

/// Rounds of rows, which begin with a codebook fitted to all of them: a fourth gains less than 0.01 dB.
const ROW_ROUNDS: usize = 3;

/// A codebook stands still when no level moves by more than this share of the largest.
const STILL: f32 = 2e-3;

/// Samples that a shared codebook is fitted to; some thousands for each level.
const SAMPLE_COUNT: usize = 1 << 18;

/// Bins of a shared codebook's histogram.
const BIN_COUNT: usize = 1 << 13;

/// Samples of rows that get their codebooks at a time; what they weigh is held meanwhile.
const PART_LEN: usize = 1 << 20;

/// Codebooks of least error with scales that are searched by `rule`. `weights` as in [`Backend::fit_rows`].
pub(super) fn codebooks<B: Backend>(
    backend: &B,
    matrix: Matrix<'_>,
    weights: Option<&[f32]>,
    recipe: &Recipe,
    rule: ScaleRule,
) -> Result<Codebooks, B::Fault> {
    let fit = Fit { backend, recipe, rule };
    let start = normal_float::levels(recipe.bit_width.bits() as u32);
    let start = Codebooks::from_levels(recipe.bit_width.level_count(), [start]);
    let excerpt = Excerpt::of(matrix, weights, recipe.group, SAMPLE_COUNT);
    let shared = fit.alternate(excerpt.matrix(), excerpt.weights.as_deref(), start, Owner::Matrix)?;
    if recipe.codebook == CodebookRule::KmeansRow { fit.rows(matrix, weights, &shared) } else { Ok(shared) }
}

/// Whose codebooks are fitted.
#[derive(Clone, Copy, PartialEq)]
enum Owner {
    Matrix,
    Row,
}

struct Fit<'a, B: Backend> {
    backend: &'a B,
    recipe: &'a Recipe,
    rule: ScaleRule,
}

impl<B: Backend> Fit<'_, B> {
    fn level_count(&self) -> usize {
        self.recipe.bit_width.level_count()
    }

    /// Codebooks of all rows, some rows at a time.
    fn rows(&self, matrix: Matrix<'_>, weights: Option<&[f32]>, start: &Codebooks) -> Result<Codebooks, B::Fault> {
        let columns = matrix.columns();
        let step = (PART_LEN / columns.max(1)).max(1);
        let mut all = Vec::with_capacity(matrix.rows());
        for top in (0..matrix.rows()).step_by(step) {
            let rows = top..(top + step).min(matrix.rows());
            let weights = weights_of_rows(weights, rows.clone(), columns);
            let fitted = self.alternate(matrix.row_range(rows.clone()), weights, start.clone(), Owner::Row)?;
            all.extend((0..rows.len()).map(|row| fitted.levels(row).to_vec()));
        }
        Ok(Codebooks::from_levels(self.level_count(), all))
    }

    fn alternate(
        &self,
        matrix: Matrix<'_>,
        weights: Option<&[f32]>,
        start: Codebooks,
        owner: Owner,
    ) -> Result<Codebooks, B::Fault> {
        let grouping = Grouping::new(matrix.rows(), matrix.columns(), self.recipe.group);
        let mut codebooks = start;
        for _ in 0..if owner == Owner::Row { ROW_ROUNDS } else { ROUNDS } {
            let scales = search_scales(self.backend, matrix, grouping, &codebooks, self.rule)?;
            let weights = scaled_weights(weights, grouping, &scales, owner);
            let normalisation = (grouping, &inverse_scales(&scales)[..]);
            let next = match owner {
                Owner::Row => self.backend.fit_rows(matrix, Some(normalisation), Some(&weights), self.level_count())?,
                Owner::Matrix => self.shared(matrix, normalisation, &weights),
            };
            let is_still = stands_still(&codebooks, &next);
            codebooks = next;
            if is_still {
                break;
            }
        }
        Ok(codebooks)
    }

    /// One codebook for scaled samples.
    fn shared(&self, matrix: Matrix<'_>, normalisation: (Grouping, &[f32]), weights: &[f32]) -> Codebooks {
        let columns = matrix.columns();
        let sample = |i: usize| normalised(matrix.samples().get(i), i / columns, i % columns, Some(normalisation));
        let scaled: Vec<f32> = (0..matrix.len()).map(sample).collect();
        let most = level_max(&scaled);
        let mut bins = vec![(0.0, 0.0); BIN_COUNT];
        for (&x, &weight) in scaled.iter().zip(weights) {
            let place = (f64::from(x) / f64::from(most.max(f32::MIN_POSITIVE)) + 1.0) * (BIN_COUNT / 2) as f64;
            let bin: &mut (f64, f64) = &mut bins[(place as usize).min(BIN_COUNT - 1)];
            bin.0 += f64::from(weight);
            bin.1 += f64::from(weight) * f64::from(x);
        }
        let points = bins.into_iter().filter(|&(weight, _)| weight > 0.0).map(|(weight, sum)| (sum / weight, weight));
        super::scaled::fit_shared(&points.collect::<Vec<_>>(), self.level_count())
    }
}

/// w·s² of every sample, over the largest s² of those that share a codebook: squares of small scales are below what an f32
/// holds.
fn scaled_weights(weights: Option<&[f32]>, grouping: Grouping, scales: &[f32], owner: Owner) -> Vec<f32> {
    let mut scaled = vec![1.0; grouping.rows() * grouping.columns()];
    if let Some(weights) = weights {
        scaled.chunks_exact_mut(weights.len().max(1)).for_each(|chunk| chunk.copy_from_slice(weights));
    }
    let sharing = if owner == Owner::Row { grouping.groups_per_row() } else { scales.len() };
    let mut group = 0;
    for scales in scales.chunks(sharing.max(1)) {
        let most = level_max(scales).max(f32::MIN_POSITIVE);
        for scale in scales {
            let share = (scale / most).powi(2);
            scaled[grouping.range(group)].iter_mut().for_each(|w| *w *= share);
            group += 1;
        }
    }
    scaled
}

fn stands_still(codebooks: &Codebooks, next: &Codebooks) -> bool {
    if codebooks.count() != next.count() || codebooks.level_count() != next.level_count() {
        return false;
    }
    let is_near = |index: usize| {
        let (old, new) = (codebooks.levels(index), next.levels(index));
        let (a, b) = (level_max(old).max(f32::MIN_POSITIVE), level_max(new).max(f32::MIN_POSITIVE));
        old.iter().zip(new).all(|(x, y)| (x / a - y / b).abs() <= STILL)
    };
    (0..next.count()).all(is_near)
}

#[cfg(test)]
mod tests {
    use crate::grouping::GroupLength;
    use crate::quantize::{Quantized, quantize, quantize_weighted};
    use crate::recipe::Recipe;
    use crate::reference::Reference;
    use crate::scale::ScaleRule;
    use crate::sensitivity::Weights;
    use crate::source::special::normal_quantile;
    use crate::tensor::{Matrix, Samples};

    /// Shuffled quantiles of N(0,1), so that blocks are as those of random numbers; every second row 1e-3 as large.
    fn samples(rows: usize, columns: usize) -> Vec<f32> {
        let count = rows * columns;
        let quantile = |i: usize| normal_quantile((i as f64 + 0.5) / count as f64) as f32;
        let place = |i: usize| quantile((i * 7919 + i / columns * 31) % count);
        (0..count).map(|i| place(i) * if (i / columns).is_multiple_of(2) { 1.0 } else { 1e-3 }).collect()
    }

    fn made(samples: &[f32], columns: usize, name: &str, rule: ScaleRule) -> Quantized {
        let matrix = Matrix::new(Samples::F32(samples), samples.len() / columns, columns).unwrap();
        let recipe = Recipe::preset(name).unwrap().with_group(GroupLength::Samples(64)).unwrap();
        quantize(&Reference, matrix, &recipe.with_scale(rule).unwrap()).unwrap()
    }

    #[test]
    fn a_codebook_that_knows_its_scales_beats_both_fixed_ones() {
        let samples = samples(16, 1024);
        let db = |name, rule| made(&samples, 1024, name, rule).distortion.sqnr_db();
        let fitted = db("lloyd4", ScaleRule::SignedSearch);
        let (nf, absmax) = (db("nf4", ScaleRule::SignedSearch), db("lloyd4", ScaleRule::Absmax));
        assert!(fitted > nf + 0.1 && fitted > absmax + 0.4, "{fitted} against {nf} and {absmax}");
        // Joint optimum on Gaussian blocks of 64: 21.83 dB, measured by another program.
        assert!((21.6..22.1).contains(&fitted), "{fitted}");
        let rows = db("kmeans4-row", ScaleRule::SignedSearch);
        assert!(rows > fitted, "a codebook for each row: {rows} against {fitted}");
        assert!(db("lloyd4", ScaleRule::Search) > absmax, "without signs");
    }

    #[test]
    fn weights_move_the_codebook() {
        let samples = samples(8, 512);
        let matrix = Matrix::new(Samples::F32(&samples), 8, 512).unwrap();
        let weights: Vec<f32> = samples.iter().map(|x| if *x > 0.0 { 20.0 } else { 1.0 }).collect();
        let weights = Weights::new(weights, 8, 512).unwrap();
        let recipe = Recipe::preset("lloyd3").unwrap().with_group(GroupLength::Samples(64)).unwrap();
        for name in ["lloyd3", "kmeans3-row"] {
            let recipe = Recipe::preset(name).unwrap().with_group(GroupLength::Samples(64)).unwrap();
            let recipe = recipe.with_scale(ScaleRule::Search).unwrap();
            let error = |fitted: Option<&Weights>| {
                let mut quantized = quantize_weighted(&Reference, matrix, fitted, &recipe).unwrap();
                quantized.measure(&Reference, matrix, Some(weights.values())).unwrap();
                quantized.weighted.unwrap().squared_error
            };
            assert!(error(Some(&weights)) < 0.8 * error(None), "{name}");
        }
        assert_eq!(recipe.scale, Some(ScaleRule::SignedSearch), "searched unless it is said otherwise");
    }

    #[test]
    fn nothing_to_scale_is_no_fault() {
        for (samples, columns) in
            [(vec![0.0; 256], 128), (vec![], 128), (vec![1e-30; 130], 65), (vec![f32::MAX; 64], 64)]
        {
            for name in ["lloyd4", "kmeans2-row"] {
                let quantized = made(&samples, columns, name, ScaleRule::SignedSearch);
                let sums = &quantized.distortion;
                assert!(sums.squared_error <= 1e-6 * sums.energy, "{name} {:?} {sums:?}", &samples[..1]);
            }
        }
    }
}
