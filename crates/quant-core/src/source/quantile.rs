//! Quantiles of sources whose cdf has no closed inverse.

use super::Density;

/// The x at which cdf(x) = p, by Newton steps kept within a shrinking bracket; solved on the nearer tail.
pub fn quantile(source: &(impl Density + ?Sized), p: f64, location: f64, scale: f64) -> f64 {
    let (low, high) = source.support();
    if p.is_nan() || p <= 0.0 || p >= 1.0 {
        return if p == 0.0 {
            low
        } else if p == 1.0 {
            high
        } else {
            f64::NAN
        };
    }
    // Positive where x is too low.
    let missing = |x: f64| if p <= 0.5 { p - source.cdf(x) } else { source.tail(x) - (1.0 - p) };
    let (mut low, mut high) = bracket(&missing, (low, high), location, scale);
    let mut x = low + 0.5 * (high - low);
    for _ in 0..200 {
        let miss = missing(x);
        if miss == 0.0 {
            return x;
        }
        if miss > 0.0 {
            low = x;
        } else {
            high = x;
        }
        let newton = x + miss / source.pdf(x);
        let next = if newton > low && newton < high { newton } else { low + 0.5 * (high - low) };
        if (next - x).abs() <= 1e-15 * x.abs().max(1e-3 * scale) {
            return next;
        }
        x = next;
    }
    x
}

fn bracket(missing: &impl Fn(f64) -> f64, support: (f64, f64), location: f64, scale: f64) -> (f64, f64) {
    let (mut low, mut high) = (location - scale, location + scale);
    let mut step = scale;
    while low > support.0 && missing(low) < 0.0 {
        step *= 2.0;
        low -= step;
    }
    step = scale;
    while high < support.1 && missing(high) > 0.0 {
        step *= 2.0;
        high += step;
    }
    (low.max(support.0), high.min(support.1))
}
