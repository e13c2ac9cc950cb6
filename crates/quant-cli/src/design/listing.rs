//! A design as text: the lecture's table of thresholds and levels, then what the codebook costs.

use std::fmt::Write;

use quant_core::codebook::Codebook;

use super::{Found, stop};
use crate::table::Table;

/// Rows shown before and after the gap in a table of more than twice as many levels.
const ROWS: usize = 128;

/// The table and the summary.
pub fn text(found: &Found, digits: Option<usize>) -> String {
    let design = &found.outcome.design;
    let deviation = found.chosen.source().variance().sqrt();
    let digits = digits.unwrap_or_else(|| decimals(deviation));
    table(&design.codebook, digits) + "\n" + &summary(found)
}

/// Four decimals for a deviation of about 1, as many more or fewer as it is smaller or larger.
fn decimals(deviation: f64) -> usize {
    let exponent = if deviation > 0.0 { deviation.log10().round() } else { 0.0 };
    (4.0 - exponent).clamp(1.0, 17.0) as usize
}

/// Columns k, t_k and y_k; row M has the upper end alone.
pub fn table(codebook: &Codebook, digits: usize) -> String {
    let (levels, thresholds) = (codebook.levels(), codebook.thresholds());
    let m = levels.len();
    let threshold = |k: usize| match k {
        0 => "t_0 = -∞".into(),
        k if k == m => format!("t_{k} = +∞"),
        k => entry('t', k, thresholds[k - 1], digits),
    };
    let level = |k: usize| levels.get(k).map_or(String::new(), |&y| entry('y', k, y, digits));
    let mut table = Table::new(&["k", "threshold t_k", "level y_k"], false);
    for k in 0..=m {
        if m > 2 * ROWS && k == ROWS {
            let note = format!("{} rows left out; --json has them all", m + 1 - 2 * ROWS);
            table.row(vec!["…".into(), String::new(), note]);
        }
        if m <= 2 * ROWS || k < ROWS || k > m - ROWS {
            table.row(vec![k.to_string(), threshold(k), level(k)]);
        }
    }
    table.render()
}

/// `t_1 ≈ -1.7479`; a number that is 0 but for rounding is said to be 0.
fn entry(letter: char, k: usize, x: f64, digits: usize) -> String {
    if x.abs() < 10f64.powi(-(digits as i32) - 6) {
        return format!("{letter}_{k} = 0");
    }
    format!("{letter}_{k} ≈ {x:.digits$}")
}

fn summary(found: &Found) -> String {
    let design = &found.outcome.design;
    let m = design.codebook.levels().len();
    let mut text = String::new();
    let mut line = |name: &str, value: String| _ = writeln!(text, "{name:<14}{value}");
    line("source", found.chosen.name.clone() + &sample_count(found));
    line("designer", format!("{}, {m} levels", found.designer));
    line("MSE", format!("{:.6e} squared units of the source", design.mse));
    line("SQNR", format!("{:.4} dB", design.sqnr_db));
    line("entropy", format!("{:.4} bits", design.entropy_bits));
    line("rate", format!("{:.4} bits per sample", design.rate));
    line("iterations", format!("{} steps, stop: {}", design.iterations, stop(design.stop)));
    if let Some((_, words, value)) = found.outcome.note {
        line("note", format!("{words}: {value:.6}"));
    }
    if let Some(h) = &found.held_out {
        line("held out", format!("MSE {:.6e}, SQNR {:.4} dB, {:+.4} dB of distortion", h.mse, h.sqnr_db, h.gap_db));
    }
    if let Some(coded) = &found.coded {
        line("entropy coded", coded.text());
    }
    theory(found, &mut line);
    text
}

fn sample_count(found: &Found) -> String {
    let count = |s: &quant_core::source::WeightedSamples| s.points().len();
    let own = found.chosen.samples().map(|s| format!(", {} distinct samples", count(s)));
    let other = found.chosen.held_out().map(|s| format!(", {} held out", count(s)));
    own.unwrap_or_default() + &other.unwrap_or_default()
}

/// High-rate prediction and bound, each with the design's distance from it.
fn theory(found: &Found, line: &mut impl FnMut(&str, String)) {
    let (theory, design) = (&found.theory, &found.outcome.design);
    let m = design.codebook.levels().len();
    let of = found.chosen.theory_note();
    let gap = |db: f64| if db.is_finite() { format!("design {db:+.4} dB") } else { "no error to compare".into() };
    if let Some(bennett) = found.bennett {
        let db = 10.0 * (design.mse / bennett).log10();
        line("Bennett", format!("integral {bennett:.6e} for these cells; {}", gap(db)));
    }
    line(
        "high rate",
        format!("Panter-Dite (Zador) MSE {:.6e} at {m} levels{of}; {}", theory.panter_dite, gap(theory.panter_dite_db)),
    );
    line(
        "bound",
        format!(
            "Shannon MSE {:.6e} at {:.4} bits{of}; {}",
            theory.shannon_lower_bound,
            design.rate,
            gap(theory.shannon_db)
        ),
    );
}
