//! Codebooks of small floating-point formats.

use super::scaled::{self, Scale};
use super::{Constraints, Design, DesignError};
use crate::source::Source;

/// bitsandbytes' FP4 in its *code order* (sign · 8 + index): not sorted, and not quite E2M1 (0.0625/12 where E2M1 has
/// 1/12). Needed to write its files.
pub const BITSANDBYTES_FP4_CODE_ORDER: [f32; 16] = [
    0.0,
    0.005_208_333_3,
    0.666_666_7,
    1.0,
    0.333_333_34,
    0.5,
    0.166_666_67,
    0.25,
    -0.0,
    -0.005_208_333_3,
    -0.666_666_7,
    -1.0,
    -0.333_333_34,
    -0.5,
    -0.166_666_67,
    -0.25,
];

/// For each level of [`bitsandbytes_fp4_levels`] its position in [`BITSANDBYTES_FP4_CODE_ORDER`]; 0 is written as +0.
pub const BITSANDBYTES_FP4_CODES: [u8; 15] = [11, 10, 13, 12, 15, 14, 9, 0, 1, 6, 7, 4, 5, 2, 3];

/// The 15 distinct levels of bitsandbytes' FP4, ascending from −1 to 1 (its two zeros are one level).
///
/// ```
/// use quant_core::design::float_format::*;
/// let levels = bitsandbytes_fp4_levels();
/// assert_eq!((levels.len(), levels[8]), (15, 0.0052083333));
/// assert_eq!(BITSANDBYTES_FP4_CODE_ORDER[BITSANDBYTES_FP4_CODES[8] as usize], levels[8]);
/// ```
pub fn bitsandbytes_fp4_levels() -> Vec<f32> {
    BITSANDBYTES_FP4_CODES.iter().map(|&code| BITSANDBYTES_FP4_CODE_ORDER[usize::from(code)]).collect()
}

/// What the codes with the highest exponent mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Flavour {
    /// Numbers like all others: FP4 and FP6 of OCP MX.
    Finite,
    /// Numbers, but for the all-ones mantissa, which is NaN: OCP FP8 E4M3.
    FiniteNan,
    /// Infinity and NaN, as in IEEE 754: FP8 E5M2.
    Ieee,
}

/// A sign bit, `exponent_bits` and `mantissa_bits`: ±2^{max(e,1) − bias}·(h + m/2^mantissa_bits),
/// bias = 2^{exponent_bits − 1} − 1, hidden bit h = 1 for e > 0 and 0 for e = 0.
///
/// Source: OCP 8-bit Floating Point Specification 1.0 (2023); OCP Microscaling Formats 1.0 (2023), section 5.3.
///
/// ```
/// use quant_core::design::float_format::FloatFormat;
/// assert_eq!(FloatFormat::E2M1.levels()[8..], [0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0]);
/// assert_eq!((FloatFormat::E4M3.max(), FloatFormat::E5M2.max()), (448.0, 57344.0));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FloatFormat {
    /// 1 to 5.
    pub exponent_bits: u32,
    /// 0 to 3.
    pub mantissa_bits: u32,
    /// What the highest exponent means.
    pub flavour: Flavour,
}

impl FloatFormat {
    /// {−2, 0, 2}.
    pub const E1M0: Self = Self::new(1, 0, Flavour::Finite);
    /// 0, ±1, ±2, ±4.
    pub const E2M0: Self = Self::new(2, 0, Flavour::Finite);
    /// FP4 of OCP MX, largest 6.
    pub const E2M1: Self = Self::new(2, 1, Flavour::Finite);
    /// Largest 7; in no standard.
    pub const E2M2: Self = Self::new(2, 2, Flavour::Finite);
    /// FP6 of OCP MX, largest 7.5.
    pub const E2M3: Self = Self::new(2, 3, Flavour::Finite);
    /// FP6 of OCP MX, largest 28.
    pub const E3M2: Self = Self::new(3, 2, Flavour::Finite);
    /// Largest 30; in no standard.
    pub const E3M3: Self = Self::new(3, 3, Flavour::Finite);
    /// FP8 of OCP, largest 448.
    pub const E4M3: Self = Self::new(4, 3, Flavour::FiniteNan);
    /// FP8 of OCP, largest finite 57344.
    pub const E5M2: Self = Self::new(5, 2, Flavour::Ieee);

    /// The format of the given widths; see the fields for their range.
    pub const fn new(exponent_bits: u32, mantissa_bits: u32, flavour: Flavour) -> Self {
        assert!(exponent_bits >= 1 && exponent_bits <= 5 && mantissa_bits <= 3, "E1M0 to E5M3");
        Self { exponent_bits, mantissa_bits, flavour }
    }

    /// Bits of a code: sign, exponent, mantissa.
    pub const fn bit_width(self) -> u32 {
        1 + self.exponent_bits + self.mantissa_bits
    }

    /// The number that `code` stands for; `None` for infinity and NaN. Bits above the format's are ignored.
    pub fn decode(self, code: u32) -> Option<f64> {
        let mantissa = code & ((1 << self.mantissa_bits) - 1);
        let exponent_mask = (1 << self.exponent_bits) - 1;
        let exponent = code >> self.mantissa_bits & exponent_mask;
        let top = exponent == exponent_mask;
        match self.flavour {
            Flavour::Ieee if top => return None,
            Flavour::FiniteNan if top && mantissa == (1 << self.mantissa_bits) - 1 => return None,
            _ => {}
        }
        let bias = (1 << (self.exponent_bits - 1)) - 1;
        let scale = f64::from(exponent.max(1) as i32 - bias).exp2();
        let fraction = f64::from(mantissa) / f64::from(1u32 << self.mantissa_bits);
        let magnitude = scale * (f64::from(u32::from(exponent > 0)) + fraction);
        Some(if code >> (self.bit_width() - 1) & 1 == 1 { -magnitude } else { magnitude })
    }

    /// The code of the number nearest to `x`, between two equally near ones that with an even code; beyond the largest
    /// finite number, that number (the saturating conversion of OCP FP8, section 5.2). A NaN counts as 0.
    pub fn encode(self, x: f64) -> u32 {
        let sign = u32::from(x.is_sign_negative()) << (self.bit_width() - 1);
        let magnitude = if x.is_nan() { 0.0 } else { x.abs().min(f64::from(self.max())) };
        let bias = (1 << (self.exponent_bits - 1)) - 1;
        // The exponent of the binade that x is in; below the smallest normal number the steps stay as wide.
        let exponent = if magnitude > 0.0 { (magnitude.log2().floor() as i32).max(1 - bias) } else { 1 - bias };
        let step = f64::from(exponent - self.mantissa_bits as i32).exp2();
        // Codes count steps: they run on through the hidden bit into the next exponent.
        let below = (magnitude / step).floor();
        let code = below as u32 + (((exponent + bias - 1) as u32) << self.mantissa_bits);
        let rest = magnitude / step - below;
        let code = code + u32::from(rest > 0.5 || (rest == 0.5 && code % 2 == 1));
        sign | code
    }

    /// The number nearest to `x`; see [`Self::encode`].
    ///
    /// ```
    /// use quant_core::design::float_format::FloatFormat;
    /// assert_eq!(FloatFormat::E2M1.round(2.5), 2.0); // a tie, to even
    /// assert_eq!(FloatFormat::E4M3.round(1e9), 448.0);
    /// ```
    pub fn round(self, x: f64) -> f64 {
        self.decode(self.encode(x)).expect("the encoder gives finite numbers")
    }

    /// The distinct finite numbers of the format, ascending; the two zeros are one.
    pub fn levels(self) -> Vec<f32> {
        let positive: Vec<f32> =
            (1..1 << (self.bit_width() - 1)).filter_map(|code| self.decode(code)).map(|y| y as f32).collect();
        positive.iter().rev().map(|y| -y).chain([0.0]).chain(positive.iter().copied()).collect()
    }

    /// The largest finite number.
    pub fn max(self) -> f32 {
        *self.levels().last().expect("a format has numbers")
    }
}

/// A floating-point codebook of `bits` bits, scaled to a largest level of 1.
///
/// 2: E1M0, that is {−1, 0, 1} · 3: E2M0 · 4: bitsandbytes' FP4 · 5: E2M2 · 6: E2M3 · 7: E3M3 · 8: E4M3. There are at
/// most 2^bits − 1 levels, for the two zeros are one.
///
/// ```
/// use quant_core::design::float_format::fp_levels;
/// assert_eq!(fp_levels(2), [-1.0, 0.0, 1.0]);
/// assert_eq!(fp_levels(3), [-1.0, -0.5, -0.25, 0.0, 0.25, 0.5, 1.0]);
/// ```
///
/// # Panics
///
/// Outside 2 to 8 bits.
pub fn fp_levels(bits: u32) -> Vec<f32> {
    let format = match bits {
        2 => FloatFormat::E1M0,
        3 => FloatFormat::E2M0,
        4 => return bitsandbytes_fp4_levels(),
        5 => FloatFormat::E2M2,
        6 => FloatFormat::E2M3,
        7 => FloatFormat::E3M3,
        8 => FloatFormat::E4M3,
        _ => panic!("2 to 8 bits, not {bits}"),
    };
    let max = f64::from(format.max());
    format.levels().into_iter().map(|y| (f64::from(y) / max) as f32).collect()
}

/// The numbers of a format, at a scale, on a source.
///
/// ```
/// use quant_core::design::{Constraints, float_format::{FloatFormat, design}, scaled::Scale};
/// let source = quant_core::source::Uniform::new(-6.0, 6.0).unwrap();
/// let found = design(FloatFormat::E2M1, &source, Scale::Absmax, &Constraints::default()).unwrap();
/// assert_eq!(found.codebook.levels()[14], 6.0);
/// ```
pub fn design(
    format: FloatFormat,
    source: &dyn Source,
    scale: Scale,
    constraints: &Constraints,
) -> Result<Design, DesignError> {
    let levels: Vec<f64> = format.levels().into_iter().map(f64::from).collect();
    scaled::design(&levels, source, scale, constraints)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_half_rounds_to_a_nearest_number_and_ties_to_even() {
        let formats = [
            FloatFormat::E1M0,
            FloatFormat::E2M0,
            FloatFormat::E2M1,
            FloatFormat::E2M2,
            FloatFormat::E2M3,
            FloatFormat::E3M2,
            FloatFormat::E3M3,
            FloatFormat::E4M3,
            FloatFormat::E5M2,
        ];
        for format in formats {
            let finite: Vec<(f64, u32)> =
                (0..1 << format.bit_width()).filter_map(|code| Some((format.decode(code)?, code))).collect();
            for bits in 0..=u16::MAX {
                let x = half::f16::from_bits(bits).to_f64();
                if !x.is_finite() {
                    continue;
                }
                let code = format.encode(x);
                let distance = (format.decode(code).unwrap() - x).abs();
                let nearest = finite.iter().map(|(y, _)| (y - x).abs()).fold(f64::INFINITY, f64::min);
                assert_eq!(distance, nearest, "{format:?} {x}");
                let rivals = finite.iter().filter(|(y, _)| (y - x).abs() == nearest && *y != format.round(x)).count();
                assert!(rivals == 0 || code & 1 == 0, "{format:?} {x}");
                assert_eq!(code >> (format.bit_width() - 1) == 1, x.is_sign_negative());
            }
        }
    }

    #[test]
    fn standard_formats_have_their_published_numbers() {
        let facts = [
            (FloatFormat::E2M1, 15, 0.5, 6.0),
            (FloatFormat::E2M3, 63, 0.125, 7.5),
            (FloatFormat::E3M2, 63, 0.0625, 28.0),
            (FloatFormat::E4M3, 253, 2f32.powi(-9), 448.0),
            (FloatFormat::E5M2, 247, 2f32.powi(-16), 57344.0),
        ];
        for (format, count, smallest, largest) in facts {
            let levels = format.levels();
            assert!(levels.windows(2).all(|w| w[0] < w[1]), "{format:?}");
            assert_eq!((levels.len(), levels[count / 2], levels[count / 2 + 1]), (count, 0.0, smallest), "{format:?}");
            assert_eq!((format.max(), levels[0]), (largest, -largest));
        }
    }

    #[test]
    fn e5m2_is_the_upper_half_of_binary16() {
        for code in 0..256u32 {
            let half = half::f16::from_bits((code << 8) as u16).to_f64();
            assert_eq!(FloatFormat::E5M2.decode(code), half.is_finite().then_some(half));
        }
    }

    #[test]
    fn bitsandbytes_levels_ascend_and_know_their_codes() {
        let levels = bitsandbytes_fp4_levels();
        assert!(levels.windows(2).all(|w| w[0] < w[1]));
        for (&level, &code) in levels.iter().zip(&BITSANDBYTES_FP4_CODES) {
            assert_eq!(BITSANDBYTES_FP4_CODE_ORDER[usize::from(code)], level);
        }
    }

    #[test]
    fn every_width_has_ascending_levels_within_one() {
        for bits in 2..=8 {
            let levels = fp_levels(bits);
            assert!(levels.len() < 1 << bits && levels.windows(2).all(|w| w[0] < w[1]), "{bits}");
            assert_eq!((levels[0], levels[levels.len() - 1]), (-1.0, 1.0));
        }
    }
}
