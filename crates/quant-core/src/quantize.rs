//! Quantizing one matrix on any backend: choose levels and scales, encode, measure.

use crate::backend::Backend;
use crate::codebook::Codebooks;
use crate::codes::BitWidth;
use crate::grouping::Grouping;
use crate::measure::Distortion;
use crate::outliers::{self, Outliers};
use crate::rate::StoredBits;
use crate::recipe::{CodebookRule, Recipe, RecipeError, Switch};
use crate::scale_storage::{LostScale, ScaleStorage, StoredScales};
use crate::sensitivity::{WeightedError, Weights};
use crate::switched::{self, Switched, SwitchedEncoding};
use crate::tensor::{Dtype, Matrix, NotFinite, flush};
use crate::vectors::Vectors;

mod alternated;
mod decoded;
mod entropy_constrained;
mod rounded;
mod scaled;
mod vectors;

/// A quantized matrix: everything a decoder needs, and what it cost.
#[derive(Clone, Debug, PartialEq)]
pub struct Quantized {
    /// Bits of a code.
    pub bit_width: BitWidth,
    /// Shape, and which samples share a scale.
    pub grouping: Grouping,
    /// Codes, packed row by row.
    pub packed: Vec<u8>,
    /// One codebook, one per row, or one per value of a selector.
    pub codebooks: Codebooks,
    /// The scales that codes were made with, one per group, if any.
    pub scales: Option<Vec<f32>>,
    /// In which numbers scales are stored, where there are any.
    pub scale_storage: ScaleStorage,
    /// Their stored form, unless they are stored as they are.
    pub stored_scales: Option<StoredScales>,
    /// What groups that choose among codebooks store instead of scales.
    pub switched: Option<Switched>,
    /// What points store beside their indices; there are no levels then.
    pub vectors: Option<Vectors>,
    /// Samples kept exact.
    pub outliers: Option<Outliers>,
    /// Error against the original samples.
    pub distortion: Distortion,
    /// The same under sensitivity weights, where they were given.
    pub weighted: Option<WeightedError>,
}

/// Why a matrix could not be quantized.
#[derive(Debug, thiserror::Error)]
pub enum QuantizeError<F: std::error::Error + 'static> {
    /// The recipe is none that its constructors make.
    #[error(transparent)]
    Recipe(#[from] RecipeError),
    /// A sample is NaN or infinite.
    #[error(transparent)]
    NotFinite(#[from] NotFinite),
    /// A scale that the format asked for cannot hold.
    #[error("group {group} of row {row} has {lost}")]
    Scale {
        /// The row that the group begins in.
        row: usize,
        /// Its number in the row.
        group: usize,
        /// The scale, whose index is the group's number in the matrix.
        lost: LostScale,
    },
    /// The device failed.
    #[error("{0}")]
    Fault(#[source] F),
}

/// The bits that `recipe` will store for a `rows × columns` matrix of `dtype`, known before a sample is read.
pub fn stored_bits(recipe: &Recipe, rows: usize, columns: usize, dtype: Dtype) -> StoredBits {
    let group_count = Grouping::new(rows, columns, recipe.group).group_count();
    let scale_count = recipe.scale.map_or(0, |_| group_count);
    let code_bits = 8 * (rows * recipe.bit_width.row_len_bytes(columns)) as u64;
    let (code_bits, scale_bits, codebook_bits) = match (recipe.switch, recipe.codebook) {
        (_, CodebookRule::Vectors(rule)) => vectors::stored_bits(rule, rows, columns),
        (Some(switch), _) => switched_bits(recipe, switch, rows, columns, code_bits),
        (None, _) => (
            code_bits,
            recipe.scale_storage.stored_bits(scale_count),
            32 * (recipe.codebook_count(rows) * recipe.bit_width.level_count()) as u64,
        ),
    };
    let outlier_bits = |count| outliers::stored_bits(count, rows, columns, dtype);
    StoredBits {
        weight_count: (rows * columns) as u64,
        code_bits,
        scale_bits,
        codebook_bits,
        outlier_bits: recipe.outliers.map_or(0, |rule| outlier_bits(rule.count(rows * columns))),
        dense_bits: 0,
    }
}

/// Bits of codes, of selectors with row scales, and of steps with shapes.
fn switched_bits(recipe: &Recipe, switch: Switch, rows: usize, columns: usize, code_bits: u64) -> (u64, u64, u64) {
    let groups = Grouping::new(rows, columns, recipe.group).groups_per_row();
    let row_bits = 8 * switch.selector_width().row_len_bytes(groups) + 16;
    let values = switch.step_count() + switch.shape_count() * recipe.bit_width.level_count();
    (code_bits, (rows * row_bits) as u64, 16 * values as u64)
}

/// Quantizes `matrix` by `recipe`.
///
/// Scales that are quantized in their turn are decoded before encoding, so codes are nearest for the scales a decoder
/// will use.
///
/// # Errors
/// When the recipe makes no sense, a sample is not finite, a scale is out of the range of the format it is to be stored in, or
/// the device fails. In blocks of llama.cpp, whose scales are f16 and nothing else, scales too small become zero as they do
/// there.
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
    quantize_weighted(backend, matrix, None, recipe)
}

/// [`quantize`] for least *weighted* squared error, wherever levels, steps or choices are designed; scales that are searched
/// for a fixed codebook look at plain errors.
pub fn quantize_weighted<B: Backend>(
    backend: &B,
    matrix: Matrix<'_>,
    weights: Option<&Weights>,
    recipe: &Recipe,
) -> Result<Quantized, QuantizeError<B::Fault>> {
    recipe.check()?;
    let _held = Held::new(backend, matrix);
    if let Some(refused) = backend.first_not_finite(matrix.samples()).map_err(QuantizeError::Fault)? {
        return Err(refused.into());
    }
    quantize_finite(backend, matrix, weights.map(Weights::values), recipe)
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

fn quantize_finite<B: Backend>(
    backend: &B,
    matrix: Matrix<'_>,
    weights: Option<&[f32]>,
    recipe: &Recipe,
) -> Result<Quantized, QuantizeError<B::Fault>> {
    let Some(rule) = recipe.outliers else {
        let mut quantized = coded(backend, matrix, weights, recipe)?;
        if weights.is_some() || recipe.switch.is_some() || quantized.vectors.is_some() {
            quantized.measure(backend, matrix, weights).map_err(QuantizeError::Fault)?;
        }
        return Ok(quantized);
    };
    let outliers = Outliers::find(matrix, weights, rule);
    let rest = outliers.without(matrix);
    let others = Matrix::new(rest.samples(), matrix.rows(), matrix.columns()).expect("as many samples");
    // The device may keep a copy of the matrix as it is; from here on it is another one.
    backend.release();
    let _held = Held::new(backend, others);
    let designs = !recipe.codebook.is_fixed() || recipe.switch.is_some();
    let looks_at_samples = matches!(recipe.codebook, CodebookRule::KmeansRow | CodebookRule::Vectors(_));
    let masked = (designs && (weights.is_some() || looks_at_samples || recipe.switch.is_some()))
        .then(|| outliers.weights_without(matrix, weights));
    let mut quantized = coded(backend, others, masked.as_deref(), recipe)?;
    quantized.outliers = Some(outliers);
    quantized.measure(backend, matrix, weights).map_err(QuantizeError::Fault)?;
    Ok(quantized)
}

/// Codes and side information.
fn coded<B: Backend>(
    backend: &B,
    matrix: Matrix<'_>,
    weights: Option<&[f32]>,
    recipe: &Recipe,
) -> Result<Quantized, QuantizeError<B::Fault>> {
    let coded = if let Some(switch) = recipe.switch {
        switched_coded(backend, matrix, weights, recipe, switch)
    } else if let CodebookRule::EntropyConstrained { rate } = recipe.codebook {
        entropy_constrained::coded(backend, matrix, recipe, f64::from(rate) / 100.0)
    } else if let CodebookRule::Vectors(rule) = recipe.codebook {
        vectors::coded(backend, matrix, weights, recipe, rule)
    } else {
        let grouping = Grouping::new(matrix.rows(), matrix.columns(), recipe.group);
        let of_samples = scaled::codebooks_and_scales(backend, matrix, weights, grouping, recipe);
        let (codebooks, scales) = of_samples.map_err(QuantizeError::Fault)?;
        let stored_scales = scales.as_deref().map(|scales| stored(scales, grouping, recipe)).transpose()?.flatten();
        nearest(backend, matrix, (codebooks, scales, stored_scales), recipe)
    };
    coded.map_err(QuantizeError::Fault)
}

/// Scales in the format asked for; `None` where they stay as they are.
fn stored<F: std::error::Error>(
    scales: &[f32],
    grouping: Grouping,
    recipe: &Recipe,
) -> Result<Option<StoredScales>, QuantizeError<F>> {
    // llama.cpp's own blocks of samples below 1e-7 are zeros, and there is no other format to send the caller to.
    let is_fault = |lost: &LostScale| !(lost.is_too_small() && recipe.has_half_scales_only());
    if let Some(lost) = recipe.scale_storage.lost(scales).find(is_fault) {
        let (row, group) = (lost.index / grouping.groups_per_row(), lost.index % grouping.groups_per_row());
        return Err(QuantizeError::Scale { row, group, lost });
    }
    Ok(recipe.scale_storage.store(scales))
}

/// Every sample at its nearest level.
fn nearest<B: Backend>(
    backend: &B,
    matrix: Matrix<'_>,
    (codebooks, scales, stored_scales): (Codebooks, Option<Vec<f32>>, Option<StoredScales>),
    recipe: &Recipe,
) -> Result<Quantized, B::Fault> {
    let grouping = Grouping::new(matrix.rows(), matrix.columns(), recipe.group);
    let scales = stored_scales.as_ref().map(StoredScales::decode).or(scales).map(flush_all);
    let mut quantized = Quantized { scales, stored_scales, ..Quantized::begun(recipe, grouping, codebooks) };
    let mut packed = vec![0; quantized.encoding().codes_len_bytes()];
    backend.encode(matrix, &quantized.encoding(), &mut packed)?;
    quantized.distortion = backend.distortion(matrix, &quantized.encoding(), &packed)?;
    quantized.packed = packed;
    Ok(quantized)
}

fn switched_coded<B: Backend>(
    backend: &B,
    matrix: Matrix<'_>,
    weights: Option<&[f32]>,
    recipe: &Recipe,
    switch: Switch,
) -> Result<Quantized, B::Fault> {
    let grouping = Grouping::new(matrix.rows(), matrix.columns(), recipe.group);
    let (steps, shapes) = switched::fit(backend, matrix, weights, recipe, switch)?;
    let codebooks = switched::table(&steps, &shapes, recipe.bit_width.level_count());
    let (bit_width, selector_width) = (recipe.bit_width, switch.selector_width());
    let row_scales = switched::row_scales(matrix);
    let scales: Vec<f32> = row_scales.iter().map(|s| s.to_f32()).collect();
    let encoding = SwitchedEncoding { bit_width, selector_width, grouping, row_scales: &scales, codebooks: &codebooks };
    let mut selectors = vec![0; matrix.rows() * encoding.selector_row_len_bytes()];
    let mut packed = vec![0; matrix.rows() * encoding.row_len_bytes()];
    backend.encode_switched(matrix, &encoding, weights, &mut selectors, &mut packed)?;
    let switched = Switched { selector_width, shapes, steps, row_scales, selectors };
    Ok(Quantized { packed, switched: Some(switched), ..Quantized::begun(recipe, grouping, codebooks) })
}

/// A subnormal scale would be zero on some devices and not on others, and a zero scale has a meaning of its own.
fn flush_all(mut scales: Vec<f32>) -> Vec<f32> {
    scales.iter_mut().for_each(|s| *s = flush(*s));
    scales
}
