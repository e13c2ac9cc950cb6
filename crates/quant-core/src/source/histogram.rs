//! A histogram as a piecewise-constant density.

use super::{Density, Moments, Source, SourceError};

/// Mass p_i spread evenly over (edge_i, edge_{i+1}].
///
/// ```
/// use quant_core::source::{Histogram, Source};
/// let histogram = Histogram::new(vec![0.0, 1.0, 3.0], vec![3.0, 1.0]).unwrap();
/// assert_eq!((histogram.cdf(2.0), histogram.quantile(0.5)), (0.875, 0.6666666666666666));
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Histogram {
    edges: Vec<f64>,
    masses: Vec<f64>,
    /// Mass below each edge.
    below: Vec<f64>,
}

impl Histogram {
    /// Ascending finite `edges`, one more than `counts`; counts are divided by their sum.
    pub fn new(edges: Vec<f64>, counts: Vec<f64>) -> Result<Self, SourceError> {
        if counts.len() + 1 != edges.len() {
            return Err(SourceError::WeightCount { samples: edges.len().saturating_sub(1), weights: counts.len() });
        }
        if let Some(index) = edges.iter().position(|x| !x.is_finite()) {
            return Err(SourceError::SampleNotFinite { index, value: edges[index] });
        }
        if let Some(w) = edges.windows(2).find(|w| w[0] >= w[1]) {
            return Err(SourceError::Parameter { name: "edge", value: w[1], range: "above the edge before" });
        }
        if let Some(index) = counts.iter().position(|&n| !(n >= 0.0 && n.is_finite())) {
            return Err(SourceError::WeightOutOfRange { index, value: counts[index] });
        }
        let total: f64 = counts.iter().sum();
        if total == 0.0 {
            return Err(SourceError::NoWeight);
        }
        let masses: Vec<f64> = counts.iter().map(|n| n / total).collect();
        let mut below = vec![0.0];
        below.extend(masses.iter().scan(0.0, |sum, p| {
            *sum += p;
            Some(*sum)
        }));
        Ok(Self { edges, masses, below })
    }

    /// Counts of `samples` in `cell_count` equal bins from the least to the greatest sample.
    pub fn from_samples(samples: &[f64], bin_count: usize) -> Result<Self, SourceError> {
        if let Some(index) = samples.iter().position(|x| !x.is_finite()) {
            return Err(SourceError::SampleNotFinite { index, value: samples[index] });
        }
        let low = samples.iter().copied().fold(f64::INFINITY, f64::min);
        let high = samples.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        if samples.is_empty() || bin_count == 0 {
            return Err(SourceError::NoWeight);
        }
        // All equal: one unit-free bin around the value.
        let width = if high > low { (high - low) / bin_count as f64 } else { low.abs().max(1.0) * 1e-9 };
        let mut counts = vec![0.0; bin_count];
        for x in samples {
            counts[(((x - low) / width) as usize).min(bin_count - 1)] += 1.0;
        }
        Self::new((0..=bin_count).map(|i| low + i as f64 * width).collect(), counts)
    }

    /// The mass of any source in `bin_count` equal bins over [low, high]; what lies outside is in the outermost bins.
    pub fn of(source: &dyn Source, (low, high): (f64, f64), bin_count: usize) -> Result<Self, SourceError> {
        let width = if high > low { (high - low) / bin_count as f64 } else { low.abs().max(1.0) * 1e-9 };
        let edge = |i: usize| low + i as f64 * width;
        let left = |i: usize| if i == 0 { f64::NEG_INFINITY } else { edge(i) };
        let right = |i: usize| if i + 1 == bin_count { f64::INFINITY } else { edge(i + 1) };
        let masses = (0..bin_count).map(|i| source.moments(left(i), right(i), edge(i)).mass.max(0.0)).collect();
        Self::new((0..=bin_count).map(edge).collect(), masses)
    }

    /// Borders of the bins.
    pub fn edges(&self) -> &[f64] {
        &self.edges
    }

    /// Probability of each bin.
    pub fn masses(&self) -> &[f64] {
        &self.masses
    }

    fn bin_of(&self, x: f64) -> usize {
        self.edges.partition_point(|&e| e < x).saturating_sub(1).min(self.masses.len() - 1)
    }
}

impl Source for Histogram {
    fn moments(&self, low: f64, high: f64, centre: f64) -> Moments {
        let (first, last) = self.support();
        let (low, high) = (low.max(first), high.min(last));
        if low >= high {
            return Moments::default();
        }
        let part = |bin: usize| {
            let (left, right) = (self.edges[bin], self.edges[bin + 1]);
            let (a, b) = (left.max(low), right.min(high));
            let width = (b - a).max(0.0);
            let about_middle = Moments { mass: 1.0, first: 0.0, second: width * width / 12.0 };
            about_middle.shifted(a + 0.5 * width - centre).scaled(self.masses[bin] * width / (right - left), 1.0)
        };
        (self.bin_of(low)..=self.bin_of(high)).map(part).sum()
    }

    fn support(&self) -> (f64, f64) {
        (self.edges[0], self.edges[self.edges.len() - 1])
    }

    fn quantile(&self, p: f64) -> f64 {
        let bin = self.below[1..].partition_point(|&b| b < p).min(self.masses.len() - 1);
        if self.masses[bin] == 0.0 {
            return self.edges[bin];
        }
        let share = ((p - self.below[bin]) / self.masses[bin]).clamp(0.0, 1.0);
        self.edges[bin] + share * (self.edges[bin + 1] - self.edges[bin])
    }

    fn density(&self) -> Option<&dyn Density> {
        Some(self)
    }
}

impl Density for Histogram {
    fn pdf(&self, x: f64) -> f64 {
        let (low, high) = self.support();
        if x < low || x > high {
            return 0.0;
        }
        let bin = self.bin_of(x);
        self.masses[bin] / (self.edges[bin + 1] - self.edges[bin])
    }

    fn singular_points(&self) -> Vec<f64> {
        self.edges.clone()
    }
}
