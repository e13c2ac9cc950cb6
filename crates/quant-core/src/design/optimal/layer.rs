//! One layer of the dynamic programme: to(j) = min over i of from(i) − gain(i, j).
//!
//! The cost is Monge, so the best i does not descend as j ascends. Every eighth target is found by halving intervals of
//! targets; the seven between two of them share the candidates between the two best, and are done side by side.

/// Prefix sums of w and of w·(x − centre) at the boundaries of elements.
#[derive(Clone, Debug, Default)]
pub struct Prefix {
    /// Σ w.
    pub weight: Vec<f64>,
    /// Σ w·(x − centre).
    pub moment: Vec<f64>,
}

impl Prefix {
    /// Sums before any element.
    pub fn with_capacity(capacity: usize) -> Self {
        let zero = || {
            let mut sums = Vec::with_capacity(capacity + 1);
            sums.push(0.0);
            sums
        };
        Self { weight: zero(), moment: zero() }
    }

    /// How many elements.
    pub fn len(&self) -> usize {
        self.weight.len() - 1
    }

    /// (Σ w(x − centre))² / Σ w over elements `i..j`, i < j.
    #[inline(always)]
    pub fn gain(&self, i: usize, j: usize) -> f64 {
        let moment = self.moment[j] - self.moment[i];
        moment * moment / (self.weight[j] - self.weight[i])
    }

    /// Σ w(x − centre) / Σ w over elements `i..j`, i < j.
    pub fn mean(&self, i: usize, j: usize) -> f64 {
        (self.moment[j] - self.moment[i]) / (self.weight[j] - self.weight[i])
    }
}

/// Where a layer starts from and which boundaries it fills.
#[derive(Clone, Copy, Debug)]
pub struct Layer<'a> {
    prefix: &'a Prefix,
    from: &'a [f64],
    from_low: usize,
    low: usize,
    /// −gain of a cell without weight: 0 where cells may be empty, else infinite.
    empty_cost: f64,
}

/// Runs [`Layer::fill`], compiled for the instructions that a device has; results cannot differ.
pub trait FillLayer {
    /// Fills one layer.
    fn fill(&self, layer: Layer<'_>, to: &mut [f64], best: &mut [u32]);
}

/// Compiled for what every machine has.
#[derive(Clone, Copy, Debug)]
pub struct Portable;

impl FillLayer for Portable {
    fn fill(&self, layer: Layer<'_>, to: &mut [f64], best: &mut [u32]) {
        layer.fill(to, best);
    }
}

/// Targets done side by side.
const LANES: usize = 8;

impl<'a> Layer<'a> {
    /// Costs `from` of boundaries `from_low`, …; targets are boundaries `low`, ….
    pub fn new(prefix: &'a Prefix, from: &'a [f64], from_low: usize, low: usize, empty_cells: bool) -> Self {
        Self { prefix, from, from_low, low, empty_cost: if empty_cells { 0.0 } else { f64::INFINITY } }
    }

    /// Fills the costs of all targets and where each comes from, as an index of `from`; the lower of equals.
    #[inline(always)]
    pub fn fill(&self, to: &mut [f64], best: &mut [u32]) {
        let last = to.len() - 1;
        let whole = (0, self.from.len() - 1);
        self.set(0, whole, to, best);
        if last == 0 {
            return;
        }
        self.set(last, (best[0] as usize, whole.1), to, best);
        // Anchors are the multiples of LANES below `last`, found by halving.
        let mut step = (last / LANES + 1).next_power_of_two() * LANES;
        while step > LANES {
            let half = step / 2;
            for j in (half..last).step_by(step) {
                let above = (j + half).min(last);
                self.set(j, (best[j - half] as usize, best[above] as usize), to, best);
            }
            step = half;
        }
        for start in (0..last).step_by(LANES) {
            let end = (start + LANES).min(last);
            self.fill_between(start + 1, (best[start] as usize, best[end] as usize), end - start - 1, to, best);
        }
    }

    #[inline(always)]
    fn set(&self, j: usize, from: (usize, usize), to: &mut [f64], best: &mut [u32]) {
        let (index, cost) = self.best(j + self.low, from);
        (to[j], best[j]) = (cost, index as u32);
    }

    /// The cost of cell (i, end) after `from`; infinite where i is behind the end.
    #[inline(always)]
    fn cost(&self, from: f64, start: (f64, f64), end: (f64, f64)) -> f64 {
        let (weight, moment) = (end.0 - start.0, end.1 - start.1);
        let of_none = if weight == 0.0 { self.empty_cost } else { f64::INFINITY };
        let cost = -(moment * moment / weight);
        from + if weight > 0.0 { cost } else { of_none }
    }

    /// The first best candidate of one target, eight candidates at a time.
    #[inline(always)]
    fn best(&self, j: usize, (first, last): (usize, usize)) -> (usize, f64) {
        let end = (self.prefix.weight[j], self.prefix.moment[j]);
        let from = &self.from[first..=last];
        let place = first + self.from_low;
        let (weight, moment) = (&self.prefix.weight[place..][..from.len()], &self.prefix.moment[place..][..from.len()]);
        let (mut least, mut index) = ([f64::INFINITY; LANES], [0u64; LANES]);
        let ((f, f_rest), (w, w_rest), (m, m_rest)) =
            (from.as_chunks::<LANES>(), weight.as_chunks::<LANES>(), moment.as_chunks::<LANES>());
        for (block, ((f, w), m)) in f.iter().zip(w).zip(m).enumerate() {
            for lane in 0..LANES {
                let cost = self.cost(f[lane], (w[lane], m[lane]), end);
                let better = cost < least[lane];
                least[lane] = if better { cost } else { least[lane] };
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
            let cost = self.cost(f, (w, m), end);
            if cost < found.1 {
                found = (from.len() / LANES * LANES + lane, cost);
            }
        }
        (first + found.0, found.1)
    }

    /// Targets `start..start + count`, fewer than eight, whose candidates are `first..=last`.
    #[inline(always)]
    fn fill_between(
        &self,
        start: usize,
        (first, last): (usize, usize),
        count: usize,
        to: &mut [f64],
        best: &mut [u32],
    ) {
        let (mut weight, mut moment) = ([0.0; LANES], [0.0; LANES]);
        weight[..count].copy_from_slice(&self.prefix.weight[start + self.low..][..count]);
        moment[..count].copy_from_slice(&self.prefix.moment[start + self.low..][..count]);
        let (mut least, mut index) = ([f64::INFINITY; LANES], [first as u64; LANES]);
        let place = first + self.from_low;
        let count_from = last - first + 1;
        let (w, m) = (&self.prefix.weight[place..][..count_from], &self.prefix.moment[place..][..count_from]);
        for (i, ((&f, &w), &m)) in self.from[first..=last].iter().zip(w).zip(m).enumerate() {
            for lane in 0..LANES {
                let cost = self.cost(f, (w, m), (weight[lane], moment[lane]));
                let better = cost < least[lane];
                least[lane] = if better { cost } else { least[lane] };
                index[lane] = if better { (first + i) as u64 } else { index[lane] };
            }
        }
        to[start..start + count].copy_from_slice(&least[..count]);
        best[start..start + count].iter_mut().zip(index).for_each(|(to, i)| *to = i as u32);
    }
}
