//! What is the least cost of a partition? A programme that shares no line with the one in use.
//!
//! That of Wu (1991): layers over all sorted distinct values, divide and conquer on the monotone best border, prefix sums in
//! twice the precision. Tests and benches compare with it.

/// Σ w (x − mean of its cell)² of the best partition of `points`, samples and weights, into so many cells.
pub fn least_cost(points: Vec<(f64, f64)>, cell_count: usize) -> f64 {
    Programme::new(points).least_cost(cell_count)
}

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

struct Programme {
    points: Vec<(f64, f64)>,
    weight: Vec<(f64, f64)>,
    moment: Vec<(f64, f64)>,
}

impl Programme {
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
