//! Lloyd's algorithm in ℝᵈ with restarts.

use super::random::Random;
use super::{Points, VectorCells, VectorCodebook, VectorError, VectorFault, refused, seeding};
use crate::backend::Backend;
use crate::design::StopReason;
use crate::measure::sqnr_db;
use crate::quantize::Held;
use crate::reference::Reference;
use crate::tensor::{Matrix, Samples};

/// A vector quantizer design: greedy k-means++, Lloyd's iteration, restarts.
///
/// Source: Linde, Buzo and Gray 1980; Lloyd 1982. A cell that loses its points takes the point that is worst off.
/// A restart is abandoned when its extrapolated distortion stays above the best so far; the first runs to its end.
///
/// ```
/// use quant_core::design::vector::{Points, VectorDesigner};
/// let corners = [0.0, 0.0, 0.0, 1.0, 9.0, 9.0, 9.0, 8.0];
/// let design = VectorDesigner::new(2).design(Points::new(&corners, 2).unwrap()).unwrap();
/// assert_eq!(design.mse, 0.125); // two pairs, each half a unit from its mean along one of two axes
/// // Max 1960: four levels of a unit normal have a distortion of 0.1175
/// use quant_core::source::special::normal_quantile;
/// let normal: Vec<f32> = (0..2000).map(|i| normal_quantile((f64::from(i) + 0.5) / 2000.0) as f32).collect();
/// let design = VectorDesigner::new(4).design(Points::new(&normal, 1).unwrap()).unwrap();
/// assert!((design.mse - 0.1175).abs() < 5e-4, "{}", design.mse);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct VectorDesigner {
    /// K.
    pub codevector_count: usize,
    /// Seedings tried.
    pub restarts: usize,
    /// Iterations of each at most.
    pub iterations_max: usize,
    /// Converged when an iteration lowers the distortion by less than this share.
    pub tolerance: f64,
    /// Share of the points kept out of the design, to measure how it generalises; 0 for none.
    pub held_out: f64,
    /// Of the random numbers.
    pub seed: u64,
}

/// What [`VectorDesigner`] found.
#[derive(Clone, Debug, PartialEq)]
pub struct VectorDesign {
    /// The codevectors.
    pub codebook: VectorCodebook,
    /// ‖x − y‖²/d, mean over the points designed from.
    pub mse: f64,
    /// The same over the points held out.
    pub held_out_mse: Option<f64>,
    /// Over the points designed from.
    pub sqnr_db: f64,
    /// Entropy of the codes, in bits per sample.
    pub entropy_bits: f64,
    /// log₂(K)/d, in bits per sample.
    pub rate: f64,
    /// Iterations of the best run.
    pub iterations: usize,
    /// Why it stopped.
    pub stop: StopReason,
    /// Its distortion before each iteration.
    pub trace: Vec<f64>,
    /// Restarts that were given up.
    pub abandoned_count: usize,
}

impl VectorDesign {
    /// 10·log₁₀(held-out/own distortion) in dB: what the codebook loses on points it has not seen.
    pub fn generalisation_gap_db(&self) -> Option<f64> {
        self.held_out_mse.map(|held_out| 10.0 * (held_out / self.mse).log10())
    }
}

impl VectorDesigner {
    /// K codevectors, 4 restarts, at most 100 iterations each to 1e-6, nothing held out.
    pub fn new(codevector_count: usize) -> Self {
        Self { codevector_count, restarts: 4, iterations_max: 100, tolerance: 1e-6, held_out: 0.0, seed: 1 }
    }

    /// Finds a codebook with scalar code.
    pub fn design(&self, points: Points<'_>) -> Result<VectorDesign, VectorError> {
        refused(self.design_with(&Reference, points, None))
    }

    /// Finds a codebook on a device that minimises Σ w‖x − y‖², each point weighing 1 where no weights are given.
    ///
    /// Codevectors are f32 after each step, and scores too: of points far from 0 compared with their spread, subtract
    /// the mean first. `mse` is then Σ w‖x − y‖² / (d·Σ w).
    pub fn design_with<B: Backend>(
        &self,
        backend: &B,
        points: Points<'_>,
        weights: Option<&[f32]>,
    ) -> Result<VectorDesign, VectorFault<B::Fault>> {
        self.check()?;
        check_weights(points, weights)?;
        let mut random = Random::new(self.seed);
        let (own, other) = split_with(points, weights, self.held_out, &mut random);
        let own_weights = own.weights.as_deref();
        let own = own.points();
        let matrix = Matrix::new(Samples::F32(own.samples), own.len(), own.dimension).expect("whole points");
        let _held = Held::new(backend, matrix);
        let energy = weighted_energy(own, own_weights);
        let (mut best, mut abandoned_count): (Option<Run>, usize) = (None, 0);
        for _ in 0..self.restarts {
            let start = seeding::seeds(backend, own, own_weights, self.codevector_count, &mut random)
                .map_err(VectorFault::Device)?;
            let run = self
                .run(backend, (own, own_weights, energy), start, best.as_ref().map(|b| b.cost))
                .map_err(VectorFault::Device)?;
            abandoned_count += usize::from(run.abandoned);
            if !run.abandoned && best.as_ref().is_none_or(|b| run.cost < b.cost) {
                best = Some(run);
            }
        }
        let best = best.expect("the first run is never abandoned");
        let held_out = (!other.samples.is_empty()).then(|| best.codebook.mse(other.points()));
        let dimension = points.dimension as f64;
        let weight: f64 = best.weights.iter().sum();
        Ok(VectorDesign {
            mse: best.cost / (weight * dimension),
            held_out_mse: held_out,
            sqnr_db: sqnr_db(energy, best.cost),
            entropy_bits: entropy_of(&best.weights) / dimension,
            rate: (best.codebook.count() as f64).log2() / dimension,
            iterations: best.trace.len() - 1,
            stop: best.stop,
            trace: best.trace,
            codebook: best.codebook,
            abandoned_count,
        })
    }

    fn check(&self) -> Result<(), VectorError> {
        let refuse = |name, value, range| Err(VectorError::Parameter { name, value, range });
        match self {
            Self { codevector_count: 0, .. } => refuse("codevector_count", 0.0, "at least 1"),
            Self { restarts: 0, .. } => refuse("restarts", 0.0, "at least 1"),
            Self { held_out, .. } if !(0.0..1.0).contains(held_out) => {
                refuse("held_out", *held_out, "from 0 to below 1")
            }
            _ => Ok(()),
        }
    }

    fn run<B: Backend>(
        &self,
        backend: &B,
        (points, weights, energy): (Points<'_>, Option<&[f32]>, f64),
        mut codebook: VectorCodebook,
        best: Option<f64>,
    ) -> Result<Run, B::Fault> {
        let mut codes = vec![0; points.len()];
        let mut step = |codebook: &mut VectorCodebook| -> Result<(VectorCells, f64), B::Fault> {
            let samples = codebook.to_f32();
            codebook.codevectors.iter_mut().zip(&samples).for_each(|(y, &rounded)| *y = f64::from(rounded));
            let codevectors = Points { samples: &samples, dimension: points.dimension };
            let cells = backend.vector_cells(points, weights, codevectors, &mut codes)?;
            let cost = cells.cost(energy, codevectors);
            Ok((cells, cost))
        };
        let (mut cells, mut cost) = step(&mut codebook)?;
        let (mut trace, mut stop, mut abandoned) = (vec![cost], StopReason::IterationsMax, false);
        for _ in 0..self.iterations_max {
            move_codevectors(&cells, &mut codebook, points, weights);
            let next = step(&mut codebook)?;
            let gain = cost - next.1;
            (cells, cost) = next;
            trace.push(cost);
            if gain <= self.tolerance * cost {
                stop = StopReason::Converged;
                break;
            }
            if best.is_some_and(|best| extrapolated(&trace) > best) {
                abandoned = true;
                break;
            }
        }
        let scale = cells.weights.iter().sum::<f64>() * points.dimension as f64;
        let trace = trace.into_iter().map(|c| c / scale).collect();
        Ok(Run { codebook, cost, weights: cells.weights, trace, stop, abandoned })
    }
}

struct Run {
    codebook: VectorCodebook,
    cost: f64,
    weights: Vec<f64>,
    trace: Vec<f64>,
    stop: StopReason,
    abandoned: bool,
}

/// Where a run is heading if its gains go on shrinking by the ratio of the last two, doubled for caution.
fn extrapolated(trace: &[f64]) -> f64 {
    let [.., a, b, c] = trace else { return 0.0 };
    let (before, last) = (a - b, b - c);
    let ratio = (last / before).clamp(0.0, 0.95);
    c - 2.0 * last * ratio / (1.0 - ratio)
}

/// Codevectors become centroids; those of empty cells move to the points that are worst off.
fn move_codevectors(cells: &VectorCells, codebook: &mut VectorCodebook, points: Points<'_>, weights: Option<&[f32]>) {
    let weight_of = |index: usize| weights.map_or(1.0, |w| f64::from(w[index]));
    // Found only when there is an empty cell: distances from codevectors as they were, dearest last.
    let mut worst: Option<Vec<(f64, usize)>> = None;
    for code in 0..codebook.count() {
        if cells.weights[code] > 0.0 {
            continue;
        }
        let dearest = worst.get_or_insert_with(|| {
            let loss = |(index, x)| (weight_of(index) * codebook.nearest(x).1, index);
            let mut losses: Vec<(f64, usize)> = points.iter().enumerate().map(loss).filter(|l| l.0 > 0.0).collect();
            losses.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(b.1.cmp(&a.1)));
            losses
        });
        if let Some((_, index)) = dearest.pop() {
            let point = points.get(index);
            codebook.get_mut(code).iter_mut().zip(point).for_each(|(y, &x)| *y = f64::from(x));
        }
    }
    for code in (0..codebook.count()).filter(|&code| cells.weights[code] > 0.0) {
        let weight = cells.weights[code];
        codebook.get_mut(code).iter_mut().zip(cells.sum(code)).for_each(|(y, sum)| *y = sum / weight);
    }
}

fn check_weights(points: Points<'_>, weights: Option<&[f32]>) -> Result<(), VectorError> {
    let Some(weights) = weights else { return Ok(()) };
    if weights.len() != points.len() {
        return Err(VectorError::WeightCount { points: points.len(), weights: weights.len() });
    }
    if let Some(index) = weights.iter().position(|w| !(*w >= 0.0 && w.is_finite())) {
        return Err(VectorError::Weight { index, value: weights[index] });
    }
    if weights.iter().all(|&w| w == 0.0) {
        return Err(VectorError::Parameter { name: "the sum of weights", value: 0.0, range: "above 0" });
    }
    Ok(())
}

/// Σ w‖x‖².
fn weighted_energy(points: Points<'_>, weights: Option<&[f32]>) -> f64 {
    let Some(weights) = weights else { return points.energy() };
    let square = |x: &[f32]| x.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>();
    points.iter().zip(weights).map(|(x, &w)| f64::from(w) * square(x)).sum()
}

/// −Σ p log₂ p of cells with these weights.
fn entropy_of(weights: &[f64]) -> f64 {
    let total: f64 = weights.iter().sum();
    -weights.iter().filter(|&&w| w > 0.0).map(|w| w / total * (w / total).log2()).sum::<f64>()
}

/// Some of the points, with their weights.
struct Part {
    samples: Vec<f32>,
    weights: Option<Vec<f32>>,
    dimension: usize,
}

impl Part {
    fn points(&self) -> Points<'_> {
        Points { samples: &self.samples, dimension: self.dimension }
    }
}

/// Parts points at random: about `share` of them, rounded down, are the second part; the first keeps one at least.
///
/// ```
/// use quant_core::design::vector::{Points, split};
/// let (own, other) = split(Points::new(&[1.0; 20], 2).unwrap(), 0.25, 1);
/// assert_eq!((own.len(), other.len()), (16, 4)); // 8 and 2 points
/// ```
pub fn split(points: Points<'_>, share: f64, seed: u64) -> (Vec<f32>, Vec<f32>) {
    let (own, other) = split_with(points, None, share, &mut Random::new(seed));
    (own.samples, other.samples)
}

/// Points for the design and points held out.
fn split_with(points: Points<'_>, weights: Option<&[f32]>, held_out: f64, random: &mut Random) -> (Part, Part) {
    let n = points.len();
    let count = ((n as f64 * held_out) as usize).min(n - 1);
    let mut is_held_out = vec![false; n];
    if count > 0 {
        random.sample(n, count).iter().take(count).for_each(|&i| is_held_out[i] = true);
    }
    let part = |held: bool| {
        let places = || (0..n).filter(|&i| is_held_out[i] == held);
        Part {
            samples: places().flat_map(|i| points.get(i)).copied().collect(),
            weights: weights.map(|w| places().map(|i| w[i]).collect()),
            dimension: points.dimension,
        }
    };
    (part(false), part(true))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_cells_take_the_points_that_are_worst_off() {
        let samples: Vec<f32> = (0..400).map(|i| (i % 4) as f32 * 10.0).collect();
        let points = Points::new(&samples, 1).expect("finite");
        // Three equal codevectors: the first has all points on its side, the others none.
        let start = VectorCodebook::new(vec![0.0, 0.0, 0.0, 10.0], 1);
        let designer = VectorDesigner::new(4);
        let Ok(run) = designer.run(&Reference, (points, None, points.energy()), start, None);
        let mut levels = run.codebook.codevectors.clone();
        levels.sort_by(f64::total_cmp);
        assert_eq!((levels, run.cost), (vec![0.0, 10.0, 20.0, 30.0], 0.0));
        assert!(run.weights.iter().all(|&w| w == 100.0), "{:?}", run.weights);
    }
}
