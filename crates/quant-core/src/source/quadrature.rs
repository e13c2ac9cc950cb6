//! Integrals of densities over cells.
//!
//! Smooth finite panels take Gauss–Legendre with 16 nodes, halved until two levels agree; a panel that ends in a
//! singular point takes tanh–sinh and an infinite one exp–sinh (Takahasi and Mori 1974), which converge for poles and
//! for tails of any decay.

use super::Moments;
use std::f64::consts::FRAC_PI_2;

/// Nodes above 0 and weights of the 16-point rule on [−1, 1].
const GAUSS_LEGENDRE: [(f64, f64); 8] = [
    (0.095_012_509_837_637_44, 0.189_450_610_455_068_5),
    (0.281_603_550_779_258_9, 0.182_603_415_044_923_6),
    (0.458_016_777_657_227_4, 0.169_156_519_395_002_54),
    (0.617_876_244_402_643_7, 0.149_595_988_816_576_73),
    (0.755_404_408_355_003, 0.124_628_971_255_533_87),
    (0.865_631_202_387_831_7, 0.095_158_511_682_492_79),
    (0.944_575_023_073_232_6, 0.062_253_523_938_647_894),
    (0.989_400_934_991_649_9, 0.027_152_459_411_754_095),
];

/// Halvings of a panel before its value is taken as it is; reached only at unknown singular points.
const DEPTH_MAX: u32 = 24;

/// Two levels of a panel agree when they differ by this share of the integral of the magnitude over the panel first tried.
const TOLERANCE: f64 = 2e-14;

/// How a density is cut into panels.
#[derive(Clone, Debug)]
pub struct Panels {
    location: f64,
    scale: f64,
    /// Smooth panels up to this width, or up to this share of their distance from the location, take the rule once.
    narrow: (f64, f64),
    /// Ascending; the flag says whether the function is singular there.
    knots: Vec<(f64, bool)>,
}

impl Panels {
    /// Panels for a function that lives around `location` on the length `scale`.
    pub fn new(location: f64, scale: f64, singular: &[f64]) -> Self {
        let mut knots: Vec<(f64, bool)> = singular.iter().map(|&x| (x, true)).collect();
        let smooth = [-16.0, -4.0, -1.0, 0.0, 1.0, 4.0, 16.0].map(|s| location + s * scale);
        knots.extend(smooth.into_iter().filter(|x| !singular.contains(x)).map(|x| (x, false)));
        knots.sort_by(|a, b| a.0.total_cmp(&b.0));
        Self { location, scale, narrow: (0.0, 0.0), knots }
    }

    /// The same for a function whose poles are more than 2·`width` from the axis, or more than the distance from the
    /// location where panels are as wide as `share` ≤ ½ of that: there the 16-point rule, with an error below 10⁻¹⁶ of
    /// the integral (its nodes converge like (4·distance/width)⁻³²), need not be tried twice.
    pub fn analytic(self, width: f64, share: f64) -> Self {
        Self { narrow: (width, share), ..self }
    }

    fn is_narrow(&self, a: f64, b: f64) -> bool {
        let distance = (a - self.location).abs().min((b - self.location).abs());
        b - a <= self.narrow.0.max(self.narrow.1 * distance)
    }

    /// Partial moments of `pdf` over [low, high] about `centre`.
    pub fn moments(&self, pdf: &impl Fn(f64) -> f64, low: f64, high: f64, centre: f64) -> Moments {
        let integrand = |x: f64| {
            let (f, d) = (pdf(x), x - centre);
            if f == 0.0 { [0.0; 3] } else { [f, f * d, f * d * d] }
        };
        let [mass, first, second] = self.integrate(&integrand, low, high);
        Moments { mass, first, second }
    }

    /// ∫ f over [low, high], componentwise.
    pub fn integrate<const N: usize>(&self, f: &impl Fn(f64) -> [f64; N], low: f64, high: f64) -> [f64; N] {
        let mut total = [0.0; N];
        if low >= high || low.is_nan() || high.is_nan() {
            return total;
        }
        let inside = self.knots.iter().filter(|k| k.0 > low && k.0 < high);
        let singular_at = |x: f64| self.knots.iter().any(|k| k.0 == x && k.1);
        let mut start = (low, singular_at(low));
        for &end in inside.chain([&(high, singular_at(high))]) {
            add(&mut total, self.panel(f, start, end));
            start = end;
        }
        total
    }

    fn panel<const N: usize>(&self, f: &impl Fn(f64) -> [f64; N], a: (f64, bool), b: (f64, bool)) -> [f64; N] {
        match (a.0.is_finite(), b.0.is_finite()) {
            (true, true) if a.1 || b.1 => tanh_sinh(f, a.0, b.0),
            (true, true) if self.is_narrow(a.0, b.0) => legendre(f, a.0, b.0).0,
            (true, true) => {
                let (coarse, magnitude) = legendre(f, a.0, b.0);
                halved(f, (a.0, b.0), coarse, magnitude.map(|m| TOLERANCE * m), DEPTH_MAX)
            }
            (true, false) => exp_sinh(&|x| f(a.0 + x), self.scale),
            (false, true) => exp_sinh(&|x| f(b.0 - x), self.scale),
            (false, false) => unreachable!("the location is a knot"),
        }
    }
}

/// ∫ f over [low, high] (either may be infinite) for a function that lives around `location` on the length `scale` and
/// is not smooth at `singular`.
///
/// Relative error about 1e-13 for integrable functions; a divergent integral gives some large number or NaN.
///
/// ```
/// let gauss = |x: f64| (-x * x).exp();
/// let whole = quant_core::source::integrate(gauss, f64::NEG_INFINITY, f64::INFINITY);
/// assert!((whole - std::f64::consts::PI.sqrt()).abs() < 1e-14);
/// ```
pub fn integrate_with(f: impl Fn(f64) -> f64, range: (f64, f64), location: f64, scale: f64, singular: &[f64]) -> f64 {
    Panels::new(location, scale, singular).integrate(&|x| [f(x)], range.0, range.1)[0]
}

/// [`integrate_with`] around 0 on the length 1, smooth everywhere.
pub fn integrate(f: impl Fn(f64) -> f64, low: f64, high: f64) -> f64 {
    integrate_with(f, (low, high), 0.0, 1.0, &[])
}

fn add<const N: usize>(total: &mut [f64; N], part: [f64; N]) {
    total.iter_mut().zip(part).for_each(|(t, p)| *t += p);
}

/// Nodes and weights of the 16-point rule on [a, b].
pub(super) fn legendre_nodes(a: f64, b: f64) -> impl Iterator<Item = (f64, f64)> {
    let (middle, half) = (a + 0.5 * (b - a), 0.5 * (b - a));
    let sides = move |(node, weight)| [(middle - half * node, weight * half), (middle + half * node, weight * half)];
    GAUSS_LEGENDRE.into_iter().flat_map(sides)
}

/// The 16-point rule: ∫ f and ∫ |f|.
pub(super) fn legendre<const N: usize>(f: &impl Fn(f64) -> [f64; N], a: f64, b: f64) -> ([f64; N], [f64; N]) {
    let (mut sum, mut magnitude) = ([0.0; N], [0.0; N]);
    for (x, weight) in legendre_nodes(a, b) {
        for (k, y) in f(x).into_iter().enumerate() {
            sum[k] += weight * y;
            magnitude[k] += weight * y.abs();
        }
    }
    (sum, magnitude)
}

/// Halves [a, b] until its two halves agree with `coarse` within `tolerance`. The tolerance never falls below that of
/// the panels above: the rounding noise of f shrinks with the panel, so halving ends.
fn halved<const N: usize>(
    f: &impl Fn(f64) -> [f64; N],
    (a, b): (f64, f64),
    coarse: [f64; N],
    tolerance: [f64; N],
    depth: u32,
) -> [f64; N] {
    let middle = a + 0.5 * (b - a);
    let ((left, left_size), (right, right_size)) = (legendre(f, a, middle), legendre(f, middle, b));
    let mut sum = left;
    add(&mut sum, right);
    // A first panel may have missed where f lives; its tolerance would be far too small.
    let tolerance = std::array::from_fn(|k| tolerance[k].max(TOLERANCE * (left_size[k] + right_size[k])));
    let agrees = |k: usize| (sum[k] - coarse[k]).abs() <= tolerance[k] || !sum[k].is_finite();
    if depth == 0 || (0..N).all(agrees) {
        return sum;
    }
    let mut sum = halved(f, (a, middle), left, tolerance, depth - 1);
    add(&mut sum, halved(f, (middle, b), right, tolerance, depth - 1));
    sum
}

/// Step of the double-exponential rules; their error falls like exp(−c/step), below 1e-15 here.
const STEP: f64 = 1.0 / 16.0;

/// x = a + (b − a)/(1 + exp(−π sinh t)).
fn tanh_sinh<const N: usize>(f: &impl Fn(f64) -> [f64; N], a: f64, b: f64) -> [f64; N] {
    let mut sum = [0.0; N];
    for i in -80..=80 {
        let t = f64::from(i) * STEP;
        let share = 1.0 / (1.0 + (2.0 * FRAC_PI_2 * t.abs().sinh()).exp());
        let x = if t < 0.0 { a + (b - a) * share } else { b - (b - a) * share };
        let weight = (b - a) * 2.0 * FRAC_PI_2 * t.cosh() * share * (1.0 - share) * STEP;
        add_finite(&mut sum, f(x), weight);
    }
    sum
}

/// ∫₀^∞ with x = L·exp((π/2) sinh t), L the length on which f falls by about e; stops where the terms no longer count.
fn exp_sinh<const N: usize>(f: &impl Fn(f64) -> [f64; N], scale: f64) -> [f64; N] {
    let length = decay_length(&|x| f(x)[0], scale);
    let mut sum = [0.0; N];
    for i in -136..=200 {
        let t = f64::from(i) * 0.5 * STEP;
        let x = length * (FRAC_PI_2 * t.sinh()).exp();
        let term = f(x);
        if i > 0 && term.iter().all(|&y| y == 0.0) {
            break;
        }
        add_finite(&mut sum, term, x * FRAC_PI_2 * t.cosh() * 0.5 * STEP);
    }
    sum
}

/// A length between half and twice the one on which f falls by e² from 0, sought from `scale` by factors of 2. A wrong
/// length costs the rule digits: its nodes would be spaced too widely where f lives.
fn decay_length(f: &impl Fn(f64) -> f64, scale: f64) -> f64 {
    let mut length = scale;
    for _ in 0..200 {
        let (near, far) = (f(1e-3 * length).abs(), f(length).abs());
        if near == 0.0 || far < 0.05 * near {
            length *= 0.5;
        } else if far > 0.5 * near {
            length *= 2.0;
        } else {
            break;
        }
    }
    if length > 1e-30 * scale && length < 1e30 * scale { length } else { scale }
}

/// Nodes that round onto a pole or overflow carry no weight that could be seen.
fn add_finite<const N: usize>(sum: &mut [f64; N], term: [f64; N], weight: f64) {
    for (total, y) in sum.iter_mut().zip(term) {
        let part = y * weight;
        if part.is_finite() {
            *total += part;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_integrals_come_out() {
        let close = |a: f64, b: f64| assert!((a / b - 1.0).abs() < 1e-13, "{a} against {b}");
        close(integrate(|x| (-x).exp(), 0.0, f64::INFINITY), 1.0);
        close(integrate(|x| 1.0 / (1.0 + x * x), f64::NEG_INFINITY, f64::INFINITY), std::f64::consts::PI);
        close(
            integrate(|x| (-0.5 * x * x).exp(), 12.0, f64::INFINITY),
            (2.0 * std::f64::consts::PI).sqrt() * 1.776_482_112_077_679e-33,
        );
        close(integrate_with(|x| x.powf(-0.5), (0.0, 1.0), 0.5, 0.25, &[0.0]), 2.0);
        close(integrate_with(|x| (-x.abs()).exp(), (-3.0, 40.0), 0.0, 1.0, &[0.0]), 2.0 - (-3f64).exp());
    }
}
