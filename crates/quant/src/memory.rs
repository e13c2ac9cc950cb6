//! How much memory does a run promise to stay below?

use crate::checkpoint::Checkpoint;
use crate::feedback::ErrorFeedback;
use crate::pipeline::Options;

/// Memory in bytes that a run of this checkpoint promises to stay below: 3 × the largest tensor as f32 + 200 MB.
///
/// Sensitivity weights add 3 × that tensor, since they are held and sorted beside the samples; outliers that a design has to
/// leave out add 1 ×, and 5 × with weights. Error feedback adds its moments.
pub fn peak_memory_bound_bytes(checkpoint: &Checkpoint, options: &Options) -> u64 {
    let weights = checkpoint.tensors().iter().map(|t| t.shape.iter().product::<usize>() as u64).max();
    let mut recipes = options.recipes();
    let tensors_as_f32 = match (&options.sensitivities, recipes.any(|r| r.outliers.is_some())) {
        (None, false) => 3,
        (None, true) => 4,
        (Some(_), false) => 6,
        (Some(_), true) => 8,
    };
    // What a codebook of its own weighs the samples of a row with, beside what a design holds of them.
    let longest_row = checkpoint.tensors().iter().filter_map(|t| t.shape.last()).max().map_or(0, |&n| n as u64);
    let feedback = options.error_feedback.as_ref().map_or(0, |_| ErrorFeedback::peak_memory_bytes(checkpoint));
    4 * tensors_as_f32 * weights.unwrap_or(0) + 8 * longest_row + 200_000_000 + feedback
}
