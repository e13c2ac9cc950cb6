//! Error feedback on a checkpoint: where second moments come from, and what it gained.

use std::fmt::Debug;
use std::sync::Arc;

use quant_core::backend::{Backend, SamplesMut};
use quant_core::dense::Dense;
use quant_core::error_feedback::Feedback;
use quant_core::quantize::Quantized;
use quant_core::tensor::Matrix;
use serde::{Deserialize, Serialize};

use crate::checkpoint::{Checkpoint, TensorEntry};
use crate::error::Error;
use crate::work::fault;

/// Rows whose errors are held in f64 at a time.
const ROWS: usize = 256;

/// Second moments of the inputs of linear layers; who has a calibration implements it.
pub trait Moments: Debug + Send + Sync {
    /// E\[x·xᵀ\] of the inputs of the layer whose weight is `tensor`, symmetric, `columns × columns`; `None` where it is
    /// not known. Another width is for the caller to refuse.
    fn moment(&self, tensor: &str) -> Result<Option<Dense>, Error>;

    /// What rounding with this moment does: [`Feedback`]'s `new`, whose algebra is not in this crate.
    fn feedback(&self, moment: &Dense, damping: f64, activation_order: bool) -> Result<Feedback, Error>;

    /// tr(E·H·Eᵀ), as `quant_core::error_feedback::output_error` has it.
    fn output_error(&self, errors: &Dense, moment: &Dense) -> f64;

    /// Tells these moments from others, so that a run is only resumed with the same.
    fn fingerprint(&self) -> String;
}

/// How errors are fed back.
#[derive(Clone, Debug)]
pub struct ErrorFeedback {
    /// Of the inputs.
    pub moments: Arc<dyn Moments>,
    /// In units of the mean diagonal, see [`quant_core::error_feedback::DAMPING`].
    pub damping: f64,
    /// Whether the columns with the most input energy are rounded first.
    pub activation_order: bool,
}

/// ‖(W − Ŵ)·X‖² for each token of the calibration: tr((W − Ŵ)·H·(W − Ŵ)ᵀ).
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct OutputError {
    /// With every weight at its nearest level; at the level of its cell where cells are of a given entropy.
    pub nearest: f64,
    /// As written, with error feedback.
    pub fed_back: f64,
    /// Matrices rounded in the other order, since the one asked for would have lost more than nearest levels do.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub reordered: u32,
    /// Matrices left at their nearest levels, since either order would have lost more.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub left_nearest: u32,
}

fn is_zero(count: &u32) -> bool {
    *count == 0
}

impl ErrorFeedback {
    /// What to add to a recipe in words.
    pub fn words(&self) -> &'static str {
        if self.activation_order { "error-feedback activation-order" } else { "error-feedback" }
    }

    /// Everything that changes the outcome, in a line.
    pub(crate) fn identity(&self) -> String {
        format!("{} damping {:e} of {}", self.words(), self.damping, self.moments.fingerprint())
    }

    /// Memory beside that of a run without: matrices of f64 as wide and as high as a layer has inputs.
    pub(crate) fn peak_memory_bytes(checkpoint: &Checkpoint) -> u64 {
        let columns = checkpoint.tensors().iter().filter(|t| t.shape.len() == 2).map(|t| t.shape[1] as u64);
        // The stored moment twice, H, H damped, reversed, its factor, the inverse of that and U.
        64 * columns.max().unwrap_or(0).pow(2)
    }

    /// Second moments of the inputs that `entry` multiplies.
    fn moment(&self, refuse: &dyn Fn(String) -> Error, entry: &TensorEntry, columns: usize) -> Result<Dense, Error> {
        let moment = self.moments.moment(&entry.name)?;
        let moment = moment.ok_or_else(|| {
            refuse("the calibration has no moments of its inputs; leave it dense with --exclude".into())
        })?;
        if moment.rows() != columns {
            let width = moment.rows();
            return Err(refuse(format!("has {columns} input channels; the calibration saw {width}")));
        }
        Ok(moment)
    }

    /// Replaces the codes of `quantized`, made of `matrix`, by ones that make up for each other's errors: in the order asked
    /// for, in the other one where that would lose more than nearest levels, and not at all where both would.
    pub(crate) fn apply<B: Backend>(
        &self,
        backend: &B,
        checkpoint: &Checkpoint,
        entry: &TensorEntry,
        matrix: Matrix<'_>,
        quantized: &mut Quantized,
    ) -> Result<OutputError, Error> {
        let file = checkpoint.shards()[entry.shard].path.display();
        let refuse = |why: String| Error::refused(format!("{file}: tensor \"{}\": {why}", entry.name));
        let moment = self.moment(&refuse, entry, matrix.columns())?;
        let failed = |e: B::Fault| fault(backend, &e);
        let nearest = self.loss(backend, matrix, quantized, &moment).map_err(failed)?;
        let at_nearest = OutputError { nearest, fed_back: nearest, left_nearest: 1, ..Default::default() };
        if nearest == 0.0 {
            return Ok(at_nearest);
        }
        let plain = std::mem::take(&mut quantized.packed);
        for (reordered, activation_order) in [(0, self.activation_order), (1, !self.activation_order)] {
            let feedback = self.moments.feedback(&moment, self.damping, activation_order);
            let feedback = feedback.map_err(|error| refuse(error.to_string()))?;
            let mut packed = vec![0; plain.len()];
            backend.encode_with_feedback(matrix, &quantized.encoding(), &feedback, &mut packed).map_err(failed)?;
            quantized.packed = packed;
            let fed_back = self.loss(backend, matrix, quantized, &moment).map_err(failed)?;
            if fed_back < nearest {
                let distortion = backend.distortion(matrix, &quantized.encoding(), &quantized.packed);
                quantized.distortion = distortion.map_err(failed)?;
                // It was measured on codes that are gone.
                quantized.weighted = None;
                return Ok(OutputError { nearest, fed_back, reordered, left_nearest: 0 });
            }
        }
        quantized.packed = plain;
        Ok(at_nearest)
    }

    /// tr((W − Ŵ)·H·(W − Ŵ)ᵀ), some rows at a time.
    fn loss<B: Backend>(
        &self,
        backend: &B,
        matrix: Matrix<'_>,
        quantized: &Quantized,
        moment: &Dense,
    ) -> Result<f64, B::Fault> {
        let columns = matrix.columns();
        let mut decoded = vec![0.0f32; matrix.rows() * columns];
        quantized.decode(backend, &mut SamplesMut::F32(&mut decoded))?;
        let of_rows = |(index, decoded): (usize, &[f32])| {
            let start = index * ROWS * columns;
            let error = |(at, &q): (usize, &f32)| f64::from(matrix.samples().get(start + at)) - f64::from(q);
            let errors = decoded.iter().enumerate().map(error).collect();
            self.moments.output_error(&Dense::new(decoded.len() / columns, columns, errors), moment)
        };
        Ok(decoded.chunks(ROWS * columns).enumerate().map(of_rows).sum())
    }
}

impl std::ops::AddAssign for OutputError {
    fn add_assign(&mut self, other: Self) {
        self.nearest += other.nearest;
        self.fed_back += other.fed_back;
        self.reordered += other.reordered;
        self.left_nearest += other.left_nearest;
    }
}
