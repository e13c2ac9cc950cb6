//! The A-law compander, and its 8-bit segmented coder.

use super::result::{check_level_count, positive};
use super::{Constraints, Design, DesignError, compressor};
use crate::codebook::Codebook;
use crate::source::Source;

/// g(u) = A|u|/(1 + ln A) for |u| < 1/A and (1 + ln(A|u|))/(1 + ln A) above, with the sign of u = x/x_max.
///
/// ```
/// use quant_core::design::a_law::{compress, expand};
/// assert!((compress(1.0 / 87.6, 87.6) - 0.1827225).abs() < 1e-7); // 1/(1 + ln 87.6)
/// assert!((expand(compress(-0.3, 87.6), 87.6) + 0.3).abs() < 1e-15);
/// ```
pub fn compress(u: f64, a: f64) -> f64 {
    let scaled = a * u.abs();
    u.signum() * if scaled < 1.0 { scaled } else { 1.0 + scaled.ln() } / (1.0 + a.ln())
}

/// g⁻¹.
pub fn expand(v: f64, a: f64) -> f64 {
    let scaled = v.abs() * (1.0 + a.ln());
    v.signum() * if scaled < 1.0 { scaled } else { (scaled - 1.0).exp() } / a
}

/// The A-law quantizer of `level_count` levels, uniform after the compressor; A ≥ 1, 87.6 in Europe.
///
/// ```
/// use quant_core::{design::{Constraints, a_law}, source::Uniform};
/// let design = a_law::design(&Uniform::STANDARD, 256, (87.6, 3f64.sqrt()), &Constraints::default()).unwrap();
/// // 6.02·8 + 4.77 − 20·log₁₀(1 + ln 87.6) = 38.17 dB where the logarithm rules (Cattermole 1969)
/// assert!((design.sqnr_db - 38.17).abs() < 0.05, "{}", design.sqnr_db);
/// ```
pub fn design(
    source: &dyn Source,
    level_count: usize,
    (a, x_max): (f64, f64),
    constraints: &Constraints,
) -> Result<Design, DesignError> {
    check_level_count(level_count, 1)?;
    let x_max = positive("x_max", x_max)?;
    if !(a >= 1.0 && a.is_finite()) {
        return Err(DesignError::Parameter { name: "a", value: a, range: "finite and at least 1" });
    }
    let codebook = compressor::codebook(|v| expand(v, a), x_max, level_count)?;
    Ok(Design::closed_form(constraints.apply(codebook)?, source))
}

/// G.711 A-law: the code of a sample in units of 1/4096 of full scale (13-bit integers).
///
/// Two segments of 16 steps of 2, then six of twice the step each; magnitudes from 4096 up are cut to 4095. Even bits
/// are inverted on the line. Source: ITU-T G.711 (1988), table 1.
///
/// ```
/// use quant_core::design::a_law::*;
/// assert_eq!((g711_encode(1), g711_encode(-1), g711_encode(4032)), (0xd5, 0x55, 0xaa));
/// assert_eq!(g711_decode(0x2a), -4032);
/// ```
pub fn g711_encode(x: i32) -> u8 {
    // −1 is the first negative magnitude 0…1, as in ones' complement.
    let magnitude = if x < 0 { x.unsigned_abs() - 1 } else { x as u32 }.min(4095);
    let segment = (magnitude >> 5).checked_ilog2().map_or(0, |s| s + 1);
    let step = (magnitude >> segment.max(1)) & 0xf;
    let sign = if x < 0 { 0 } else { 0x80 };
    (sign | (segment << 4) as u8 | step as u8) ^ 0x55
}

/// G.711 A-law: the sample of a code; 2·step + 1 in the first segment, (2·step + 33)·2^{segment − 1} above.
pub fn g711_decode(code: u8) -> i32 {
    let bits = code ^ 0x55;
    let (segment, step) = (u32::from(bits >> 4 & 7), i32::from(bits & 0xf));
    let magnitude = if segment == 0 { 2 * step + 1 } else { (2 * step + 33) << (segment - 1) };
    if bits & 0x80 == 0 { -magnitude } else { magnitude }
}

/// The 256 levels of G.711 A-law with its decision values, both divided by 4096.
pub fn g711_codebook() -> Codebook {
    let positive = |i: i32| g711_decode((i as u8 | 0x80) ^ 0x55);
    let decision = |i: i32| if i < 16 { 2 * i } else { (2 * (i & 0xf) + 32) << ((i >> 4) - 1) };
    let signed = |i: i32, f: &dyn Fn(i32) -> i32| f64::from(if i >= 0 { f(i) } else { -f(-1 - i) }) / 4096.0;
    let levels = (-128..=127).map(|i| signed(i, &positive)).collect();
    let thresholds = (-127..=127i32).map(|i| f64::from(i.signum() * decision(i.abs())) / 4096.0).collect();
    Codebook::with_thresholds(levels, thresholds).expect("the standard's table ascends")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_g711_code_survives_the_round_trip() {
        for code in 0..=255u8 {
            assert_eq!(g711_encode(g711_decode(code)), code);
        }
        // ITU-T G.711 table 1a: first quantized value of each segment.
        let segment_starts: Vec<i32> = (0..8u8).map(|s| g711_decode((s << 4 | 0x80) ^ 0x55)).collect();
        assert_eq!(segment_starts, [1, 33, 66, 132, 264, 528, 1056, 2112]);
    }

    #[test]
    fn the_codebook_is_the_coder() {
        let codebook = g711_codebook();
        assert_eq!(codebook.levels().len(), 256);
        // Halves between the coder's integers are on no decision value; negative ones are the mirror image.
        for x in (0..=4150).map(|i| f64::from(i) + 0.5) {
            let level = |x: f64| codebook.decode(codebook.encode(x / 4096.0)) * 4096.0;
            let coded = f64::from(g711_decode(g711_encode(x as i32)));
            assert_eq!((level(x), level(-x)), (coded, -coded), "{x}");
        }
    }
}
