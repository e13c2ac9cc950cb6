//! Samples as weighted atoms: distinct values, ascending, with prefix sums of w and w·x.

/// Prefix sums up to some atom.
#[derive(Clone, Copy, Debug, Default)]
pub struct Prefix {
    /// Σ w.
    weight: f64,
    /// Σ w·(x − centre).
    moment: f64,
}

/// Distinct values with positive weights, and what makes the cost of any run of them O(1).
#[derive(Clone, Debug)]
pub struct Atoms {
    values: Vec<f64>,
    weights: Vec<f64>,
    prefix: Vec<Prefix>,
    centre: f64,
}

impl Atoms {
    /// Merges equal neighbours of `points` (ascending values); a weight that is not above 0 is skipped.
    pub fn from_ascending(points: impl Iterator<Item = (f64, f64)>) -> Self {
        let (mut values, mut weights) = (Vec::with_capacity(points.size_hint().0), Vec::new());
        for (value, weight) in points {
            if weight > 0.0 {
                match values.last() {
                    Some(&last) if last == value => *weights.last_mut().expect("one weight per value") += weight,
                    _ => {
                        values.push(value);
                        weights.push(weight);
                    }
                }
            }
        }
        Self::with_prefix(values, weights)
    }

    /// Sorts by the bits of value and weight together, so that the order in which samples came cannot matter.
    pub fn from_samples(samples: &[f32], weights: Option<&[f32]>) -> Self {
        let atoms = match weights {
            None => Self::from_ascending(sorted(samples.iter().map(|&x| (x, 1.0))).map(|(x, _)| (x, 1.0))),
            Some(w) => Self::from_ascending(sorted(samples.iter().copied().zip(w.iter().copied()))),
        };
        if atoms.is_empty() && weights.is_some() { Self::from_samples(samples, None) } else { atoms }
    }

    fn with_prefix(values: Vec<f64>, weights: Vec<f64>) -> Self {
        let total: f64 = weights.iter().sum();
        let centre = values.iter().zip(&weights).map(|(x, w)| x * (w / total)).sum::<f64>();
        Self::about(centre, values, weights)
    }

    /// The atoms on one side of 0, without 0, as distances from it in descending order, negated: they ascend towards 0.
    /// Gains are about 0, so that the rest, decoded to 0, gains nothing.
    pub fn side(&self, above: bool) -> Self {
        let pairs = self.values.iter().zip(&self.weights).filter(|(x, _)| if above { **x > 0.0 } else { **x < 0.0 });
        let mut pairs: Vec<(f64, f64)> = pairs.map(|(x, w)| (-x.abs(), *w)).collect();
        pairs.sort_by(|a, b| a.0.total_cmp(&b.0));
        let (values, weights) = pairs.into_iter().unzip();
        Self::about(0.0, values, weights)
    }

    fn about(centre: f64, values: Vec<f64>, weights: Vec<f64>) -> Self {
        let mut sum = Prefix::default();
        let mut prefix = Vec::with_capacity(values.len() + 1);
        prefix.push(sum);
        for (x, w) in values.iter().zip(&weights) {
            sum = Prefix { weight: sum.weight + w, moment: sum.moment + w * (x - centre) };
            prefix.push(sum);
        }
        Self { values, weights, prefix, centre }
    }

    /// How many distinct values.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// True when no sample had weight.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// The distinct values, ascending.
    pub fn values(&self) -> &[f64] {
        &self.values
    }

    /// Their weights.
    pub fn weights(&self) -> &[f64] {
        &self.weights
    }

    /// (Σ w(x − centre))² / Σ w over atoms `i..j`, i < j. Squared error is Σ w(x − centre)² less this, and the first
    /// term is the same for every partition.
    #[inline(always)]
    pub fn gain(&self, i: usize, j: usize) -> f64 {
        let (a, b) = (self.prefix[i], self.prefix[j]);
        let moment = b.moment - a.moment;
        moment * moment / (b.weight - a.weight)
    }

    /// Whether `cost_j − gain(j, x) < cost_i − gain(i, x)`, without the divisions; i, j < x.
    #[inline(always)]
    pub fn beats(&self, (j, cost_j): (usize, f64), (i, cost_i): (usize, f64), x: usize) -> bool {
        let (pi, pj, px) = (self.prefix[i], self.prefix[j], self.prefix[x]);
        let (wi, mi) = (px.weight - pi.weight, px.moment - pi.moment);
        let (wj, mj) = (px.weight - pj.weight, px.moment - pj.moment);
        (cost_j - cost_i) * (wi * wj) < (mj * mj) * wi - (mi * mi) * wj
    }

    /// The centroid of atoms `i..j`, kept within them whatever the rounding.
    pub fn centroid(&self, i: usize, j: usize) -> f64 {
        let (a, b) = (self.prefix[i], self.prefix[j]);
        let mean = self.centre + (b.moment - a.moment) / (b.weight - a.weight);
        mean.clamp(self.values[i], self.values[j - 1])
    }

    /// Σ w(x − y)² over atoms `i..j`.
    pub fn squared_error(&self, i: usize, j: usize, level: f64) -> f64 {
        let pairs = self.values[i..j].iter().zip(&self.weights[i..j]);
        pairs.map(|(x, w)| w * (x - level) * (x - level)).sum()
    }

    /// A first guess of −dD/dM at `level_count` levels: D ≈ (Σ_s p_s^{1/3} Δ_s^{2/3})³ / 12M² (Panter and Dite 1951)
    /// with the density taken constant on runs of atoms. The cube root is libm's, equal on every platform: the guess
    /// decides between partitions of equal cost.
    pub fn slope_guess(&self, level_count: usize) -> f64 {
        let n = self.len();
        let run = (n / (4 * level_count)).max(1);
        let mut norm = 0.0;
        for start in (0..n - 1).step_by(run) {
            let end = (start + run).min(n - 1);
            let weight = self.prefix[end].weight - self.prefix[start].weight;
            let width = self.values[end] - self.values[start];
            norm += libm::cbrt(weight * width * width);
        }
        let per_level = norm / level_count as f64;
        per_level * per_level * per_level / 6.0
    }
}

/// Pairs ascending by value, then weight. Weights that are not above 0 are dropped.
fn sorted(pairs: impl Iterator<Item = (f32, f32)>) -> impl Iterator<Item = (f64, f64)> {
    let keep = pairs.filter(|&(_, w)| w > 0.0);
    let keys = keep.map(|(x, w)| u64::from(key(x)) << 32 | u64::from(w.to_bits())).collect();
    sort_keys(keys).into_iter().map(|k| (f64::from(value((k >> 32) as u32)), f64::from(f32::from_bits(k as u32))))
}

/// Radix digits: three of them cover the 32 bits of a value; their counters fit in the first-level cache.
const DIGIT_BITS: u32 = 11;

/// Below this many keys a comparison sort is faster than clearing the counters.
const RADIX_COUNT_MIN: usize = 1024;

/// Ascending keys: by counting sort on the value, lowest digit first, then by weight within runs of equal values.
fn sort_keys(mut keys: Vec<u64>) -> Vec<u64> {
    if keys.len() < RADIX_COUNT_MIN || keys.len() > u32::MAX as usize {
        keys.sort_unstable();
        return keys;
    }
    let mut other = vec![0; keys.len()];
    for digit in 0..3 {
        let place = |key: u64| (key >> (32 + digit * DIGIT_BITS)) as usize & ((1 << DIGIT_BITS) - 1);
        let mut next = [0u32; 1 << DIGIT_BITS];
        keys.iter().for_each(|&key| next[place(key)] += 1);
        let mut sum = 0;
        for start in &mut next {
            sum += std::mem::replace(start, sum);
        }
        for &key in &keys {
            let start = &mut next[place(key)];
            other[*start as usize] = key;
            *start += 1;
        }
        std::mem::swap(&mut keys, &mut other);
    }
    for run in keys.chunk_by_mut(|a, b| a >> 32 == b >> 32) {
        if run.len() > 1 {
            run.sort_unstable();
        }
    }
    keys
}

/// An integer in the order of the numbers; −0 counts as 0.
fn key(x: f32) -> u32 {
    let bits = (x + 0.0).to_bits();
    if bits >> 31 == 0 { bits | 1 << 31 } else { !bits }
}

fn value(key: u32) -> f32 {
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
    fn counting_sorts_as_comparing_does() {
        let mut state = 1u64;
        let mut scramble = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            // Few distinct values in the upper half, so that runs of equal ones are long.
            (state >> 60 << 55) | (state >> 40 & 0xff)
        };
        let keys: Vec<u64> = (0..3000).map(|_| scramble()).collect();
        let mut expected = keys.clone();
        expected.sort_unstable();
        assert_eq!(sort_keys(keys), expected);
    }

    #[test]
    fn equal_samples_become_one_atom() {
        let atoms = Atoms::from_samples(&[2.0, -0.0, 0.0, 2.0, 7.0], Some(&[1.0, 1.0, 2.0, 3.0, 0.0]));
        assert_eq!((atoms.values, atoms.weights), (vec![0.0, 2.0], vec![3.0, 4.0]));
    }
}
