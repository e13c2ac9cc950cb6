//! Designs against high-rate theory.

use quant_core::design::entropy_constrained::{EntropyConstrained, Start};
use quant_core::design::lloyd_max::LloydMax;
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

fn every_source() -> Vec<(&'static str, Box<dyn Source>)> {
    let parts = vec![(0.6, Gaussian::new(-2.0, 0.5).unwrap()), (0.4, Gaussian::new(1.0, 1.0).unwrap())];
    let gamma = statrs::distribution::Gamma::new(2.0, 1.0).unwrap();
    let samples: Vec<f64> =
        (0..3000).map(|i| Logistic::new(0.3, 1.0).unwrap().quantile((f64::from(i) + 0.5) / 3e3)).collect();
    vec![
        ("gaussian", Box::new(Gaussian::STANDARD)),
        ("laplacian", Box::new(Laplacian::STANDARD)),
        ("uniform", Box::new(Uniform::STANDARD)),
        ("logistic", Box::new(Logistic::new(0.0, 1.0).unwrap())),
        ("student t", Box::new(StudentT::new(5.0, 0.0, 1.0).unwrap())),
        ("generalized Gaussian", Box::new(GeneralizedGaussian::new(4.0, 0.0, 1.0).unwrap())),
        ("mixture", Box::new(Mixture::new(parts).unwrap())),
        ("gamma", Box::new(Numeric::from_statrs(gamma).unwrap())),
        ("histogram", Box::new(Histogram::from_samples(&samples, 50).unwrap())),
        ("samples", Box::new(WeightedSamples::new(samples, None).unwrap())),
    ]
}

#[test]
fn entropy_constrained_is_never_below_uniform_at_equal_rate() {
    for (name, source) in every_source() {
        // Quadrature makes these slow.
        let is_slow = ["student t", "generalized Gaussian", "gamma"].contains(&name);
        let counts: &[usize] = if is_slow { &[2, 5] } else { &[2, 3, 4, 7, 8, 16] };
        for &level_count in counts {
            let range = uniform::Range::Asymmetric;
            let rival = uniform::design(&*source, level_count, range, &Constraints::default()).unwrap();
            let found = EntropyConstrained::default().for_rate(&*source, rival.entropy_bits).unwrap();
            assert!(found.rate <= rival.entropy_bits + 1e-6, "{name} {level_count}: {}", found.rate);
            assert!(found.mse <= rival.mse * (1.0 + 1e-6), "{name} {level_count}: {} {}", found.mse, rival.mse);
        }
    }
}

#[test]
fn starts_differ_and_the_best_of_them_is_taken() {
    let uniform = &Uniform::STANDARD;
    let from = |start: Start| EntropyConstrained { start, ..EntropyConstrained::default() };
    let odd = from(Start::Odd).for_rate(uniform, 2.0).unwrap();
    let best = EntropyConstrained::default().for_rate(uniform, 2.0).unwrap();
    assert!((best.sqnr_db - 12.0412).abs() < 1e-4 && best.codebook.levels().len() == 4, "{}", best.sqnr_db);
    let even = from(Start::Even).for_rate(uniform, 2.0).unwrap();
    assert!(best.mse < 0.999 * odd.mse && (even.mse / best.mse - 1.0).abs() < 1e-9, "{} {}", even.mse, odd.mse);
    // Two cells of unequal size: the only way to half a bit.
    let half = EntropyConstrained::default().for_rate(uniform, 0.5).unwrap();
    assert!((half.rate - 0.5).abs() < 1e-6 && (half.sqnr_db - 1.51).abs() < 0.01, "{} {}", half.rate, half.sqnr_db);
    let levels = LloydMax::new(9).design(&Laplacian::STANDARD).unwrap().codebook.levels().to_vec();
    let nine = from(Start::Levels(levels)).design(&Laplacian::STANDARD, 0.02).unwrap();
    let free = EntropyConstrained::default().design(&Laplacian::STANDARD, 0.02).unwrap();
    assert!(nine.codebook.levels().len() <= 9 && free.codebook.levels().len() > 9);
    assert!(free.mse + 0.02 * free.rate <= nine.mse + 0.02 * nine.rate);
    let equal = WeightedSamples::new([3.0; 4], None).unwrap();
    assert_eq!(EntropyConstrained::default().for_rate(&equal, 1.0).unwrap().codebook.levels(), [3.0]);
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

/// A bound that holds for what can be built, and a prediction that comes true, with one sample in 16 at ±1.
#[test]
fn point_masses_are_known_to_theory() {
    let block = AbsmaxBlock::new(Gaussian::STANDARD, 16).unwrap();
    assert_eq!(block.atoms(), [(-1.0, 1.0 / 32.0), (1.0, 1.0 / 32.0)]);
    let design = LloydMax { tolerance: 1e-9, ..LloydMax::new(64) }.design(&block).unwrap();
    let gaps = theory::gaps(&block, 64, design.entropy_bits, design.mse);
    assert!(gaps.panter_dite_db.abs() < 0.4, "{}", gaps.panter_dite_db);
    let bennett = theory::bennett_of(&design.codebook, &block).unwrap();
    assert!((bennett / design.mse - 1.0).abs() < 0.05, "{bennett} {}", design.mse);
    // 1.53 dB, and the bits that tell the parts apart, which the bound leaves out: 2.57 dB.
    assert!((gaps.shannon_db - 4.1).abs() < 0.3, "{}", gaps.shannon_db);
}
