//! Layers of the programme in 32-bit numbers, twice as many to a register and cheaper to divide, for bounds that leave
//! room for what rounding does.
//!
//! Prefix sums become integers, so that their differences are exact; quotients and costs are f32. What that may change is
//! bounded from the sums and added to what a partition may cost, so what is pruned is pruned for certain.

use super::layer::{FillLayer, Prefix};
use super::scratch::Tools;
use super::table::Gains;

pub use super::candidates::{Candidates, gains};

/// Targets or candidates done side by side.
pub const LANES: usize = 16;

/// Sums and costs are in units of 2⁻³⁰ of the totals: Σ w, Σ w(x − centre)², and the root of their product.
const UNITS: f64 = (1u64 << 30) as f64;

/// The most by which an operation of f32 is off, as a share of its result.
const ROUNDING: f64 = 1.0 / (1u64 << 24) as f64;

/// Layers of up to this many candidates and targets: every anchor is compared with every candidate.
pub const WIDTH_MAX: usize = 256;

/// Prefix sums of some elements in integers.
#[derive(Clone, Copy, Debug)]
pub struct Rounded<'a> {
    sums: Sums<'a>,
    /// The cost that is 1 here.
    unit: f64,
    /// The most by which the cost of a partition with borders in the ranges is off, either way.
    error: f64,
}

/// Σ w and Σ w·(x − centre) before each boundary, the first strictly ascending; then `LANES` copies of the last.
#[derive(Clone, Copy, Debug)]
pub struct Sums<'a> {
    /// Σ w.
    pub weight: &'a [i32],
    /// Σ w·(x − centre).
    pub moment: &'a [i32],
}

impl<'a> Rounded<'a> {
    /// None where costs would be off by more than an eighth of `slack`, or ranges are too wide.
    #[inline(always)]
    pub fn new(
        prefix: Prefix<'_>,
        ranges: &[(usize, usize)],
        slack: f64,
        tools: Tools<'a, impl FillLayer>,
    ) -> Option<Self> {
        let n = prefix.len();
        let ascend = ranges.windows(2).all(|pair| pair[0].0 <= pair[1].0 && pair[0].1 <= pair[1].1);
        if !ascend || ranges.iter().any(|r| r.1 - r.0 >= WIDTH_MAX) {
            return None;
        }
        let weight = prefix.weight[n];
        let square = square(prefix);
        let (weight_unit, moment_unit, unit) = (weight / UNITS, (weight * square).sqrt() / UNITS, square / UNITS);
        if ![weight_unit, moment_unit, unit].iter().all(|unit| (1e-250..1e250).contains(unit)) {
            return None;
        }
        let (weight, moment) = (tools.room(n + 1 + LANES), tools.room(n + 1 + LANES));
        integers(prefix.weight, weight_unit, &mut weight[..=n]);
        integers(prefix.moment, moment_unit, &mut moment[..=n]);
        let lifted = if ascends(&weight[..=n]) { 0 } else { lift(&mut weight[..=n]) };
        for sums in [&mut *weight, &mut *moment] {
            let (own, copies) = sums.split_at_mut(n + 1);
            copies.fill(own[n]);
        }
        let (of_integers, gains) = of_integers(prefix, ranges, moment_unit / weight_unit, f64::from(1 + lifted));
        // A cost rounds once for each cell, a gain five times, and limits a few times. In integers costs are not quite Monge:
        // between anchors a best cell may be passed over for one that is worse by what four gains are off, and then it is the
        // gain of that one that rounds.
        let error =
            ROUNDING * UNITS * ((ranges.len() + 4) as f64 + 5.0 * (gains / square).max(1.0)) + 5.0 * of_integers;
        (error * unit <= slack / 8.0).then_some(Self { sums: Sums { weight, moment }, unit, error })
    }

    /// What costs may be above the least here, where they may be `excess` above the least without rounding.
    pub fn excess(&self, excess: f64) -> f64 {
        excess / self.unit + 2.0 * self.error
    }

    /// Layers forward and in descending order.
    #[inline(always)]
    pub fn layers(&self, tools: Tools<'a, impl FillLayer>) -> [Layers<'a>; 2] {
        [self.sums, self.sums.mirrored(tools)].map(
            #[inline(always)]
            |sums| Layers { sums, gains: Gains::of_few(sums, tools) },
        )
    }
}

/// The most by which the gains of a partition are off, in units, because sums are integers: Σ w by up to `weight_error`,
/// Σ w·(x − centre) by 1. The mean of a cell is within those of its first and last element; it is taken in units of
/// `deviation`. Then the most that all gains are together, with each cell as large as its ranges allow.
///
/// m² / w is convex, so that with mean c it changes by at most 2|c|·Δm + c²·Δw + (Δm − cΔw)² / w; w is at least 1.
#[inline(always)]
fn of_integers(prefix: Prefix<'_>, ranges: &[(usize, usize)], deviation: f64, weight_error: f64) -> (f64, f64) {
    let n = prefix.len();
    let (mut sum, mut gains) = (0.0, 0.0);
    for cell in 0..=ranges.len() {
        let start = if cell == 0 { 0 } else { ranges[cell - 1].0.min(n - 1) };
        let end = if cell == ranges.len() { n } else { ranges[cell].1.max(1) };
        let first = (prefix.mean(start, start + 1) / deviation).abs();
        let last = (prefix.mean(end - 1, end) / deviation).abs();
        // Not a number where either is none, because its weight vanishes from the sums.
        let most = first.max(last) + 0.0 * (first + last);
        sum += 2.0 * (1.0 + most * weight_error).powi(2);
        // The gain of a run is at most Σ w(mean − centre)² of its elements.
        let all = start..=end;
        gains += square(Prefix { weight: &prefix.weight[all.clone()], moment: &prefix.moment[all] });
    }
    (sum, gains)
}

/// Σ w(mean − centre)² of elements, in eight parts, which need not wait for each other.
#[inline(always)]
fn square(prefix: Prefix<'_>) -> f64 {
    let n = prefix.len();
    let square = |start: (f64, f64), end: (f64, f64)| {
        let (weight, moment) = (end.0 - start.0, end.1 - start.1);
        let square = moment * moment / weight;
        if weight > 0.0 { square } else { 0.0 }
    };
    let (weight, moment) = (prefix.weight, prefix.moment);
    let mut parts = [0.0; 8];
    for start in (0..n - n % 8).step_by(8) {
        let (w, m) = (weight[start..].first_chunk::<9>(), moment[start..].first_chunk::<9>());
        let (w, m) = (w.expect("eight elements"), m.expect("eight elements"));
        for lane in 0..8 {
            parts[lane] += square((w[lane], m[lane]), (w[lane + 1], m[lane + 1]));
        }
    }
    let rest = (n - n % 8..n).map(|i| square((weight[i], moment[i]), (weight[i + 1], moment[i + 1])));
    parts.iter().sum::<f64>() + rest.sum::<f64>()
}

/// The nearest integers of values / unit, which are below 2³¹.
#[inline(always)]
fn integers(values: &[f64], unit: f64, to: &mut [i32]) {
    // Added to a number below 2⁵¹, it leaves the integer in the lowest bits.
    const MAGIC: f64 = (3u64 << 51) as f64;
    let scale = 1.0 / unit;
    for (to, value) in to.iter_mut().zip(values) {
        *to = (value * scale + MAGIC).to_bits() as i32;
    }
}

/// Whether each is less than the next, which most sums are.
#[inline(always)]
fn ascends(sums: &[i32]) -> bool {
    let mut ascends = true;
    for (sum, next) in sums.iter().zip(&sums[1..]) {
        ascends &= sum < next;
    }
    ascends
}

/// Makes sums ascend strictly, and returns the most by which one was lifted.
#[inline(always)]
fn lift(sums: &mut [i32]) -> i32 {
    let (mut last, mut lifted) = (sums[0], 0);
    for sum in &mut sums[1..] {
        let least = last + 1;
        let own = *sum;
        last = if own > least { own } else { least };
        lifted = if last - own > lifted { last - own } else { lifted };
        *sum = last;
    }
    lifted
}

/// What is left of the sums at each boundary, in descending order, and the copies.
#[inline(always)]
fn rest(sums: &[i32], to: &mut [i32]) {
    let last = sums[sums.len() - 1];
    for (to, sum) in to.iter_mut().zip(sums.iter().rev()) {
        *to = last - sum;
    }
    to[sums.len()..].fill(last - sums[0]);
}

impl<'a> Sums<'a> {
    /// The same elements in descending order.
    #[inline(always)]
    pub fn mirrored(self, tools: Tools<'a, impl FillLayer>) -> Self {
        let own = self.boundary_count();
        let (weight, moment) = (tools.room(own + LANES), tools.room(own + LANES));
        rest(&self.weight[..own], weight);
        rest(&self.moment[..own], moment);
        Self { weight, moment }
    }

    /// How many boundaries.
    pub fn boundary_count(self) -> usize {
        self.weight.len() - LANES
    }
}

/// Layers between the boundaries of some sums.
#[derive(Debug)]
pub struct Layers<'a> {
    sums: Sums<'a>,
    gains: Option<Gains<'a>>,
}

impl Layers<'_> {
    /// The least costs of `count` boundaries from `low` on, from the costs `from` of boundaries `from_low`, …; `to` has
    /// room for `LANES` more, which are overwritten.
    #[inline(always)]
    pub fn fill(
        &self,
        (from, from_low): (&[f32], usize),
        (to, low, count): (&mut [f32], usize, usize),
        fill: &impl FillLayer,
    ) {
        if let Some(gains) = &self.gains {
            return gains.fill((from, from_low), (to, low, count));
        }
        let starts = from_low..from_low + from.len();
        let (weight, moment) = (&self.sums.weight[starts.clone()], &self.sums.moment[starts]);
        let room = (count - 1).next_multiple_of(LANES) + 1;
        let targets = [&self.sums.weight[low..low + room], &self.sums.moment[low..low + room]];
        fill.fill_rounded(Candidates::new(from, weight, moment), targets, &mut to[..room]);
    }
}

#[cfg(test)]
mod tests {
    use super::super::layer::Layer;
    use super::super::layer::Portable;
    use super::*;
    use crate::design::optimal::Scratch;

    /// Σ w and Σ w·(x − centre) of elements of many weights, from `seed`.
    fn sums(count: usize, seed: u64) -> (Vec<f64>, Vec<f64>) {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 11) as f64 / (1u64 << 53) as f64
        };
        let weights: Vec<f64> = (0..count).map(|_| 10f64.powf(4.0 * next() - 4.0)).collect();
        let mut x = 0.0;
        let values: Vec<f64> = (0..count).map(|_| (x += next() * next(), x).1).collect();
        let sum = |of: &dyn Fn(usize) -> f64| (0..count).map(of).sum::<f64>();
        let centre = sum(&|i| weights[i] * values[i]) / sum(&|i| weights[i]);
        let (mut weight, mut moment) = (vec![0.0; count + 1], vec![0.0; count + 1]);
        for i in 0..count {
            weight[i + 1] = weight[i] + weights[i];
            moment[i + 1] = moment[i] + weights[i] * (values[i] - centre);
        }
        (weight, moment)
    }

    /// Ranges around borders at equal distances.
    fn ranges(count: usize, cells: usize, reach: usize) -> Vec<(usize, usize)> {
        (1..cells).map(|q| q * count / cells).map(|b| (b.saturating_sub(reach), (b + reach).min(count))).collect()
    }

    #[test]
    fn costs_are_within_the_error_of_those_in_f64() {
        for (count, reach, seed) in
            [(50, 50, 1), (64, 64, 2), (65, 65, 3), (65, 20, 4), (230, 40, 5), (900, 60, 6), (900, 127, 7)]
        {
            let ((weight, moment), ranges) = (sums(count, seed), ranges(count, 12, reach));
            let prefix = Prefix { weight: &weight, moment: &moment };
            let scratch = Scratch::default();
            let tools = scratch.tools(&Portable);
            let rounded = Rounded::new(prefix, &ranges, f64::INFINITY, tools).expect("any slack will do");
            let (unit, error) = (rounded.unit, rounded.error);
            assert!(error * unit < 1e-5 * square(prefix), "{count}: {error}");
            let [layers, _] = rounded.layers(tools);
            assert_eq!(layers.gains.is_some(), count <= 64);
            let (mut own, mut own_low, mut exact) = (vec![0.0], 0, vec![0.0]);
            for &(low, high) in &ranges {
                let len = high - low + 1;
                let (mut to, mut expected, mut best) = (vec![0.0; len + LANES], vec![0.0; len], vec![0; len]);
                layers.fill((&own, own_low), (&mut to, low, len), &Portable);
                Layer::new(prefix, &exact, own_low, low, true).fill(&mut expected, &mut best);
                for (own, expected) in to.iter().zip(&expected) {
                    assert!((f64::from(*own) * unit - expected).abs() <= error * unit, "{count}: {own}, {expected}");
                }
                to.truncate(len);
                (own, own_low, exact) = (to, low, expected);
            }
        }
    }

    #[test]
    fn little_slack_and_vanishing_weights_are_left_to_f64() {
        let ((mut weight, mut moment), ranges) = (sums(300, 9), ranges(300, 8, 30));
        let scratch = Scratch::default();
        let tools = scratch.tools(&Portable);
        let prefix = Prefix { weight: &weight, moment: &moment };
        assert!(Rounded::new(prefix, &ranges, 1e-9 * square(prefix), tools).is_none());
        assert!(Rounded::new(prefix, &[(0, 10), (5, 8)], f64::INFINITY, tools).is_none(), "ends descend");
        assert!(Rounded::new(prefix, &[(0, WIDTH_MAX)], f64::INFINITY, tools).is_none(), "too wide");
        (weight[300], moment[300]) = (weight[299], moment[299]);
        let prefix = Prefix { weight: &weight, moment: &moment };
        assert!(Rounded::new(prefix, &ranges, f64::INFINITY, tools).is_none(), "the last element has no weight");
    }

    #[test]
    fn sums_ascend_and_mirror() {
        let mut weight = [0, 5, 5, 5, 6, 20];
        assert!(!ascends(&weight));
        assert_eq!((lift(&mut weight), weight), (2, [0, 5, 6, 7, 8, 20]));
        assert!(ascends(&weight) && lift(&mut weight) == 0);
        let mut mirrored = [-1; 8];
        rest(&weight, &mut mirrored);
        assert_eq!(mirrored, [0, 12, 13, 14, 15, 20, 20, 20]);
        rest(&[0, -3, -4, -4, -2, 0], &mut mirrored);
        assert_eq!(mirrored, [0, 2, 4, 4, 3, 0, 0, 0]);
    }
}
