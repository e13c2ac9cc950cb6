//! What is quantized: a borrowed matrix of samples, f32, f16 or bf16.

use half::{bf16, f16};

/// The number format of stored samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Dtype {
    /// IEEE 754 binary32.
    F32,
    /// IEEE 754 binary16.
    F16,
    /// The upper half of binary32.
    Bf16,
}

impl Dtype {
    /// Bytes of one sample.
    pub fn byte_len(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::Bf16 => 2,
        }
    }

    /// The name used in safetensors headers: `F32`, `F16`, `BF16`.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "F32",
            Self::F16 => "F16",
            Self::Bf16 => "BF16",
        }
    }
}

/// A run of samples in one of the three number formats.
#[derive(Clone, Copy, Debug)]
pub enum Samples<'a> {
    /// 32-bit samples.
    F32(&'a [f32]),
    /// 16-bit IEEE samples.
    F16(&'a [f16]),
    /// bfloat16 samples.
    Bf16(&'a [bf16]),
}

/// A sample that is NaN or infinite.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[error("sample {index} is {value}; every sample must be finite")]
pub struct NotFinite {
    /// Position in row-major order.
    pub index: usize,
    /// The offending value.
    pub value: f32,
}

impl<'a> Samples<'a> {
    /// The number of samples.
    pub fn len(&self) -> usize {
        match self {
            Self::F32(s) => s.len(),
            Self::F16(s) => s.len(),
            Self::Bf16(s) => s.len(),
        }
    }

    /// True when there is no sample.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The number format.
    pub fn dtype(&self) -> Dtype {
        match self {
            Self::F32(_) => Dtype::F32,
            Self::F16(_) => Dtype::F16,
            Self::Bf16(_) => Dtype::Bf16,
        }
    }

    /// Sample `index` as f32, after [`flush`].
    pub fn get(&self, index: usize) -> f32 {
        flush(match self {
            Self::F32(s) => s[index],
            Self::F16(s) => s[index].to_f32(),
            Self::Bf16(s) => s[index].to_f32(),
        })
    }

    /// All samples as f32, after [`flush`].
    pub fn to_f32(&self) -> Vec<f32> {
        let mut to = vec![0.0; self.len()];
        self.copy_to(&mut to);
        to
    }

    /// Writes all samples as f32, after [`flush`].
    ///
    /// # Panics
    ///
    /// When `to` has another length.
    pub fn copy_to(&self, to: &mut [f32]) {
        assert_eq!(to.len(), self.len(), "a place for each sample");
        match self {
            Self::F32(s) => to.iter_mut().zip(*s).for_each(|(to, &x)| *to = flush(x)),
            Self::F16(s) => to.iter_mut().zip(*s).for_each(|(to, x)| *to = flush(x.to_f32())),
            Self::Bf16(s) => to.iter_mut().zip(*s).for_each(|(to, x)| *to = flush(x.to_f32())),
        }
    }

    /// Samples `range` as the same kind of run.
    pub fn slice(&self, range: std::ops::Range<usize>) -> Samples<'a> {
        match self {
            Self::F32(s) => Samples::F32(&s[range]),
            Self::F16(s) => Samples::F16(&s[range]),
            Self::Bf16(s) => Samples::Bf16(&s[range]),
        }
    }

    /// Views little-endian bytes as samples; `None` when `bytes` is misaligned or not a whole number of samples.
    pub fn from_bytes(bytes: &'a [u8], dtype: Dtype) -> Option<Samples<'a>> {
        match dtype {
            Dtype::F32 => bytemuck::try_cast_slice(bytes).ok().map(Samples::F32),
            Dtype::F16 => bytemuck::try_cast_slice(bytes).ok().map(Samples::F16),
            Dtype::Bf16 => bytemuck::try_cast_slice(bytes).ok().map(Samples::Bf16),
        }
    }
}

/// Magnitudes below the smallest normal f32 (2⁻¹²⁶) count as zero, on every backend.
///
/// GPUs are free to flush subnormals; making the flush part of the definition keeps them equal to the CPU.
///
/// ```
/// assert_eq!(quant_core::tensor::flush(1e-39), 0.0);
/// assert_eq!(quant_core::tensor::flush(f32::MIN_POSITIVE), f32::MIN_POSITIVE);
/// ```
#[inline(always)]
pub fn flush(x: f32) -> f32 {
    if x.abs() < f32::MIN_POSITIVE { 0.0 } else { x }
}

/// A borrowed row-major matrix: `rows` output channels of `columns` samples each.
#[derive(Clone, Copy, Debug)]
pub struct Matrix<'a> {
    samples: Samples<'a>,
    rows: usize,
    columns: usize,
}

/// Why a [`Matrix`] was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{rows} × {columns} samples expected, {actual} given")]
pub struct ShapeMismatch {
    /// Rows asked for.
    pub rows: usize,
    /// Columns asked for.
    pub columns: usize,
    /// Samples given.
    pub actual: usize,
}

impl<'a> Matrix<'a> {
    /// Views `samples` as `rows × columns`.
    pub fn new(samples: Samples<'a>, rows: usize, columns: usize) -> Result<Self, ShapeMismatch> {
        match rows.checked_mul(columns) {
            Some(n) if n == samples.len() => Ok(Self { samples, rows, columns }),
            _ => Err(ShapeMismatch { rows, columns, actual: samples.len() }),
        }
    }

    /// All samples, row-major.
    pub fn samples(&self) -> Samples<'a> {
        self.samples
    }

    /// Output channels.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Samples of one row.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Samples in all.
    pub fn len(&self) -> usize {
        self.samples.len()
    }

    /// True when the matrix has no sample.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Rows `range` as a matrix of their own.
    pub fn row_range(&self, range: std::ops::Range<usize>) -> Matrix<'a> {
        let samples = self.samples.slice(range.start * self.columns..range.end * self.columns);
        Matrix { samples, rows: range.len(), columns: self.columns }
    }
}
