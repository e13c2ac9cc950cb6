//! What quantization cost: distortion, SQNR, entropy of the codes.

/// Sums over samples from which every figure of a report follows. Merging is addition, so parts add up in any grouping;
/// the f64 sums are reproducible when parts are merged in a fixed order.
#[derive(Clone, Debug, PartialEq)]
pub struct Distortion {
    /// Samples measured.
    pub sample_count: u64,
    /// Σ (x − Q(x))².
    pub squared_error: f64,
    /// Σ x².
    pub energy: f64,
    /// max |x − Q(x)|.
    pub error_max: f64,
    /// How often each code occurs; as long as the code has values.
    pub code_counts: Vec<u64>,
}

impl Distortion {
    /// Nothing measured yet, for codes below `level_count`.
    pub fn empty(level_count: usize) -> Self {
        Self { sample_count: 0, squared_error: 0.0, energy: 0.0, error_max: 0.0, code_counts: vec![0; level_count] }
    }

    /// Adds the sums of `other`.
    pub fn merge(&mut self, other: &Distortion) {
        self.sample_count += other.sample_count;
        self.squared_error += other.squared_error;
        self.energy += other.energy;
        self.error_max = self.error_max.max(other.error_max);
        if self.code_counts.len() < other.code_counts.len() {
            self.code_counts.resize(other.code_counts.len(), 0);
        }
        for (mine, theirs) in self.code_counts.iter_mut().zip(&other.code_counts) {
            *mine += theirs;
        }
    }

    /// Mean squared error per sample, in squared units of the samples; 0 for no samples.
    pub fn mse(&self) -> f64 {
        if self.sample_count == 0 { 0.0 } else { self.squared_error / self.sample_count as f64 }
    }

    /// Signal to quantization noise, see [`sqnr_db`].
    pub fn sqnr_db(&self) -> f64 {
        sqnr_db(self.energy, self.squared_error)
    }

    /// Entropy of the codes in bits, see [`entropy_bits`].
    pub fn entropy_bits(&self) -> f64 {
        entropy_bits(&self.code_counts)
    }
}

/// SQNR = 10·log₁₀(Σx² / Σe²) in dB; +∞ when there is no error.
///
/// ```
/// assert_eq!(quant_core::measure::sqnr_db(1000.0, 1.0), 30.0);
/// ```
pub fn sqnr_db(energy: f64, squared_error: f64) -> f64 {
    if squared_error == 0.0 { f64::INFINITY } else { 10.0 * (energy / squared_error).log10() }
}

/// First-order entropy H = −Σ p_k log₂ p_k of codes that occur `counts[k]` times, in bits (Shannon 1948).
///
/// ```
/// assert_eq!(quant_core::measure::entropy_bits(&[5, 5, 0, 0]), 1.0);
/// ```
pub fn entropy_bits(counts: &[u64]) -> f64 {
    let total: u64 = counts.iter().sum();
    let share = |&n: &u64| n as f64 / total as f64;
    -counts.iter().filter(|&&n| n > 0).map(share).map(|p| p * p.log2()).sum::<f64>() + 0.0
}
