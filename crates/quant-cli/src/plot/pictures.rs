//! What each picture shows.

use quant_core::codebook::Codebook;
use quant_core::design::companded::Compander;
use quant_core::design::{Design, a_law, mu_law, power_law};
use quant_core::source::{Density, Histogram, Source};

use super::chart::{Axis, Chart, Colour, Layer, Legend, Shape};
use crate::curve::{COLUMNS, Row};
use crate::source::{Chosen, visible_range};

/// Points along a curve.
const STEPS: usize = 900;
/// Bars of a histogram.
const BARS: usize = 80;

fn along((low, high): (f64, f64)) -> impl Iterator<Item = f64> {
    (0..=STEPS).map(move |i| low + (high - low) * i as f64 / STEPS as f64)
}

fn layer(name: impl Into<String>, colour: Colour, shape: Shape) -> Layer {
    Layer { name: Some(name.into()), colour, shape }
}

fn axis(label: &str, range: (f64, f64)) -> Axis {
    Axis { label: label.into(), range }
}

/// The source's last path component, or its name.
fn title(chosen: &Chosen) -> &str {
    chosen.name.rsplit('/').next().unwrap_or(&chosen.name)
}

/// The density as a line, or the samples as bars, and the height of either.
fn shape_of(chosen: &Chosen, range: (f64, f64), colour: Colour) -> (Layer, f64) {
    let Some(samples) = chosen.samples() else {
        let points: Vec<(f64, f64)> = along(range).map(|x| (x, chosen.density().pdf(x))).collect();
        let most = points.iter().map(|p| p.1).fold(0.0, f64::max);
        return (layer("density f(x)", colour, Shape::Line(points)), most);
    };
    let histogram = Histogram::of(samples, samples.support(), BARS).expect("checked samples have a histogram");
    let bars = histogram.edges().windows(2).map(|w| (w[0], w[1], histogram.pdf(0.5 * (w[0] + w[1])))).collect();
    let most = histogram.edges().windows(2).map(|w| histogram.pdf(0.5 * (w[0] + w[1]))).fold(0.0, f64::max);
    (layer("histogram of the samples", Colour::Grey, Shape::Bars(bars)), most)
}

/// Density or histogram with levels and thresholds.
pub fn codebook(chosen: &Chosen, designer: &str, design: &Design) -> Chart {
    let (low, high) = visible_range(chosen.source());
    let levels = design.codebook.levels();
    let range = (low.min(1.02 * levels[0] - 0.02 * high), high.max(1.02 * levels[levels.len() - 1] - 0.02 * low));
    let (back, most) = shape_of(chosen, range, Colour::Blue);
    let stems = levels.iter().map(|&y| (y, chosen.density().pdf(y))).collect();
    let thresholds = design.codebook.thresholds().to_vec();
    let count = levels.len();
    Chart {
        title: format!("{}: {designer}, {count} levels, SQNR {:.2} dB", title(chosen), design.sqnr_db),
        x: axis("x (unit of the source)", range),
        y: axis("density (per unit of x)", (0.0, 1.3 * most)),
        legend: Legend::Left,
        layers: vec![
            back,
            layer("thresholds t_k", Colour::Black, Shape::Verticals(thresholds)),
            layer("levels y_k", Colour::Orange, Shape::Stems(stems)),
        ],
    }
}

/// The optimal compressor of the source beside the standard ones, all from [−1, 1] to [−1, 1].
pub fn compressors(chosen: &Chosen) -> Chart {
    let x_max = chosen.x_max();
    let compander = Compander::new(chosen.density());
    let curve = |g: &dyn Fn(f64) -> f64| along((-1.0, 1.0)).map(|u| (u, g(u))).collect();
    let optimal = curve(&|u| 2.0 * compander.compress(u * x_max) - 1.0);
    Chart {
        title: format!("Compressors g(x) for {}, x_max = {x_max:.4}", title(chosen)),
        x: axis("x/x_max", (-1.0, 1.0)),
        y: axis("g(x)", (-1.0, 1.0)),
        legend: Legend::Left,
        layers: vec![
            layer("no compression", Colour::Black, Shape::Dashes(vec![(-1.0, -1.0), (1.0, 1.0)])),
            layer("optimal, g' ∝ f^(1/3)", Colour::Blue, Shape::Line(optimal)),
            layer("μ-law, μ = 255", Colour::Orange, Shape::Line(curve(&|u| mu_law::compress(u, 255.0)))),
            layer("A-law, A = 87.6", Colour::Green, Shape::Dashes(curve(&|u| a_law::compress(u, 87.6)))),
            layer("power law, p = 0.75", Colour::Purple, Shape::Line(curve(&|u| power_law::compress(u, 0.75)))),
        ],
    }
}

const PAIR: [Colour; 2] = [Colour::Blue, Colour::Orange];

/// The range that two codebooks and the source share on the picture.
fn common_range(chosen: &Chosen, pair: &[(String, Design); 2]) -> (f64, f64) {
    let ends = |c: &Codebook| (c.levels()[0], c.levels()[c.levels().len() - 1]);
    let start = visible_range(chosen.source());
    pair.iter().fold(start, |range, (_, d)| {
        let (low, high) = ends(&d.codebook);
        (range.0.min(1.05 * low), range.1.max(1.05 * high))
    })
}

/// Staircases x to Q(x): a stair is a cell.
pub fn cells(chosen: &Chosen, pair: &[(String, Design); 2]) -> Chart {
    let range = common_range(chosen, pair);
    let stairs = |(index, (name, design)): (usize, &(String, Design))| {
        layer(name.clone(), PAIR[index], Shape::Line(staircase(&design.codebook, range)))
    };
    let mut layers = vec![layer("x", Colour::Grey, Shape::Line(vec![(range.0, range.0), (range.1, range.1)]))];
    layers.extend(pair.iter().enumerate().map(stairs));
    Chart {
        title: format!("Cells on {}: {} against {}", title(chosen), pair[0].0, pair[1].0),
        x: axis("x (unit of the source)", range),
        y: axis("Q(x)", range),
        legend: Legend::Left,
        layers,
    }
}

fn staircase(codebook: &Codebook, range: (f64, f64)) -> Vec<(f64, f64)> {
    let (levels, thresholds) = (codebook.levels(), codebook.thresholds());
    let rise = |k: usize| [(thresholds[k], levels[k]), (thresholds[k], levels[k + 1])];
    let last = levels[levels.len() - 1];
    let inner = (0..thresholds.len()).flat_map(rise);
    [(range.0, levels[0])].into_iter().chain(inner).chain([(range.1, last)]).collect()
}

/// |x − Q(x)| of both quantizers over x, with the density behind them, scaled to fit.
pub fn errors(chosen: &Chosen, pair: &[(String, Design); 2]) -> Chart {
    let range = visible_range(chosen.source());
    let error = |design: &Design, x: f64| (x - design.codebook.decode(design.codebook.encode(x))).abs();
    let worst = |(_, design): &(String, Design)| along(range).map(|x| error(design, x)).fold(0.0, f64::max);
    let top = 1.35 * pair.iter().map(worst).fold(f64::MIN_POSITIVE, f64::max);
    let (_, most) = shape_of(chosen, range, Colour::Grey);
    let density = along(range).map(|x| (x, 0.7 * top * chosen.density().pdf(x) / most)).collect();
    let mut layers = vec![layer("density, not to scale", Colour::Grey, Shape::Line(density))];
    for (index, (name, design)) in pair.iter().enumerate() {
        let points = along(range).map(|x| (x, error(design, x))).collect();
        layers.push(layer(format!("{name}: SQNR {:.2} dB", design.sqnr_db), PAIR[index], Shape::Line(points)));
    }
    Chart {
        title: format!("Quantization error on {}", title(chosen)),
        x: axis("x (unit of the source)", range),
        y: axis("|x \u{2212} Q(x)| (unit of the source)", (0.0, top)),
        legend: Legend::Middle,
        layers,
    }
}

/// SQNR over bits for every designer and formula.
pub fn curve(chosen: &Chosen, rows: &[Row]) -> Chart {
    let colours =
        [Colour::Purple, Colour::Blue, Colour::Green, Colour::Orange, Colour::Sky, Colour::Black, Colour::Black];
    let points = |column: usize| -> Vec<(f64, f64)> {
        let point = |row: &Row| row.points[column].map(|p| (f64::from(row.bits), p.sqnr_db));
        rows.iter().filter_map(point).filter(|p| p.1.is_finite()).collect()
    };
    let layers: Vec<Layer> = COLUMNS
        .iter()
        .enumerate()
        .map(|(column, (_, name))| {
            let shape = match column {
                0..5 => Shape::Marked(points(column)),
                5 => Shape::Dashes(points(column)),
                _ => Shape::Line(points(column)),
            };
            layer(*name, colours[column], shape)
        })
        .collect();
    let all = || (0..COLUMNS.len()).flat_map(points).map(|p| p.1);
    let (first, last) = (f64::from(rows[0].bits), f64::from(rows[rows.len() - 1].bits));
    let (least, most) = (all().fold(0.0, f64::min), all().fold(1.0, f64::max));
    Chart {
        title: format!("SQNR against bits: {}", title(chosen)),
        x: axis("rate (bits per sample)", (first - 0.2, last + 0.2)),
        y: axis("SQNR (dB)", (least, 1.05 * most)),
        legend: Legend::Left,
        layers,
    }
}
