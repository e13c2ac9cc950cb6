//! Which shapes and steps? Alternation of choice, shapes and steps to a fixed point.

use half::{bf16, f16};

use super::{SwitchedEncoding, row_scales, table};
use crate::backend::Backend;
use crate::codebook::Codebooks;
use crate::codes::{BitWidth, code_at};
use crate::excerpt::Excerpt;
use crate::grouping::{GroupLength, Grouping};
use crate::recipe::{Recipe, Switch};
use crate::scale::level_max;
use crate::source::special::normal_quantile;
use crate::tensor::{Matrix, Samples};

/// Samples that a fit sees, and rounds at most: most of the way on few samples, the rest on some two thousand for each of
/// the hundred-odd values that are fitted.
const STAGES: [(usize, usize); 2] = [(1 << 16, 16), (1 << 18, 8)];

/// The relative gain of a round below which a stage is over: 0.002 dB.
const GAIN_MIN: f64 = 4e-4;

/// Steps and shapes that are fitted, in f64.
struct Model {
    level_count: usize,
    shapes: Vec<f64>,
    steps: Vec<f64>,
}

/// What codes say of each level of each codebook: Σw and Σw·x.
struct Sums {
    weight: Vec<f64>,
    moment: Vec<f64>,
    error: f64,
}

/// Some rows of a matrix in f32, with their weights.
struct Training {
    samples: Vec<f32>,
    weights: Option<Vec<f32>>,
    scales: Vec<f32>,
    grouping: Grouping,
}

/// Steps and shapes of `matrix` by `recipe`, rounded as they are stored. `weights` as in [`Backend::fit_rows`].
pub(crate) fn fit<B: Backend>(
    backend: &B,
    matrix: Matrix<'_>,
    weights: Option<&[f32]>,
    recipe: &Recipe,
    switch: Switch,
) -> Result<(Vec<f16>, Vec<f16>), B::Fault> {
    let fixed = recipe.fixed_codebooks();
    let mut model: Option<Model> = None;
    for (sample_count, rounds_max) in STAGES {
        let training = Training::of(matrix, weights, recipe.group, sample_count);
        let model = model.get_or_insert_with(|| Model::start(&training, recipe.bit_width, fixed.as_ref(), switch));
        let mut last = f64::INFINITY;
        for _ in 0..rounds_max {
            let sums = training.sums(backend, recipe.bit_width, model)?;
            if fixed.is_none() {
                model.fit_shapes(&sums);
            }
            model.fit_steps(&sums);
            if sums.error >= last * (1.0 - GAIN_MIN) {
                break;
            }
            last = sums.error;
        }
        if training.samples.len() == matrix.len() {
            break;
        }
    }
    Ok(model.expect("there is a stage").rounded())
}

impl Training {
    fn of(matrix: Matrix<'_>, weights: Option<&[f32]>, group: GroupLength, sample_count: usize) -> Self {
        let excerpt = Excerpt::of(matrix, weights, group, sample_count);
        let scales = row_scales(excerpt.matrix());
        let scales = scales.into_iter().map(bf16::to_f32).collect();
        let Excerpt { samples, weights, rows, columns } = excerpt;
        Self { samples, weights, scales, grouping: Grouping::new(rows, columns, group) }
    }

    fn matrix(&self) -> Matrix<'_> {
        Matrix::new(Samples::F32(&self.samples), self.grouping.rows(), self.grouping.columns()).expect("whole rows")
    }

    /// Sample `index` in units of its row, and its weight.
    fn sample(&self, index: usize) -> (f64, f64) {
        let scale = self.scales[index / self.grouping.columns()];
        let x = if scale == 0.0 { 0.0 } else { f64::from(self.samples[index]) / f64::from(scale) };
        (x, self.weights.as_ref().map_or(1.0, |w| f64::from(w[index])))
    }

    /// The roots of the mean squares of all groups that are not zero, ascending.
    fn group_sizes(&self) -> Vec<f64> {
        let size = |group: usize| {
            let range = self.grouping.range(group);
            let count = range.len() as f64;
            (range.map(|i| self.sample(i).0.powi(2)).sum::<f64>() / count).sqrt()
        };
        let mut sizes: Vec<f64> = (0..self.grouping.group_count()).map(size).filter(|&s| s > 0.0).collect();
        sizes.sort_unstable_by(f64::total_cmp);
        sizes
    }

    fn sums<B: Backend>(&self, backend: &B, bit_width: BitWidth, model: &Model) -> Result<Sums, B::Fault> {
        let codebooks = model.codebooks();
        let selector_width = model.selector_width();
        let (grouping, row_scales) = (self.grouping, &self.scales[..]);
        let encoding = SwitchedEncoding { bit_width, selector_width, grouping, row_scales, codebooks: &codebooks };
        let (rows, columns) = (grouping.rows(), grouping.columns());
        let mut selectors = vec![0; rows * encoding.selector_row_len_bytes()];
        let mut packed = vec![0; rows * encoding.row_len_bytes()];
        backend.encode_switched(self.matrix(), &encoding, self.weights.as_deref(), &mut selectors, &mut packed)?;
        let mut sums = model.no_sums();
        let groups = grouping.groups_per_row();
        for group in 0..grouping.group_count() {
            let (row, place) = (group / groups, group % groups);
            let selector_row = &selectors[row * encoding.selector_row_len_bytes()..];
            let code_row = &packed[row * encoding.row_len_bytes()..];
            let selector = usize::from(code_at(selector_row, selector_width, place));
            for index in grouping.range(group) {
                let code = usize::from(code_at(code_row, bit_width, index - row * columns));
                let (x, weight) = self.sample(index);
                sums.add(selector * model.level_count + code, x, weight, codebooks.levels(selector)[code]);
            }
        }
        Ok(sums)
    }
}

impl Sums {
    fn add(&mut self, cell: usize, x: f64, weight: f64, level: f32) {
        self.weight[cell] += weight;
        self.moment[cell] += weight * x;
        self.error += weight * (x - f64::from(level)).powi(2);
    }
}

impl Model {
    /// Steps spread evenly in their logarithm over the sizes of the groups; shapes those of a Gaussian, bent and moved
    /// apart. A fixed codebook that is not symmetric gets steps of both signs.
    fn start(training: &Training, bit_width: BitWidth, fixed: Option<&Codebooks>, switch: Switch) -> Self {
        let level_count = bit_width.level_count();
        let shapes: Vec<f64> = match fixed {
            Some(codebooks) => codebooks.levels(0).iter().map(|&y| f64::from(y)).collect(),
            None => (0..switch.shape_count()).flat_map(|k| start_shape(k, switch.shape_count(), level_count)).collect(),
        };
        let sizes = training.group_sizes();
        let at = |share: f64| sizes.get((share * sizes.len() as f64) as usize).copied().unwrap_or(1.0);
        // What one size of a group is in levels: a Gaussian fills about 0.7 · bits of its deviations.
        let unit = fixed.map_or(1.0, |c| 0.7 * bit_width.bits() as f64 / f64::from(level_max(c.levels(0))));
        let is_signed = fixed.is_some_and(|c| !is_symmetric(c.levels(0)));
        let count = if is_signed { switch.step_count().div_ceil(2) } else { switch.step_count() };
        let (low, high) = if count > 1 { (at(0.002), at(0.9995)) } else { (at(0.6), at(0.6)) };
        let step = |s: usize| unit * low * (high / low).powf(s as f64 / (count.max(2) - 1) as f64);
        let mut steps: Vec<f64> = (0..count).map(step).collect();
        if is_signed {
            steps.extend((0..switch.step_count() - count).map(|s| -step(s)));
        }
        Self { level_count, shapes, steps }
    }

    fn shape_count(&self) -> usize {
        self.shapes.len() / self.level_count
    }

    fn selector_width(&self) -> BitWidth {
        let codebooks = self.steps.len() * self.shape_count();
        BitWidth::new(codebooks.ilog2()).expect("a switch has 1 to 8 bits")
    }

    fn rounded(&self) -> (Vec<f16>, Vec<f16>) {
        let round = |values: &[f64]| values.iter().map(|&v| half(v)).collect();
        (round(&self.steps), round(&self.shapes))
    }

    fn codebooks(&self) -> Codebooks {
        let (steps, shapes) = self.rounded();
        table(&steps, &shapes, self.level_count)
    }

    fn no_sums(&self) -> Sums {
        let cells = self.steps.len() * self.shapes.len();
        Sums { weight: vec![0.0; cells], moment: vec![0.0; cells], error: 0.0 }
    }

    /// The cell of level `level` of shape `shape` at step `step`: codes of a negative step run the other way.
    fn cell(&self, step: usize, shape: usize, level: usize) -> usize {
        let level = if self.steps[step] < 0.0 { self.level_count - 1 - level } else { level };
        (step * self.shape_count() + shape) * self.level_count + level
    }

    /// y = Σ_s c_s Σwx / Σ_s c_s² Σw for each level; one that no sample has stays.
    fn fit_shapes(&mut self, sums: &Sums) {
        for shape in 0..self.shape_count() {
            let mut levels = self.shapes[shape * self.level_count..][..self.level_count].to_vec();
            for (level, y) in levels.iter_mut().enumerate() {
                let (mut moment, mut weight) = (0.0, 0.0);
                for (step, c) in self.steps.iter().enumerate() {
                    let cell = self.cell(step, shape, level);
                    moment += c * sums.moment[cell];
                    weight += c * c * sums.weight[cell];
                }
                if weight > 0.0 {
                    *y = moment / weight;
                }
            }
            levels.sort_unstable_by(f64::total_cmp);
            self.shapes[shape * self.level_count..][..self.level_count].copy_from_slice(&levels);
        }
    }

    /// c = Σ_{k,l} y Σwx / Σ_{k,l} y² Σw for each step; one that no group chose, or that would turn its sign, stays.
    fn fit_steps(&mut self, sums: &Sums) {
        for step in 0..self.steps.len() {
            let (mut moment, mut weight) = (0.0, 0.0);
            for (place, &y) in self.shapes.iter().enumerate() {
                let cell = self.cell(step, place / self.level_count, place % self.level_count);
                moment += y * sums.moment[cell];
                weight += y * y * sums.weight[cell];
            }
            if weight > 0.0 && moment / weight * self.steps[step] > 0.0 {
                self.steps[step] = moment / weight;
            }
        }
    }
}

fn half(value: f64) -> f16 {
    let most = f16::MAX.to_f64();
    f16::from_f64(value.clamp(-most, most))
}

fn is_symmetric(levels: &[f32]) -> bool {
    levels.iter().zip(levels.iter().rev()).all(|(a, b)| *a == -b)
}

/// Shape `index` of `count` to start with: the levels of a compander for a Gaussian, wider or narrower at the ends and
/// moved to one side, so that no two shapes are alike. Golden ratio and √2 spread the two evenly.
fn start_shape(index: usize, count: usize, level_count: usize) -> Vec<f64> {
    let apart = if count > 1 { 1.0 } else { 0.0 };
    let spread = |irrational: f64| apart * ((index as f64 * irrational).fract() - 0.5);
    let level = |l: usize| {
        let u = (l as f64 + 0.5) / level_count as f64;
        let t = 2.0 * u - 1.0;
        let jitter = apart * 0.4 * (((index * 31 + l) as f64 * 0.754_877).fract() - 0.5) / (level_count as f64).sqrt();
        let y = 3f64.sqrt() * normal_quantile(u);
        y * (0.75 + 0.6 * spread(0.618_034) * t * t) + 0.3 * spread(0.414_214) + jitter
    };
    let mut levels: Vec<f64> = (0..level_count).map(level).collect();
    levels.sort_unstable_by(f64::total_cmp);
    levels
}
