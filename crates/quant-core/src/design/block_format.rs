//! Block floating-point formats: small floats that share a scale.

use super::float_format::FloatFormat;

/// How the scale of a block is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BlockScale {
    /// A power of two in 8 bits, 2⁻¹²⁷ to 2¹²⁷ (OCP MX).
    E8M0,
    /// An FP8 E4M3 number, relative to one f32 scale for the tensor (NVFP4).
    E4M3,
}

/// Elements of a float format in blocks with a common scale.
///
/// Source: OCP Microscaling Formats 1.0 (2023), sections 5.2 and 6.3; NVIDIA, "Introducing NVFP4" (2025).
///
/// ```
/// use quant_core::design::block_format::BlockFormat;
/// assert_eq!((BlockFormat::MXFP4.rate(), BlockFormat::NVFP4.rate()), (4.25, 4.5)); // bits per sample
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BlockFormat {
    /// Format of a sample over its scale.
    pub element: FloatFormat,
    /// Format of the scale.
    pub scale: BlockScale,
    /// Samples in a block.
    pub block_len: usize,
}

/// Samples in a block format.
#[derive(Clone, Debug, PartialEq)]
pub struct BlockEncoded {
    /// One code per sample, in the element format's bits.
    pub codes: Vec<u8>,
    /// The scale of each block, as the number it stands for; multiplied by `tensor_scale`.
    pub scales: Vec<f32>,
    /// 1 for E8M0 scales.
    pub tensor_scale: f32,
}

impl BlockFormat {
    /// E2M1 in blocks of 32.
    pub const MXFP4: Self = Self::mx(FloatFormat::E2M1);
    /// E2M3 in blocks of 32.
    pub const MXFP6_E2M3: Self = Self::mx(FloatFormat::E2M3);
    /// E3M2 in blocks of 32.
    pub const MXFP6_E3M2: Self = Self::mx(FloatFormat::E3M2);
    /// E4M3 in blocks of 32.
    pub const MXFP8_E4M3: Self = Self::mx(FloatFormat::E4M3);
    /// E5M2 in blocks of 32.
    pub const MXFP8_E5M2: Self = Self::mx(FloatFormat::E5M2);
    /// E2M1 in blocks of 16 with E4M3 scales.
    pub const NVFP4: Self = Self { element: FloatFormat::E2M1, scale: BlockScale::E4M3, block_len: 16 };

    const fn mx(element: FloatFormat) -> Self {
        Self { element, scale: BlockScale::E8M0, block_len: 32 }
    }

    /// Bits per sample, block scales included; a tensor scale adds 32 bits in all.
    pub fn rate(self) -> f64 {
        f64::from(self.element.bit_width()) + 8.0 / self.block_len as f64
    }

    /// Encodes finite samples.
    ///
    /// E8M0: scale 2^(⌊log₂ max|x|⌋ − e_max), e_max the exponent of the format's largest number, so the largest samples
    /// may saturate. E4M3: tensor scale max|x|/(6·448), block scale max|x| of the block over 6 tensor scales, rounded.
    /// Elements are rounded to nearest, ties to even.
    pub fn encode(self, samples: &[f32]) -> BlockEncoded {
        let tensor_scale = match self.scale {
            BlockScale::E8M0 => 1.0,
            BlockScale::E4M3 => absmax(samples) / (self.element.max() * FloatFormat::E4M3.max()),
        };
        let mut encoded = BlockEncoded { codes: Vec::with_capacity(samples.len()), scales: Vec::new(), tensor_scale };
        for block in samples.chunks(self.block_len) {
            let scale = self.block_scale(absmax(block), tensor_scale);
            let divisor = f64::from(scale) * f64::from(tensor_scale);
            let ratio = |&x: &f32| if divisor > 0.0 { f64::from(x) / divisor } else { 0.0 };
            encoded.codes.extend(block.iter().map(|x| self.element.encode(ratio(x)) as u8));
            encoded.scales.push(scale);
        }
        encoded
    }

    fn block_scale(self, absmax: f32, tensor_scale: f32) -> f32 {
        match self.scale {
            _ if absmax == 0.0 => 0.0,
            BlockScale::E8M0 => {
                let exponent = f64::from(absmax).log2().floor() - f64::from(self.element.max()).log2().floor();
                exponent.clamp(-127.0, 127.0).exp2() as f32
            }
            BlockScale::E4M3 => {
                let ratio = f64::from(absmax) / (f64::from(self.element.max()) * f64::from(tensor_scale));
                FloatFormat::E4M3.round(ratio) as f32
            }
        }
    }

    /// Decodes: element · block scale · tensor scale, the last two multiplied first, in f32.
    pub fn decode(self, encoded: &BlockEncoded) -> Vec<f32> {
        let sample = |(index, &code): (usize, &u8)| {
            let element = self.element.decode(u32::from(code)).expect("the encoder gives finite numbers") as f32;
            element * (encoded.scales[index / self.block_len] * encoded.tensor_scale)
        };
        encoded.codes.iter().enumerate().map(sample).collect()
    }
}

fn absmax(samples: &[f32]) -> f32 {
    samples.iter().fold(0.0, |max, x| max.max(x.abs()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_grid_itself_survives() {
        for format in [BlockFormat::MXFP4, BlockFormat::MXFP6_E2M3, BlockFormat::MXFP6_E3M2, BlockFormat::NVFP4] {
            let samples: Vec<f32> = format.element.levels().iter().rev().cycle().take(96).copied().collect();
            for (decoded, x) in format.decode(&format.encode(&samples)).iter().zip(&samples) {
                // A block whose largest sample is not the format's largest number has a finer scale.
                assert!((decoded - x).abs() <= 0.17 * x.abs(), "{format:?}: {decoded} for {x}");
            }
        }
        let samples = [6.0, -0.5, 3.0, 0.0, 1.5, 4.0, -2.0, 1.0];
        assert_eq!(BlockFormat::MXFP4.decode(&BlockFormat::MXFP4.encode(&samples)), samples);
        assert_eq!(BlockFormat::MXFP4.decode(&BlockFormat::MXFP4.encode(&[0.0; 40])), [0.0; 40]);
    }

    #[test]
    fn errors_stay_within_half_a_step() {
        let samples: Vec<f32> = (0..64).map(|i| ((i * 37 % 64) as f32 - 31.5) * 0.013).collect();
        for format in [BlockFormat::MXFP8_E4M3, BlockFormat::MXFP8_E5M2, BlockFormat::MXFP4, BlockFormat::NVFP4] {
            let encoded = format.encode(&samples);
            let decoded = format.decode(&encoded);
            let error: f32 = decoded.iter().zip(&samples).map(|(a, b)| (a - b).powi(2)).sum();
            let energy: f32 = samples.iter().map(|x| x * x).sum();
            assert!(error < energy * if format.element.bit_width() == 8 { 0.006 } else { 0.02 }, "{format:?}");
        }
    }
}
