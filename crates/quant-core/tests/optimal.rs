//! Exact 1-D k-means against brute force, restarts, and Lloyd–Max.

use quant_core::design::lloyd_max::LloydMax;
use quant_core::design::optimal::{self, fit_points};
use quant_core::design::start::Start;
use quant_core::design::{Constraints, DesignError, StopReason};
use quant_core::source::*;

/// xorshift64*: reproducible and without statistics to speak of.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> f64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11) as f64 / (1u64 << 53) as f64
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() * n as f64) as usize
    }

    /// Sum of four uniforms: bell-shaped.
    fn bell(&mut self) -> f64 {
        (0..4).map(|_| self.next()).sum::<f64>() - 2.0
    }
}

fn cell_cost(points: &[(f64, f64)]) -> f64 {
    let weight: f64 = points.iter().map(|p| p.1).sum();
    if weight == 0.0 {
        return 0.0;
    }
    let mean = points.iter().map(|p| p.0 * p.1).sum::<f64>() / weight;
    points.iter().map(|p| p.1 * (p.0 - mean).powi(2)).sum()
}

/// The least cost over all cuts of `points` into at most `cells` runs.
fn brute_force(points: &[(f64, f64)], cells: usize) -> f64 {
    if cells == 1 || points.len() <= 1 {
        return cell_cost(points);
    }
    let cut = |i: usize| cell_cost(&points[..i]) + brute_force(&points[i..], cells - 1);
    (1..points.len()).map(cut).fold(cell_cost(points), f64::min)
}

#[test]
fn brute_force_finds_nothing_better() {
    let mut numbers = Numbers(20_261_122);
    for case in 0..10_000 {
        let n = 1 + numbers.below(14);
        let grid = [3.0, 10.0, 1e6][case % 3];
        let weights = [1.0, 4.0, 1e6][(case / 3) % 3];
        let mut points: Vec<(f64, f64)> = (0..n)
            .map(|_| {
                (
                    (numbers.bell() * grid).round() / grid,
                    (numbers.next() * weights).ceil() * f64::from(u8::from(numbers.next() > 0.1)),
                )
            })
            .collect();
        points.push((0.5, 1.0));
        points.truncate(14);
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        if points.iter().all(|p| p.1 == 0.0) {
            continue;
        }
        let k = 1 + numbers.below(5);
        let found = fit_points(&points, k);
        let least = brute_force(&points, k);
        let total = cell_cost(&points);
        assert!((found.cost - least).abs() <= 1e-12 * total, "case {case}: {} for {least}", found.cost);
    }
}

#[test]
fn restarts_find_nothing_better() {
    let mut numbers = Numbers(7);
    for case in 0..200 {
        let n = 100 + numbers.below(400);
        let heavy = case % 2 == 0;
        let points: Vec<(f64, f64)> = (0..n)
            .map(|_| {
                let x = numbers.bell();
                (if heavy { x * x * x * 4.0 } else { x }, 0.1 + numbers.next())
            })
            .collect();
        let source = WeightedSamples::from_points(points).unwrap();
        let k = 2 + numbers.below(15);
        let best = optimal::design(&source, k, &Constraints::default()).unwrap();
        assert_eq!(best.stop, StopReason::Exact);
        for _ in 0..100 {
            let mut start: Vec<f64> = (0..k).map(|_| source.points()[numbers.below(source.points().len())].0).collect();
            start.sort_by(f64::total_cmp);
            start.dedup();
            let designer = LloydMax { start: Start::Levels(start), iterations_max: 100, ..LloydMax::new(k) };
            let rival = designer.design(&source).unwrap();
            assert!(best.mse <= rival.mse * (1.0 + 1e-12), "case {case}: {} against {}", best.mse, rival.mse);
        }
    }
}

#[test]
fn on_log_concave_densities_it_meets_lloyd_max() {
    for source in [&Gaussian::STANDARD as &dyn Density, &Laplacian::STANDARD, &Uniform::STANDARD] {
        // A fine grid of quantile cells, each with its own mass and centroid.
        let edges: Vec<f64> = (0..=40_000).map(|i| source.quantile(f64::from(i) / 40_000.0)).collect();
        let points: Vec<(f64, f64)> =
            edges.windows(2).map(|w| source.moments(w[0], w[1], 0.0)).map(|m| (m.first / m.mass, m.mass)).collect();
        let within = source.energy() - points.iter().map(|p| p.0 * p.0 * p.1).sum::<f64>();
        for k in [2, 5, 16] {
            let best = fit_points(&points, k);
            let lloyd_max = LloydMax::new(k).design(&DensityOnly(source)).unwrap();
            assert!(((best.cost + within) / lloyd_max.mse - 1.0).abs() < 1e-5, "{k}: {} {}", best.cost, lloyd_max.mse);
            for (a, b) in best.levels.iter().zip(lloyd_max.codebook.levels()) {
                assert!((a - b).abs() < 2e-3, "{k}: {a} for {b}");
            }
        }
    }
}

struct DensityOnly<'a>(&'a dyn Density);

impl Source for DensityOnly<'_> {
    fn moments(&self, low: f64, high: f64, centre: f64) -> Moments {
        self.0.moments(low, high, centre)
    }

    fn support(&self) -> (f64, f64) {
        self.0.support()
    }

    fn quantile(&self, p: f64) -> f64 {
        self.0.quantile(p)
    }

    fn density(&self) -> Option<&dyn Density> {
        Some(self.0)
    }
}

/// With a level forced to 0, brute force tries every pair of cuts around it.
#[test]
fn a_forced_zero_is_exact() {
    let mut numbers = Numbers(3);
    for case in 0..1000 {
        let n = 1 + numbers.below(9);
        let mut points: Vec<(f64, f64)> =
            (0..n).map(|_| ((numbers.bell() * 6.0).round() / 3.0, 1.0 + numbers.next())).collect();
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        let k = 1 + numbers.below(4);
        let mut least = f64::INFINITY;
        for i in 0..=n {
            for j in i..=n {
                for below in 0..k {
                    let zero: f64 = points[i..j].iter().map(|p| p.1 * p.0 * p.0).sum();
                    let side = |part: &[(f64, f64)], cells: usize| match (part.len(), cells) {
                        (0, _) => 0.0,
                        (_, 0) => f64::INFINITY,
                        _ => brute_force(part, cells),
                    };
                    least = least.min(zero + side(&points[..i], below) + side(&points[j..], k - 1 - below));
                }
            }
        }
        let total: f64 = points.iter().map(|p| p.1).sum();
        let source = WeightedSamples::from_points(points).unwrap();
        let zero = Constraints { zero: true, ..Constraints::default() };
        let found = optimal::design(&source, k, &zero).unwrap();
        assert!(found.codebook.levels().contains(&0.0) && found.codebook.levels().len() <= k);
        assert!((found.mse * total - least).abs() < 1e-12 * total, "case {case}: {} for {least}", found.mse * total);
    }
}

/// The least cost of cuts of `points` into at most `cells` runs whose levels lie in a range, one of them perhaps 0.
fn brute_force_within(points: &[(f64, f64)], cells: usize, range: (f64, f64), zero: bool) -> f64 {
    let cost = |part: &[(f64, f64)], y: f64| part.iter().map(|p| p.1 * (p.0 - y).powi(2)).sum::<f64>();
    let own = |part: &[(f64, f64)]| {
        let weight: f64 = part.iter().map(|p| p.1).sum();
        let mean = part.iter().map(|p| p.0 * p.1).sum::<f64>() / weight;
        cost(part, mean.clamp(range.0, range.1))
    };
    match (points.len(), cells) {
        (0, _) if cells > 0 || !zero => return 0.0,
        (_, 0) => return f64::INFINITY,
        _ => {}
    }
    let next = |i: usize| {
        let rest = &points[i..];
        let plain =
            if i > 0 { own(&points[..i]) + brute_force_within(rest, cells - 1, range, zero) } else { f64::INFINITY };
        let zeroed = || cost(&points[..i], 0.0) + brute_force_within(rest, cells - 1, range, false);
        if zero { plain.min(zeroed()) } else { plain }
    };
    (0..=points.len()).map(next).fold(f64::INFINITY, f64::min)
}

#[test]
fn a_clip_is_exact_with_and_without_a_zero() {
    let mut numbers = Numbers(11);
    for case in 0..1000 {
        let n = 1 + numbers.below(9);
        let mut points: Vec<(f64, f64)> =
            (0..n).map(|_| ((numbers.bell() * 6.0).round() / 3.0, 1.0 + (numbers.next() * 3.0).round())).collect();
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        let k = 1 + numbers.below(4);
        let range = (-1.5 * numbers.next(), 1.5 * numbers.next());
        let total: f64 = points.iter().map(|p| p.1).sum();
        let source = WeightedSamples::from_points(points.clone()).unwrap();
        for zero in [false, true] {
            let constraints = Constraints { clip: Some(range), zero, symmetric: false };
            let found = optimal::design(&source, k, &constraints).unwrap();
            let least = brute_force_within(&points, k, range, zero);
            let levels = found.codebook.levels();
            assert!(levels.len() <= k && levels.iter().all(|y| (range.0..=range.1).contains(y)), "{levels:?}");
            assert!((!zero || levels.contains(&0.0)) && found.stop == StopReason::Exact);
            let cost = found.mse * total;
            assert!((cost - least).abs() < 1e-12 * total, "case {case} {zero}: {cost} for {least}");
        }
        if k > 1 {
            let magnitudes = points.iter().map(|p| (p.0.abs(), p.1));
            let mut folded: Vec<(f64, f64)> = magnitudes.collect();
            folded.sort_by(|a, b| a.0.total_cmp(&b.0));
            let constraints = Constraints { clip: Some((-1.0, 0.75)), symmetric: true, zero: false };
            let found = optimal::design(&source, k, &constraints).unwrap();
            let least = brute_force_within(&folded, k.div_ceil(2), (0.0, 0.75), k % 2 == 1);
            assert!((found.mse * total - least).abs() < 1e-12 * total, "case {case}: {} {least}", found.mse * total);
        }
    }
}

#[test]
fn constraints_and_degenerate_samples() {
    let samples = WeightedSamples::new((0..100).map(|i| f64::from(i * i % 37) - 11.0), None).unwrap();
    let symmetric = Constraints { symmetric: true, ..Constraints::default() };
    for k in [1, 4, 5] {
        let levels = optimal::design(&samples, k, &symmetric).unwrap().codebook.levels().to_vec();
        assert!(levels.len() == k && (0..k).all(|i| levels[i] == -levels[k - 1 - i]), "{levels:?}");
    }
    let clip = Constraints { clip: Some((-4.0, 9.0)), ..Constraints::default() };
    let clipped = optimal::design(&samples, 6, &clip).unwrap();
    assert!(clipped.codebook.levels().iter().all(|y| (-4.0..=9.0).contains(y)));
    let few = WeightedSamples::new([1.0, 2.0, 2.0], None).unwrap();
    let found = optimal::design(&few, 8, &Constraints::default()).unwrap();
    assert_eq!((found.codebook.levels(), found.mse), (&[1.0, 2.0][..], 0.0));
    assert!(matches!(optimal::design(&few, 0, &clip), Err(DesignError::LevelCount { value: 0, .. })));
}

/// 65,536 atoms and 256 levels: seconds would mean the windows are not working.
#[test]
fn a_full_histogram_is_quick() {
    let points: Vec<(f64, f64)> = (0..65_536)
        .map(|i| (f64::from(i) - 32_768.0) / 8192.0)
        .map(|x| (x, (1e6 * (-0.5 * x * x).exp()).ceil()))
        .collect();
    let started = std::time::Instant::now();
    let found = fit_points(&points, 256);
    assert_eq!(found.levels.len(), 256);
    // 10 ms in an optimised build.
    assert!(started.elapsed().as_secs_f64() < 3.0, "{:?}", started.elapsed());
}

#[test]
fn thousands_of_levels_find_thousands_of_clusters() {
    let mut numbers = Numbers(4096);
    // Ten points about each of 4096 centres that are far apart, at distances that vary.
    let mut centre = 0.0;
    let mut points = Vec::new();
    let mut cost = 0.0;
    for _ in 0..4096 {
        centre += 1.0 + numbers.next();
        let mut cluster: Vec<(f64, f64)> = (0..10).map(|_| (centre + 0.01 * numbers.bell(), 1.0)).collect();
        cluster.sort_by(|a, b| a.0.total_cmp(&b.0));
        cost += cell_cost(&cluster);
        points.extend(cluster);
    }
    let best = fit_points(&points, 4096);
    assert_eq!(best.levels.len(), 4096);
    assert!((best.cost - cost).abs() <= 1e-9 * cost, "{} for {cost}", best.cost);
    assert!(best.borders.iter().enumerate().all(|(i, &border)| border == 10 * (i + 1)));
}
