//! Are large codebooks optimal? Fifty cases against a programme that shares no line with the one in use.
//!
//! The other programme is that of Wu (1991): layers over all sorted distinct values, divide and conquer on the monotone
//! best border, prefix sums in twice the precision. The cost of what it finds is taken afresh, by adding up squares.

use quant_core::design::certified::{GAP_MAX, fit_samples};
use quant_core::reference::Reference;
use quant_core::tensor::{Matrix, Samples};

/// xorshift.
struct Random(u64);

impl Random {
    fn uniform(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        ((self.0 >> 11) as f64 + 0.5) / (1u64 << 53) as f64
    }

    /// Box and Muller 1958.
    fn normal(&mut self) -> f64 {
        (-2.0 * self.uniform().ln()).sqrt() * (std::f64::consts::TAU * self.uniform()).cos()
    }

    fn chi_square(&mut self, freedom: usize) -> f64 {
        (0..freedom).map(|_| self.normal().powi(2)).sum()
    }
}

type Draw = fn(&mut Random, usize) -> f64;

const DISTRIBUTIONS: [(&str, Draw); 5] = [
    ("Gaussian", |random, _| random.normal()),
    ("Student's t, 3 degrees", |random, _| random.normal() / (random.chi_square(3) / 3.0).sqrt()),
    ("Laplacian", |random, _| random.uniform().ln() * if random.uniform() < 0.5 { 1.0 } else { -1.0 }),
    ("constant with outliers", |random, _| if random.uniform() < 2e-3 { 30.0 * random.normal() } else { 0.25 }),
    // Channels of unlike spread, a few far out, stored in bf16: what layers of language models look like.
    ("like weights", |random, i| {
        let spread = 0.02 * (0.4 * ((i / 512) as f64 * 0.7).sin()).exp();
        let x = spread * random.normal() * if random.uniform() < 1e-3 { 12.0 } else { 1.0 };
        f64::from(f32::from_bits((x as f32).to_bits() & 0xffff_0000))
    }),
];

/// The sum of a + b and what it lacks (Knuth, TAOCP vol. 2, 4.2.2).
fn two_sum(a: f64, b: f64) -> (f64, f64) {
    let sum = a + b;
    let of_b = sum - a;
    (sum, (a - (sum - of_b)) + (b - of_b))
}

/// Prefix sums as an unevaluated sum of two numbers.
fn prefix(terms: impl Iterator<Item = f64>) -> Vec<(f64, f64)> {
    let mut sums = vec![(0.0, 0.0)];
    let (mut high, mut low) = (0.0, 0.0);
    for term in terms {
        let (sum, lost) = two_sum(high, term);
        (high, low) = two_sum(sum, low + lost);
        sums.push((high, low));
    }
    sums
}

struct Other {
    points: Vec<(f64, f64)>,
    weight: Vec<(f64, f64)>,
    moment: Vec<(f64, f64)>,
}

impl Other {
    fn new(mut points: Vec<(f64, f64)>) -> Self {
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        points.retain(|p| p.1 > 0.0);
        points.dedup_by(|next, kept| {
            let same = next.0 == kept.0;
            if same {
                kept.1 += next.1;
            }
            same
        });
        let mean = points.iter().map(|p| p.0 * p.1).sum::<f64>() / points.iter().map(|p| p.1).sum::<f64>();
        points.iter_mut().for_each(|p| p.0 -= mean);
        let weight = prefix(points.iter().map(|p| p.1));
        let moment = prefix(points.iter().map(|p| p.1 * p.0));
        Self { points, weight, moment }
    }

    fn gain(&self, i: usize, j: usize) -> f64 {
        let difference = |sums: &[(f64, f64)]| (sums[j].0 - sums[i].0) + (sums[j].1 - sums[i].1);
        difference(&self.moment).powi(2) / difference(&self.weight)
    }

    /// Fills `to[low..=high]`, whose best borders lie from `first` to `last`.
    fn layer(
        &self,
        from: &[f64],
        to: &mut [f64],
        parents: &mut [u32],
        span: (usize, usize),
        (first, last): (usize, usize),
    ) {
        let (low, high) = span;
        if low > high {
            return;
        }
        let middle = low + (high - low) / 2;
        let mut best = (f64::NEG_INFINITY, first);
        for (i, before) in from.iter().enumerate().take(last.min(middle - 1) + 1).skip(first) {
            let gain = before + self.gain(i, middle);
            if gain > best.0 {
                best = (gain, i);
            }
        }
        (to[middle], parents[middle]) = (best.0, best.1 as u32);
        if middle > low {
            self.layer(from, to, parents, (low, middle - 1), (first, best.1));
        }
        self.layer(from, to, parents, (middle + 1, high), (best.1, last));
    }

    /// Σ w (x − mean of its cell)² of the best partition into so many cells.
    fn least_cost(&self, cell_count: usize) -> f64 {
        let n = self.points.len();
        if cell_count >= n {
            return 0.0;
        }
        let mut from: Vec<f64> = (0..=n).map(|j| if j == 0 { f64::NEG_INFINITY } else { self.gain(0, j) }).collect();
        let mut parents = Vec::new();
        for q in 2..=cell_count {
            let (mut to, mut parent) = (vec![f64::NEG_INFINITY; n + 1], vec![0; n + 1]);
            self.layer(&from, &mut to, &mut parent, (q, n), (q - 1, n - 1));
            parents.push(parent);
            from = to;
        }
        let (mut end, mut cost) = (n, 0.0);
        for q in (0..cell_count).rev() {
            let start = if q == 0 { 0 } else { parents[q - 1][end] as usize };
            let cell = &self.points[start..end];
            let mean = cell.iter().map(|p| p.0 * p.1).sum::<f64>() / cell.iter().map(|p| p.1).sum::<f64>();
            cost += cell.iter().map(|p| p.1 * (p.0 - mean).powi(2)).sum::<f64>();
            end = start;
        }
        cost
    }
}

fn compare(name: &str, samples: &[f32], weights: Option<&[f32]>, level_count: usize, gap_max: f64) {
    let matrix = Matrix::new(Samples::F32(samples), 1, samples.len()).expect("one row");
    let fit = fit_samples(&Reference, matrix, weights, level_count).expect("finite samples");
    let weight = |i: usize| weights.map_or(1.0, |w| f64::from(w[i]));
    let points: Vec<(f64, f64)> = samples.iter().enumerate().map(|(i, &x)| (f64::from(x), weight(i))).collect();
    let total: f64 = points.iter().map(|p| p.1).sum();
    let least = Other::new(points).least_cost(level_count) / total;
    let place = format!("{name}, {} samples, weighted {}, k = {level_count}", samples.len(), weights.is_some());
    assert!((fit.mse - least).abs() <= 1e-9 * least, "{place}: {} against {least}", fit.mse);
    assert!(fit.lower_bound <= least * (1.0 + 1e-12), "{place}: bound {} above {least}", fit.lower_bound);
    assert!(fit.gap <= gap_max, "{place}: a gap of {:e}", fit.gap);
    assert_eq!(fit.certified, fit.gap <= GAP_MAX, "{place}: a gap of {:e}", fit.gap);
}

/// The first six are above the 131,072 samples that are sorted, and go through bins where these narrow enough; the others
/// are sorted: they are fewer, weighted, or have more levels than bins can tell apart (181).
const SIZES: [(usize, bool, usize); 10] = [
    (150_000, false, 2),
    (150_000, false, 4),
    (150_000, false, 8),
    (150_000, false, 16),
    (140_000, false, 40),
    (132_000, false, 64),
    (20_000, false, 256),
    (60_000, true, 3),
    (60_000, true, 16),
    (20_000, true, 200),
];

fn fifty(part: usize) {
    let (name, draw) = DISTRIBUTIONS[part];
    for (case, (count, is_weighted, level_count)) in SIZES.into_iter().enumerate() {
        let mut random = Random(0x9e37_79b9_7f4a_7c15 ^ ((part * 10 + case) as u64 + 1));
        let samples: Vec<f32> = (0..count).map(|i| draw(&mut random, i) as f32).collect();
        // χ²₁, a tenth of them 0.
        let mut weight = || if random.uniform() < 0.1 { 0.0 } else { random.chi_square(1) as f32 };
        let weights: Vec<f32> = (0..count).map(|_| weight()).collect();
        compare(name, &samples, is_weighted.then_some(&weights[..]), level_count, GAP_MAX);
    }
}

#[test]
fn gaussian_samples() {
    fifty(0);
}

#[test]
fn samples_of_students_t() {
    fifty(1);
}

#[test]
fn laplacian_samples() {
    fifty(2);
}

#[test]
fn a_constant_with_outliers() {
    fifty(3);
}

#[test]
fn samples_like_weights() {
    fifty(4);
}

/// These have no certificate. The gap is what rounding may do to sums of squares from the mean, about 1e-14 of them for so
/// many samples, as a share of the MSE, and that falls by k²: by a million and more here.
#[test]
fn thousands_of_levels() {
    for (part, level_count, gap_max) in [(0, 1024, 1e-8), (1, 4096, 1e-6), (2, 2000, 1e-7)] {
        let (name, draw) = DISTRIBUTIONS[part];
        let mut random = Random(77 + part as u64);
        let samples: Vec<f32> = (0..10_000).map(|i| draw(&mut random, i) as f32).collect();
        compare(name, &samples, None, level_count, gap_max);
    }
}
