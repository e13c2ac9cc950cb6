//! Quantizing the matrices of one tensor, and turning the result into bytes and a report.

use quant_core::backend::Backend;
use quant_core::grouping::Grouping;
use quant_core::measure::Distortion;
use quant_core::quantize::{QuantizeError, Quantized, quantize_weighted};
use quant_core::sensitivity::{WeightedError, Weights};
use quant_core::tensor::{Dtype, Matrix, Samples};
use sha2::{Digest, Sha256};

use crate::checkpoint::{AlignedBytes, Checkpoint};
use crate::error::Error;
use crate::feedback::OutputError;
use crate::outputs::{Subject, Target, dense, hugging_face, lut_b};
use crate::pipeline::Options;
use crate::report::{Sums, TensorReport, hex};
use crate::transpose::transposed;

/// What one tensor became.
pub(crate) struct Done {
    /// Data of each piece.
    pub pieces: Vec<AlignedOrPlain>,
    /// What to report.
    pub report: TensorReport,
}

/// Bytes of a piece, from whichever side made them.
pub(crate) enum AlignedOrPlain {
    /// Decoded weights.
    Aligned(AlignedBytes),
    /// Codes, levels, scales.
    Plain(Vec<u8>),
}

impl std::ops::Deref for AlignedOrPlain {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        match self {
            Self::Aligned(bytes) => bytes,
            Self::Plain(bytes) => bytes,
        }
    }
}

/// Quantizes the tensor whose samples are `bytes`; `weights`, when given, are one for each matrix.
pub(crate) fn quantize_tensor<B: Backend>(
    backend: &B,
    checkpoint: &Checkpoint,
    subject: &Subject<'_>,
    weights: Option<&[Weights]>,
    options: &Options,
    bytes: AlignedBytes,
) -> Result<Done, Error> {
    let (quantized, output_error) = quantize_matrices(backend, checkpoint, subject, weights, Some(options), bytes)?;
    let report = report(subject, &quantized, &options.target);
    let report = TensorReport { method: report.method + &options.suffix(), output_error, ..report };
    let target = &options.target;
    let pieces = match target {
        Target::Dense { dtype } => {
            let dtype = dense::dtype(subject, *dtype);
            let decoded = dense::bytes(backend, &quantized, dtype, subject.matrices.transposed);
            let decoded = decoded.map_err(|e| fault(backend, &e))?;
            let overflow = dense::first_overflow(backend, &decoded, dtype).map_err(|e| fault(backend, &e))?;
            if let Some(found) = overflow {
                let file = &checkpoint.shards()[subject.entry.shard].path;
                return Err(Error::overflow(file, &subject.entry.name, found.index, dtype));
            }
            vec![AlignedOrPlain::Aligned(decoded)]
        }
        _ => target.bytes(subject, &quantized).into_iter().map(AlignedOrPlain::Plain).collect(),
    };
    Ok(Done { pieces, report })
}

pub(crate) fn fault<B: Backend>(backend: &B, error: &B::Fault) -> Error {
    Error::Device { device: backend.name(), message: error.to_string() }
}

/// The matrices of a tensor; without `options` by the recipe alone.
pub(crate) fn quantize_matrices<B: Backend>(
    backend: &B,
    checkpoint: &Checkpoint,
    subject: &Subject<'_>,
    weights: Option<&[Weights]>,
    options: Option<&Options>,
    bytes: AlignedBytes,
) -> Result<(Vec<Quantized>, Option<OutputError>), Error> {
    let m = subject.matrices;
    let dtype = subject.entry.dtype.float().expect("only float tensors are quantized");
    // A transposed tensor is turned before anything else, so that rows are output channels from here on.
    let bytes = if m.transposed { turned(bytes, m.columns, m.rows, dtype) } else { bytes };
    let bytes = match m.paired_heads {
        Some(heads) => hugging_face::in_pairs(&bytes, m.rows, heads),
        None => bytes,
    };
    let has_tiles = options.is_some_and(|options| options.target == Target::LutB);
    let bytes = if has_tiles { lut_b::in_tiles(&bytes, m.columns, dtype.byte_len()) } else { bytes };
    let (rows, columns) = if has_tiles { lut_b::tiles(m.rows, m.columns) } else { (m.rows, m.columns) };
    let matrix_len = m.rows * m.columns * dtype.byte_len();
    let mut output_error: Option<OutputError> = None;
    let quantize_one = |(index, bytes): (usize, &[u8])| {
        let samples = samples(bytes, dtype);
        let matrix = Matrix::new(samples.view(), rows, columns).expect("the shape was planned from the entry");
        let quantized = quantize_weighted(backend, matrix, weights.map(|w| &w[index]), subject.recipe);
        let mut quantized = quantized.map_err(|error| why(backend, checkpoint, subject, (index, has_tiles), error))?;
        if let Some(round) = options.and_then(|options| options.target.level_rounding()) {
            let weights = weights.map(|w| &w[index]);
            quantized.round_levels(backend, matrix, weights, round).map_err(|e| fault(backend, &e))?;
        }
        if let Some(feedback) = options.and_then(|options| options.error_feedback.as_ref()) {
            let error = feedback.apply(backend, checkpoint, subject.entry, matrix, &mut quantized)?;
            *output_error.get_or_insert_default() += error;
        }
        Ok(quantized)
    };
    let quantized = bytes.chunks_exact(matrix_len).enumerate().map(quantize_one).collect::<Result<_, Error>>()?;
    Ok((quantized, output_error))
}

/// Why matrix `index` of a tensor could not be quantized, told of the tensor as it is stored.
fn why<B: Backend>(
    backend: &B,
    checkpoint: &Checkpoint,
    subject: &Subject<'_>,
    (index, has_tiles): (usize, bool),
    error: QuantizeError<B::Fault>,
) -> Error {
    let m = subject.matrices;
    let stored_at = |at: usize| {
        let at = if has_tiles { lut_b::position(at, m.columns) } else { at };
        index * m.rows * m.columns + stored_position(subject, at)
    };
    let file = &checkpoint.shards()[subject.entry.shard].path;
    match error {
        QuantizeError::NotFinite(found) => Error::NotFinite {
            file: file.clone(),
            tensor: subject.entry.name.clone(),
            index: stored_at(found.index),
            value: found.value,
        },
        QuantizeError::Scale { row, group, lost } => {
            let first = Grouping::new(m.rows, m.columns, subject.recipe.group).range(lost.index).start;
            let what = format!("group {group} of row {row}, from weight {} on, has {lost}", stored_at(first));
            Error::scale(file, &subject.entry.name, &what, subject.recipe)
        }
        QuantizeError::Recipe(error) => error.into(),
        QuantizeError::Fault(error) => fault(backend, &error),
    }
}

/// The transpose; takes the original, so that only one of the two outlives it.
fn turned(bytes: AlignedBytes, rows: usize, columns: usize, dtype: Dtype) -> AlignedBytes {
    transposed(&bytes, rows, columns, dtype.byte_len())
}

/// Samples at any alignment: the second expert of a fused 16-bit tensor may start in the middle of a word.
enum MaybeCopied<'a> {
    View(Samples<'a>),
    Copy(AlignedBytes, Dtype),
}

fn samples(bytes: &[u8], dtype: Dtype) -> MaybeCopied<'_> {
    match Samples::from_bytes(bytes, dtype) {
        Some(samples) => MaybeCopied::View(samples),
        None => {
            let mut copy = AlignedBytes::zeroed(bytes.len());
            copy.copy_from_slice(bytes);
            MaybeCopied::Copy(copy, dtype)
        }
    }
}

impl MaybeCopied<'_> {
    fn view(&self) -> Samples<'_> {
        match self {
            Self::View(samples) => *samples,
            Self::Copy(bytes, dtype) => Samples::from_bytes(bytes, *dtype).expect("an aligned copy"),
        }
    }
}

/// Where sample `index` of the matrix lies in the tensor as stored.
fn stored_position(subject: &Subject<'_>, index: usize) -> usize {
    let m = subject.matrices;
    match m.paired_heads {
        Some(heads) => hugging_face::row_in_halves(index / m.columns, m.rows / heads) * m.columns + index % m.columns,
        None if m.transposed => index % m.columns * m.rows + index / m.columns,
        None => index,
    }
}

fn report(subject: &Subject<'_>, quantized: &[Quantized], target: &Target) -> TensorReport {
    let distortion = merged(quantized);
    let bits = match target {
        Target::Dense { .. } => stored_bits(subject, quantized, target),
        // What is written, until a native file is coded once more.
        _ => target.rate_bits(subject),
    };
    let mut sums = Sums::of(&distortion, bits, codes_hash(quantized));
    sums.coded = sums.coded.filter(|_| !distortion.code_counts.is_empty());
    sums.weighted = weighted(quantized).map(|w| (w.squared_error, w.energy));
    let entry = subject.entry;
    TensorReport::quantized(&entry.name, &entry.shape, &entry.dtype.name(), subject.recipe.to_string(), sums)
}

/// Bits that are stored for a tensor; of codes that will be entropy coded, what that will take.
pub(crate) fn stored_bits(subject: &Subject<'_>, quantized: &[Quantized], target: &Target) -> u64 {
    let packed_bits = target.rate_bits(subject);
    if !subject.recipe.codebook.is_entropy_coded() {
        return packed_bits;
    }
    packed_bits.min(quantized.iter().map(|q| q.entropy_coded_bits().total_bits()).sum())
}

/// The distortion of all matrices.
fn merged(quantized: &[Quantized]) -> Distortion {
    let mut distortion = quantized[0].distortion.clone();
    quantized[1..].iter().for_each(|matrix| distortion.merge(&matrix.distortion));
    distortion
}

fn weighted(quantized: &[Quantized]) -> Option<WeightedError> {
    quantized.iter().filter_map(|q| q.weighted).reduce(|mut sum, other| {
        sum.merge(&other);
        sum
    })
}

/// SHA-256 over what decodes to the weights: bit width, shape, codevectors, levels, scales, codes, selectors, outliers.
fn codes_hash(quantized: &[Quantized]) -> String {
    let mut hash = Sha256::new();
    for matrix in quantized {
        for number in [matrix.bit_width.bits(), matrix.grouping.rows(), matrix.grouping.columns()] {
            hash.update((number as u64).to_le_bytes());
        }
        if let Some(vectors) = &matrix.vectors {
            let rule = vectors.rule;
            let numbers = [rule.dimension(), rule.index_bits(), rule.stages(), rule.parts()];
            numbers.iter().for_each(|&n| hash.update((n as u64).to_le_bytes()));
            vectors.codevectors.iter().for_each(|y| hash.update(y.to_le_bytes()));
            vectors.row_scales.iter().for_each(|s| hash.update(s.to_le_bytes()));
        }
        for value in matrix.codebooks.all_levels().iter().chain(matrix.scales.iter().flatten()) {
            hash.update(value.to_le_bytes());
        }
        hash.update(&matrix.packed);
        if let Some(switched) = &matrix.switched {
            switched.row_scales.iter().for_each(|s| hash.update(s.to_le_bytes()));
            hash.update(&switched.selectors);
        }
        if let Some(outliers) = &matrix.outliers {
            outliers.row_starts.iter().chain(&outliers.columns).for_each(|n| hash.update(n.to_le_bytes()));
            outliers.values.iter().for_each(|x| hash.update(x.to_le_bytes()));
        }
    }
    hex(&hash.finalize())
}
