//! Is a matrix that error feedback would harm rounded otherwise, and is it said?

mod common;

use std::sync::Arc;

use common::{options, run, tensor, write_safetensors};
use quant::Error;
use quant::feedback::{ErrorFeedback, Moments};
use quant::report::Report;
use quant_core::dense::Dense;
use quant_core::error_feedback::Feedback;
use safetensors::Dtype;
use tempfile::tempdir;

/// The correlation of two neighbouring inputs.
const CORRELATION: f64 = 0.9;
const WIDTH: usize = 64;

/// Inputs correlated in pairs. Errors go to the neighbour with the right sign in one order, in the other with the wrong one.
#[derive(Debug)]
struct Pairs {
    /// The order that helps, if any.
    good: Option<bool>,
}

fn pairs(off_diagonal: f64) -> Dense {
    Dense::from_fn(WIDTH, WIDTH, |i, j| match (i == j, i / 2 == j / 2) {
        (true, _) => 1.0,
        (false, true) => off_diagonal,
        (false, false) => 0.0,
    })
}

impl Moments for Pairs {
    fn moment(&self, _: &str) -> Result<Option<Dense>, Error> {
        Ok(Some(pairs(CORRELATION)))
    }

    fn feedback(&self, _: &Dense, _: f64, activation_order: bool) -> Result<Feedback, Error> {
        // U_jk/U_jj of a pair with unit energies is −CORRELATION.
        let sign = if self.good == Some(activation_order) { -1.0 } else { 1.0 };
        Ok(Feedback::from_parts((0..WIDTH).collect(), pairs(sign * CORRELATION)))
    }

    fn output_error(&self, errors: &Dense, moment: &Dense) -> f64 {
        let cost = |row: usize| -> f64 {
            let entry = |i: usize, j: usize| errors.get(row, i) * moment.get(i, j) * errors.get(row, j);
            (0..WIDTH).map(|i| (0..WIDTH).map(|j| entry(i, j)).sum::<f64>()).sum()
        };
        (0..errors.rows()).map(cost).sum()
    }

    fn fingerprint(&self) -> String {
        format!("{self:?}")
    }
}

#[test]
fn feedback_that_would_harm_gives_way_to_the_other_order_and_then_to_nearest_levels() {
    let dir = tempdir().unwrap();
    let input = dir.path().join("in.safetensors");
    write_safetensors(&input, &[tensor("blk.0.ffn_up.weight", Dtype::F32, &[48, WIDTH], 3)]);
    for preset in ["lloyd3", "ecsq2.5"] {
        harmless(dir.path(), &input, preset);
    }
}

fn harmless(dir: &std::path::Path, input: &std::path::Path, preset: &str) {
    let made = |name: &str, feedback: Option<ErrorFeedback>| -> Report {
        let mut options = options(preset);
        options.error_feedback = feedback;
        run(input, &dir.join(format!("{preset}-{name}")), &options).unwrap()
    };
    let plain = made("plain.safetensors", None);
    for (good, reordered, left_nearest) in [(Some(false), 0, 0), (Some(true), 1, 0), (None, 0, 1)] {
        let feedback = ErrorFeedback { moments: Arc::new(Pairs { good }), damping: 0.0, activation_order: false };
        let report = made(&format!("{good:?}.safetensors"), Some(feedback));
        let error = report.tensors[0].output_error.unwrap();
        assert_eq!((error.reordered, error.left_nearest), (reordered, left_nearest), "{preset} {good:?}: {error:?}");
        let is_as_plain = report.totals.codes_hash == plain.totals.codes_hash;
        assert_eq!(is_as_plain, good.is_none(), "{preset} {good:?}");
        match good {
            Some(_) => assert!(error.fed_back < 0.9 * error.nearest, "{error:?}"),
            None => assert_eq!(error.fed_back, error.nearest),
        }
        assert_eq!(report.totals.mse == plain.totals.mse, good.is_none(), "the distortion is of the codes written");
    }
}
