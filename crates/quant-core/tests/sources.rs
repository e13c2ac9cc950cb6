//! Partial moments, cdf and quantiles of every source against 40-digit quadrature and against each other.

use quant_core::source::*;

const INFINITY: f64 = f64::INFINITY;
const NEG_INFINITY: f64 = f64::NEG_INFINITY;

type Row = (&'static str, f64, f64, f64, f64, f64, f64, f64);

fn named(name: &str) -> Box<dyn Density> {
    match name {
        "gaussian" => Box::new(Gaussian::STANDARD),
        "laplacian" => Box::new(Laplacian::STANDARD),
        "logistic" => Box::new(Logistic::new(0.0, 1.0).unwrap()),
        "student_t_5" => Box::new(StudentT::new(5.0, 0.0, 1.0).unwrap()),
        "generalized_0_7" => Box::new(GeneralizedGaussian::new(0.7, 0.0, 1.0).unwrap()),
        "generalized_3" => Box::new(GeneralizedGaussian::new(3.0, 0.0, 1.0).unwrap()),
        _ => unreachable!("every golden row has a source"),
    }
}

#[test]
fn partial_moments_match_forty_digits() {
    let golden: &[Row] = &include!("golden/moments.in");
    for &(name, low, high, centre, mass, first, second, magnitude) in golden {
        let ours = named(name).moments(low, high, centre);
        let far = [low, high].iter().filter(|x| x.is_finite()).fold(0.0f64, |m, x| m.max(x.abs())) > 6.0;
        let tolerance = if far { 1e-9 } else { 1e-12 };
        let close = |a: f64, b: f64, size: f64| (a - b).abs() <= tolerance * size.max(1e-300);
        assert!(close(ours.mass, mass, mass), "{name} m0 ({low}, {high}): {} for {mass}", ours.mass);
        assert!(close(ours.first, first, magnitude), "{name} m1 ({low}, {high}): {} for {first}", ours.first);
        assert!(close(ours.second, second, second), "{name} m2 ({low}, {high}): {} for {second}", ours.second);
    }
}

fn all() -> Vec<(&'static str, Box<dyn Density>)> {
    let names = ["gaussian", "laplacian", "logistic", "student_t_5", "generalized_0_7", "generalized_3"];
    let mut list: Vec<(&'static str, Box<dyn Density>)> = names.into_iter().map(|n| (n, named(n))).collect();
    let parts = vec![(0.7, Gaussian::new(-2.0, 0.5).unwrap()), (0.3, Gaussian::new(1.0, 3.0).unwrap())];
    list.push(("uniform", Box::new(Uniform::new(-1.0, 4.0).unwrap())));
    list.push(("mixture", Box::new(Mixture::new(parts).unwrap())));
    list.push(("block", Box::new(AbsmaxBlock::new(Gaussian::STANDARD, 64).unwrap())));
    list.push(("gamma", Box::new(Numeric::from_statrs(statrs::distribution::Gamma::new(0.5, 1.0).unwrap()).unwrap())));
    list.push((
        "gumbel",
        Box::new(Numeric::from_statrs(statrs::distribution::Gumbel::new(0.0, 1.0).unwrap()).unwrap()),
    ));
    list.push((
        "triangular",
        Box::new(Numeric::from_statrs(statrs::distribution::Triangular::new(0.0, 5.0, 2.0).unwrap()).unwrap()),
    ));
    list.push(("histogram", Box::new(Histogram::new(vec![0.0, 1.0, 3.0], vec![2.0, 1.0]).unwrap())));
    list
}

#[test]
fn mass_is_one_and_cells_add_up() {
    for (name, source) in all() {
        let whole = source.moments(NEG_INFINITY, INFINITY, 0.3);
        assert!((whole.mass - 1.0).abs() < 1e-12, "{name}: {}", whole.mass);
        let cuts = [NEG_INFINITY, -2.3, -0.9, -0.1, 0.0, 0.2, 0.7, 3.0, INFINITY];
        let sum: Moments = cuts.windows(2).map(|w| source.moments(w[0], w[1], 0.3)).sum();
        for (a, b) in [(sum.mass, whole.mass), (sum.first, whole.first), (sum.second, whole.second)] {
            assert!((a - b).abs() < 1e-12 * whole.second.max(1.0), "{name}: {a} for {b}");
        }
    }
}

#[test]
fn quantiles_invert_the_cdf() {
    for (name, source) in all() {
        for p in [1e-6, 0.01, 0.25, 0.5, 0.6, 0.9, 0.999] {
            let x = source.quantile(p);
            assert!((source.cdf(x) - p).abs() < 1e-12 || name == "block", "{name} at {p}: {x}, {}", source.cdf(x));
        }
    }
}

#[test]
fn standard_sources_have_unit_variance() {
    for (name, source) in all().into_iter().take(6) {
        assert!((source.variance() - 1.0).abs() < 1e-12, "{name}: {}", source.variance());
        assert!(source.mean().abs() < 1e-15 && source.symmetry() == Some(0.0), "{name}");
    }
}

#[test]
fn statrs_and_ours_agree() {
    let theirs = Numeric::from_statrs(statrs::distribution::Normal::new(0.0, 1.0).unwrap()).unwrap();
    let laplace = Numeric::from_statrs(statrs::distribution::Laplace::new(0.0, Laplacian::STANDARD.scale()).unwrap());
    let laplace = laplace.unwrap();
    for (low, high) in [(-1.0, 0.5), (0.1, 0.2), (2.0, INFINITY), (NEG_INFINITY, 3.0), (8.0, 9.0)] {
        for (ours, theirs) in [
            (Gaussian::STANDARD.moments(low, high, 0.0), theirs.moments(low, high, 0.0)),
            (Laplacian::STANDARD.moments(low, high, 0.0), laplace.moments(low, high, 0.0)),
        ] {
            assert!((ours.mass / theirs.mass - 1.0).abs() < 1e-12, "{low} {high}");
            assert!((ours.second / theirs.second - 1.0).abs() < 1e-12, "{low} {high}");
        }
    }
}

/// With n = 64 normals: mean of the maximum and share of mass from simulation-free identities.
#[test]
fn a_block_of_two_has_a_closed_density() {
    // For two samples the ratio of the smaller to the larger magnitude of two normals: f(u) = (2/π)·… arctan law.
    // |U| given not the maximum has cdf (4/π)·arctan(u) on [0, 1].
    let block = AbsmaxBlock::new(Gaussian::STANDARD, 2).unwrap();
    for u in [0.1, 0.3, 0.5, 0.9] {
        let expected = 0.5 * 4.0 / std::f64::consts::PI * f64::atan(u);
        assert!((block.cdf(u) - block.cdf(-u) - expected).abs() < 1e-12, "{u}");
    }
    assert!((block.tail(0.999_999_999) - 0.25).abs() < 1e-8);
}

#[test]
fn refused_sources_say_why() {
    let message = |e: SourceError| e.to_string();
    assert_eq!(message(Gaussian::new(0.0, -1.0).unwrap_err()), "deviation is -1; it must be finite and above 0");
    assert_eq!(message(StudentT::new(2.0, 0.0, 1.0).unwrap_err()), "nu is 2; it must be finite and above 2");
    let everywhere = (NEG_INFINITY, INFINITY);
    let flat = Numeric::new(|_| 1.0, everywhere, 0.0, 1.0, &[]);
    assert!(matches!(flat.err(), Some(SourceError::NotIntegrable { .. })));
    let pole = Numeric::new(|x: f64| 1.0 / x, (0.0, 1.0), 0.5, 0.5, &[]);
    assert!(matches!(pole.err(), Some(SourceError::NotIntegrable { .. })));
    let cauchy = Numeric::from_statrs(statrs::distribution::Cauchy::new(0.0, 1.0).unwrap());
    assert_eq!(cauchy.err(), Some(SourceError::InfiniteVariance));
    let nan = WeightedSamples::new([1.0, f64::NAN], None).unwrap_err();
    assert_eq!(message(nan), "sample 1 is NaN; every sample must be finite");
    assert_eq!(WeightedSamples::new([1.0], Some(&[0.0])).unwrap_err(), SourceError::NoWeight);
    assert_eq!(WeightedSamples::new([], None).unwrap_err(), SourceError::NoWeight);
    let negative = WeightedSamples::new([1.0, 2.0], Some(&[1.0, -1.0])).unwrap_err();
    assert_eq!(message(negative), "weight 1 is -1; weights must be finite and at least 0");
}
