//! Optima whose outer cells hold few and light samples far from the others, and weights that vanish beside others.

mod wu;

use quant_core::design::certified::{fit_rows, fit_samples};
use quant_core::design::optimal::fit_points;
use quant_core::reference::Reference;
use quant_core::tensor::{Matrix, Samples};

/// xorshift64: reproducible and without statistics to speak of.
fn numbers(seed: u64) -> impl FnMut() -> f64 {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as f64 / (1u64 << 53) as f64
    }
}

fn cost(points: &[(f64, f64)], levels: &[f64]) -> f64 {
    let squared = |x: f64| levels.iter().map(|y| (x - y) * (x - y)).fold(f64::INFINITY, f64::min);
    points.iter().map(|&(x, w)| w * squared(x)).sum()
}

/// 0, 1, … each `times`, and single ones behind.
fn bulk(values: u32, times: usize, behind: &[u32]) -> Vec<f32> {
    let bulk = (0..values).flat_map(|x| std::iter::repeat_n(x, times));
    bulk.chain(behind.iter().copied()).map(|x| x as f32).collect()
}

fn counted(samples: &[f32]) -> Vec<(f64, f64)> {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f32::total_cmp);
    sorted.chunk_by(|a, b| a == b).map(|equal| (f64::from(equal[0]), equal.len() as f64)).collect()
}

#[test]
fn a_few_samples_far_away_get_the_cell_they_are_worth() {
    let cases = [
        bulk(255, 88, &[290, 325, 360, 4815]),
        bulk(764, 11, &[780, 796, 812, 828, 844, 6040, 6041]),
        bulk(843, 20, &[889, 935, 981, 1027, 1073, 13491, 13492]),
    ];
    for ascending in cases {
        let mirrored: Vec<f32> = ascending.iter().map(|x| -x).collect();
        for samples in [ascending, mirrored] {
            let points = counted(&samples);
            let least = wu::least_cost(points.clone(), 3);
            let matrix = Matrix::new(Samples::F32(&samples), 1, samples.len()).expect("one row");
            let fit = fit_samples(&Reference, matrix, None, 3).expect("finite");
            let told = fit.mse * samples.len() as f64;
            assert!(fit.certified && (told - least).abs() <= 1e-9 * least, "{told} told, {least} is least");
            let row = fit_rows(&Reference, matrix, None, 3).expect("finite");
            let own = cost(&points, &row.levels(0).iter().map(|&x| f64::from(x)).collect::<Vec<_>>());
            assert!(own <= least * (1.0 + 1e-6), "{own} by rows, {least} is least");
        }
    }
}

#[test]
fn a_bulk_with_light_samples_and_a_far_tail_is_cut_as_the_plain_programme_cuts_it() {
    for seed in 1..=150 {
        let mut next = numbers(seed);
        let (values, heavy) = (60 + (next() * 140.0) as usize, 1.0 + (next() * 300.0).floor());
        let (light, far) = ((next() * 6.0) as usize, 1 + (next() * 3.0) as usize);
        let step = 1.0 + (next() * 0.4 * values as f64).floor();
        let mut points: Vec<(f64, f64)> = (0..values).map(|i| (i as f64, heavy)).collect();
        points.extend((1..=light).map(|i| ((values as f64 + i as f64 * step).floor(), 1.0)));
        let start = points[points.len() - 1].0 * (2.0 + next() * 20.0);
        points.extend((0..far).map(|i| (start.floor() + i as f64, 1.0)));
        if seed % 2 == 0 {
            points.iter_mut().for_each(|p| p.0 = -p.0);
            points.reverse();
        }
        for cells in [2, 3, 4, 5] {
            let (found, least) = (fit_points(&points, cells).cost, wu::least_cost(points.clone(), cells));
            assert!((found - least).abs() <= 1e-9 * least, "seed {seed}, {cells}: {found} for {least}");
        }
    }
}

#[test]
fn weights_that_vanish_beside_others_are_not_called_certain() {
    let few = [(0.0, 1e20), (1.0, 1.0), (2.0, 1.0), (3.0, 1e20), (4.0, 1e20)];
    let found = fit_points(&few, 4);
    assert!(found.cost <= 10.0 && found.weight_rounding >= found.cost, "{found:?}");
    let samples: Vec<f32> = (0..40).map(|i| i as f32).collect();
    let weights: Vec<f32> = (0..40).map(|i| if i % 4 == 0 { 1e17 } else { 1.0 }).collect();
    let points: Vec<(f64, f64)> = samples.iter().zip(&weights).map(|(&x, &w)| (f64::from(x), f64::from(w))).collect();
    let total: f64 = points.iter().map(|p| p.1).sum();
    let matrix = Matrix::new(Samples::F32(&samples), 1, 40).expect("one row");
    for cells in 2..=16 {
        let fit = fit_samples(&Reference, matrix, Some(&weights), cells).expect("finite");
        let own = cost(&points, &fit.levels) / total;
        // Nearest levels may be cheaper than a partition that is not the best.
        assert!(own <= fit.mse * (1.0 + 1e-9), "{cells}: {own}, {} told", fit.mse);
        // Ten cells and more can have one heavy sample each, which leaves what f64 cannot tell from nothing.
        assert!(if cells < 10 { fit.mse < 1e3 } else { !fit.certified && fit.mse < 1e-12 }, "{cells}: {fit:?}");
    }
}
