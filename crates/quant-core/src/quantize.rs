//! Quantizing one matrix on any backend: choose levels and scales, encode, measure.

use crate::backend::{Backend, Encoding, SamplesMut};
use crate::codebook::Codebooks;
use crate::codes::BitWidth;
use crate::design::{Bins, certified, optimal};
use crate::double_quant::{self, DoubleQuantized};
use crate::grouping::Grouping;
use crate::measure::Distortion;
use crate::rate::StoredBits;
use crate::recipe::{CodebookRule, Recipe};
use crate::reference::inverse_scales;
use crate::scale::{ScaleRule, ScaleSearch, level_max};
use crate::tensor::{Matrix, NotFinite, flush};

/// Bins of the histogram that a tensor-wide codebook of scaled samples is designed from.
const DESIGN_BIN_COUNT: usize = 1 << 16;

/// A quantized matrix: everything a decoder needs, and what it cost.
#[derive(Clone, Debug, PartialEq)]
pub struct Quantized {
    /// Bits of a code.
    pub bit_width: BitWidth,
    /// Shape, and which samples share a scale.
    pub grouping: Grouping,
    /// Codes, packed row by row.
    pub packed: Vec<u8>,
    /// One codebook, or one per row.
    pub codebooks: Codebooks,
    /// The scales that codes were made with, one per group, if any.
    pub scales: Option<Vec<f32>>,
    /// The stored form of those scales when they are quantized in their turn.
    pub double_quantized: Option<DoubleQuantized>,
    /// Error against the original samples.
    pub distortion: Distortion,
}

/// Why a matrix could not be quantized.
#[derive(Debug, thiserror::Error)]
pub enum QuantizeError<F: std::error::Error + 'static> {
    /// A sample is NaN or infinite.
    #[error(transparent)]
    NotFinite(#[from] NotFinite),
    /// The device failed.
    #[error("{0}")]
    Fault(#[source] F),
}

impl Quantized {
    /// How the codes are to be read.
    pub fn encoding(&self) -> Encoding<'_> {
        Encoding {
            bit_width: self.bit_width,
            grouping: self.grouping,
            scales: self.scales.as_deref(),
            codebooks: &self.codebooks,
        }
    }

    /// Bits as stored in the native format.
    pub fn stored_bits(&self) -> StoredBits {
        let scale_count = self.scales.as_ref().map_or(0, Vec::len);
        let scale_bits = match &self.double_quantized {
            Some(_) => double_quant::stored_bits(scale_count),
            None => 32 * scale_count as u64,
        };
        StoredBits {
            weight_count: (self.grouping.rows() * self.grouping.columns()) as u64,
            code_bits: 8 * self.packed.len() as u64,
            scale_bits,
            codebook_bits: 32 * self.codebooks.all_levels().len() as u64,
            dense_bits: 0,
        }
    }

    /// The samples that a decoder sees.
    pub fn decode<B: Backend>(&self, backend: &B, samples: &mut SamplesMut<'_>) -> Result<(), B::Fault> {
        backend.decode(&self.packed, &self.encoding(), samples)
    }
}

/// The bits that `recipe` will store for a `rows × columns` matrix, known before a sample is read.
pub fn stored_bits(recipe: &Recipe, rows: usize, columns: usize) -> StoredBits {
    let scale_count = recipe.scale.map_or(0, |_| Grouping::new(rows, columns, recipe.group).group_count());
    let plain_bits = 32 * scale_count as u64;
    StoredBits {
        weight_count: (rows * columns) as u64,
        code_bits: 8 * (rows * recipe.bit_width.row_len_bytes(columns)) as u64,
        scale_bits: if recipe.double_quant { double_quant::stored_bits(scale_count) } else { plain_bits },
        codebook_bits: 32 * (recipe.codebook_count(rows) * recipe.bit_width.level_count()) as u64,
        dense_bits: 0,
    }
}

/// Quantizes `matrix` by `recipe`.
///
/// Scales that are quantized in their turn are decoded before encoding, so codes are nearest for the scales a decoder
/// will use.
///
/// ```
/// use quant_core::{quantize::quantize, recipe::Recipe, reference::Reference, tensor::{Matrix, Samples}};
/// let samples: Vec<f32> = (0..256).map(|i| (i as f32 * 0.37).sin()).collect();
/// let matrix = Matrix::new(Samples::F32(&samples), 2, 128).unwrap();
/// let quantized = quantize(&Reference, matrix, &Recipe::preset("nf4").unwrap()).unwrap();
/// assert_eq!(quantized.packed.len(), 128);
/// assert!(quantized.distortion.sqnr_db() > 20.0);
/// ```
pub fn quantize<B: Backend>(
    backend: &B,
    matrix: Matrix<'_>,
    recipe: &Recipe,
) -> Result<Quantized, QuantizeError<B::Fault>> {
    let _held = Held::new(backend, matrix);
    if let Some(refused) = backend.first_not_finite(matrix.samples()).map_err(QuantizeError::Fault)? {
        return Err(refused.into());
    }
    quantize_finite(backend, matrix, recipe).map_err(QuantizeError::Fault)
}

/// Keeps a matrix on the device while it is borrowed.
pub(crate) struct Held<'a, B: Backend> {
    backend: &'a B,
    _matrix: Matrix<'a>,
}

impl<'a, B: Backend> Held<'a, B> {
    pub(crate) fn new(backend: &'a B, matrix: Matrix<'a>) -> Self {
        backend.hold(matrix);
        Self { backend, _matrix: matrix }
    }
}

impl<B: Backend> Drop for Held<'_, B> {
    fn drop(&mut self) {
        self.backend.release();
    }
}

fn quantize_finite<B: Backend>(backend: &B, matrix: Matrix<'_>, recipe: &Recipe) -> Result<Quantized, B::Fault> {
    let grouping = Grouping::new(matrix.rows(), matrix.columns(), recipe.group);
    let (codebooks, scales) = codebooks_and_scales(backend, matrix, grouping, recipe)?;
    let double_quantized = scales.as_ref().filter(|_| recipe.double_quant).map(|s| DoubleQuantized::new(s));
    let scales = double_quantized.as_ref().map(DoubleQuantized::decode).or(scales).map(flush_all);
    let scales = if recipe.half_scales { scales.map(round_to_half) } else { scales };
    let mut quantized = Quantized {
        bit_width: recipe.bit_width,
        grouping,
        packed: Vec::new(),
        codebooks,
        scales,
        double_quantized,
        distortion: Distortion::empty(recipe.bit_width.level_count()),
    };
    let mut packed = vec![0; quantized.encoding().codes_len_bytes()];
    backend.encode(matrix, &quantized.encoding(), &mut packed)?;
    quantized.distortion = backend.distortion(matrix, &quantized.encoding(), &packed)?;
    quantized.packed = packed;
    Ok(quantized)
}

/// A subnormal scale would be zero on some devices and not on others, and a zero scale has a meaning of its own.
fn flush_all(mut scales: Vec<f32>) -> Vec<f32> {
    scales.iter_mut().for_each(|s| *s = flush(*s));
    scales
}

/// Scales as an f16 holds them, so that codes are nearest for the scales a decoder will use; the largest finite f16
/// stands for all beyond it.
fn round_to_half(mut scales: Vec<f32>) -> Vec<f32> {
    let most = half::f16::MAX.to_f32();
    scales.iter_mut().for_each(|s| *s = half::f16::from_f32(s.clamp(-most, most)).to_f32());
    scales
}

type CodebooksAndScales = (Codebooks, Option<Vec<f32>>);

fn codebooks_and_scales<B: Backend>(
    backend: &B,
    matrix: Matrix<'_>,
    grouping: Grouping,
    recipe: &Recipe,
) -> Result<CodebooksAndScales, B::Fault> {
    let Some(rule) = recipe.scale else {
        return Ok((design_unscaled(backend, matrix, recipe)?, None));
    };
    if let Some(codebooks) = recipe.fixed_codebooks() {
        let scales = choose_scales(backend, matrix, grouping, &codebooks, rule)?;
        return Ok((codebooks, Some(scales)));
    }
    let mut scales = vec![0.0; grouping.group_count()];
    backend.absmax_scales(matrix, grouping, 1.0, &mut scales)?;
    let inverse = inverse_scales(&scales);
    let codebooks = design_scaled(backend, matrix, (grouping, &inverse), recipe)?;
    if rule != ScaleRule::Absmax {
        scales = search_scales(backend, matrix, grouping, &codebooks, rule)?;
    }
    Ok((codebooks, Some(scales)))
}

fn choose_scales<B: Backend>(
    backend: &B,
    matrix: Matrix<'_>,
    grouping: Grouping,
    codebooks: &Codebooks,
    rule: ScaleRule,
) -> Result<Vec<f32>, B::Fault> {
    if rule != ScaleRule::Absmax {
        return search_scales(backend, matrix, grouping, codebooks, rule);
    }
    let mut scales = vec![0.0; grouping.group_count()];
    // The largest *positive* level: an integer grid reaches one step further below zero, which absmax scaling leaves.
    let top = codebooks.levels(0).last().copied().filter(|&y| y > 0.0).unwrap_or(level_max(codebooks.levels(0)));
    backend.absmax_scales(matrix, grouping, 1.0 / top, &mut scales)?;
    Ok(scales)
}

fn search_scales<B: Backend>(
    backend: &B,
    matrix: Matrix<'_>,
    grouping: Grouping,
    codebooks: &Codebooks,
    rule: ScaleRule,
) -> Result<Vec<f32>, B::Fault> {
    let signed = rule == ScaleRule::SignedSearch;
    let mut scales = vec![0.0; grouping.group_count()];
    if codebooks.count() == 1 {
        let search = ScaleSearch::new(codebooks, grouping.length(), signed);
        backend.search_scales(matrix, grouping, &search, &mut scales)?;
        return Ok(scales);
    }
    let row_grouping = Grouping::new(1, matrix.columns(), grouping.length());
    for (row, scales) in scales.chunks_mut(grouping.groups_per_row()).enumerate() {
        let codebook = Codebooks::from_levels(codebooks.level_count(), [codebooks.levels(row)]);
        if level_max(codebook.levels(0)) > 0.0 {
            let search = ScaleSearch::new(&codebook, grouping.length(), signed);
            backend.search_scales(matrix.row_range(row..row + 1), row_grouping, &search, scales)?;
        }
    }
    Ok(scales)
}

/// A codebook in the unit of the samples.
fn design_unscaled<B: Backend>(backend: &B, matrix: Matrix<'_>, recipe: &Recipe) -> Result<Codebooks, B::Fault> {
    let level_count = recipe.bit_width.level_count();
    if recipe.codebook == CodebookRule::KmeansRow {
        return backend.fit_rows(matrix, None, None, level_count);
    }
    if matrix.is_empty() {
        return Ok(Codebooks::from_levels(level_count, [[0.0]]));
    }
    Ok(shared(&certified::fit_finite(backend, matrix, level_count)?.levels, level_count))
}

/// A codebook for samples divided by their group's largest magnitude.
fn design_scaled<B: Backend>(
    backend: &B,
    matrix: Matrix<'_>,
    normalisation: (Grouping, &[f32]),
    recipe: &Recipe,
) -> Result<Codebooks, B::Fault> {
    let level_count = recipe.bit_width.level_count();
    if recipe.codebook == CodebookRule::KmeansRow {
        return backend.fit_rows(matrix, Some(normalisation), None, level_count);
    }
    let bins = Bins::covering(-1.0, 1.0, DESIGN_BIN_COUNT);
    let points = backend.histogram(matrix, Some(normalisation), &bins)?.points(&bins);
    Ok(fit_shared(&points, level_count))
}

fn fit_shared(points: &[(f64, f64)], level_count: usize) -> Codebooks {
    if points.is_empty() {
        return Codebooks::from_levels(level_count, [[0.0]]);
    }
    shared(&optimal::fit_points(points, level_count).levels, level_count)
}

fn shared(levels: &[f64], level_count: usize) -> Codebooks {
    let mut levels: Vec<f32> = levels.iter().map(|&y| y as f32).collect();
    levels.dedup();
    Codebooks::from_levels(level_count, [levels])
}
