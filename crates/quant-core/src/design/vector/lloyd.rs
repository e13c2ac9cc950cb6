//! Lloyd's algorithm in ℝᵈ with restarts.

use super::random::Random;
use super::{Points, VectorCodebook, VectorError, seeding};
use crate::design::StopReason;
use crate::measure::{entropy_bits, sqnr_db};

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

    /// Finds a codebook.
    pub fn design(&self, points: Points<'_>) -> Result<VectorDesign, VectorError> {
        self.check()?;
        let mut random = Random::new(self.seed);
        let (own, other) = split_with(points, self.held_out, &mut random);
        let own = Points { samples: &own, dimension: points.dimension };
        let (mut best, mut abandoned_count): (Option<Run>, usize) = (None, 0);
        for _ in 0..self.restarts {
            let start = seeding::greedy(own, self.codevector_count, &mut random);
            let run = self.run(own, start, best.as_ref().map(|b| b.cost));
            abandoned_count += usize::from(run.abandoned);
            if !run.abandoned && best.as_ref().is_none_or(|b| run.cost < b.cost) {
                best = Some(run);
            }
        }
        let best = best.expect("the first run is never abandoned");
        let held_out = (!other.is_empty()).then_some(Points { samples: &other, dimension: points.dimension });
        let dimension = points.dimension as f64;
        Ok(VectorDesign {
            mse: best.cost / own.samples.len() as f64,
            held_out_mse: held_out.map(|p| best.codebook.mse(p)),
            sqnr_db: sqnr_db(own.energy(), best.cost),
            entropy_bits: entropy_bits(&best.counts) / dimension,
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

    fn run(&self, points: Points<'_>, mut codebook: VectorCodebook, best: Option<f64>) -> Run {
        let mut cells = Cells::of(&codebook, points);
        let (mut trace, mut stop, mut abandoned) = (vec![cells.cost], StopReason::IterationsMax, false);
        for _ in 0..self.iterations_max {
            cells.move_codevectors(&mut codebook, points);
            let next = Cells::of(&codebook, points);
            let gain = cells.cost - next.cost;
            trace.push(next.cost);
            cells = next;
            if gain <= self.tolerance * cells.cost {
                stop = StopReason::Converged;
                break;
            }
            if best.is_some_and(|best| extrapolated(&trace) > best) {
                abandoned = true;
                break;
            }
        }
        let scale = points.samples.len() as f64;
        let (cost, counts) = (cells.cost, cells.counts);
        let trace = trace.into_iter().map(|c| c / scale).collect();
        Run { codebook, cost, counts, trace, stop, abandoned }
    }
}

struct Run {
    codebook: VectorCodebook,
    cost: f64,
    counts: Vec<u64>,
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

/// Sums over the cells of a codebook.
struct Cells {
    counts: Vec<u64>,
    sums: Vec<f64>,
    /// Distance of each point from its codevector.
    distances: Vec<f64>,
    cost: f64,
}

impl Cells {
    fn of(codebook: &VectorCodebook, points: Points<'_>) -> Self {
        let d = points.dimension;
        let mut cells = Self {
            counts: vec![0; codebook.count()],
            sums: vec![0.0; codebook.count() * d],
            distances: Vec::with_capacity(points.len()),
            cost: 0.0,
        };
        for x in points.iter() {
            let (code, distance) = codebook.nearest(x);
            cells.counts[code] += 1;
            cells.sums[code * d..][..d].iter_mut().zip(x).for_each(|(s, &x)| *s += f64::from(x));
            cells.distances.push(distance);
            cells.cost += distance;
        }
        cells
    }

    /// Codevectors become centroids; those of empty cells move to the points that are worst off.
    fn move_codevectors(&mut self, codebook: &mut VectorCodebook, points: Points<'_>) {
        let d = points.dimension;
        for code in 0..codebook.count() {
            if self.counts[code] > 0 {
                let n = self.counts[code] as f64;
                let sums = &self.sums[code * d..][..d];
                codebook.get_mut(code).iter_mut().zip(sums).for_each(|(y, s)| *y = s / n);
            } else if let Some(worst) = self.take_worst() {
                let point = points.get(worst);
                codebook.get_mut(code).iter_mut().zip(point).for_each(|(y, &x)| *y = f64::from(x));
            }
        }
    }

    fn take_worst(&mut self) -> Option<usize> {
        let worst = (0..self.distances.len()).max_by(|&a, &b| self.distances[a].total_cmp(&self.distances[b]))?;
        if self.distances[worst] == 0.0 {
            return None;
        }
        self.distances[worst] = 0.0;
        Some(worst)
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
    split_with(points, share, &mut Random::new(seed))
}

/// Points for the design and points held out.
fn split_with(points: Points<'_>, held_out: f64, random: &mut Random) -> (Vec<f32>, Vec<f32>) {
    let n = points.len();
    let count = ((n as f64 * held_out) as usize).min(n - 1);
    let mut is_held_out = vec![false; n];
    random.sample(n, count).iter().take(count).for_each(|&i| is_held_out[i] = true);
    let pick = |held: bool| (0..n).filter(|&i| is_held_out[i] == held).flat_map(|i| points.get(i)).copied().collect();
    (pick(false), pick(true))
}
