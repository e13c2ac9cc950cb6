//! Are vector designs the same for every instruction set and thread count?

use quant_core::backend::Backend;
use quant_core::conformance::cases::Noise;
use quant_core::design::vector::*;
use quant_core::reference::Reference;
use quant_cpu::{Cpu, CpuOptions, SimdLevel};

fn normals(count: usize, seed: u64) -> Vec<f32> {
    let mut noise = Noise(seed);
    (0..count).map(|_| noise.normal()).collect()
}

fn cpus() -> impl Iterator<Item = Cpu> {
    let levels = SimdLevel::ALL.into_iter().filter(|level| level.is_available());
    let options = levels.flat_map(|level| [1, 2, 7].map(|threads| (level, threads)));
    options.map(|(level, threads)| {
        let options = CpuOptions { threads: Some(threads), level: Some(level), ..CpuOptions::default() };
        Cpu::new(options).expect("the level is available")
    })
}

#[test]
fn lloyd_does_not_depend_on_instructions_or_threads() {
    let samples = normals(6 * 9000, 1);
    let weights: Vec<f32> = normals(9000, 2).iter().map(|x| x * x).collect();
    let points = Points::new(&samples, 6).unwrap();
    let designer = VectorDesigner { restarts: 1, iterations_max: 4, ..VectorDesigner::new(24) };
    let mut designs = cpus().map(|cpu| designer.design_with(&cpu, points, Some(&weights)).unwrap());
    let first = designs.next().unwrap();
    // Sums of more than one tile round unlike those of the scalar definition, so that one is only near.
    let scalar = designer.design_with(&Reference, points, Some(&weights)).unwrap();
    assert!((first.mse / scalar.mse - 1.0).abs() < 1e-6, "{} and {}", first.mse, scalar.mse);
    assert!(designs.all(|design| design == first));
}

#[test]
fn seeding_of_many_points_is_deterministic_and_good() {
    // Above the limit of greedy seeding: 40,000 · 4 · 300 · 7 multiply-adds. 300 well separated clusters.
    let centres: Vec<f32> = normals(4 * 300, 3).iter().map(|x| 40.0 * x).collect();
    let noise = normals(4 * 40_000, 4);
    let samples: Vec<f32> = (0..noise.len()).map(|i| centres[i / 4 % 300 * 4 + i % 4] + 0.01 * noise[i]).collect();
    let points = Points::new(&samples, 4).unwrap();
    let designer = VectorDesigner { restarts: 1, iterations_max: 10, ..VectorDesigner::new(300) };
    let mut designs = cpus().map(|cpu| designer.design_with(&cpu, points, None).unwrap());
    let first = designs.next().unwrap();
    assert!(first.mse < 2e-4, "{}: a cluster has no codevector of its own", first.mse);
    assert!(designs.all(|design| design == first));
}

#[test]
fn parts_stages_and_batches_run_on_a_device() {
    let samples = normals(8 * 6000, 5);
    let points = Points::new(&samples, 8).unwrap();
    let cpu = Cpu::new(CpuOptions::default()).unwrap();
    let designer = VectorDesigner { restarts: 1, iterations_max: 8, ..VectorDesigner::new(16) };
    let product = ProductCodebook::design_with(&cpu, points, None, 4, &designer).unwrap();
    let residual = ResidualCodebook::design_with(&cpu, points, None, 2, &designer).unwrap();
    let whole = designer.design_with(&cpu, points, None).unwrap();
    let batch = MiniBatch::new(16).design_with(&cpu, points).unwrap();
    assert!(product.mse(points) < whole.mse && residual.mse(points) < whole.mse);
    assert!(batch.mse(points) < 1.1 * whole.mse);
    let codes = whole.codebook.encode(&cpu, points).unwrap();
    let near = |(x, &code): (&[f32], &u32)| {
        let distance: f64 =
            x.iter().zip(whole.codebook.get(code as usize)).map(|(&x, y)| (f64::from(x) - y).powi(2)).sum();
        distance <= whole.codebook.nearest(x).1 * (1.0 + 1e-5)
    };
    assert!(points.iter().zip(&codes).all(near));
}

#[test]
fn parts_stages_and_batches_do_not_depend_on_instructions_or_threads() {
    let samples = normals(8 * 5000, 7);
    let weights: Vec<f32> = normals(5000, 8).iter().map(|x| x * x).collect();
    let points = Points::new(&samples, 8).unwrap();
    let designer = VectorDesigner { restarts: 1, iterations_max: 4, ..VectorDesigner::new(16) };
    let mut designs = cpus().map(|cpu| {
        let of = |weights| {
            let product = ProductCodebook::design_with(&cpu, points, weights, 4, &designer).unwrap();
            (product, ResidualCodebook::design_with(&cpu, points, weights, 2, &designer).unwrap())
        };
        (of(None), of(Some(&weights)), MiniBatch::new(16).design_with(&cpu, points).unwrap())
    });
    let first = designs.next().unwrap();
    assert!(designs.all(|design| design == first));
}

#[test]
fn bad_weights_are_refused() {
    let cpu = Cpu::new(CpuOptions::default()).unwrap();
    let points = Points::new(&[1.0, 2.0, 3.0], 1).unwrap();
    let refusal =
        |weights: &[f32]| VectorDesigner::new(2).design_with(&cpu, points, Some(weights)).unwrap_err().to_string();
    assert_eq!(refusal(&[1.0, -0.5, 1.0]), "weight 1 is -0.5; weights must be finite and at least 0");
    assert_eq!(refusal(&[1.0]), "1 weights given for 3 points");
    assert_eq!(refusal(&[0.0; 3]), "the sum of weights is 0; it must be above 0");
}

/// Points for which integers tell the nearest codevector, and points for which they cannot: far out, alike, on the same
/// grid as the codevectors, equal, tiny, or huge.
fn kinds(count: usize, dimension: usize) -> Vec<(&'static str, Vec<f32>)> {
    let normal = normals(count * dimension, 6);
    let map = |f: &dyn Fn(usize, f32) -> f32| normal.iter().enumerate().map(|(i, &x)| f(i, x)).collect();
    vec![
        ("normal", normal.clone()),
        ("outliers", map(&|i, x| if i % 997 == 0 { 1e4 * x } else { x })),
        ("on a grid", map(&|_, x| (2.0 * x).round())),
        ("close together", map(&|_, x| 100.0 + 1e-3 * x)),
        ("equal", map(&|_, _| 0.5)),
        ("zeros", map(&|_, _| 0.0)),
        ("tiny", map(&|_, x| 1e-30 * x)),
        ("huge", map(&|_, x| 1e18 * x)),
        ("small", map(&|_, x| 1e-13 * x)),
        ("squares about 1e-28", map(&|_, x| 1e-14 * x)),
        ("squares about 1e-30", map(&|_, x| 1e-15 * x)),
        ("large", map(&|_, x| 1e13 * x)),
        ("of all magnitudes", map(&|i, x| x * 10f32.powi(i as i32 % 13 - 6))),
    ]
}

#[test]
fn codes_are_those_of_the_definition_for_all_instructions_and_threads() {
    for (dimension, codevector_count) in
        [(2, 64), (4, 100), (4, 1000), (8, 256), (8, 65), (16, 96), (32, 72), (64, 129), (128, 200), (6, 64), (3, 40)]
    {
        for (name, samples) in kinds(3001, dimension) {
            let points = Points::new(&samples, dimension).unwrap();
            // Every eleventh or third point; of most kinds some are equal, so that the lower code must win.
            let step = if codevector_count > 256 { 3 } else { 11 };
            let chosen = points.iter().step_by(step).take(codevector_count).flatten().copied().collect::<Vec<_>>();
            let codevectors = Points::new(&chosen, dimension).unwrap();
            let mut expected = vec![0; points.len()];
            let Ok(()) = Reference.nearest_codevectors(points, codevectors, &mut expected);
            let mut cells = Vec::new();
            for cpu in cpus() {
                let mut codes = vec![0; points.len()];
                let Ok(of_cpu) = cpu.vector_cells(points, None, codevectors, &mut codes);
                cells.push(of_cpu);
                let place = format!("{name}, d = {dimension}, k = {codevector_count}, {}", cpu.name());
                assert_eq!(codes, expected, "{place}");
            }
            assert!(cells.iter().all(|of_cpu| *of_cpu == cells[0]), "{name}, d = {dimension}");
        }
    }
}

#[test]
fn codevectors_whose_squares_nearly_vanish_are_compared_in_full() {
    // ½‖y‖² is just above 1e-30, where the scale of integer scores was infinite.
    let unit = (2.02e-30f32).sqrt();
    let mut codevectors = vec![unit, 0.0];
    (1..64).for_each(|j| codevectors.extend([0.0, unit * 1e-3 * j as f32 / 64.0]));
    let samples: Vec<f32> = (0..32).flat_map(|p| [unit * (0.4 + 0.001 * p as f32), unit * 3e-4]).collect();
    let (points, codevectors) = (Points::new(&samples, 2).unwrap(), Points::new(&codevectors, 2).unwrap());
    let mut expected = vec![0; points.len()];
    let Ok(()) = Reference.nearest_codevectors(points, codevectors, &mut expected);
    for cpu in cpus() {
        let mut codes = vec![0; points.len()];
        let Ok(()) = cpu.nearest_codevectors(points, codevectors, &mut codes);
        assert_eq!(codes, expected, "{}", cpu.name());
    }
}
