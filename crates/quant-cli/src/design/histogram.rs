//! Samples and their cells as a picture of characters.

use std::fmt::Write;

use quant_core::codebook::Codebook;
use quant_core::source::{Histogram, Source, WeightedSamples};

/// Lines of the picture and the length of the longest bar.
const LINES: usize = 32;
const BAR_LEN: usize = 48;

/// One line per bin: its left edge, its bar, and the levels in it; cells alternate between two fillings.
pub fn text(samples: &WeightedSamples, codebook: &Codebook) -> String {
    let (low, high) = samples.support();
    let line_count = if high > low { LINES } else { 1 };
    let Ok(histogram) = Histogram::of(samples, (low, high), line_count) else { return String::new() };
    let (edges, masses) = (histogram.edges(), histogram.masses());
    let most = masses.iter().copied().fold(f64::MIN_POSITIVE, f64::max);
    let mut text = "histogram of the samples; # and = are cells by turns, y marks levels\n".to_string();
    for (i, mass) in masses.iter().enumerate() {
        let (left, right) = (edges[i], edges[i + 1]);
        let filling = if codebook.encode(0.5 * (left + right)).is_multiple_of(2) { "#" } else { "=" };
        let bar = filling.repeat(((mass / most) * BAR_LEN as f64).ceil() as usize);
        let is_last = i + 1 == masses.len();
        let inside = |y: f64| y >= left && (y < right || is_last && y <= right);
        let marks: Vec<String> =
            (0..codebook.levels().len()).filter(|&k| inside(codebook.levels()[k])).map(|k| format!("y_{k}")).collect();
        let marks = if marks.len() > 4 { format!("{} levels", marks.len()) } else { marks.join(" ") };
        let line = format!("{left:>12.4e} {:>6.2} % |{bar:<BAR_LEN$}| {marks}", 100.0 * mass);
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text
}
