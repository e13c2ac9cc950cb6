//! Samples counted into bins, with fixed-point sums: exact integers, so equal in any order and on any device.

/// `count` equal bins over [low, low + count · width); samples outside are counted in the outermost bins.
///
/// The bin of x is ⌊fl(fl(x − low) · inverse_width)⌋ clamped to 0…count − 1: two f32 operations, each correctly rounded.
///
/// With `mantissa_bits` m > 0 bins widen away from `low`, which is then the middle: with y = fl(fl(x − low) ·
/// inverse_width) and z = fl(1 + |y|), the bin follows the key bits of z, its exponent and its upper m mantissa bits. So
/// there are 2^m equal bins on either side for |y| < 1, 2^m of twice the width for 1 ≤ |y| < 3, and so on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bins {
    /// Left end of the first bin.
    pub low: f32,
    /// 1 / width.
    pub inverse_width: f32,
    /// How many bins.
    pub count: usize,
    /// Bins per octave of 1 + |y| on either side, as a power of 2; 0 for equal bins.
    pub mantissa_bits: u32,
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
        Self { low, inverse_width, count, mantissa_bits: 0, fraction_bits: fraction_bits(low.abs().max(high.abs())) }
    }

    /// At most `count` bins that widen away from `middle`: 1 / `unit` is the density of bins near it, as compared with
    /// farther out, and all samples of magnitude at most `magnitude` are inside.
    pub fn widening(middle: f32, unit: f32, magnitude: f32, count: usize) -> Self {
        assert!(unit > 0.0 && unit.is_finite() && magnitude.is_finite() && count >= 512, "room for 128 octaves");
        let octaves = octaves(middle, unit, magnitude);
        let mantissa_bits = (count / 2 / octaves).ilog2();
        let fraction_bits = fraction_bits(magnitude.max(middle.abs()));
        Self {
            low: middle,
            inverse_width: 1.0 / unit,
            count: (octaves << mantissa_bits) * 2,
            mantissa_bits,
            fraction_bits,
        }
    }

    /// Bins about the median, fine over the middle four fifths of an ascending selection of samples, as an optimum's levels
    /// are; `magnitude` is the largest of all samples. Bins are as many as `count` says, at least 512, for so many octaves on
    /// either side as there are. None where numbers are too large, too small or all equal.
    pub fn over_selection(selection: &[f32], magnitude: f32, count: impl Fn(usize) -> usize) -> Option<Self> {
        debug_assert!(selection.is_sorted(), "an ascending selection");
        let at = |share: f64| selection[((selection.len() - 1) as f64 * share) as usize];
        let spread = |share: f64| at(1.0 - share) - at(share);
        let unit = [spread(0.1), spread(0.01), spread(0.0)].into_iter().find(|&unit| unit > 0.0)?;
        // Beyond these a product could overflow, or an inverse be subnormal.
        let usable = magnitude < 1e30 && (1e-30..1e30).contains(&unit) && f64::from(magnitude) / f64::from(unit) < 1e9;
        usable.then(|| Self::widening(at(0.5), unit, magnitude, count(octaves(at(0.5), unit, magnitude))))
    }

    /// The bin of `x`.
    #[inline(always)]
    pub fn index(&self, x: f32) -> usize {
        if self.mantissa_bits > 0 {
            return self.key_index(x);
        }
        // A float-to-integer cast saturates: below zero is bin 0.
        (((x - self.low) * self.inverse_width) as usize).min(self.count - 1)
    }

    #[inline(always)]
    fn key_index(&self, x: f32) -> usize {
        let y = (x - self.low) * self.inverse_width;
        let key = ((1.0 + y.abs()).to_bits() - 1f32.to_bits()) >> (23 - self.mantissa_bits);
        let (half, key) = (self.count as u32 / 2, key.min(self.count as u32 / 2 - 1));
        (if y < 0.0 { half - 1 - key } else { half + key }) as usize
    }

    /// An upper bound of the width of widening bin `index`, rounding of the bin of a sample included.
    pub fn width_max(&self, index: usize) -> f64 {
        assert!(self.mantissa_bits > 0, "equal bins have one width");
        let half = self.count / 2;
        let octave = (if index < half { half - 1 - index } else { index - half }) >> self.mantissa_bits;
        let z = 2f64.powi(octave as i32);
        // Three roundings, each at most 2⁻²⁴ of z or of what is less than z, at both ends.
        let relative = 2f64.powi(-(self.mantissa_bits as i32)) + 2f64.powi(-19);
        z * relative / f64::from(self.inverse_width) + f64::from(self.low.abs()) * 2f64.powi(-22)
    }

    /// `x` in fixed point, saturated to 32 bits so that samples far outside the range cannot overflow a sum.
    #[inline(always)]
    pub fn fixed(&self, x: f32) -> i64 {
        fixed_point(x, self.fraction_bits)
    }

    /// A fixed-point sum as a number.
    pub fn to_f64(&self, fixed: i64) -> f64 {
        fixed as f64 * 2f64.powi(-self.fraction_bits)
    }
}

/// ⌊x · 2^fraction_bits⌉ (ties to even), saturated to 32 bits.
#[inline(always)]
pub fn fixed_point(x: f32, fraction_bits: i32) -> i64 {
    i64::from((x * crate::reference::power_of_two(fraction_bits)).round_ties_even() as i32)
}

/// Octaves of bins on either side of `middle`: the first reaches a `unit` from it, each of the others as far as all before.
fn octaves(middle: f32, unit: f32, magnitude: f32) -> usize {
    let farthest = (f64::from(magnitude) + f64::from(middle.abs())) / f64::from(unit);
    (1.0 + 1.001 * farthest).log2().floor() as usize + 1
}

/// Bits after the point with which the largest magnitude has 30 bits; at most 126.
pub fn fraction_bits(magnitude: f32) -> i32 {
    let exponent = (magnitude.max(f32::MIN_POSITIVE).to_bits() >> 23) as i32 - 127;
    (29 - exponent).min(126)
}

/// Samples of some bins, and sums over the rest.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Gathered {
    /// The samples of segments of odd number, in no particular order.
    pub samples: Vec<f32>,
    /// Sums over each segment; zero for those of odd number.
    pub sums: Vec<SegmentSums>,
}

/// Sums over the samples of a segment.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct SegmentSums {
    /// Samples.
    pub count: u64,
    /// Σ (x − centre).
    pub moment: f64,
    /// Σ (x − centre)².
    pub square: f64,
}

impl Gathered {
    /// Nothing yet of segments `0..=last`.
    pub fn empty(last: u16) -> Self {
        Self { samples: Vec::new(), sums: vec![SegmentSums::default(); usize::from(last) + 1] }
    }

    /// Takes a sample of `segment`.
    #[inline(always)]
    pub fn add(&mut self, segment: u16, x: f32, centre: f64) {
        if segment % 2 == 1 {
            self.samples.push(x);
        } else {
            let (sums, x) = (&mut self.sums[usize::from(segment)], f64::from(x) - centre);
            sums.count += 1;
            sums.moment += x;
            sums.square += x * x;
        }
    }

    /// Adds another part of the same samples.
    pub fn merge(&mut self, other: &Gathered) {
        self.samples.extend_from_slice(&other.samples);
        for (sum, part) in self.sums.iter_mut().zip(&other.sums) {
            sum.count += part.count;
            sum.moment += part.moment;
            sum.square += part.square;
        }
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
        Self::of(bins.count)
    }

    /// All zero, for `count` bins or cells.
    pub fn of(count: usize) -> Self {
        Self { counts: vec![0; count], sums: vec![0; count] }
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
