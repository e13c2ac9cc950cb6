//! Concentration against alignment, a point for each linear layer and transform.

use quant_core::analysis::db;
use quant_eval::analyze::{LinearReport, Outcome};

use super::chart::{Axis, Chart, Colour, Layer, Legend, Shape};

const COLOURS: [Colour; 6] = [Colour::Black, Colour::Sky, Colour::Orange, Colour::Green, Colour::Blue, Colour::Purple];

/// C(x) ‖ C(W) in dB: what both concentrations are worth together.
fn concentration_db(outcome: &Outcome) -> f64 {
    let power = |x: f64| 10f64.powf(x / 10.0);
    -db(1.0 / power(outcome.input_concentration_db) + 1.0 / power(outcome.weight_concentration_db))
}

/// Both factors of every linear layer. Along a broken line from upper left to lower right their product, and so the SQNR at
/// equal bits, is the same.
pub fn factors(reports: &[LinearReport], title: &str) -> Chart {
    let labels: Vec<&str> =
        reports.first().map(|r| r.outcomes.iter().map(|o| o.method.as_str()).collect()).unwrap_or_default();
    let points = |at: usize| -> Vec<(f64, f64)> {
        let point = |r: &LinearReport| (r.outcomes[at].alignment_db, concentration_db(&r.outcomes[at]));
        reports.iter().map(point).filter(|(x, y)| x.is_finite() && y.is_finite()).collect()
    };
    let all: Vec<(f64, f64)> = (0..labels.len()).flat_map(points).collect();
    let span = |values: &dyn Fn(&(f64, f64)) -> f64, room: (f64, f64)| {
        let low = all.iter().map(values).fold(f64::INFINITY, f64::min);
        let high = all.iter().map(values).fold(f64::NEG_INFINITY, f64::max);
        if low > high { (-1.0, 1.0) } else { (low - room.0, high + room.1) }
    };
    // Room above for the legend.
    let (x, y) = (span(&|p| p.0, (1.0, 1.0)), span(&|p| p.1, (1.0, 7.0)));
    let mut layers: Vec<Layer> = equal_sqnr(x, y);
    layers.extend(labels.iter().enumerate().map(|(at, label)| Layer {
        name: Some((*label).into()),
        colour: COLOURS[at % COLOURS.len()],
        shape: Shape::Points(points(at)),
    }));
    Chart {
        title: title.into(),
        x: Axis { label: "alignment A (dB)".into(), range: x },
        y: Axis { label: "concentration C(x) ‖ C(W) (dB)".into(), range: y },
        legend: Legend::Left,
        layers,
    }
}

/// Lines of equal product, 5 dB apart.
fn equal_sqnr(x: (f64, f64), y: (f64, f64)) -> Vec<Layer> {
    let first = ((x.0 + y.0) / 5.0).ceil() as i64;
    let last = ((x.1 + y.1) / 5.0).floor() as i64;
    let line = |step: i64| {
        let sum = 5.0 * step as f64;
        let (left, right) = (x.0.max(sum - y.1), x.1.min(sum - y.0));
        let name = (step == first).then(|| "equal SQNR, 5 dB apart".into());
        Layer { name, colour: Colour::Grey, shape: Shape::Dashes(vec![(left, sum - left), (right, sum - right)]) }
    };
    (first..=last).map(line).collect()
}
