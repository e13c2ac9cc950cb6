//! The μ-law compander, and its 8-bit segmented coder.

use super::result::{check_level_count, positive};
use super::{Constraints, Design, DesignError, compressor};
use crate::codebook::Codebook;
use crate::source::Source;

/// g(u) = sgn(u)·ln(1 + μ|u|)/ln(1 + μ), u = x/x_max in [−1, 1]; samples beyond take the outer level.
///
/// ```
/// use quant_core::design::mu_law::{compress, expand};
/// assert!((compress(0.1, 255.0) - 0.5909900568).abs() < 1e-9); // ln 26.5 / ln 256
/// assert!((expand(compress(-0.3, 255.0), 255.0) + 0.3).abs() < 1e-15);
/// ```
pub fn compress(u: f64, mu: f64) -> f64 {
    u.signum() * (mu * u.abs()).ln_1p() / mu.ln_1p()
}

/// g⁻¹.
pub fn expand(v: f64, mu: f64) -> f64 {
    v.signum() * (v.abs() * mu.ln_1p()).exp_m1() / mu
}

/// The μ-law quantizer of `level_count` levels, uniform after the compressor. μ = 255 in North America and Japan.
///
/// ```
/// use quant_core::{design::{Constraints, mu_law}, source::Gaussian};
/// let design = mu_law::design(&Gaussian::STANDARD, 256, (255.0, 8.0), &Constraints::default()).unwrap();
/// // Smith 1957: 6.02·8 + 4.77 − 20·log₁₀(ln 256) − 10·log₁₀(1 + (r/μ)² + 2·E|X|·r/μ) dB, r = 8: 37.84 dB
/// assert!((design.sqnr_db - 37.84).abs() < 0.1, "{}", design.sqnr_db);
/// ```
pub fn design(
    source: &dyn Source,
    level_count: usize,
    (mu, x_max): (f64, f64),
    constraints: &Constraints,
) -> Result<Design, DesignError> {
    check_level_count(level_count, 1)?;
    let (mu, x_max) = (positive("mu", mu)?, positive("x_max", x_max)?);
    let codebook = compressor::codebook(|v| expand(v, mu), x_max, level_count)?;
    Ok(Design::closed_form(constraints.apply(codebook)?, source))
}

/// G.711 μ-law: the code of a sample in units of 1/8159 of full scale (14-bit integers).
///
/// Magnitude + 33 is cut to its highest five bits below the leading one: eight segments of 16 steps, each segment with
/// twice the step of the one before; magnitudes from 8159 up are cut to 8158. All bits are inverted on the line.
/// Source: ITU-T G.711 (1988), table 2.
///
/// ```
/// use quant_core::design::mu_law::*;
/// assert_eq!((g711_encode(0), g711_encode(8031), g711_encode(-8031)), (0xff, 0x80, 0x00));
/// assert_eq!(g711_decode(0x8f), 4191); // first level of the top segment
/// ```
pub fn g711_encode(x: i32) -> u8 {
    let magnitude = x.unsigned_abs().min(8158) + 33;
    let segment = magnitude.ilog2() - 5;
    let step = (magnitude >> (segment + 1)) & 0xf;
    let sign = if x < 0 { 0x80 } else { 0 };
    !(sign | (segment << 4) as u8 | step as u8)
}

/// G.711 μ-law: the sample of a code, (2·step + 33)·2^segment − 33 with its sign. Codes 0x7f and 0xff are both 0.
pub fn g711_decode(code: u8) -> i32 {
    let bits = !code;
    let (segment, step) = (u32::from(bits >> 4 & 7), i32::from(bits & 0xf));
    let magnitude = ((2 * step + 33) << segment) - 33;
    if bits & 0x80 == 0 { magnitude } else { -magnitude }
}

/// The 255 distinct levels of G.711 μ-law with its decision values, both divided by 8159.
///
/// Decision values between segments are not midpoints (31 between the levels 30 and 33), so they are kept as they are.
pub fn g711_codebook() -> Codebook {
    let positive = |i: i32| g711_decode(!(i as u8));
    // The decision value below level i ≥ 1 is where the encoder starts to give i.
    let decision = |i: i32| if i == 0 { -1 } else { ((2 * (i & 0xf) + 32) << (i >> 4)) - 33 };
    let scaled = |x: i32| f64::from(x) / 8159.0;
    let levels = (-127..=127i32).map(|i| scaled(i.signum() * positive(i.abs()))).collect();
    let thresholds = (-126..=127i32).map(|i| if i > 0 { scaled(decision(i)) } else { -scaled(decision(1 - i)) });
    Codebook::with_thresholds(levels, thresholds.collect()).expect("the standard's table ascends")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_g711_code_survives_the_round_trip() {
        for code in 0..=255u8 {
            let expected = if code == 0x7f { 0xff } else { code };
            assert_eq!(g711_encode(g711_decode(code)), expected);
        }
        // ITU-T G.711 table 2a, quantized values y₁, y₁₇, y₃₃, y₄₉, y₆₅, y₈₁, y₉₇, y₁₁₃, y₁₂₈ in its own numbering.
        let segment_starts: Vec<i32> = (0..8u8).map(|s| g711_decode(!(s << 4))).collect();
        assert_eq!(segment_starts, [0, 33, 99, 231, 495, 1023, 2079, 4191]);
        assert_eq!((g711_decode(0x80), g711_decode(0x00)), (8031, -8031));
    }

    #[test]
    fn the_codebook_is_the_coder() {
        let codebook = g711_codebook();
        assert_eq!(codebook.levels().len(), 255);
        for x in -8200..=8200 {
            let level = codebook.decode(codebook.encode(f64::from(x) / 8159.0)) * 8159.0;
            let coded = f64::from(g711_decode(g711_encode(x)));
            let on_decision = codebook.thresholds().iter().any(|t| (t * 8159.0 - f64::from(x)).abs() < 1e-9);
            assert!((level - coded).abs() < 1e-9 || on_decision, "{x}: {level} for {coded}");
        }
    }
}
