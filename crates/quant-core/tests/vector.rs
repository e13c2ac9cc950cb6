//! Vector quantizers against scalar ones, theory and each other.

use quant_core::codebook::Codebook;
use quant_core::design::lloyd_max::LloydMax;
use quant_core::design::vector::*;
use quant_core::design::{StopReason, optimal};
use quant_core::source::Gaussian;
use quant_core::source::special::normal_quantile;
use quant_core::theory;

/// Independent normals from a scrambled sequence.
fn normals(count: usize) -> Vec<f32> {
    let mut state = 88_172_645_463_325_252u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        ((state >> 11) as f64 + 0.5) / (1u64 << 53) as f64
    };
    (0..count).map(|_| normal_quantile(next()) as f32).collect()
}

#[test]
fn in_one_dimension_it_approaches_the_exact_optimum() {
    let samples = normals(3000);
    let designer = VectorDesigner { restarts: 10, ..VectorDesigner::new(8) };
    let design = designer.design(Points::new(&samples, 1).unwrap()).unwrap();
    let exact = optimal::fit_levels(&samples, None, 8);
    let axis = Codebook::nearest(exact.iter().map(|&y| f64::from(y)).collect()).unwrap();
    let squared = |&x: &f32| (f64::from(x) - axis.decode(axis.encode(f64::from(x)))).powi(2);
    let least = samples.iter().map(squared).sum::<f64>() / 3000.0;
    assert!(design.mse >= least * (1.0 - 1e-6) && design.mse < least * 1.01, "{} for {least}", design.mse);
    assert_eq!(design.stop, StopReason::Converged);
    assert!(design.trace.is_sorted_by(|a, b| b <= a), "{:?}", design.trace);
}

#[test]
fn two_dimensions_beat_one_and_stay_near_zador() {
    let samples = normals(40_000);
    let points = Points::new(&samples, 2).unwrap();
    let designer =
        VectorDesigner { restarts: 2, held_out: 0.5, iterations_max: 40, tolerance: 1e-4, ..VectorDesigner::new(64) };
    let design = designer.design(points).unwrap();
    let scalar = LloydMax::new(8).design(&Gaussian::STANDARD).unwrap();
    let held_out = design.held_out_mse.unwrap();
    assert!(held_out < 0.97 * scalar.mse, "{held_out} for {}", scalar.mse);
    assert!(design.generalisation_gap_db().unwrap() > 0.0 && design.generalisation_gap_db().unwrap() < 0.3);
    // Zador's formula is 10 % high at 3 bits.
    let zador = theory::zador(&Gaussian::STANDARD, 2, theory::G2, 64);
    assert!((held_out / zador - 0.95).abs() < 0.1, "{held_out} for {zador}");
    assert_eq!(design.rate, 3.0);
}

#[test]
fn losing_restarts_are_abandoned_without_loss() {
    let samples = normals(4000);
    let points = Points::new(&samples, 2).unwrap();
    let many = VectorDesigner { restarts: 12, ..VectorDesigner::new(16) }.design(points).unwrap();
    let one = VectorDesigner { restarts: 1, ..VectorDesigner::new(16) }.design(points).unwrap();
    assert!(many.mse <= one.mse && many.abandoned_count > 0, "{}", many.abandoned_count);
}

#[test]
fn mini_batch_comes_close() {
    let samples = normals(40_000);
    let points = Points::new(&samples, 4).unwrap();
    let full = VectorDesigner { restarts: 1, iterations_max: 20, ..VectorDesigner::new(16) }.design(points).unwrap();
    let batch = MiniBatch { steps: 40, ..MiniBatch::new(16) }.design(points).unwrap();
    assert!(batch.mse(points) < 1.05 * full.mse);
}

#[test]
fn parts_and_stages_trade_distortion_for_size() {
    let samples = normals(16_000);
    let points = Points::new(&samples, 4).unwrap();
    let designer = VectorDesigner { restarts: 1, iterations_max: 15, ..VectorDesigner::new(16) };
    let product = ProductCodebook::design(points, 2, &designer).unwrap();
    let residual = ResidualCodebook::design(points, 2, &designer).unwrap();
    let whole = designer.design(points).unwrap();
    assert_eq!(product.rate(), 2.0);
    assert!(product.mse(points) < whole.mse && residual.mse(points) < whole.mse);
    let codes = product.encode(points.get(7));
    assert_eq!((codes.len(), product.decode(&codes).len()), (2, 4));
}

#[test]
fn degenerate_points() {
    let design = VectorDesigner::new(4).design(Points::new(&[1.0, 2.0, 1.0, 2.0], 2).unwrap()).unwrap();
    assert_eq!((design.codebook.count(), design.mse), (1, 0.0));
    assert_eq!(
        Points::new(&[1.0, f32::NAN], 1).unwrap_err().to_string(),
        "sample 1 is NaN; every sample must be finite"
    );
    assert!(Points::new(&[1.0; 3], 2).is_err());
    assert!(VectorDesigner::new(0).design(Points::new(&[1.0], 1).unwrap()).is_err());
}
