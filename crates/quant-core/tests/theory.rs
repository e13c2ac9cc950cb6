//! Designs against high-rate theory.

use quant_core::design::entropy_constrained::EntropyConstrained;
use quant_core::design::{Constraints, StopReason, companded, uniform};
use quant_core::source::*;
use quant_core::theory;

#[test]
fn entropy_coding_ends_one_and_a_half_db_above_shannon() {
    for source in [&Gaussian::STANDARD as &dyn Density, &Laplacian::STANDARD] {
        let as_source: &dyn Source = source;
        let design = EntropyConstrained::default().for_rate(as_source, 5.0).unwrap();
        assert_eq!(design.stop, StopReason::Converged);
        assert!((design.rate - 5.0).abs() < 1e-6, "{}", design.rate);
        let gap = 10.0 * (design.mse / theory::shannon_lower_bound(source, design.rate)).log10();
        assert!((gap - theory::entropy_coded_gap_db()).abs() < 0.02, "{gap}");
    }
}

#[test]
fn a_bit_has_its_price() {
    let lambdas = [0.2, 0.05, 0.01];
    let curve = EntropyConstrained::default().curve(&Laplacian::STANDARD, &lambdas).unwrap();
    for (pair, prices) in curve.windows(2).zip(lambdas.windows(2)) {
        let slope = (pair[0].mse - pair[1].mse) / (pair[1].rate - pair[0].rate);
        assert!(slope < prices[0] && slope > prices[1], "{slope}");
        assert!(pair[1].trace.is_sorted_by(|a, b| *b <= a * (1.0 + 1e-12)));
    }
}

#[test]
fn constraints_hold() {
    let source = Gaussian::new(0.2, 1.0).unwrap();
    let free = EntropyConstrained::default().design(&source, 0.05).unwrap();
    let constraints = Constraints { zero: true, symmetric: true, clip: Some((-2.0, 2.5)) };
    let held = EntropyConstrained { constraints, ..EntropyConstrained::default() }.design(&source, 0.05).unwrap();
    let levels = held.codebook.levels();
    assert!(levels.contains(&0.0) && levels.iter().all(|y| y.abs() <= 2.0), "{levels:?}");
    assert!(levels.iter().zip(levels.iter().rev()).all(|(a, b)| *a == -b));
    assert!(held.mse + 0.05 * held.rate >= free.mse + 0.05 * free.rate);
}

#[test]
fn bennett_predicts_a_fine_compander() {
    let student = StudentT::new(6.0, 0.0, 1.0).unwrap();
    let design = companded::design(&student, 512, &Constraints::default()).unwrap();
    assert!((design.mse / theory::panter_dite(&student, 512) - 1.0).abs() < 0.03);
}

/// Max 1960, table II: step and distortion of the optimum uniform quantizer of a unit normal.
#[test]
fn max_1960_table_two() {
    let table =
        [(2, 1.596, 0.3634), (4, 0.9957, 0.1188), (8, 0.5860, 0.03744), (16, 0.3352, 0.01154), (32, 0.1881, 0.003495)];
    for (level_count, step, mse) in table {
        let found =
            uniform::design(&Gaussian::STANDARD, level_count, uniform::Range::Symmetric, &Constraints::default())
                .unwrap();
        let levels = found.codebook.levels();
        assert!((levels[1] - levels[0] - step).abs() < 6e-4 * step, "{level_count}: {}", levels[1] - levels[0]);
        assert!((found.mse / mse - 1.0).abs() < 1e-3, "{level_count}: {}", found.mse);
    }
}
