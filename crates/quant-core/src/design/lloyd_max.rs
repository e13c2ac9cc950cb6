//! Lloyd–Max quantizers of densities, with Newton's method for the last digits.
//!
//! Optimality: t_k = (y_{k−1} + y_k)/2 and y_k = E[X | cell k]. Half the gradient of the distortion is
//! r_k = ∫_cell (y_k − x) f, and half its Hessian is tridiagonal, H = diag(m₀) − B with
//! B_{k,k+1} = ½(t_{k+1} − y_k) f(t_{k+1}) and B_kk the sum of both sides. Plain alternation is the step
//! diag(m₀) δ = −r and needs O(M²) sweeps; (diag(m₀) − B) δ = −r is Newton's.

use super::constraints::{Symmetrised, mirror, nearest_to_zero};
use super::result::check_level_count;
use super::start::Start;
use super::{Constraints, Design, DesignError, StopReason};
use crate::codebook::Codebook;
use crate::source::{Moments, Source};

/// A Lloyd–Max design.
///
/// Source: Max 1960; Lloyd 1982 (1957). On log-concave densities the optimum is unique (Fleischer 1964); elsewhere the
/// result is a stationary point that depends on the start: a symmetric start on a symmetric source stays symmetric, though
/// for a sharp peak (generalized Gaussian, β < 1) an asymmetric codebook may be better. Points without weight near a level leave an empty cell,
/// whose level stays where it is.
///
/// ```
/// use quant_core::{design::lloyd_max::LloydMax, source::Gaussian};
/// let design = LloydMax::new(4).design(&Gaussian::STANDARD).unwrap();
/// assert!((design.mse - 0.117481847829).abs() < 1e-12); // Max 1960, table I: 0.1175
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct LloydMax {
    /// M.
    pub level_count: usize,
    /// Where to start.
    pub start: Start,
    /// What the levels must satisfy.
    pub constraints: Constraints,
    /// Levels that are in the codebook as they are, ascending; each takes the place of the start's level nearest to it.
    pub fixed: Vec<f64>,
    /// Steps at most.
    pub iterations_max: usize,
    /// Converged when no level is further from its centroid than this many standard deviations.
    pub tolerance: f64,
    /// Newton steps where the source has a density; otherwise plain alternation.
    pub newton: bool,
}

impl LloydMax {
    /// Compander start, no constraints, Newton, at most 1000 steps to 1e-13 deviations.
    pub fn new(level_count: usize) -> Self {
        let (start, constraints) = (Start::default(), Constraints::default());
        Self { level_count, start, constraints, fixed: vec![], iterations_max: 1000, tolerance: 1e-13, newton: true }
    }

    /// Finds the codebook.
    pub fn design(&self, source: &dyn Source) -> Result<Design, DesignError> {
        check_level_count(self.level_count, 1)?;
        self.constraints.check(self.level_count)?;
        let symmetrised = Symmetrised(source);
        let target: &dyn Source = if self.constraints.symmetric { &symmetrised } else { source };
        let mut start = self.start_levels(target)?;
        let held = self.hold(&mut start)?;
        let outcome = if self.constraints.zero && !held.iter().zip(&start).any(|(&held, &y)| held && y == 0.0) {
            // The zero may belong to either neighbour of the level nearest to it.
            let nearest = nearest_to_zero(&start);
            let candidates = nearest.saturating_sub(1)..(nearest + 2).min(start.len());
            let candidates = candidates.filter(|&k| !held[k]);
            let runs = candidates.map(|zero| self.run(target, start.clone(), (Some(zero), &held)));
            runs.min_by(|a, b| a.cost.total_cmp(&b.cost)).ok_or(DesignError::LevelCount {
                value: self.level_count,
                min: self.fixed.len() + 1,
                max: 65_536,
            })?
        } else {
            self.run(target, start, (None, &held))
        };
        let codebook = Codebook::nearest(outcome.levels)?;
        Ok(Design::measured(codebook, source, outcome.trace.len() - 1, outcome.stop, outcome.trace))
    }

    /// The best design over several starts; between equals the earlier. For samples [`super::optimal`] needs none.
    ///
    /// # Panics
    ///
    /// When there is no start.
    pub fn best_of(&self, source: &dyn Source, starts: &[Start]) -> Result<Design, DesignError> {
        let from = |start: &Start| Self { start: start.clone(), ..self.clone() }.design(source);
        let designs = starts.iter().map(from).collect::<Result<Vec<_>, _>>()?;
        Ok(designs.into_iter().min_by(|a, b| a.mse.total_cmp(&b.mse)).expect("a start"))
    }

    fn start_levels(&self, source: &dyn Source) -> Result<Vec<f64>, DesignError> {
        let mut levels = self.start.levels(source, self.level_count);
        if levels.is_empty() {
            return Err(DesignError::LevelCount { value: 0, min: 1, max: self.level_count });
        }
        if self.constraints.symmetric {
            mirror(&mut levels);
        }
        let (low, high) = self.constraints.range();
        let (first, last) = (levels[0], levels[levels.len() - 1]);
        if first < low || last > high {
            let (to_low, to_high) = (low.max(first), high.min(last));
            let (to_low, to_high) = if to_low < to_high { (to_low, to_high) } else { (low, high) };
            let stretch = if last > first { (to_high - to_low) / (last - first) } else { 0.0 };
            levels.iter_mut().for_each(|y| *y = (to_low + (*y - first) * stretch).clamp(low, high));
        }
        Ok(levels)
    }

    /// Puts the fixed levels into the start, and tells where they are.
    fn hold(&self, levels: &mut [f64]) -> Result<Vec<bool>, DesignError> {
        let mut held = vec![false; levels.len()];
        let (low, high) = self.constraints.range();
        for &value in &self.fixed {
            let refuse = |range| Err(DesignError::Parameter { name: "fixed level", value, range });
            if !(value.is_finite() && (low..=high).contains(&value)) {
                return refuse("finite and within the clip");
            }
            let free = (0..levels.len()).filter(|&k| !held[k]);
            let nearest = free.min_by(|&a, &b| (levels[a] - value).abs().total_cmp(&(levels[b] - value).abs()));
            let Some(nearest) = nearest else { return refuse("one of at most as many as there are levels") };
            (levels[nearest], held[nearest]) = (value, true);
        }
        if !levels.is_sorted_by(|a, b| a < b) {
            let value = self.fixed[0];
            return Err(DesignError::Parameter { name: "fixed level", value, range: "distinct, ascending, apart" });
        }
        Ok(held)
    }

    fn run(&self, source: &dyn Source, mut levels: Vec<f64>, (zero, held): (Option<usize>, &[bool])) -> Outcome {
        let mut held = held.to_vec();
        if let Some(index) = zero {
            if self.fixed.is_empty() {
                move_to_zero(&mut levels, index, self.constraints.range());
            }
            (levels[index], held[index]) = (0.0, true);
        }
        let deviation = source.variance().sqrt();
        let mut state = State::new(source, levels, self.constraints.range(), held);
        let mut trace = vec![state.cost];
        for _ in 0..self.iterations_max {
            if state.residual() <= self.tolerance * deviation {
                return Outcome { cost: state.cost, levels: state.levels, stop: StopReason::Converged, trace };
            }
            let Some(next) = state.step(source, self.newton, self.constraints.symmetric) else {
                return Outcome { cost: state.cost, levels: state.levels, stop: StopReason::Stalled, trace };
            };
            state = next;
            trace.push(state.cost);
        }
        Outcome { cost: state.cost, levels: state.levels, stop: StopReason::IterationsMax, trace }
    }
}

struct Outcome {
    levels: Vec<f64>,
    cost: f64,
    stop: StopReason,
    trace: Vec<f64>,
}

/// Moves all levels so that level `index` is 0, then squeezes each side into the range.
fn move_to_zero(levels: &mut [f64], index: usize, range: (f64, f64)) {
    let (shift, last) = (levels[index], levels.len() - 1);
    levels.iter_mut().for_each(|y| *y -= shift);
    let (low, high) = (levels[0], levels[last]);
    let squeeze = |y: f64| {
        if y < 0.0 && low < range.0 {
            y * (range.0 / low)
        } else if y > 0.0 && high > range.1 {
            y * (range.1 / high)
        } else {
            y
        }
    };
    levels.iter_mut().for_each(|y| *y = squeeze(*y));
}

/// How much of B a step uses: Newton first, plain alternation last.
const DAMPINGS: [f64; 4] = [1.0, 0.9, 0.5, 0.0];

struct State {
    levels: Vec<f64>,
    cells: Vec<Moments>,
    cost: f64,
    range: (f64, f64),
    /// Levels that do not move.
    held: Vec<bool>,
}

impl State {
    fn new(source: &dyn Source, levels: Vec<f64>, range: (f64, f64), held: Vec<bool>) -> Self {
        let threshold = |k: usize| 0.5 * (levels[k - 1] + levels[k]);
        let low = |k: usize| if k == 0 { f64::NEG_INFINITY } else { threshold(k) };
        let high = |k: usize| if k + 1 == levels.len() { f64::INFINITY } else { threshold(k + 1) };
        let cell = |k: usize| source.moments(low(k), high(k), levels[k]);
        let cells: Vec<Moments> = (0..levels.len()).map(cell).collect();
        let cost = cells.iter().map(|m| m.second).sum();
        Self { levels, cells, cost, range, held }
    }

    /// A level is free unless it is fixed, its cell is empty, or it would leave its range.
    fn is_free(&self, k: usize) -> bool {
        let (y, cell) = (self.levels[k], &self.cells[k]);
        let leaves = (y <= self.range.0 && cell.first < 0.0) || (y >= self.range.1 && cell.first > 0.0);
        !self.held[k] && cell.mass > 0.0 && !leaves
    }

    /// The largest distance of a free level from its centroid.
    fn residual(&self) -> f64 {
        let distance = |k: usize| if self.is_free(k) { (self.cells[k].first / self.cells[k].mass).abs() } else { 0.0 };
        (0..self.levels.len()).map(distance).fold(0.0, f64::max)
    }

    /// The first damped step that keeps the levels ascending and does not raise the distortion.
    fn step(&self, source: &dyn Source, newton: bool, symmetric: bool) -> Option<State> {
        let slopes = self.slopes(source);
        let dampings = if newton && slopes.is_some() { &DAMPINGS[..] } else { &DAMPINGS[3..] };
        let slopes = slopes.unwrap_or_else(|| vec![0.0; self.levels.len() + 1]);
        dampings.iter().find_map(|&share| {
            let delta = self.solve(&slopes, share)?;
            let mut levels: Vec<f64> = self.levels.iter().zip(&delta).map(|(y, d)| y + d).collect();
            if symmetric {
                mirror(&mut levels);
            }
            levels.iter_mut().for_each(|y| *y = y.clamp(self.range.0, self.range.1));
            if levels == self.levels || !levels.is_sorted_by(|a, b| a < b) {
                return None;
            }
            let next = State::new(source, levels, self.range, self.held.clone());
            // Near the optimum costs are equal up to rounding; there the residual decides.
            let lower = next.cost < self.cost * (1.0 - 1e-12);
            let level = next.cost <= self.cost * (1.0 + 1e-12) && next.residual() < self.residual();
            (lower || level).then_some(next)
        })
    }

    /// ½(t − y)·f(t) at every threshold, both outer ones being 0: the same seen from either neighbour.
    fn slopes(&self, source: &dyn Source) -> Option<Vec<f64>> {
        let density = source.density()?;
        let centre = source.symmetry();
        let slope = |w: &[f64]| {
            let (width, t) = (w[1] - w[0], 0.5 * (w[0] + w[1]));
            // By symmetry this threshold stays where it is. The step is then Newton's on symmetric codebooks, and H is
            // definite there even if f has a peak at the centre, which makes it singular in the other directions.
            let stays = centre.is_some_and(|c| (t - c).abs() <= 1e-9 * width);
            if stays { 0.0 } else { 0.25 * width * density.pdf(t) }
        };
        let mut slopes = vec![0.0];
        slopes.extend(self.levels.windows(2).map(slope));
        slopes.push(0.0);
        Some(slopes)
    }

    /// Solves (diag(m₀) − share·B) δ = −r over the free levels; none where the matrix is not positive definite.
    fn solve(&self, slopes: &[f64], share: f64) -> Option<Vec<f64>> {
        let n = self.levels.len();
        let free: Vec<bool> = (0..n).map(|k| self.is_free(k)).collect();
        let (mut pivots, mut right) = (vec![1.0; n], vec![0.0; n]);
        for k in 0..n {
            if !free[k] {
                continue;
            }
            pivots[k] = self.cells[k].mass - share * (slopes[k] + slopes[k + 1]);
            right[k] = self.cells[k].first;
            if k > 0 && free[k - 1] {
                let factor = -share * slopes[k] / pivots[k - 1];
                pivots[k] += factor * share * slopes[k];
                right[k] -= factor * right[k - 1];
            }
            if pivots[k] <= 1e-9 * self.cells[k].mass {
                return None;
            }
        }
        let mut delta = vec![0.0; n];
        for k in (0..n).rev().filter(|&k| free[k]) {
            let above = if k + 1 < n && free[k + 1] { share * slopes[k + 1] * delta[k + 1] } else { 0.0 };
            delta[k] = (right[k] + above) / pivots[k];
        }
        Some(delta)
    }
}
