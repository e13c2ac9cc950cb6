//! One layer of the dynamic programme: to(j) = min over i of from(i) − gain(i, j).
//!
//! The cost is Monge, so the best i does not descend as j ascends. Every eighth target is found by halving intervals of
//! targets, or side by side where candidates are few; the seven between two of them share the candidates between the two
//! best, and are done side by side.

use super::rounded;

/// Prefix sums of w and of w·(x − centre) at the boundaries of elements.
#[derive(Clone, Copy, Debug)]
pub struct Prefix<'a> {
    /// Σ w.
    pub weight: &'a [f64],
    /// Σ w·(x − centre).
    pub moment: &'a [f64],
}

impl Prefix<'_> {
    /// How many elements.
    pub fn len(&self) -> usize {
        self.weight.len() - 1
    }

    /// Whether every element has weight in the sums: beside much greater ones it can vanish.
    #[inline(always)]
    pub fn ascends(&self) -> bool {
        let mut ascends = true;
        for (sum, next) in self.weight.iter().zip(&self.weight[1..]) {
            ascends &= sum < next;
        }
        ascends
    }

    /// (Σ w(x − centre))² / Σ w over elements `i..j`, i < j.
    #[inline(always)]
    pub fn gain(&self, i: usize, j: usize) -> f64 {
        let moment = self.moment[j] - self.moment[i];
        moment * moment / (self.weight[j] - self.weight[i])
    }

    /// Σ w(x − centre) / Σ w over elements `i..j`, i < j.
    #[inline(always)]
    pub fn mean(&self, i: usize, j: usize) -> f64 {
        (self.moment[j] - self.moment[i]) / (self.weight[j] - self.weight[i])
    }
}

/// Where a layer starts from and which boundaries it fills.
#[derive(Clone, Copy, Debug)]
pub struct Layer<'a> {
    prefix: Prefix<'a>,
    from: &'a [f64],
    from_low: usize,
    low: usize,
    /// Whether a cell may have no element, at no cost.
    empty_cells: bool,
}

/// Some costs of a layer beside the sums that they are taken at: what a kernel works on.
#[derive(Clone, Copy, Debug)]
pub struct Candidates<'a> {
    /// The index of the first.
    pub first: u32,
    /// The cost before each candidate.
    pub from: &'a [f64],
    /// Σ w before each candidate.
    pub weight: &'a [f64],
    /// Σ w·(x − centre) before each candidate.
    pub moment: &'a [f64],
}

/// Runs [`Layer::fill`], compiled for the instructions that a device has; results cannot differ.
pub trait FillLayer {
    /// Fills one layer.
    fn fill(&self, layer: Layer<'_>, to: &mut [f64], best: &mut [u32]);

    /// [`rounded::gains`].
    fn gains(&self, sums: rounded::Sums<'_>, table: (usize, usize), to: &mut [f32]) {
        self.vectorize(
            #[inline(always)]
            || rounded::gains(sums, table, to),
        );
    }

    /// [`rounded::Candidates::fill`].
    fn fill_rounded(&self, candidates: rounded::Candidates<'_>, targets: [&[i32]; 2], to: &mut [f32]) {
        self.vectorize(
            #[inline(always)]
            || candidates.fill(targets, to),
        );
    }

    /// Runs other loops; they profit when they are `#[inline(always)]`.
    fn vectorize<R>(&self, kernel: impl FnOnce() -> R) -> R {
        kernel()
    }
}

/// Compiled for what every machine has.
#[derive(Clone, Copy, Debug)]
pub struct Portable;

impl FillLayer for Portable {
    fn fill(&self, layer: Layer<'_>, to: &mut [f64], best: &mut [u32]) {
        layer.fill(to, best);
    }
}

/// Targets or candidates done side by side.
const LANES: usize = 8;

/// Up to this many candidates for each anchor (a multiple of LANES), anchors are done side by side among all candidates,
/// which takes no minimum across a register and waits for no other anchor. Tuned on rows of 4096 samples, AVX-512.
const CANDIDATES_PER_ANCHOR: usize = 6;

impl<'a> Layer<'a> {
    /// Costs `from` of boundaries `from_low`, …; targets are boundaries `low`, ….
    pub fn new(prefix: Prefix<'a>, from: &'a [f64], from_low: usize, low: usize, empty_cells: bool) -> Self {
        Self { prefix, from, from_low, low, empty_cells }
    }

    /// Fills the costs of all targets and where each comes from, as an index of `from`; the lower of equals.
    #[inline(always)]
    pub fn fill(&self, to: &mut [f64], best: &mut [u32]) {
        self.fill_by(to, best, best_of, best_of_each, |_, _, _, _| 0);
    }

    /// [`Self::fill`] with kernels of another make: the index and the cost of the first best of some candidates for a
    /// target (Σ w, Σ w·(x − centre)), and the same for up to eight targets side by side. `of_runs` may do runs of seven
    /// targets between eighth ones, whose `best` are there: of target b between targets a and c, every eighth one, the
    /// candidates are those from `best` of a to `best` of c. It gets all candidates and all targets and returns up to
    /// which eighth target it is done.
    #[inline(always)]
    pub fn fill_by(
        &self,
        to: &mut [f64],
        best: &mut [u32],
        of_one: impl Fn(Candidates<'_>, (f64, f64)) -> (u32, f64),
        of_each: impl Fn(Candidates<'_>, [&[f64]; 2], &mut [f64], &mut [u32]),
        of_runs: impl Fn(Candidates<'_>, [&[f64]; 2], &mut [f64], &mut [u32]) -> usize,
    ) {
        self.fill_cells(to, best, of_one, of_each, of_runs);
        if self.empty_cells {
            // Boundary b of this border may be that of the one before.
            let (from_start, to_start) =
                (self.low.saturating_sub(self.from_low), self.from_low.saturating_sub(self.low));
            let pairs = to.iter_mut().zip(best).enumerate().skip(to_start).zip(self.from.iter().skip(from_start));
            for (offset, ((_, (to, best)), &from)) in pairs.enumerate() {
                let better = from < *to;
                *to = if better { from } else { *to };
                *best = if better { (from_start + offset) as u32 } else { *best };
            }
        }
    }

    #[inline(always)]
    fn fill_cells(
        &self,
        to: &mut [f64],
        best: &mut [u32],
        of_one: impl Fn(Candidates<'_>, (f64, f64)) -> (u32, f64),
        of_each: impl Fn(Candidates<'_>, [&[f64]; 2], &mut [f64], &mut [u32]),
        of_runs: impl Fn(Candidates<'_>, [&[f64]; 2], &mut [f64], &mut [u32]) -> usize,
    ) {
        let set = |j: usize, (first, last): (usize, usize), to: &mut [f64], best: &mut [u32]| {
            let target = (self.prefix.weight[j + self.low], self.prefix.moment[j + self.low]);
            (best[j], to[j]) = of_one(self.candidates(first, last), target);
        };
        let last = to.len() - 1;
        let whole = (0, self.from.len() - 1);
        if last == 0 {
            return set(0, whole, to, best);
        }
        let anchor_count = last.div_ceil(LANES) + 1;
        if self.from.len() * anchor_count.div_ceil(LANES) <= CANDIDATES_PER_ANCHOR * anchor_count {
            self.set_anchors(to, best, &of_each);
        } else {
            set(0, whole, to, best);
            set(last, (best[0] as usize, whole.1), to, best);
            // Anchors are the multiples of LANES below `last`, found by halving.
            let mut step = (last / LANES + 1).next_power_of_two() * LANES;
            while step > LANES {
                let half = step / 2;
                for j in (half..last).step_by(step) {
                    let above = (j + half).min(last);
                    set(j, (best[j - half] as usize, best[above] as usize), to, best);
                }
                step = half;
            }
        }
        let targets = self.low..self.low + to.len();
        let targets = [&self.prefix.weight[targets.clone()], &self.prefix.moment[targets]];
        let done = of_runs(self.candidates(0, whole.1), targets, to, best);
        for start in (done..last).step_by(LANES) {
            let end = (start + LANES).min(last);
            let places = start + 1..end;
            let targets = start + 1 + self.low..end + self.low;
            let targets = [&self.prefix.weight[targets.clone()], &self.prefix.moment[targets]];
            // Where costs differ by less than they are rounded, the best of anchors may descend.
            let (one, other) = (best[start] as usize, best[end] as usize);
            let candidates = self.candidates(one.min(other), one.max(other));
            of_each(candidates, targets, &mut to[places.clone()], &mut best[places]);
        }
    }

    /// Every LANES-th target and the last one, side by side among all candidates.
    #[inline(always)]
    fn set_anchors(
        &self,
        to: &mut [f64],
        best: &mut [u32],
        of_each: impl Fn(Candidates<'_>, [&[f64]; 2], &mut [f64], &mut [u32]),
    ) {
        let last = to.len() - 1;
        for start in (0..last + LANES).step_by(LANES * LANES) {
            let place = |lane: usize| (start + lane * LANES).min(last);
            let count = (last + LANES - start).div_ceil(LANES).min(LANES);
            let (mut weight, mut moment, mut costs, mut indices) =
                ([0.0; LANES], [0.0; LANES], [0.0; LANES], [0; LANES]);
            for lane in 0..count {
                weight[lane] = self.prefix.weight[place(lane) + self.low];
                moment[lane] = self.prefix.moment[place(lane) + self.low];
            }
            let candidates = self.candidates(0, self.from.len() - 1);
            of_each(candidates, [&weight[..count], &moment[..count]], &mut costs[..count], &mut indices[..count]);
            for lane in 0..count {
                (to[place(lane)], best[place(lane)]) = (costs[lane], indices[lane]);
            }
        }
    }

    #[inline(always)]
    fn candidates(&self, first: usize, last: usize) -> Candidates<'a> {
        let places = first + self.from_low..last + 1 + self.from_low;
        Candidates {
            first: first as u32,
            from: &self.from[first..=last],
            weight: &self.prefix.weight[places.clone()],
            moment: &self.prefix.moment[places],
        }
    }
}

/// The cost of cell (start, end) after `from`; infinite where the start is not before the end.
#[inline(always)]
fn cost(from: f64, start: (f64, f64), end: (f64, f64)) -> f64 {
    let (weight, moment) = (end.0 - start.0, end.1 - start.1);
    let cost = from - moment * moment / weight;
    if weight > 0.0 { cost } else { f64::INFINITY }
}

/// The first best candidate of one target, eight candidates at a time.
#[inline(always)]
fn best_of(candidates: Candidates<'_>, end: (f64, f64)) -> (u32, f64) {
    let Candidates { first, from, weight, moment } = candidates;
    let (mut least, mut index) = ([f64::INFINITY; LANES], [0u64; LANES]);
    let ((f, f_rest), (w, w_rest), (m, m_rest)) =
        (from.as_chunks::<LANES>(), weight.as_chunks::<LANES>(), moment.as_chunks::<LANES>());
    for (block, ((f, w), m)) in f.iter().zip(w).zip(m).enumerate() {
        for lane in 0..LANES {
            let here = cost(f[lane], (w[lane], m[lane]), end);
            let better = here < least[lane];
            least[lane] = if better { here } else { least[lane] };
            index[lane] = if better { block as u64 } else { index[lane] };
        }
    }
    let mut found = (0, f64::INFINITY);
    for lane in 0..LANES {
        let candidate = index[lane] as usize * LANES + lane;
        if least[lane] < found.1 || (least[lane] == found.1 && candidate < found.0) {
            found = (candidate, least[lane]);
        }
    }
    for (lane, ((&f, &w), &m)) in f_rest.iter().zip(w_rest).zip(m_rest).enumerate() {
        let here = cost(f, (w, m), end);
        if here < found.1 {
            found = (from.len() / LANES * LANES + lane, here);
        }
    }
    (first + found.0 as u32, found.1)
}

/// The first best candidate of each of up to eight targets.
#[inline(always)]
fn best_of_each(candidates: Candidates<'_>, targets: [&[f64]; 2], to: &mut [f64], best: &mut [u32]) {
    let (mut weight, mut moment) = ([0.0; LANES], [0.0; LANES]);
    weight[..to.len()].copy_from_slice(targets[0]);
    moment[..to.len()].copy_from_slice(targets[1]);
    let (mut least, mut index) = ([f64::INFINITY; LANES], [0u64; LANES]);
    let starts = candidates.weight.iter().zip(candidates.moment);
    for (i, (&f, (&w, &m))) in candidates.from.iter().zip(starts).enumerate() {
        for lane in 0..LANES {
            let here = cost(f, (w, m), (weight[lane], moment[lane]));
            let better = here < least[lane];
            least[lane] = if better { here } else { least[lane] };
            index[lane] = if better { i as u64 } else { index[lane] };
        }
    }
    to.copy_from_slice(&least[..to.len()]);
    best.iter_mut().zip(index).for_each(|(to, i)| *to = candidates.first + i as u32);
}
