//! How do the presets compare at a glance? Rate against SQNR, as a small SVG.

use std::fmt::Write as _;

/// A point of the chart.
#[derive(Clone, Debug)]
pub struct Point {
    /// What stands beside it.
    pub label: String,
    /// Bits per weight.
    pub rate_bits: f64,
    /// SQNR in dB.
    pub sqnr_db: f64,
}

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 360.0;
const LEFT: f64 = 56.0;
const RIGHT: f64 = 96.0;
const TOP: f64 = 56.0;
const BOTTOM: f64 = 48.0;

/// The range of an axis and the step between its marks.
#[derive(Clone, Copy, Debug)]
struct Axis {
    low: f64,
    high: f64,
    step: f64,
}

impl Axis {
    /// Whole steps around all values.
    fn around(values: impl Iterator<Item = f64>, step: f64) -> Self {
        let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)));
        Self { low: (low / step).floor() * step, high: ((high / step).floor() + 1.0) * step, step }
    }

    fn share(self, value: f64) -> f64 {
        (value - self.low) / (self.high - self.low)
    }

    fn marks(self) -> impl Iterator<Item = f64> {
        let count = ((self.high - self.low) / self.step).round() as usize;
        (0..=count).map(move |i| self.low + i as f64 * self.step)
    }
}

/// The chart; it has a white ground, so that it reads on a dark page too.
pub fn svg(title: &str, points: &[Point]) -> String {
    let rate = Axis::around(points.iter().map(|p| p.rate_bits), 0.25);
    let sqnr = Axis::around(points.iter().map(|p| p.sqnr_db), 2.0);
    let x = |bits: f64| LEFT + rate.share(bits) * (WIDTH - LEFT - RIGHT);
    let y = |db: f64| HEIGHT - BOTTOM - sqnr.share(db) * (HEIGHT - TOP - BOTTOM);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" font-size=\"13\">\n\
         <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"white\"/>\n"
    );
    text(&mut svg, (8.0, 16.0), "start", title);
    for mark in rate.marks() {
        line(&mut svg, (x(mark), TOP), (x(mark), HEIGHT - BOTTOM));
        text(&mut svg, (x(mark), HEIGHT - BOTTOM + 18.0), "middle", &format!("{mark:.2}"));
    }
    for mark in sqnr.marks() {
        line(&mut svg, (LEFT, y(mark)), (WIDTH - RIGHT, y(mark)));
        text(&mut svg, (LEFT - 8.0, y(mark) + 4.0), "end", &format!("{mark:.0}"));
    }
    text(
        &mut svg,
        ((LEFT + WIDTH - RIGHT) / 2.0, HEIGHT - 10.0),
        "middle",
        "rate (bits per weight, all side information)",
    );
    text(&mut svg, (8.0, TOP - 14.0), "start", "SQNR (dB)");
    for point in points {
        let (x, y) = (x(point.rate_bits), y(point.sqnr_db));
        writeln!(svg, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"5\" fill=\"#1f5fa8\"/>").expect(INFALLIBLE);
        text(&mut svg, (x + 9.0, y + 4.0), "start", &point.label);
    }
    svg + "</svg>\n"
}

const INFALLIBLE: &str = "writing to a string cannot fail";

fn line(svg: &mut String, (x1, y1): (f64, f64), (x2, y2): (f64, f64)) {
    writeln!(svg, "<path d=\"M{x1:.1} {y1:.1}L{x2:.1} {y2:.1}\" stroke=\"#ddd\"/>").expect(INFALLIBLE);
}

fn text(svg: &mut String, (x, y): (f64, f64), anchor: &str, words: &str) {
    let escaped = words.replace('&', "&amp;").replace('<', "&lt;");
    writeln!(svg, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{escaped}</text>").expect(INFALLIBLE);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_axis_covers_its_values_in_whole_steps() {
        let axis = Axis::around([3.5, 4.501, 4.9].into_iter(), 0.25);
        assert_eq!((axis.low, axis.high), (3.5, 5.0));
        assert_eq!(axis.marks().count(), 7);
    }

    #[test]
    fn every_point_is_drawn_and_labelled() {
        let point = |label: &str, rate_bits, sqnr_db| Point { label: label.to_owned(), rate_bits, sqnr_db };
        let svg = svg("a < b", &[point("nf4", 4.5, 20.7), point("nf3", 3.5, 14.9)]);
        assert!(svg.matches("<circle").count() == 2 && svg.contains(">nf3<") && svg.contains("a &lt; b"));
    }
}
