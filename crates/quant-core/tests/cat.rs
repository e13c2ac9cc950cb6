//! Do concentration, alignment, transforms and grids give published and independently computed values?
//!
//! `golden/cat.json` comes from a float64 NumPy reference; `golden/cat_more.json` and a second check of the first from
//! `xtask/python/make_cat_fixture.py`, which goes by Cholesky factors and an SVD where we go by eigenvalues.
#![cfg(feature = "linear-algebra")]

use quant_core::analysis::{self, Factors, Sharing, concentration, concentration_grouped, measured_sqnr};
use quant_core::dense::Dense;
use quant_core::grid::{GridKind, Symmetry};
use quant_core::linear;
use quant_core::transform::cat::{self, Options, Root, Weighting};
use quant_core::transform::{Hadamard, Stage, Transform, scaling};
use serde_json::Value;

const GOLDEN: [&str; 2] = [include_str!("golden/cat.json"), include_str!("golden/cat_more.json")];
/// Relative, for linear algebra.
const LINEAR: f64 = 1e-10;
/// Absolute, in dB.
const DB: f64 = 1e-9;

fn files() -> [Value; 2] {
    GOLDEN.map(|text| serde_json::from_str(text).expect("the fixture is JSON"))
}

fn layers() -> Vec<Value> {
    files().iter().flat_map(|file| file["layers"].as_array().unwrap().clone()).collect()
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect()
}

fn matrix(value: &Value) -> Dense {
    let rows: Vec<Vec<f64>> = value.as_array().unwrap().iter().map(numbers).collect();
    Dense::new(rows.len(), rows[0].len(), rows.concat())
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is no number"))
}

fn near(found: f64, expected: f64, tolerance: f64, what: &str) {
    assert!((found - expected).abs() <= tolerance, "{what}: {found} instead of {expected}");
}

fn near_matrix(found: &Dense, expected: &Dense, what: &str) {
    assert_eq!((found.rows(), found.columns()), (expected.rows(), expected.columns()), "{what}");
    let scale = expected.values().iter().fold(0.0, |m: f64, x| m.max(x.abs()));
    let error = found.values().iter().zip(expected.values()).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    assert!(error <= LINEAR * scale, "{what}: off by {error:e} of {scale:e}");
}

/// A layer with what its transforms are built from.
struct Layer {
    name: String,
    inputs: Dense,
    weights: Dense,
    input_moment: Dense,
    weight_moment: Dense,
    signs: Vec<i8>,
    epsilon: f64,
}

impl Layer {
    fn new(case: &Value) -> Self {
        let (inputs, weights) = (matrix(&case["X"]), matrix(&case["W"]));
        let input_moment = linear::gram(&inputs).scaled(1.0 / inputs.rows() as f64);
        Self {
            name: case["name"].as_str().unwrap().into(),
            weight_moment: linear::gram(&weights),
            signs: numbers(&case["signs"]).into_iter().map(|s| s as i8).collect(),
            epsilon: number(&case["eps"]),
            inputs,
            weights,
            input_moment,
        }
    }

    fn column_max(rows: &Dense) -> Vec<f64> {
        let most = |j: usize| (0..rows.rows()).map(|i| rows.get(i, j).abs()).fold(0.0, f64::max);
        (0..rows.columns()).map(most).collect()
    }

    fn cat(&self, block: usize, root: Root) -> Stage {
        let options = Options { block, damping: self.epsilon, root };
        cat::align(&self.input_moment, &self.weight_moment, options).expect("damped moments are definite")
    }

    fn transform(&self, name: &str, root: Root) -> Transform {
        let width = self.inputs.columns();
        let (none, rotation) = (Transform::identity(width), Stage::Rotation(Hadamard::with_signs(self.signs.clone())));
        match name {
            "identity" => none,
            "smooth_0.5" => {
                let (x, w) = (Self::column_max(&self.inputs), Self::column_max(&self.weights));
                none.then(Stage::Scaling(scaling::smooth_quant(&x, &w, 0.5)))
            }
            "diag" => none.then(self.cat(1, root)),
            "hadamard" => none.then(rotation),
            "cat_full" => none.then(self.cat(width, root)).then(rotation),
            "align_full_no_hadamard" => none.then(self.cat(width, root)),
            _ => {
                let block = name.strip_prefix("cat_block").and_then(|b| b.parse().ok());
                let block = block.unwrap_or_else(|| panic!("{name} is no transform"));
                none.then(self.cat(block, root)).then(rotation)
            }
        }
    }

    fn transformed(&self, transform: &Transform) -> (Dense, Dense) {
        let (mut inputs, mut weights) = (self.inputs.clone(), self.weights.clone());
        transform.apply(inputs.values_mut());
        transform.apply_to_weights(weights.values_mut());
        (inputs, weights)
    }
}

fn factors(inputs: &Dense, weights: &Dense, bits: u32) -> Factors {
    Factors {
        input_concentration: concentration(inputs, Symmetry::Asymmetric, Sharing::Row),
        weight_concentration: concentration(weights, Symmetry::Symmetric, Sharing::Row),
        alignment: analysis::alignment(
            &linear::gram(inputs).scaled(1.0 / inputs.rows() as f64),
            &linear::gram(weights),
        ),
        input_grid: GridKind::asymmetric(bits),
        weight_grid: GridKind::symmetric(bits),
        width: inputs.columns(),
    }
}

/// Everything that a score of the fixture holds.
fn compare_scores(inputs: &Dense, weights: &Dense, expected: &Value, what: &str) {
    let factors_4 = factors(inputs, weights, 4);
    let relative = |found: f64, key: &str| {
        near(found / number(&expected[key]), 1.0, LINEAR, &format!("{what}: {key}"));
    };
    relative(factors_4.alignment, "A");
    relative(factors_4.input_concentration, "Cx_asym");
    relative(factors_4.weight_concentration, "Cw_sym");
    relative(concentration(inputs, Symmetry::Symmetric, Sharing::Row), "Cx_sym");
    relative(concentration(weights, Symmetry::Asymmetric, Sharing::Row), "Cw_asym");
    for bits in [4, 8] {
        let expected = &expected[format!("w{bits}a{bits}")];
        let factors = factors(inputs, weights, bits);
        let measured = measured_sqnr(inputs, weights, factors.input_grid, factors.weight_grid);
        let found = [
            ("pred_sqnr_db", factors.sqnr_db()),
            ("pred_sqnr_x_db", factors.input_sqnr_db()),
            ("pred_sqnr_w_db", factors.weight_sqnr_db()),
            ("pred_sqnr_cross_db", factors.sqnr_with_product_db()),
            ("meas_sqnr_db", measured.both_db),
            ("meas_sqnr_x_db", measured.input_db),
            ("meas_sqnr_w_db", measured.weight_db),
        ];
        found.iter().for_each(|(key, value)| near(*value, number(&expected[*key]), DB, &format!("{what}: {key}")));
    }
}

#[test]
fn every_transform_scores_as_computed_elsewhere() {
    let mut count = 0;
    for case in layers() {
        let layer = Layer::new(&case);
        for (name, expected) in case["expect"]["transforms"].as_object().unwrap() {
            let (inputs, weights) = layer.transformed(&layer.transform(name, Root::Symmetric));
            compare_scores(&inputs, &weights, expected, &format!("{}, {name}", layer.name));
            count += 1;
        }
    }
    assert_eq!(count, 24, "three layers, eight transforms each");
}

#[test]
fn moments_means_and_roots_are_those_computed_elsewhere() {
    for case in layers() {
        let (layer, expected) = (Layer::new(&case), &case["expect"]);
        near_matrix(&layer.input_moment, &matrix(&expected["Sx"]), "Sx");
        near_matrix(&layer.weight_moment, &matrix(&expected["Sw"]), "Sw");
        let (x, w) = (layer.input_moment.damped(layer.epsilon), layer.weight_moment.damped(layer.epsilon));
        near_matrix(&cat::inverse_mean(&x, &w).unwrap(), &matrix(&expected["G"]), "G");
        let Stage::Blocks(blocks) = layer.cat(layer.inputs.columns(), Root::Symmetric) else { panic!("one block") };
        near_matrix(&blocks.forward()[0], &matrix(&expected["M"]), "M");
        near_matrix(&blocks.inverse()[0], &matrix(&expected["Minv"]), "M^-1");
        let most = analysis::alignment_max(&x, &w).unwrap();
        near(most / number(&expected["A_max"]), 1.0, LINEAR, "A*");
        if layer.epsilon == 0.0 {
            let narrow = linear::output_moment(&layer.weights, &layer.input_moment);
            near(analysis::alignment_max_of_output(&narrow).unwrap() / most, 1.0, LINEAR, "A* of the output");
        }
        for (block, expected) in expected["A_block_max"].as_object().unwrap() {
            let found = analysis::alignment_max_blocks(&x, &w, block.parse().unwrap()).unwrap();
            near(found / number(expected), 1.0, LINEAR, &format!("A* of blocks of {block}"));
        }
    }
}

#[test]
fn the_hadamard_matrices_are_the_listed_ones() {
    for case in layers() {
        let expected = matrix(&case["hadamard_core_times_sylvester"]);
        let width = expected.rows();
        // Column j of H is H applied to a unit vector.
        let mut columns = Dense::identity(width);
        Hadamard::with_signs(vec![1; width]).apply(columns.values_mut());
        near_matrix(&columns.transposed().scaled((width as f64).sqrt()), &expected, &format!("H of order {width}"));
    }
}

#[test]
fn the_cheap_root_aligns_as_well_as_the_symmetric_one() {
    for case in layers() {
        let layer = Layer::new(&case);
        for name in ["cat_full", "cat_block4"] {
            let score = |root| {
                let (inputs, weights) = layer.transformed(&layer.transform(name, root));
                factors(&inputs, &weights, 4).alignment
            };
            near(score(Root::Cholesky) / score(Root::Symmetric), 1.0, 1e-8, &format!("{}, {name}", layer.name));
        }
    }
}

#[test]
fn transforms_leave_the_output_alone_and_can_be_undone() {
    for case in layers() {
        let layer = Layer::new(&case);
        let output = linear::product(&layer.inputs, &layer.weights.transposed());
        for name in case["expect"]["transforms"].as_object().unwrap().keys() {
            let transform = layer.transform(name, Root::Symmetric);
            let (mut inputs, weights) = layer.transformed(&transform);
            near_matrix(&linear::product(&inputs, &weights.transposed()), &output, name);
            transform.undo(inputs.values_mut());
            near_matrix(&inputs, &layer.inputs, name);
        }
    }
}

#[test]
fn weights_that_share_an_input_are_added_plainly_or_by_output_energy() {
    let case = &files()[1]["shared"];
    let inputs = matrix(&case["X"]);
    let weights: Vec<Dense> = case["weights"].as_array().unwrap().iter().map(matrix).collect();
    let grams: Vec<Dense> = weights.iter().map(linear::gram).collect();
    let input_moment = linear::gram(&inputs).scaled(1.0 / inputs.rows() as f64);
    let signs: Vec<i8> = numbers(&case["signs"]).into_iter().map(|s| s as i8).collect();
    for (name, weighting) in [("plain", Weighting::Plain), ("output_energy", Weighting::OutputEnergy)] {
        let moment = cat::shared_weight_moment(&grams, &input_moment, weighting);
        near_matrix(&moment, &matrix(&case["expect"][name]["Sw"]), name);
        let options = Options { block: 8, damping: 0.0, root: Root::Symmetric };
        let transform = Transform::identity(8)
            .then(cat::align(&input_moment, &moment, options).unwrap())
            .then(Stage::Rotation(Hadamard::with_signs(signs.clone())));
        let mut transformed = inputs.clone();
        transform.apply(transformed.values_mut());
        for (index, weight) in weights.iter().enumerate() {
            let mut weight = weight.clone();
            transform.apply_to_weights(weight.values_mut());
            let expected = &case["expect"][name]["weights"][index];
            compare_scores(&transformed, &weight, expected, &format!("{name}, weight {index}"));
        }
    }
}

#[test]
fn closed_forms_hold() {
    for case in files()[0]["analytic"].as_array().unwrap() {
        let (x, w, name) = (matrix(&case["Sx"]), matrix(&case["Sw"]), case["name"].as_str().unwrap());
        let expected = &case["expect"];
        near(analysis::alignment(&x, &w), number(&expected["A_identity"]), LINEAR, name);
        near(analysis::alignment_max(&x, &w).unwrap(), number(&expected["A_max"]), 1e-7, name);
        let mean = cat::inverse_mean(&x, &w);
        if let Some(diagonal) = expected.get("G_diag") {
            near_matrix(&mean.clone().unwrap(), &Dense::diagonal(&numbers(diagonal)), name);
        }
        if let Some(full) = expected.get("G") {
            near_matrix(&mean.unwrap(), &matrix(full), name);
        }
        if let Some(m) = expected.get("m_diag") {
            let found = scaling::balancing(&x.diagonal_entries(), &w.diagonal_entries(), 0.0);
            near_matrix(&Dense::diagonal(&found), &Dense::diagonal(&numbers(m)), name);
        }
    }
}

#[test]
fn a_singular_moment_is_refused_bare_and_built_damped() {
    let rank_one = Dense::from_fn(3, 3, |i, j| (i + 1) as f64 * (j + 1) as f64);
    let zero = Dense::zeros(3, 3);
    for root in [Root::Symmetric, Root::Cholesky] {
        for (x, w) in [(&rank_one, &rank_one), (&zero, &rank_one), (&rank_one, &zero), (&zero, &zero)] {
            let options = Options { block: 3, damping: 1e-2, root };
            let built = cat::transform(x, w, options, 1).expect("damped");
            let mut row = [1.0, -2.0, 0.5f64];
            built.apply(&mut row);
            assert!(row.iter().all(|v| v.is_finite()), "{root:?}");
        }
        let bare = Options { block: 3, damping: 0.0, root };
        let indefinite = Dense::diagonal(&[1.0, -1.0, 2.0]);
        assert!(cat::transform(&indefinite, &Dense::identity(3), bare, 1).is_err(), "{root:?}");
    }
}

#[test]
fn grids_give_the_listed_codes() {
    for case in files()[0]["quantizer"].as_array().unwrap() {
        let bits = case["bits"].as_u64().unwrap() as u32;
        let kind = match case["mode"].as_str().unwrap() {
            "sym" => GridKind::symmetric(bits),
            _ => GridKind::asymmetric(bits),
        };
        let rows = matrix(&case["V"]);
        for (index, row) in rows.row_iter().enumerate() {
            let grid = kind.fit(row.iter().copied());
            assert_eq!(grid.scale, number(&case["scale"][index]), "{kind:?}, row {index}");
            assert_eq!(grid.zero, case["zero"][index].as_f64().unwrap_or(0.0), "{kind:?}, row {index}");
            let codes: Vec<f64> = row.iter().map(|&x| grid.code(x)).collect();
            assert_eq!(codes, numbers(&case["codes"][index]), "{kind:?}, row {index}");
            let decoded: Vec<f64> = row.iter().map(|&x| grid.round(x)).collect();
            assert_eq!(decoded, numbers(&case["dequant"][index]), "{kind:?}, row {index}");
        }
    }
}

#[test]
fn sharing_a_range_never_concentrates_and_one_group_is_a_row() {
    let rows = Dense::from_fn(5, 12, |i, j| ((i * 7 + j * j) as f64).sin() * (1.0 + i as f64));
    let partner: Vec<f64> = (0..12).map(|j| 1.0 + f64::from(j % 3)).collect();
    for symmetry in [Symmetry::Symmetric, Symmetry::Asymmetric] {
        let row = concentration(&rows, symmetry, Sharing::Row);
        assert!(concentration(&rows, symmetry, Sharing::Tensor) < row);
        near(concentration_grouped(&rows, symmetry, 12, &partner) / row, 1.0, LINEAR, "one group");
        assert!(concentration_grouped(&rows, symmetry, 4, &[1.0; 12]) > row, "smaller groups have smaller ranges");
        // By hand for two groups of unequal weight.
        let two = Dense::new(1, 4, vec![1.0, 0.0, 0.0, 2.0]);
        let ranges = if symmetry == Symmetry::Symmetric { [4.0, 16.0] } else { [1.0, 4.0] };
        let expected = 5.0 * 8.0 / (2.0 * ranges[0] + 6.0 * ranges[1]);
        near(concentration_grouped(&two, symmetry, 2, &[1.0, 1.0, 3.0, 3.0]), expected, LINEAR, "two groups");
    }
}
