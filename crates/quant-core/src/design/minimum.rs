//! The minimum of a function of one positive number.

/// Points of the first scan: enough to find the lowest of a few valleys.
const SCAN_COUNT: usize = 48;

/// Golden-section steps: each narrows by 0.618, to 1e-9 of the bracket.
const GOLDEN_STEPS: usize = 44;

/// The x in [low, high], 0 < low < high, of least `f`: a geometric scan, then golden sections around its lowest point
/// (Kiefer 1953). The minimum of a smooth function is found to about 1e-8 of x, its value to rounding.
pub(super) fn minimize(f: impl Fn(f64) -> f64, low: f64, high: f64) -> f64 {
    let at = |i: usize| low * (high / low).powf(i as f64 / (SCAN_COUNT - 1) as f64);
    let values: Vec<f64> = (0..SCAN_COUNT).map(|i| f(at(i))).collect();
    let best = (0..SCAN_COUNT).min_by(|&a, &b| values[a].total_cmp(&values[b])).expect("the scan has points");
    golden_section(f, at(best.saturating_sub(1)), at((best + 1).min(SCAN_COUNT - 1)))
}

fn golden_section(f: impl Fn(f64) -> f64, mut a: f64, mut b: f64) -> f64 {
    let ratio = 0.5 * (5f64.sqrt() - 1.0);
    let (mut c, mut d) = (b - ratio * (b - a), a + ratio * (b - a));
    let (mut at_c, mut at_d) = (f(c), f(d));
    for _ in 0..GOLDEN_STEPS {
        if at_c <= at_d {
            (b, d, at_d) = (d, c, at_c);
            c = b - ratio * (b - a);
            at_c = f(c);
        } else {
            (a, c, at_c) = (c, d, at_d);
            d = a + ratio * (b - a);
            at_d = f(d);
        }
    }
    if at_c <= at_d { c } else { d }
}
