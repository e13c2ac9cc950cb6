//! What every designer does alike: bad input, degenerate input, constraints, scaling.

use quant_core::design::dead_zone::DeadZone;
use quant_core::design::entropy_constrained::EntropyConstrained;
use quant_core::design::float_format::FloatFormat;
use quant_core::design::lloyd_max::LloydMax;
use quant_core::design::scaled::Scale;
use quant_core::design::start::Start;
use quant_core::design::*;
use quant_core::source::*;

type Designer = Box<dyn Fn(&dyn Source, usize, &Constraints) -> Result<Design, DesignError>>;

/// All designers that take a number of levels, with parameters in units of a deviation of `unit`.
fn designers(unit: f64) -> Vec<(&'static str, Designer)> {
    vec![
        ("lloyd_max", Box::new(|s, m, c| LloydMax { constraints: *c, ..LloydMax::new(m) }.design(s))),
        ("uniform", Box::new(|s, m, c| uniform::design(s, m, uniform::Range::Symmetric, c))),
        ("asymmetric", Box::new(|s, m, c| uniform::design(s, m, uniform::Range::Asymmetric, c))),
        ("percentile", Box::new(|s, m, c| uniform::design(s, m, uniform::Range::Percentile(0.01), c))),
        ("companded", Box::new(companded::design)),
        ("mu_law", Box::new(move |s, m, c| mu_law::design(s, m, (255.0, 4.0 * unit), c))),
        ("a_law", Box::new(move |s, m, c| a_law::design(s, m, (87.6, 4.0 * unit), c))),
        ("power_law", Box::new(move |s, m, c| power_law::design(s, m, (0.75, 4.0 * unit), c))),
        ("logarithmic", Box::new(move |s, m, c| Ok(logarithmic::design(s, m, (0.1 * unit, 4.0 * unit), c)?.design))),
        (
            "dead_zone",
            Box::new(move |s, m, c| {
                let quantizer = DeadZone { level_count: m, step: 0.5 * unit, zero_width: 1.5, reconstruction: 0.4 };
                Ok(quantizer.design(s, c)?.design)
            }),
        ),
        (
            "entropy_constrained",
            Box::new(move |s, m, c| {
                let designer = EntropyConstrained { constraints: *c, level_count_max: m, ..Default::default() };
                designer.design(s, 0.05 * unit * unit)
            }),
        ),
        (
            "nf4",
            Box::new(
                |s, m, c| {
                    if m == 0 { LloydMax::new(0).design(s) } else { normal_float::design(4, s, Scale::Optimal, c) }
                },
            ),
        ),
        (
            "e2m1",
            Box::new(|s, m, c| {
                if m == 0 {
                    LloydMax::new(0).design(s)
                } else {
                    float_format::design(FloatFormat::E2M1, s, Scale::Optimal, c)
                }
            }),
        ),
    ]
}

#[test]
fn no_designer_makes_a_codebook_without_levels() {
    for (name, design) in designers(1.0) {
        let result = design(&Gaussian::STANDARD, 0, &Constraints::default());
        // ECSQ takes its number of levels from the price of a bit and always keeps one.
        assert!(result.is_err() || name == "entropy_constrained", "{name}");
    }
}

#[test]
fn every_design_is_consistent() {
    let source = Gaussian::new(0.1, 2.0).unwrap();
    for (name, design) in designers(2.0) {
        let found = design(&source, 15, &Constraints::default()).unwrap();
        let levels = found.codebook.levels();
        assert!(found.mse > 0.0 && found.mse < 0.25 * source.variance(), "{name}: {}", found.mse);
        assert!((found.sqnr_db - 10.0 * (source.energy() / found.mse).log10()).abs() < 1e-12, "{name}");
        assert!(found.entropy_bits <= (levels.len() as f64).log2() + 1e-12, "{name}");
        assert!(found.rate >= found.entropy_bits - 1e-12, "{name}");
        let best = LloydMax::new(levels.len()).design(&source).unwrap();
        assert!(best.mse <= found.mse * (1.0 + 1e-12), "{name}: nothing beats Lloyd–Max on a log-concave density");
    }
}

#[test]
fn every_designer_keeps_constraints() {
    let source = Gaussian::new(0.1, 1.0).unwrap();
    let all = [
        Constraints { zero: true, ..Constraints::default() },
        Constraints { symmetric: true, ..Constraints::default() },
        Constraints { clip: Some((-1.25, 1.5)), ..Constraints::default() },
        Constraints { zero: true, symmetric: true, clip: Some((-1.25, 1.5)) },
    ];
    for (name, design) in designers(1.0) {
        for constraints in &all {
            if name == "nf4" && constraints.symmetric && constraints.zero {
                assert_eq!(design(&source, 16, constraints), Err(DesignError::SymmetricZero(16)));
                continue;
            }
            let found = design(&source, 15, constraints).unwrap_or_else(|e| panic!("{name} {constraints:?}: {e}"));
            let levels = found.codebook.levels();
            assert!(!constraints.zero || levels.contains(&0.0), "{name} {levels:?}");
            let mirrored = levels.iter().zip(levels.iter().rev()).all(|(a, b)| *a == -b);
            assert!(!constraints.symmetric || mirrored, "{name} {levels:?}");
            if let Some((low, high)) = constraints.clip {
                assert!(levels.iter().all(|y| (low..=high).contains(y)), "{name} {levels:?}");
            }
        }
    }
}

#[test]
fn equal_samples_cost_nothing_where_levels_are_free() {
    let equal = WeightedSamples::new([3.0; 20], None).unwrap();
    let uniform = uniform::design(&equal, 4, uniform::Range::Symmetric, &Constraints::default()).unwrap();
    let lloyd_max = LloydMax::new(4).design(&equal).unwrap();
    let optimal = optimal::design(&equal, 4, &Constraints::default()).unwrap();
    for design in [uniform, lloyd_max, optimal] {
        assert_eq!((design.codebook.levels(), design.mse, design.entropy_bits), (&[3.0][..], 0.0, 0.0));
    }
    let refused = companded::design(&equal, 4, &Constraints::default());
    assert_eq!(refused.unwrap_err(), DesignError::NoDensity("companded"));
}

#[test]
fn stretching_the_source_stretches_the_codebook() {
    for (small, large) in designers(1.0).iter().zip(designers(8.0)) {
        let a = (small.1)(&Laplacian::STANDARD, 7, &Constraints::default()).unwrap();
        let b = (large.1)(&Laplacian::new(0.0, 8.0).unwrap(), 7, &Constraints::default()).unwrap();
        for (y, z) in a.codebook.levels().iter().zip(b.codebook.levels()) {
            assert!((8.0 * y - z).abs() < 1e-6 * z.abs().max(1.0), "{}: {y} {z}", small.0);
        }
        assert!((64.0 * a.mse / b.mse - 1.0).abs() < 1e-9, "{}", small.0);
    }
}

#[test]
fn samples_are_designed_for_like_densities() {
    let quantiles = (0..4000).map(|i| Gaussian::STANDARD.quantile((f64::from(i) + 0.5) / 4000.0));
    let samples: Vec<f64> = quantiles.collect();
    let source = WeightedSamples::new(samples.iter().copied(), None).unwrap();
    let histogram = Histogram::from_samples(&samples, 256).unwrap();
    let density = LloydMax::new(8).design(&Gaussian::STANDARD).unwrap();
    let starts = [Start::Quantile, Start::Uniform];
    let from_samples = LloydMax::new(8).best_of(&source, &starts).unwrap();
    let from_histogram = LloydMax { tolerance: 1e-9, ..LloydMax::new(8) }.design(&histogram).unwrap();
    let exact = optimal::design(&source, 8, &Constraints::default()).unwrap();
    assert!(exact.mse <= from_samples.mse * (1.0 + 1e-12));
    for found in [from_samples, from_histogram, exact] {
        assert!((found.mse / density.mse - 1.0).abs() < 0.02, "{}", found.mse);
    }
}
