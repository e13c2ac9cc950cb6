//! Does error feedback round as an independent float64 programme does, and lose what that loses?
//!
//! `golden/feedback.json` is by `xtask/python/make_feedback_fixture.py`, which inverts the moment of the columns left at
//! every step instead of taking a Cholesky factor once.
#![cfg(feature = "linear-algebra")]

use quant_core::backend::Encoding;
use quant_core::codebook::Codebooks;
use quant_core::codes::{BitWidth, unpack_row};
use quant_core::dense::Dense;
use quant_core::error_feedback::{Feedback, output_error};
use quant_core::grouping::{GroupLength, Grouping};
use quant_core::reference;
use quant_core::tensor::{Matrix, Samples};
use serde_json::Value;

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect()
}

fn matrix(value: &Value) -> Dense {
    let rows: Vec<Vec<f64>> = value.as_array().unwrap().iter().map(numbers).collect();
    Dense::new(rows.len(), rows[0].len(), rows.concat())
}

fn floats(values: &[f64]) -> Vec<f32> {
    values.iter().map(|&x| x as f32).collect()
}

/// A case of the fixture, with what is made of it.
struct Case {
    moment: Dense,
    weights: Dense,
    codebooks: Codebooks,
    scales: Vec<f32>,
    grouping: Grouping,
    bit_width: BitWidth,
}

impl Case {
    fn of(case: &Value) -> Self {
        let weights = matrix(&case["weights"]);
        let codebooks: Vec<Vec<f32>> =
            case["codebooks"].as_array().unwrap().iter().map(|c| floats(&numbers(c))).collect();
        let group = GroupLength::Samples(case["group"].as_u64().unwrap() as usize);
        Self {
            moment: matrix(&case["moment"]),
            grouping: Grouping::new(weights.rows(), weights.columns(), group),
            weights,
            codebooks: Codebooks::from_levels(8, codebooks),
            scales: floats(&numbers(&case["scales"])),
            bit_width: BitWidth::new(3).unwrap(),
        }
    }

    /// Codes of each row, and W − Ŵ, by feedback or, without, by the nearest level.
    fn encode(&self, feedback: Option<&Feedback>) -> (Vec<Vec<u8>>, Dense) {
        let samples = floats(self.weights.values());
        let (rows, columns) = (self.weights.rows(), self.weights.columns());
        let matrix = Matrix::new(Samples::F32(&samples), rows, columns).unwrap();
        let (bit_width, codebooks) = (self.bit_width, &self.codebooks);
        let encoding = Encoding { bit_width, grouping: self.grouping, scales: Some(&self.scales), codebooks };
        let mut packed = vec![0; encoding.codes_len_bytes()];
        match feedback {
            Some(feedback) => reference::encode_with_feedback(matrix, &encoding, feedback, &mut packed),
            None => {
                use quant_core::backend::Backend;
                reference::Reference.encode(matrix, &encoding, &mut packed).unwrap();
            }
        }
        let mut codes = vec![vec![0; columns]; rows];
        for (packed, codes) in packed.chunks_exact(encoding.row_len_bytes()).zip(&mut codes) {
            unpack_row(packed, bit_width, codes);
        }
        let error = |row: usize, column: usize| {
            let levels = codebooks.levels(codebooks.index_of_row(row));
            let scale = self.scales[self.grouping.index_of(row, column)];
            let decoded = reference::decoded(levels[usize::from(codes[row][column])], Some(scale));
            self.weights.get(row, column) - f64::from(decoded)
        };
        let errors = Dense::from_fn(rows, columns, error);
        (codes, errors)
    }
}

fn near(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-9 * b.abs()
}

#[test]
fn codes_and_losses_are_those_of_the_other_programme() {
    let file: Value = serde_json::from_str(include_str!("golden/feedback.json")).unwrap();
    for (index, value) in file["cases"].as_array().unwrap().iter().enumerate() {
        let case = Case::of(value);
        let (damping, by_activity) = (value["damping"].as_f64().unwrap(), value["activation_order"].as_bool().unwrap());
        let feedback = Feedback::new(&case.moment, damping, by_activity).unwrap();
        let order: Vec<f64> = feedback.order().iter().map(|&c| c as f64).collect();
        assert_eq!(order, numbers(&value["order"]), "case {index}");
        let (codes, errors) = case.encode(Some(&feedback));
        let expected: Vec<Vec<f64>> = value["codes"].as_array().unwrap().iter().map(numbers).collect();
        let found: Vec<Vec<f64>> = codes.iter().map(|row| row.iter().map(|&c| f64::from(c)).collect()).collect();
        assert_eq!(found, expected, "case {index}");
        let loss = output_error(&errors, &case.moment);
        assert!(near(loss, value["loss"].as_f64().unwrap()), "case {index}: {loss}");
        let plain = output_error(&case.encode(None).1, &case.moment);
        assert!(near(plain, value["loss_nearest"].as_f64().unwrap()), "case {index}: {plain}");
        if case.weights.columns() >= 24 {
            assert!(loss < plain, "case {index}: {loss} with feedback, {plain} without");
        }
    }
}

#[test]
fn independent_inputs_have_nothing_to_make_up_for() {
    let file: Value = serde_json::from_str(include_str!("golden/feedback.json")).unwrap();
    let mut case = Case::of(&file["cases"][2]);
    case.moment = Dense::identity(case.weights.columns()).scaled(3.0);
    let feedback = Feedback::new(&case.moment, 0.01, true).unwrap();
    assert_eq!(case.encode(Some(&feedback)), case.encode(None));
}

#[test]
fn a_moment_of_zeros_is_damped_and_an_indefinite_one_refused() {
    let nothing = Feedback::new(&Dense::zeros(5, 5), 0.01, false).unwrap();
    assert_eq!(nothing.spread(), &Dense::identity(5));
    let indefinite = Dense::new(2, 2, vec![1.0, 2.0, 2.0, 1.0]);
    let error = Feedback::new(&indefinite, 0.01, false).unwrap_err();
    assert!(error.to_string().contains("not positive definite; raise the damping"), "{error}");
}
