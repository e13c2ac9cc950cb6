//! In which numbers are scales stored?

use crate::double_quant::{self, DoubleQuantized};
use crate::tensor::flush;

/// The number format of stored scales. What a decoder will see is found first, and codes are nearest for that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ScaleStorage {
    /// An f32 each.
    F32,
    /// An f16 each.
    F16,
    /// An FP8 number each (OCP E4M3, with sign), times one f32 for the matrix.
    E4m3,
    /// Quantized in their turn, see [`crate::double_quant`].
    Double,
}

impl ScaleStorage {
    /// Stored bits of the `scale_count` scales of a matrix.
    ///
    /// ```
    /// use quant_core::scale_storage::ScaleStorage;
    /// assert_eq!([ScaleStorage::F16, ScaleStorage::E4m3].map(|s| s.stored_bits(100)), [1600, 832]);
    /// ```
    pub fn stored_bits(self, scale_count: usize) -> u64 {
        let count = scale_count as u64;
        match self {
            _ if scale_count == 0 => 0,
            Self::F32 => 32 * count,
            Self::F16 => 16 * count,
            Self::E4m3 => 8 * count + 32,
            Self::Double => double_quant::stored_bits(scale_count),
        }
    }

    /// Those of finite `scales` that no number of this format is near: that would be zero and are not, or are beyond the
    /// largest. Scales that are quantized in their turn are near ones of their own.
    ///
    /// ```
    /// use quant_core::scale_storage::ScaleStorage::{E4m3, F16};
    /// let lost = F16.lost(&[0.0, 1.0, -7e4, 1e-9]);
    /// assert_eq!(lost.map(|lost| (lost.index, lost.is_too_small())).collect::<Vec<_>>(), [(2, false), (3, true)]);
    /// assert_eq!(E4m3.lost(&[-7e4, 1e-9]).next().unwrap().index, 1); // 229,376 is the largest over the least
    /// ```
    pub fn lost(self, scales: &[f32]) -> impl Iterator<Item = LostScale> {
        let (least, most) = match self {
            Self::F16 => (half::f16::MIN_POSITIVE_SUBNORMAL.to_f32(), half::f16::MAX.to_f32()),
            Self::E4m3 => {
                let most = crate::scale::level_max(scales);
                ((most / E4M3_MAX * E4M3_LEAST).max(f32::MIN_POSITIVE), most)
            }
            // These lose none.
            Self::F32 | Self::Double => (0.0, f32::MAX),
        };
        let stored = if self == Self::Double { None } else { self.store(scales) };
        let decoded = stored.map_or(Vec::new(), |stored| stored.decode());
        let is_beyond = move |s: f32| self == Self::F16 && half::f16::from_f32(s).is_infinite();
        let is_lost = move |s: f32, d: f32| s != 0.0 && flush(d) == 0.0 || is_beyond(s);
        let lost = move |(index, (&scale, d)): (usize, (&f32, f32))| {
            is_lost(scale, d).then_some(LostScale { index, scale, storage: self, least, most })
        };
        scales.iter().zip(decoded).enumerate().filter_map(lost)
    }

    /// Finite `scales` in this format; `None` where they stay as they are.
    pub fn store(self, scales: &[f32]) -> Option<StoredScales> {
        Some(match self {
            Self::F32 => return None,
            Self::F16 => StoredScales::F16(scales.iter().copied().map(half).collect()),
            Self::E4m3 => {
                let most = crate::scale::level_max(scales);
                let unit = most / E4M3_MAX;
                let inverse = if unit > 0.0 { 1.0 / f64::from(unit) } else { 0.0 };
                let numbers = scales.iter().map(|&s| e4m3_bits((f64::from(s) * inverse) as f32)).collect();
                StoredScales::E4m3 { numbers, unit }
            }
            Self::Double => StoredScales::Double(DoubleQuantized::new(scales)),
        })
    }
}

/// A scale that its number format has no number near.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LostScale {
    /// Which one.
    pub index: usize,
    /// The scale.
    pub scale: f32,
    /// The format.
    pub storage: ScaleStorage,
    /// The least magnitude but zero that the format has.
    pub least: f32,
    /// The largest magnitude.
    pub most: f32,
}

impl LostScale {
    /// Whether it would be zero, as all samples of its group would be.
    pub fn is_too_small(&self) -> bool {
        self.scale.abs() <= self.most
    }
}

impl std::fmt::Display for LostScale {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { scale, least, most, .. } = self;
        match self.storage {
            ScaleStorage::E4m3 => write!(
                f,
                "the scale {scale:e}; e4m3 has 0 and magnitudes from {least:.1e} to the largest scale of the matrix, {most:.1e}"
            ),
            _ => write!(f, "the scale {scale:e}; f16 has 0 and magnitudes from {least:.0e} to {most}"),
        }
    }
}

/// Scales as they are stored, where that is not as f32.
#[derive(Clone, Debug, PartialEq)]
pub enum StoredScales {
    /// Rounded to nearest; the largest finite f16 stands for all beyond it.
    F16(Vec<half::f16>),
    /// number · unit.
    E4m3 {
        /// One for each scale, as [`e4m3_bits`] has it.
        numbers: Vec<u8>,
        /// The largest magnitude over 448.
        unit: f32,
    },
    /// See [`DoubleQuantized`].
    Double(DoubleQuantized),
}

impl StoredScales {
    /// The scales that a decoder sees, before subnormal ones are flushed.
    ///
    /// ```
    /// use quant_core::scale_storage::ScaleStorage;
    /// let stored = ScaleStorage::E4m3.store(&[448.0, -1.0, 30.5]);
    /// assert_eq!(stored.unwrap().decode(), [448.0, -1.0, 30.0]); // numbers near 30 are 28, 30 and 32
    /// ```
    pub fn decode(&self) -> Vec<f32> {
        match self {
            Self::F16(scales) => scales.iter().map(|s| s.to_f32()).collect(),
            Self::E4m3 { numbers, unit } => numbers.iter().map(|&number| e4m3_value(number) * unit).collect(),
            Self::Double(twice) => twice.decode(),
        }
    }
}

fn half(scale: f32) -> half::f16 {
    let most = half::f16::MAX.to_f32();
    half::f16::from_f32(scale.clamp(-most, most))
}

/// The largest E4M3 number.
const E4M3_MAX: f32 = 448.0;

/// The least E4M3 number above zero.
const E4M3_LEAST: f32 = 1.0 / 512.0;

/// The bits of the E4M3 number nearest to a finite `x`, of two the even one; ±448 for all beyond it. Source: Micikevicius et
/// al., FP8 formats for deep learning, arXiv 2209.05433 (2022).
pub fn e4m3_bits(x: f32) -> u8 {
    let magnitude = x.abs().min(E4M3_MAX);
    let sign = u8::from(x < 0.0) << 7;
    if magnitude < 0.015_625 {
        return sign | (magnitude * 512.0).round_ties_even() as u8;
    }
    let exponent = (magnitude.to_bits() >> 23) as i32 - 127;
    // 8 to 16 eighths; 16 carries into the exponent.
    let eighths = (magnitude * 2.0f32.powi(3 - exponent)).round_ties_even() as i32;
    sign | ((exponent + 7) * 8 + eighths - 8) as u8
}

/// The value of E4M3 bits; NaN for the two patterns that are none.
pub fn e4m3_value(bits: u8) -> f32 {
    let (exponent, mantissa) = (i32::from(bits >> 3 & 15), f32::from(bits & 7));
    let magnitude = match (exponent, bits & 7) {
        (15, 7) => f32::NAN,
        (0, _) => mantissa / 512.0,
        _ => (8.0 + mantissa) * 2.0f32.powi(exponent - 10),
    };
    if bits >= 128 { -magnitude } else { magnitude }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::design::float_format::FloatFormat;

    #[test]
    fn e4m3_numbers_are_those_of_the_format() {
        for bits in (0..=255u8).filter(|b| b & 127 != 127 && *b != 128) {
            assert_eq!(e4m3_bits(e4m3_value(bits)), bits, "{}", e4m3_value(bits));
        }
        assert!(e4m3_value(127).is_nan() && e4m3_value(255).is_nan());
        assert_eq!([1, 8, 0x7e, 0xb8].map(e4m3_value), [1.0 / 512.0, 1.0 / 64.0, 448.0, -1.0]);
        for i in 0..200_000 {
            let x = (i as f32 - 1e5) * 0.000_731 * if i % 3 == 0 { 0.01 } else { 7.0 };
            assert_eq!(f64::from(e4m3_value(e4m3_bits(x))), FloatFormat::E4M3.round(f64::from(x)), "{x}");
        }
    }

    #[test]
    fn lost_scales_are_those_that_decode_to_zero_or_less_than_themselves() {
        let first_lost = |storage: ScaleStorage, scales: &[f32]| storage.lost(scales).next().map(|lost| lost.index);
        let below = |x: f32| f32::from_bits(x.to_bits() - 1);
        let above = |x: f32| f32::from_bits(x.to_bits() + 1);
        let half = 2f32.powi(-25);
        assert_eq!(first_lost(ScaleStorage::F16, &[0.0, -0.0, above(half), -above(half), below(65520.0)]), None);
        for lost in [half, -half, f32::MIN_POSITIVE, 65520.0, -65520.0, f32::MAX] {
            assert_eq!(first_lost(ScaleStorage::F16, &[1.0, lost, lost]), Some(1), "{lost}");
        }
        let half = 2f32.powi(-10);
        assert_eq!(first_lost(ScaleStorage::E4m3, &[-448.0, 0.0, above(half), -above(half)]), None);
        assert_eq!(first_lost(ScaleStorage::E4m3, &[-448.0, 0.0, half]), Some(2));
        assert_eq!(first_lost(ScaleStorage::E4m3, &[f32::MIN_POSITIVE, f32::MAX]), Some(0));
        for kept in [&[f32::MAX; 2][..], &[0.0; 3], &[]] {
            assert_eq!(first_lost(ScaleStorage::E4m3, kept), None, "{kept:?}");
        }
        for storage in [ScaleStorage::F32, ScaleStorage::Double] {
            assert_eq!(first_lost(storage, &[f32::MAX, f32::MIN_POSITIVE]), None);
        }
        let small = ScaleStorage::E4m3.lost(&[448.0, 1e-9]).next().unwrap();
        let words = "the scale 1e-9; e4m3 has 0 and magnitudes from 2.0e-3 to the largest scale of the matrix, 4.5e2";
        assert!(small.is_too_small() && small.to_string() == words, "{small}");
        let large = ScaleStorage::F16.lost(&[-7e4]).next().unwrap();
        assert!(
            !large.is_too_small() && large.to_string() == "the scale -7e4; f16 has 0 and magnitudes from 6e-8 to 65504"
        );
    }

    #[test]
    fn extremes_stay_finite() {
        let decoded = |storage: ScaleStorage, scales: &[f32]| storage.store(scales).unwrap().decode();
        for storage in [ScaleStorage::F16, ScaleStorage::E4m3] {
            let decoded = decoded(storage, &[f32::MAX, -f32::MAX, 1e30, 1e-38, 0.0]);
            assert!(decoded.iter().all(|s| s.is_finite()), "{storage:?} {decoded:?}");
            assert_eq!(decoded[4], 0.0);
        }
        assert_eq!(decoded(ScaleStorage::E4m3, &[0.0; 3]), [0.0; 3]);
        assert!(decoded(ScaleStorage::E4m3, &[1e-38, 5e-39]).iter().all(|s| s.is_finite()));
        assert_eq!(ScaleStorage::F32.store(&[1.0]), None);
    }
}
