//! Scales quantized in their turn, the way bitsandbytes lays them out: an offset, 8-bit codes of the "dynamic" codebook,
//! and one f32 nested scale per 256 scales. `scale_i = fl(fl(dynamic[code_i] · nested[i / 256]) + offset)`.

use crate::codebook::Codebooks;
use crate::measure::Distortion;

/// Scales that share one nested scale.
pub const NESTED_LENGTH: usize = 256;

/// Stored bits of `scale_count` scales quantized twice: codes, nested scales and the offset.
pub fn stored_bits(scale_count: usize) -> u64 {
    8 * scale_count as u64 + 32 * scale_count.div_ceil(NESTED_LENGTH) as u64 + 32
}

/// Scales quantized to 8 bits.
#[derive(Clone, Debug, PartialEq)]
pub struct DoubleQuantized {
    /// Code of each scale.
    pub codes: Vec<u8>,
    /// One nested scale per [`NESTED_LENGTH`] scales.
    pub nested_scales: Vec<f32>,
    /// Mean of the scales.
    pub offset: f32,
}

/// The 256 levels of the dynamic codebook, ascending from −0.99297 to 1, with 0 (Dettmers 2015, "8-bit approximations
/// for parallelism in deep learning", as built by `create_dynamic_map(signed=True, 7, 8)` of bitsandbytes).
///
/// For i = 0…6 there are 2^i means of neighbouring points of 2^i + 1 equally spaced ones in [0.1, 1], times 10^(i−6),
/// with both signs; 0 and 1 complete the list.
///
/// ```
/// let levels = quant_core::double_quant::dynamic_levels();
/// assert_eq!(levels.len(), 256);
/// assert_eq!((levels[0], levels[127], levels[255]), (-0.99296874, 0.0, 1.0));
/// ```
pub fn dynamic_levels() -> Vec<f32> {
    let mut levels = vec![0.0f32, 1.0];
    for i in 0..7 {
        let intervals = 1u32 << i;
        let decade = 10f64.powi(i - 6) as f32;
        for j in 0..intervals {
            let level = decade * ((spaced_point(j, intervals) + spaced_point(j + 1, intervals)) / 2.0);
            levels.extend([level, -level]);
        }
    }
    levels.sort_by(f32::total_cmp);
    levels
}

/// Point `index` of the `intervals` + 1 equally spaced ones in [0.1, 1], rounded as the library's tensor routine does:
/// an f32 step, counted from the nearer end, one rounding per point.
fn spaced_point(index: u32, intervals: u32) -> f32 {
    let step = f64::from((1.0 - 0.1f32) / intervals as f32);
    if index < intervals.div_ceil(2) {
        (f64::from(0.1f32) + step * f64::from(index)) as f32
    } else {
        (1.0 - step * f64::from(intervals - index)) as f32
    }
}

impl DoubleQuantized {
    /// Quantizes finite `scales`: offset = mean, nested scale = largest magnitude of the 256 differences, nearest level.
    pub fn new(scales: &[f32]) -> Self {
        let dynamic = Codebooks::from_levels(256, [dynamic_levels()]);
        let thresholds = dynamic.thresholds(0);
        let mean = scales.iter().map(|&s| f64::from(s)).sum::<f64>() / scales.len().max(1) as f64;
        let offset = mean as f32;
        let mut quantized = Self { codes: Vec::with_capacity(scales.len()), nested_scales: Vec::new(), offset };
        for nested_group in scales.chunks(NESTED_LENGTH) {
            let nested = nested_group.iter().fold(0.0f32, |max, &s| max.max((s - offset).abs()));
            quantized.nested_scales.push(nested);
            let inverse = if nested > 0.0 { 1.0 / f64::from(nested) } else { 0.0 };
            let normalised = nested_group.iter().map(|&s| (f64::from(s - offset) * inverse) as f32);
            quantized.codes.extend(normalised.map(|v| thresholds.partition_point(|&t| t < v) as u8));
        }
        quantized
    }

    /// The scales that a decoder sees.
    pub fn decode(&self) -> Vec<f32> {
        let levels = dynamic_levels();
        let scale =
            |(i, &code): (usize, &u8)| levels[usize::from(code)] * self.nested_scales[i / NESTED_LENGTH] + self.offset;
        self.codes.iter().enumerate().map(scale).collect()
    }

    /// How well the scales survived.
    pub fn distortion(&self, scales: &[f32]) -> Distortion {
        let mut sums = Distortion::empty(256);
        for (i, (&scale, decoded)) in scales.iter().zip(self.decode()).enumerate() {
            let error = f64::from(scale) - f64::from(decoded);
            sums.sample_count += 1;
            sums.squared_error += error * error;
            sums.energy += f64::from(scale) * f64::from(scale);
            sums.error_max = sums.error_max.max(error.abs());
            sums.code_counts[usize::from(self.codes[i])] += 1;
        }
        sums
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_survive_within_a_percent() {
        let scales: Vec<f32> = (0..1000).map(|i| 0.02 + 0.01 * (i as f32 * 0.7).sin()).collect();
        let quantized = DoubleQuantized::new(&scales);
        assert_eq!(quantized.nested_scales.len(), 4);
        assert!(quantized.distortion(&scales).sqnr_db() > 40.0);
    }

    #[test]
    fn equal_scales_are_exact_and_empty_is_empty() {
        assert_eq!(DoubleQuantized::new(&[0.5; 300]).decode(), [0.5; 300]);
        assert!(DoubleQuantized::new(&[]).decode().is_empty());
    }
}
