//! The rate: bits per weight, all side information counted as it is stored.

/// Stored bits of one or more tensors, by purpose.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoredBits {
    /// Weights that these bits stand for.
    pub weight_count: u64,
    /// Packed codes, row padding included.
    pub code_bits: u64,
    /// Scales, with their own scales and offset when quantized twice.
    pub scale_bits: u64,
    /// Levels.
    pub codebook_bits: u64,
    /// Samples kept exact among the codes, and where they are.
    pub outlier_bits: u64,
    /// Weights kept as they were.
    pub dense_bits: u64,
}

impl StoredBits {
    /// Adds another tensor's bits.
    pub fn merge(&mut self, other: &StoredBits) {
        self.weight_count += other.weight_count;
        self.code_bits += other.code_bits;
        self.scale_bits += other.scale_bits;
        self.codebook_bits += other.codebook_bits;
        self.outlier_bits += other.outlier_bits;
        self.dense_bits += other.dense_bits;
    }

    /// All bits.
    pub fn total_bits(&self) -> u64 {
        self.code_bits + self.scale_bits + self.codebook_bits + self.outlier_bits + self.dense_bits
    }

    /// Rate in bits per weight; 0 for no weights.
    ///
    /// ```
    /// use quant_core::rate::StoredBits;
    /// let bits = StoredBits { weight_count: 64, code_bits: 256, scale_bits: 32, ..Default::default() };
    /// assert_eq!(bits.rate(), 4.5);
    /// ```
    pub fn rate(&self) -> f64 {
        if self.weight_count == 0 { 0.0 } else { self.total_bits() as f64 / self.weight_count as f64 }
    }
}
