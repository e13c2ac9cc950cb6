//! Samples as weighted atoms: distinct values, ascending, with prefix sums of w and w·x.

use super::{blocks::Elements, layer::Prefix, radix};

/// Atoms summed one after the other.
const SUM_LEN: usize = 1 << 10;

/// Cells with less than one part in so many of all weight have too little of it in the sums for a mean.
const SMALL: f64 = (1u64 << 32) as f64;

/// Distinct values with positive weights, and what makes the cost of any run of them O(1).
#[derive(Clone, Debug)]
pub struct Atoms {
    values: Vec<f64>,
    weights: Vec<f64>,
    /// Σ w before each atom, and over all at the end.
    weight_sums: Vec<f64>,
    /// Σ w·(x − centre), likewise.
    moment_sums: Vec<f64>,
    centre: f64,
    /// Whether a weight vanished from the sums beside others.
    vanishing: bool,
    /// Whether sums of weights are rounded.
    rounds: bool,
}

impl Atoms {
    /// Merges equal neighbours of `points` (ascending values); a weight that is not above 0 is skipped.
    pub fn from_ascending(points: impl Iterator<Item = (f64, f64)>) -> Self {
        let mut distinct = Distinct::with_room(points.size_hint().0);
        merge(points, |value, weight| distinct.push(value, weight));
        Self::with_prefix(distinct)
    }

    /// Atoms of samples in any order.
    pub fn from_samples(samples: &[f32], weights: Option<&[f32]>) -> Self {
        let mut distinct = Distinct::with_room(samples.len());
        merge_samples(samples.iter().copied(), weights, |value, weight| distinct.push(value, weight));
        Self::with_prefix(distinct)
    }

    fn with_prefix(Distinct { values, weights }: Distinct) -> Self {
        let centre = mean(&values, &weights);
        let (mut weight_sums, mut moment_sums) = (vec![0.0; values.len() + 1], vec![0.0; values.len() + 1]);
        // Moments start afresh every so often, so that rounding does not grow with the number of atoms; weights round once.
        let (mut place, mut vanishing, mut rounds) = (0, false, false);
        let (mut weight, mut lost) = (0.0, 0.0);
        for (values, weights) in values.chunks(SUM_LEN).zip(weights.chunks(SUM_LEN)) {
            let (base_moment, mut moment) = (moment_sums[place], 0.0);
            for (x, w) in values.iter().zip(weights) {
                (weight, lost) = add(weight, lost, *w);
                moment += w * (x - centre);
                let (before, own) = (weight_sums[place], weight + lost);
                place += 1;
                (vanishing, rounds) = (vanishing | (own <= before), rounds | (lost != 0.0));
                // Every run of atoms has some weight, so that every partition has a cost.
                weight_sums[place] = if own > before { own } else { before.next_up() };
                moment_sums[place] = base_moment + moment;
            }
        }
        Self { values, weights, weight_sums, moment_sums, centre, vanishing, rounds }
    }

    /// How many distinct values.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether weights span so much that some vanish from the sums: what is derived from those is not proven then.
    pub fn are_vanishing(&self) -> bool {
        self.vanishing
    }

    /// The most by which rounding of Σ w can change the cost of a partition, 0 where none is rounded, as of counts. A border at which the sum is
    /// off by δ changes it by δ·(m² − m′²), with m and m′ the means of its cells from the centre; the sums are off by half an
    /// ulp, and the squares fall to the centre and rise from it, from and to at most those of the outermost values.
    pub fn weight_rounding(&self) -> f64 {
        let (Some(first), Some(last)) = (self.values.first(), self.values.last()) else { return 0.0 };
        let total = self.weight_sums[self.len()];
        let squares = (first - self.centre).powi(2) + (last - self.centre).powi(2);
        if self.rounds { 0.5 * f64::EPSILON * total * squares } else { 0.0 }
    }

    /// True when no sample had weight.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// What is subtracted from values in the sums.
    pub fn centre(&self) -> f64 {
        self.centre
    }

    /// The distinct values, ascending.
    pub fn values(&self) -> &[f64] {
        &self.values
    }

    /// (value, weight) of each atom.
    pub fn points(&self) -> impl Iterator<Item = (f64, f64)> {
        self.values.iter().copied().zip(self.weights.iter().copied())
    }

    /// Prefix sums at the borders.
    #[inline(always)]
    pub fn prefix(&self) -> Prefix<'_> {
        Prefix { weight: &self.weight_sums, moment: &self.moment_sums }
    }

    /// The atoms as elements of blocks.
    pub fn elements(&self) -> Elements<'_> {
        let [least, greatest] = [self.values.first(), self.values.last()].map(|x| x.expect("an atom") - self.centre);
        Elements { prefix: self.prefix(), means: &self.values, spread: &[], ends: (least, greatest) }
    }

    /// (Σ w(x − centre))² / Σ w over atoms `i..j`, i < j. Squared error is Σ w(x − centre)² less this, and the first
    /// term is the same for every partition.
    #[inline(always)]
    pub fn gain(&self, i: usize, j: usize) -> f64 {
        self.prefix().gain(i, j)
    }

    /// The centroid of atoms `i..j`, i < j, kept within them whatever the rounding.
    pub fn centroid(&self, i: usize, j: usize) -> f64 {
        if j == i + 1 {
            return self.values[i];
        }
        let (low, high) = (self.values[i], self.values[j - 1]);
        // Beside much greater weights small ones vanish from the sums before them.
        let is_small = (self.weight_sums[j] - self.weight_sums[i]) * SMALL < self.weight_sums[self.len()];
        let mean = if is_small {
            mean(&self.values[i..j], &self.weights[i..j])
        } else {
            self.centre + self.prefix().mean(i, j)
        };
        mean.clamp(low, high)
    }

    /// Σ w(x − y)² over atoms `i..j`.
    pub fn squared_error(&self, i: usize, j: usize, level: f64) -> f64 {
        let pairs = self.values[i..j].iter().zip(&self.weights[i..j]);
        pairs.map(|(x, w)| w * (x - level) * (x - level)).sum()
    }

    /// A first guess of −dD/dM at `level_count` levels: D ≈ (Σ_s p_s^{1/3} Δ_s^{2/3})³ / 12M² (Panter and Dite 1951)
    /// with the density taken constant on runs of atoms.
    pub fn slope_guess(&self, level_count: usize) -> f64 {
        let n = self.len();
        let run = (n / (4 * level_count)).max(1);
        let mut norm = 0.0;
        for start in (0..n - 1).step_by(run) {
            let end = (start + run).min(n - 1);
            let weight = self.weight_sums[end] - self.weight_sums[start];
            norm += (weight * (self.values[end] - self.values[start]).powi(2)).cbrt();
        }
        norm.powi(3) / (6.0 * (level_count as f64).powi(3))
    }
}

/// A sum and what its roundings have lost, with a term more (Knuth's exact addition).
#[inline(always)]
fn add(sum: f64, lost: f64, term: f64) -> (f64, f64) {
    let next = sum + term;
    let taken = next - sum;
    (next, lost + ((sum - (next - taken)) + (term - taken)))
}

/// Σ w·x / Σ w in four interleaved sums, which need not wait for each other.
fn mean(values: &[f64], weights: &[f64]) -> f64 {
    let (mut weight, mut moment) = ([0.0; 4], [0.0; 4]);
    for (x, w) in values.chunks(4).zip(weights.chunks(4)) {
        for (lane, (x, w)) in x.iter().zip(w).enumerate() {
            weight[lane] += w;
            moment[lane] += w * x;
        }
    }
    moment.iter().sum::<f64>() / weight.iter().sum::<f64>()
}

/// Values with their weights, as they come.
struct Distinct {
    values: Vec<f64>,
    weights: Vec<f64>,
}

impl Distinct {
    fn with_room(count: usize) -> Self {
        Self { values: Vec::with_capacity(count), weights: Vec::with_capacity(count) }
    }

    #[inline(always)]
    fn push(&mut self, value: f64, weight: f64) {
        self.values.push(value);
        self.weights.push(weight);
    }
}

/// Calls `take` with each distinct value of `points` (ascending values) and its weight; a weight that is not above 0 is skipped.
#[inline(always)]
fn merge(points: impl Iterator<Item = (f64, f64)>, mut take: impl FnMut(f64, f64)) {
    let mut points = points.filter(|&(_, weight)| weight > 0.0);
    let Some((mut value, mut weight)) = points.next() else { return };
    for (next, more) in points {
        if next == value {
            weight += more;
        } else {
            take(value, weight);
            (value, weight) = (next, more);
        }
    }
    take(value, weight);
}

/// Calls `take` with each distinct value of samples and its weight, ascending. Sorts by the bits of value and weight together, so
/// that the order in which samples came cannot matter. If all weights are 0, or none is given, every sample weighs 1.
pub fn merge_samples(samples: impl Iterator<Item = f32>, weights: Option<&[f32]>, take: impl FnMut(f64, f64)) {
    match weights.filter(|weights| weights.iter().any(|&w| w > 0.0)) {
        None => merge(sorted(samples).map(|x| (f64::from(x), 1.0)), take),
        Some(weights) => merge(sorted_pairs(samples.zip(weights.iter().copied())), take),
    }
}

/// Samples ascending.
pub fn sorted<I: Iterator<Item = f32>>(samples: I) -> impl Iterator<Item = f32> + use<I> {
    let mut keys: Vec<u32> = samples.map(key).collect();
    radix::sort(&mut keys);
    keys.into_iter().map(value)
}

/// Pairs ascending by value, then weight. Weights that are not above 0 are dropped.
fn sorted_pairs(pairs: impl Iterator<Item = (f32, f32)>) -> impl Iterator<Item = (f64, f64)> {
    let mut keys = Vec::with_capacity(pairs.size_hint().0);
    for (x, w) in pairs {
        if w > 0.0 {
            keys.push(u64::from(key(x)) << 32 | u64::from(w.to_bits()));
        }
    }
    radix::sort(&mut keys);
    keys.into_iter().map(|k| (f64::from(value((k >> 32) as u32)), f64::from(f32::from_bits(k as u32))))
}

/// An integer in the order of the numbers; −0 counts as 0.
pub fn key(x: f32) -> u32 {
    let bits = (x + 0.0).to_bits();
    if bits >> 31 == 0 { bits | 1 << 31 } else { !bits }
}

/// The number of a key.
pub fn value(key: u32) -> f32 {
    f32::from_bits(if key >> 31 == 1 { key & !(1 << 31) } else { !key })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_keep_the_order_of_numbers() {
        let numbers = [-f32::MAX, -1.0, -1e-40, 0.0, 1e-40, f32::MIN_POSITIVE, 1.0, f32::MAX];
        assert!(numbers.windows(2).all(|w| key(w[0]) < key(w[1])));
        assert!(numbers.iter().all(|&x| value(key(x)) == x));
        assert_eq!(key(-0.0), key(0.0));
    }

    #[test]
    fn equal_samples_become_one_atom() {
        let atoms = Atoms::from_samples(&[2.0, -0.0, 0.0, 2.0, 7.0], Some(&[1.0, 1.0, 2.0, 3.0, 0.0]));
        assert_eq!((atoms.values, atoms.weights), (vec![0.0, 2.0], vec![3.0, 4.0]));
    }
}
