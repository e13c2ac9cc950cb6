//! In which numbers are scales stored?

use crate::double_quant::{self, DoubleQuantized};

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
