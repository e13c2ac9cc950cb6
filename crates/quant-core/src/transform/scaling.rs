//! Channel scalings: SmoothQuant's, and the alignment-optimal one.

/// SmoothQuant (Xiao et al. 2023, equation 4): T = diag(1/s), s_j = max|X_j|^α / max|W_j|^(1−α).
///
/// `input_max` and `weight_max` are the largest magnitudes of each channel. A channel that is zero in either gets factor 1.
///
/// ```
/// use quant_core::transform::scaling::smooth_quant;
/// assert_eq!(smooth_quant(&[4.0, 1.0, 0.0], &[1.0, 4.0, 2.0], 0.5), [0.5, 2.0, 1.0]);
/// ```
///
/// # Panics
/// When the two have different lengths.
pub fn smooth_quant(input_max: &[f64], weight_max: &[f64], alpha: f64) -> Vec<f64> {
    assert_eq!(input_max.len(), weight_max.len(), "one maximum for each channel");
    let factor = |(&x, &w): (&f64, &f64)| {
        let scale = x.powf(alpha) / w.powf(1.0 - alpha);
        if x > 0.0 && w > 0.0 && scale.is_finite() && scale > 0.0 { 1.0 / scale } else { 1.0 }
    };
    input_max.iter().zip(weight_max).map(factor).collect()
}

/// The scaling of largest alignment: m_i = (Sw_ii/Sx_ii)^(1/4), from the diagonals of both second moments, damped first by
/// ε times their mean (see [`crate::dense::Dense::damped`]).
///
/// It makes both sides carry equal energy in every channel, so Σ_i √(Sw_ii·Sx_ii) is all that is left of the denominator of
/// the alignment (Cauchy–Schwarz).
///
/// ```
/// use quant_core::transform::scaling::balancing;
/// assert_eq!(balancing(&[1.0, 4.0], &[16.0, 4.0], 0.0), [2.0, 1.0]);
/// ```
pub fn balancing(input_energy: &[f64], weight_energy: &[f64], epsilon: f64) -> Vec<f64> {
    let damped = |energy: &[f64]| {
        let mean = energy.iter().sum::<f64>() / energy.len().max(1) as f64;
        let shift = epsilon * if mean > 0.0 { mean } else { 1.0 };
        energy.iter().map(|e| e + shift).collect::<Vec<_>>()
    };
    let factor = |(x, w): (&f64, &f64)| {
        let m = (w / x).sqrt().sqrt();
        if m.is_finite() && m > 0.0 { m } else { 1.0 }
    };
    damped(input_energy).iter().zip(&damped(weight_energy)).map(factor).collect()
}
