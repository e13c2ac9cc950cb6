//! High-rate theory and rate–distortion bounds: what a design can be compared with.
//!
//! Distortions are per sample, in squared units of the source; rates in bits per sample.

use crate::codebook::Codebook;
use crate::design::cell_moments;
use crate::design::companded::Compander;
use crate::source::{Density, Source, integrate_with};
use std::f64::consts::{E, PI};

/// Zador's constant G₁ = 1/12: the normalised second moment of an interval.
pub const G1: f64 = 1.0 / 12.0;

/// Zador's constant G₂ = 5/(36√3) ≈ 0.0801875: the normalised second moment of a regular hexagon (Fejes Tóth 1959).
pub const G2: f64 = 0.080_187_537_387_448_04;

/// Bennett's integral D ≈ (1/12M²) ∫ f(x)/λ(x)² dx for levels of density λ, ∫ λ = 1.
///
/// Source: Bennett 1948; valid when cells are narrow and no sample is in the overload region. Infinite where λ
/// vanishes under f.
///
/// ```
/// use quant_core::{source::{Density, Laplacian}, theory};
/// let laplacian = Laplacian::STANDARD;
/// let wide = laplacian.cube_root().unwrap(); // λ* ∝ f^{1/3}
/// let bennett = theory::bennett(&laplacian, |x| wide.pdf(x), 16);
/// assert!((bennett - theory::panter_dite(&laplacian, 16)).abs() < 1e-12);
/// ```
pub fn bennett(density: &dyn Density, point_density: impl Fn(f64) -> f64, level_count: usize) -> f64 {
    let integrand = |x: f64| {
        let f = density.pdf(x);
        if f == 0.0 { 0.0 } else { f / point_density(x).powi(2) }
    };
    over(density, integrand) / (12.0 * (level_count as f64).powi(2))
}

/// Bennett's integral for a codebook as it is, Σ p_k Δ_k²/12 with p_k and Δ_k the mass and the width of cell k; an outer
/// cell counts as twice as wide as its level is away from its threshold, and point masses as served. None for a single
/// level.
///
/// A distortion well above it comes from the overload region, or from levels away from the middle of their cells.
///
/// ```
/// use quant_core::{design::{Constraints, uniform}, source::Uniform, theory};
/// let uniform = uniform::design(&Uniform::STANDARD, 8, uniform::Range::Absmax, &Constraints::default()).unwrap();
/// let bennett = theory::bennett_of(&uniform.codebook, &Uniform::STANDARD).unwrap();
/// assert!((bennett - 1.0 / 64.0).abs() < 1e-14); // Δ²/12 is exact here
/// ```
pub fn bennett_of(codebook: &Codebook, source: &dyn Source) -> Option<f64> {
    let (levels, thresholds) = (codebook.levels(), codebook.thresholds());
    let (first, last) = (*thresholds.first()?, *thresholds.last()?);
    let width = |k: usize| match k {
        0 => 2.0 * (first - levels[0]),
        k if k == thresholds.len() => 2.0 * (levels[k] - last),
        k => thresholds[k] - thresholds[k - 1],
    };
    let mut masses: Vec<f64> = cell_moments(codebook, source).into_iter().map(|m| m.mass).collect();
    for (x, mass) in source.density().map_or(Vec::new(), |f| f.atoms()) {
        masses[codebook.encode(x)] -= mass;
    }
    Some(masses.iter().enumerate().map(|(k, p)| p * width(k).powi(2)).sum::<f64>() / 12.0)
}

/// The Panter–Dite distortion D* ≈ (1/12M²)(∫ f^{1/3})³, that of the best M-level quantizer as M grows.
///
/// Source: Panter and Dite 1951. Point masses take levels of their own, which do not count as M grows (Bucklew and Wise
/// 1982): f is the density beside them. M²D* is √3π/2 ≈ 2.7207 for the Gaussian, 4.5 for the Laplacian and 1 for the uniform
/// density of unit variance.
///
/// ```
/// use quant_core::{source::{Gaussian, Laplacian, Uniform}, theory::panter_dite};
/// assert!((panter_dite(&Gaussian::STANDARD, 1) - 2.7206990463).abs() < 1e-9);
/// assert!((panter_dite(&Laplacian::STANDARD, 1) - 4.5).abs() < 1e-12);
/// assert!((panter_dite(&Uniform::STANDARD, 1) - 1.0).abs() < 1e-12);
/// ```
pub fn panter_dite(density: &dyn Density, level_count: usize) -> f64 {
    Compander::new(density).norm().powi(3) / (12.0 * (level_count as f64).powi(2))
}

/// Zador's distortion per sample for vectors of `dimension` independent samples, D* ≈ G_d M^{−2/d} ‖f_d‖_{d/(d+2)} with
/// ‖f_d‖ = (∫ f^{d/(d+2)})^{d+2} for a product density; `constant` is G_d.
///
/// Source: Zador 1982 (1963). For d = 1 this is [`panter_dite`].
///
/// ```
/// use quant_core::{source::Gaussian, theory};
/// // N(0, I₂): G₂·8π/M, 2π(1 + 2/d)^{(d+2)/2} with d = 2
/// let planar = theory::zador(&Gaussian::STANDARD, 2, theory::G2, 1024);
/// assert!((planar - theory::G2 * 8.0 * std::f64::consts::PI / 1024.0).abs() < 1e-14);
/// ```
pub fn zador(density: &dyn Density, dimension: u32, constant: f64, codevector_count: usize) -> f64 {
    let d = f64::from(dimension);
    let norm = over(density, |x| density.pdf(x).powf(d / (d + 2.0))).powf(d + 2.0);
    constant * (codevector_count as f64).powf(-2.0 / d) * norm
}

/// Differential entropy h = −∫ f log₂ f, in bits (Shannon 1948); beside point masses that of the rest, normalised.
///
/// ```
/// let h = quant_core::theory::differential_entropy_bits(&quant_core::source::Gaussian::STANDARD);
/// assert!((h - 2.047095585180641).abs() < 1e-12); // ½ log₂ 2πe
/// ```
pub fn differential_entropy_bits(density: &dyn Density) -> f64 {
    let share = continuous_share(density);
    over(density, |x| {
        let f = density.pdf(x) / share;
        if f == 0.0 { 0.0 } else { -f * f.log2() }
    })
}

/// 1 less the point masses.
fn continuous_share(density: &dyn Density) -> f64 {
    1.0 - density.atoms().iter().map(|a| a.1).sum::<f64>()
}

/// Shannon's lower bound D ≥ 2^{2h}/(2πe) · 2^{−2R}: no code of R bits does better; tight for the Gaussian, and for any
/// density as R grows. Source: Shannon 1959.
///
/// A density of mass p beside point masses: D ≥ p · 2^{2h}/(2πe) · 2^{−2R/p}, with h of the normalised density, for
/// R ≥ I(X; Y | part) ≥ p·(h − ½ log₂ 2πe D/p), all bits being spent where they are of use.
///
/// ```
/// use quant_core::{source::{Gaussian, Laplacian}, theory::shannon_lower_bound};
/// assert!((shannon_lower_bound(&Gaussian::STANDARD, 2.0) - 1.0 / 16.0).abs() < 1e-14); // σ²2^{−2R}
/// let laplacian = shannon_lower_bound(&Laplacian::STANDARD, 0.0);
/// assert!((laplacian - std::f64::consts::E / std::f64::consts::PI).abs() < 1e-13); // e/π: 0.63 dB
/// ```
pub fn shannon_lower_bound(density: &dyn Density, rate: f64) -> f64 {
    let share = continuous_share(density);
    share * (2.0 * (differential_entropy_bits(density) - rate / share)).exp2() / (2.0 * PI * E)
}

/// The distortion–rate function σ²·2^{−2R} of N(0, σ²), an upper bound for every source of variance σ² (Shannon 1959).
pub fn gaussian_distortion_rate(variance: f64, rate: f64) -> f64 {
    variance * (-2.0 * rate).exp2()
}

/// 10·log₁₀(2πe/12) ≈ 1.5329 dB: what scalar quantization with ideal entropy coding loses to Shannon's bound at high
/// rate, 0.2546 bit. Source: Gish and Pierce 1968.
///
/// ```
/// assert!((quant_core::theory::entropy_coded_gap_db() - 1.5329).abs() < 1e-4);
/// ```
pub fn entropy_coded_gap_db() -> f64 {
    10.0 * (2.0 * PI * E / 12.0).log10()
}

/// How far a distortion is above theory, in dB.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Gaps {
    /// Panter–Dite distortion at this many levels.
    pub panter_dite: f64,
    /// Shannon's lower bound at this rate.
    pub shannon_lower_bound: f64,
    /// 10·log₁₀(D/Panter–Dite); negative where the high-rate formula is pessimistic.
    pub panter_dite_db: f64,
    /// 10·log₁₀(D/bound), at least 0.
    pub shannon_db: f64,
}

/// Theory beside a design of `level_count` levels at `rate` bits per sample with distortion `mse`.
///
/// ```
/// use quant_core::{design::lloyd_max::LloydMax, source::Gaussian, theory};
/// let design = LloydMax::new(16).design(&Gaussian::STANDARD).unwrap();
/// let gaps = theory::gaps(&Gaussian::STANDARD, 16, design.rate, design.mse);
/// assert!((gaps.shannon_db - 3.861).abs() < 1e-3); // 24.08 dB less 20.22 dB at 4 bits
/// ```
pub fn gaps(density: &dyn Density, level_count: usize, rate: f64, mse: f64) -> Gaps {
    let (panter_dite, bound) = (panter_dite(density, level_count), shannon_lower_bound(density, rate));
    let db = |reference: f64| 10.0 * (mse / reference).log10();
    Gaps { panter_dite, shannon_lower_bound: bound, panter_dite_db: db(panter_dite), shannon_db: db(bound) }
}

/// ∫ over the support, with panels laid by the quartiles.
fn over(density: &dyn Density, integrand: impl Fn(f64) -> f64) -> f64 {
    let (low, median, high) = (density.quantile(0.25), density.quantile(0.5), density.quantile(0.75));
    integrate_with(integrand, density.support(), median, 1.5 * (high - low), &density.singular_points())
}
