//! How is a tensor of the native format decoded?

mod vectors;

use half::{bf16, f16};
use quant_core::backend::{Backend, Encoding, SamplesMut};
use quant_core::grouping::Grouping;
use quant_core::outliers::{Outliers, column_bits};
use quant_core::scale_storage::e4m3_value;
use quant_core::switched::{SwitchedEncoding, table};
use quant_core::tensor::{Dtype, flush};

use super::{DecodedCheckpoint, DecodedTensor, decode, double_scales, floats};
use crate::checkpoint::AlignedBytes;
use crate::device::{Device, with_backend};
use crate::entropy;
use crate::error::Error;
use crate::outputs::manifest::{Entropy, QuantizedTensor, Scales};
use crate::outputs::native::{
    CHUNKS, CODES, FREQUENCIES, LEVELS, NESTED, OFFSET, OUTLIER_COLUMNS, OUTLIER_ROWS, OUTLIER_VALUES, SCALES,
    SELECTORS, SHAPES, STEPS, UNIT, WORDS,
};
use crate::transpose::transposed;
use crate::work::fault;

/// The stored parts of one matrix of a tensor.
struct Parts<'a> {
    checkpoint: &'a DecodedCheckpoint,
    tensor: &'a DecodedTensor,
    description: &'a QuantizedTensor,
    /// Suffix and data of every part, all matrices together.
    data: &'a [(&'a str, AlignedBytes)],
    matrix: usize,
}

/// All matrices of a tensor.
pub(super) fn read(
    checkpoint: &DecodedCheckpoint,
    tensor: &DecodedTensor,
    description: &QuantizedTensor,
    pieces: &[usize],
    dtype: Dtype,
    device: &Device,
) -> Result<AlignedBytes, Error> {
    let stored = &checkpoint.checkpoint;
    let part = |&piece: &usize| {
        let suffix = &stored.tensors()[piece].name[tensor.name.len() + 1..];
        Ok((suffix, stored.read_raw(piece)?))
    };
    let mut data: Vec<(&str, AlignedBytes)> = pieces.iter().map(part).collect::<Result<_, Error>>()?;
    if let Some(entropy) = description.entropy {
        let codes = packed_codes(checkpoint, tensor, description, entropy, &data, device)?;
        data.push((CODES, codes));
    }
    let (rows, columns) = (description.rows, description.columns);
    let matrix_len = rows * columns * dtype.byte_len();
    let mut decoded = AlignedBytes::zeroed(description.matrix_count * matrix_len);
    for (matrix, bytes) in decoded.chunks_exact_mut(matrix_len).enumerate() {
        let parts = Parts { checkpoint, tensor, description, data: &data, matrix };
        let mut samples = match description.scales {
            Scales::Rows if description.vectors.is_some() => parts.vectors(dtype, device)?,
            Scales::Rows => parts.switched(dtype, device)?,
            _ => parts.scaled(dtype, device)?,
        };
        if description.outlier_count > 0 {
            let outliers = parts.outliers()?;
            let mut samples = SamplesMut::from_bytes(&mut samples, dtype).expect("the buffer is aligned");
            outliers.put_back(0..rows, columns, &mut samples);
        }
        let turned = description.transposed.then(|| transposed(&samples, rows, columns, dtype.byte_len()));
        bytes.copy_from_slice(turned.as_ref().unwrap_or(&samples));
    }
    Ok(decoded)
}

/// The packed codes of a tensor whose codes are entropy coded.
fn packed_codes(
    checkpoint: &DecodedCheckpoint,
    tensor: &DecodedTensor,
    description: &QuantizedTensor,
    entropy: Entropy,
    data: &[(&str, AlignedBytes)],
    device: &Device,
) -> Result<AlignedBytes, Error> {
    let part = |suffix: &str| {
        let (_, bytes) = data.iter().find(|(s, _)| *s == suffix).expect("all parts were found when it was opened");
        bytemuck::cast_slice::<u8, u32>(bytes)
    };
    let (words, chunks, frequencies) = (part(WORDS), part(CHUNKS), part(FREQUENCIES));
    let packed = entropy::packed_codes(description, entropy, words, chunks, frequencies, device.thread_count());
    let packed = packed.map_err(|error| checkpoint.refused(tensor, &error.to_string()))?;
    let mut bytes = AlignedBytes::zeroed(packed.len());
    bytes.copy_from_slice(&packed);
    Ok(bytes)
}

impl Parts<'_> {
    /// The part of that suffix, of this matrix.
    fn get(&self, suffix: &str) -> &[u8] {
        let (_, bytes) = self.data.iter().find(|(s, _)| *s == suffix).expect("all parts were found when it was opened");
        let len = bytes.len() / self.description.matrix_count;
        &bytes[len * self.matrix..][..len]
    }

    fn refused(&self, why: &str) -> Error {
        self.checkpoint.refused(self.tensor, why)
    }

    fn grouping(&self) -> Grouping {
        Grouping::new(self.description.rows, self.description.columns, self.description.group.into())
    }

    fn scaled(&self, dtype: Dtype, device: &Device) -> Result<AlignedBytes, Error> {
        let bit_width = self.description.bit_width().expect("checked when opened");
        let codebooks = self.checkpoint.codebooks(self.tensor, &floats(self.get(LEVELS)), bit_width)?;
        let scales = match self.description.scales {
            Scales::F32 => Some(floats(self.get(SCALES))),
            Scales::F16 => Some(self.halves(SCALES)?.into_iter().map(|s| flush(s.to_f32())).collect()),
            Scales::E4m3 => {
                let unit = floats(self.get(UNIT))[0];
                Some(self.get(SCALES).iter().map(|&number| flush(e4m3_value(number) * unit)).collect())
            }
            Scales::Double => {
                Some(double_scales(self.get(SCALES), &floats(self.get(NESTED)), floats(self.get(OFFSET))[0]))
            }
            Scales::None | Scales::Rows => None,
        };
        self.checkpoint.refuse_bad_scales(self.tensor, scales.as_deref())?;
        let encoding =
            Encoding { bit_width, grouping: self.grouping(), scales: scales.as_deref(), codebooks: &codebooks };
        decode(device, self.get(CODES), &encoding, dtype)
    }

    fn switched(&self, dtype: Dtype, device: &Device) -> Result<AlignedBytes, Error> {
        let bit_width = self.description.bit_width().expect("checked when opened");
        let switch = self.description.switch.and_then(|s| s.checked()).expect("checked when opened");
        let (shapes, steps) = (self.halves(SHAPES)?, self.halves(STEPS)?);
        if let Some(index) = shapes.chunks(bit_width.level_count()).position(|shape| !shape.is_sorted()) {
            return Err(self.refused(&format!("the levels of shape {index} do not ascend")));
        }
        let row_scales = self.row_scales()?;
        let codebooks = table(&steps, &shapes, bit_width.level_count());
        let encoding = SwitchedEncoding {
            bit_width,
            selector_width: switch.selector_width(),
            grouping: self.grouping(),
            row_scales: &row_scales,
            codebooks: &codebooks,
        };
        let sample_count = self.description.rows * self.description.columns;
        let mut bytes = AlignedBytes::zeroed(sample_count * dtype.byte_len());
        let mut samples = SamplesMut::from_bytes(&mut bytes, dtype).expect("the buffer is aligned");
        let (codes, selectors) = (self.get(CODES), self.get(SELECTORS));
        with_backend!(device, backend => {
            backend.decode_switched(codes, selectors, &encoding, &mut samples).map_err(|e| fault(backend, &e))
        })?;
        Ok(bytes)
    }

    /// One scale for each row, finite and at least 0.
    fn row_scales(&self) -> Result<Vec<f32>, Error> {
        let brains = self.get(SCALES).as_chunks::<2>().0.iter().map(|b| flush(bf16::from_le_bytes(*b).to_f32()));
        let row_scales: Vec<f32> = brains.collect();
        match row_scales.iter().position(|s| !(s.is_finite() && *s >= 0.0)) {
            Some(row) => Err(self.refused(&format!("the scale of row {row} is {}", row_scales[row]))),
            None => Ok(row_scales),
        }
    }

    /// Finite f16 values.
    fn halves(&self, suffix: &str) -> Result<Vec<f16>, Error> {
        let values: Vec<f16> = self.get(suffix).as_chunks::<2>().0.iter().map(|b| f16::from_le_bytes(*b)).collect();
        match values.iter().position(|y| !y.is_finite()) {
            Some(index) => Err(self.refused(&format!("value {index} of \"{suffix}\" is not finite"))),
            None => Ok(values),
        }
    }

    fn outliers(&self) -> Result<Outliers, Error> {
        let words = |bytes: &[u8]| bytes.as_chunks::<4>().0.iter().map(|b| u32::from_le_bytes(*b)).collect();
        let row_starts: Vec<u32> = words(self.get(OUTLIER_ROWS));
        let columns: Vec<u32> = match column_bits(self.description.columns) {
            16 => self.get(OUTLIER_COLUMNS).as_chunks::<2>().0.iter().map(|b| u16::from_le_bytes(*b).into()).collect(),
            _ => words(self.get(OUTLIER_COLUMNS)),
        };
        let count = columns.len();
        let ends = (row_starts.first(), row_starts.last().map(|&n| n as usize));
        if !row_starts.is_sorted() || ends != (Some(&0), Some(count)) {
            return Err(self.refused("the row starts of its outliers do not ascend from 0 to their number"));
        }
        let in_row = |w: &[u32]| {
            let row = &columns[w[0] as usize..w[1] as usize];
            row.is_sorted_by(|a, b| a < b) && row.iter().all(|&c| (c as usize) < self.description.columns)
        };
        if let Some(row) = row_starts.windows(2).position(|w| !in_row(w)) {
            return Err(self.refused(&format!("the columns of the outliers of row {row} do not ascend in the row")));
        }
        let dtype = self.tensor.decoded_dtype.expect("a quantized tensor decodes to a float dtype");
        let bytes = self.get(OUTLIER_VALUES);
        let values: Vec<f32> = match dtype {
            Dtype::F32 => floats(bytes),
            Dtype::F16 => bytes.as_chunks::<2>().0.iter().map(|b| f16::from_le_bytes(*b).to_f32()).collect(),
            Dtype::Bf16 => bytes.as_chunks::<2>().0.iter().map(|b| bf16::from_le_bytes(*b).to_f32()).collect(),
        };
        match values.iter().position(|x| !x.is_finite()) {
            Some(index) => Err(self.refused(&format!("outlier {index} is not finite"))),
            None => Ok(Outliers { row_starts, columns, values, dtype }),
        }
    }
}
