//! Weighted samples as a distribution.

use super::{Moments, Source, SourceError};

/// Distinct values with weights; a cell's moments are sums over its samples, found by bisection.
///
/// ```
/// use quant_core::source::{Source, WeightedSamples};
/// let source = WeightedSamples::new([3.0, 1.0, 1.0], None).unwrap();
/// assert_eq!((source.quantile(0.5), source.cdf(1.0)), (1.0, 2.0 / 3.0));
/// ```
#[derive(Clone, Debug)]
pub struct WeightedSamples {
    points: Vec<(f64, f64)>,
    /// Σ w, Σ w(x − mean), Σ w(x − mean)² of the points before each, over the total weight.
    prefix: Vec<Moments>,
    mean: f64,
    total: f64,
}

impl WeightedSamples {
    /// Samples in any order, each with a weight or each weighing 1.
    pub fn new(samples: impl IntoIterator<Item = f64>, weights: Option<&[f64]>) -> Result<Self, SourceError> {
        let samples: Vec<f64> = samples.into_iter().collect();
        if let Some(w) = weights.filter(|w| w.len() != samples.len()) {
            return Err(SourceError::WeightCount { samples: samples.len(), weights: w.len() });
        }
        let weight = |index: usize| weights.map_or(1.0, |w| w[index]);
        Self::from_points(samples.iter().enumerate().map(|(index, &x)| (x, weight(index))).collect())
    }

    /// (value, weight) points in any order.
    pub fn from_points(mut points: Vec<(f64, f64)>) -> Result<Self, SourceError> {
        for (index, &(x, w)) in points.iter().enumerate() {
            if !x.is_finite() {
                return Err(SourceError::SampleNotFinite { index, value: x });
            }
            if !(w >= 0.0 && w.is_finite()) {
                return Err(SourceError::WeightOutOfRange { index, value: w });
            }
        }
        points.retain(|p| p.1 > 0.0);
        points.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)));
        points.dedup_by(|next, kept| {
            let same = next.0 == kept.0;
            kept.1 += if same { next.1 } else { 0.0 };
            same
        });
        if points.is_empty() { Err(SourceError::NoWeight) } else { Ok(Self::with_prefix(points)) }
    }

    fn with_prefix(points: Vec<(f64, f64)>) -> Self {
        let total: f64 = points.iter().map(|p| p.1).sum();
        let mean = points.iter().map(|p| p.0 * (p.1 / total)).sum();
        let mut sum = Moments::default();
        let mut prefix = vec![sum];
        for &(x, w) in &points {
            sum = sum + Moments::point(w / total, x, mean);
            prefix.push(sum);
        }
        Self { points, prefix, mean, total }
    }

    /// Distinct values with positive weights, ascending.
    pub fn points(&self) -> &[(f64, f64)] {
        &self.points
    }

    /// Σ w.
    pub fn total_weight(&self) -> f64 {
        self.total
    }

    fn count_up_to(&self, x: f64) -> usize {
        self.points.partition_point(|p| p.0 <= x)
    }
}

impl Source for WeightedSamples {
    fn moments(&self, low: f64, high: f64, centre: f64) -> Moments {
        let (i, j) = (self.count_up_to(low), self.count_up_to(high));
        if i >= j {
            return Moments::default();
        }
        // Few samples: sum them, which does not cancel.
        if j - i <= 64 {
            return self.points[i..j].iter().map(|&(x, w)| Moments::point(w / self.total, x, centre)).sum();
        }
        let (a, b) = (self.prefix[i], self.prefix[j]);
        let between = Moments { mass: b.mass - a.mass, first: b.first - a.first, second: b.second - a.second };
        between.shifted(self.mean - centre)
    }

    fn support(&self) -> (f64, f64) {
        (self.points[0].0, self.points[self.points.len() - 1].0)
    }

    fn quantile(&self, p: f64) -> f64 {
        let index = self.prefix[1..].partition_point(|sum| sum.mass < p);
        self.points[index.min(self.points.len() - 1)].0
    }

    fn mean(&self) -> f64 {
        self.mean
    }
}
