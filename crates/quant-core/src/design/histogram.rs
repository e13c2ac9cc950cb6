//! Samples counted into equal bins, with fixed-point sums: exact integers, so equal in any order and on any device.

/// `count` equal bins over [low, low + count · width); samples outside are counted in the outermost bins.
///
/// The bin of x is ⌊fl(fl(x − low) · inverse_width)⌋ clamped to 0…count − 1: two f32 operations, each correctly rounded.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bins {
    /// Left end of the first bin.
    pub low: f32,
    /// 1 / width.
    pub inverse_width: f32,
    /// How many bins.
    pub count: usize,
    /// Samples are summed as ⌊x · 2^fraction_bits⌉ (ties to even) in i64.
    pub fraction_bits: i32,
}

impl Bins {
    /// Bins that cover [low, high]; for low = high there is one sensible bin and the rest stay empty.
    ///
    /// `fraction_bits` is chosen so that the largest magnitude has 30 bits: 2³³ samples fit in an i64 sum.
    pub fn covering(low: f32, high: f32, count: usize) -> Self {
        assert!(low.is_finite() && high.is_finite() && low <= high && count > 0, "a finite range and a bin");
        let width = (f64::from(high) - f64::from(low)) / count as f64;
        let inverse_width = if width > 0.0 { (1.0 / width).min(f64::from(f32::MAX)) as f32 } else { 0.0 };
        let magnitude = low.abs().max(high.abs()).max(f32::MIN_POSITIVE);
        let exponent = (magnitude.to_bits() >> 23) as i32 - 127;
        Self { low, inverse_width, count, fraction_bits: (29 - exponent).min(126) }
    }

    /// The bin of `x`.
    #[inline]
    pub fn index(&self, x: f32) -> usize {
        // A float-to-integer cast saturates: below zero is bin 0.
        (((x - self.low) * self.inverse_width) as usize).min(self.count - 1)
    }

    /// `x` in fixed point, saturated to 32 bits so that samples far outside the range cannot overflow a sum.
    #[inline]
    pub fn fixed(&self, x: f32) -> i64 {
        i64::from((x * crate::reference::power_of_two(self.fraction_bits)).round_ties_even() as i32)
    }

    /// A fixed-point sum as a number.
    pub fn to_f64(&self, fixed: i64) -> f64 {
        fixed as f64 * 2f64.powi(-self.fraction_bits)
    }
}

/// Count and fixed-point sum of the samples in each bin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BinSums {
    /// Samples per bin.
    pub counts: Vec<u64>,
    /// Their sum, in units of 2^−fraction_bits.
    pub sums: Vec<i64>,
}

impl BinSums {
    /// All zero.
    pub fn empty(bins: &Bins) -> Self {
        Self { counts: vec![0; bins.count], sums: vec![0; bins.count] }
    }

    /// Counts one sample.
    #[inline]
    pub fn add(&mut self, bins: &Bins, x: f32) {
        let bin = bins.index(x);
        self.counts[bin] += 1;
        self.sums[bin] += bins.fixed(x);
    }

    /// Adds another part of the same samples.
    pub fn merge(&mut self, other: &BinSums) {
        self.counts.iter_mut().zip(&other.counts).for_each(|(a, b)| *a += b);
        self.sums.iter_mut().zip(&other.sums).for_each(|(a, b)| *a += b);
    }

    /// Weighted points (mean, count) of the bins that hold samples, ascending.
    pub fn points(&self, bins: &Bins) -> Vec<(f64, f64)> {
        let point = |(&n, &sum): (&u64, &i64)| (n > 0).then(|| (bins.to_f64(sum) / n as f64, n as f64));
        self.counts.iter().zip(&self.sums).filter_map(point).collect()
    }
}
