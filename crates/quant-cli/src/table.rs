//! Reports as tables for people, every column with its unit.

use std::fmt::Write;

use quant::compare::Comparison;
use quant::device::DeviceFacts;
use quant::inspect::Inspection;
use quant::report::{KindRow, Report, TensorReport, rows_by_kind};

/// Bytes as a person reads them, in powers of ten.
pub fn size(bytes: u64) -> String {
    match bytes {
        0..1_000 => format!("{bytes} B"),
        1_000..1_000_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", bytes as f64 / 1e6),
        _ => format!("{:.2} GB", bytes as f64 / 1e9),
    }
}

/// A text table: the first column flush left, the others flush right, the last flush left when `note_last`.
/// A line break in a head splits it over two lines.
pub struct Table {
    head: Vec<String>,
    rows: Vec<Vec<String>>,
    note_last: bool,
}

impl Table {
    /// A table with this head.
    pub fn new(head: &[&str], note_last: bool) -> Self {
        Self { head: head.iter().map(|s| (*s).to_string()).collect(), rows: Vec::new(), note_last }
    }

    /// One more row. One that is shorter than the head ends in a note, which runs on over the columns that it leaves out.
    pub fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    /// The text.
    pub fn render(&self) -> String {
        let columns = self.head.len();
        let cell_count = |row: &[String]| if row.len() < columns { row.len() - 1 } else { columns };
        let width = |i: usize| {
            let cells = self.rows.iter().filter(|r| i < cell_count(r)).map(|r| r[i].as_str());
            cells.chain(self.head[i].lines()).map(|text| text.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let line = |row: &[String]| {
            let cell = |(i, text): (usize, &String)| {
                let left = i == 0 || i >= cell_count(row) || (self.note_last && i + 1 == columns);
                if left { format!("{text:<w$}", w = widths[i]) } else { format!("{text:>w$}", w = widths[i]) }
            };
            let cells: Vec<String> = row.iter().enumerate().map(cell).collect();
            cells.join("  ").trim_end().to_owned() + "\n"
        };
        let head_lines = self.head.iter().map(|h| h.lines().count()).max().unwrap_or(0);
        let mut text = String::new();
        for index in 0..head_lines {
            // One-line heads stand at the bottom.
            let part = |h: &String| {
                let own = (index + h.lines().count()).checked_sub(head_lines);
                own.and_then(|i| h.lines().nth(i)).unwrap_or_default().to_owned()
            };
            text += &line(&self.head.iter().map(part).collect::<Vec<_>>());
        }
        text += &("-".repeat(widths.iter().sum::<usize>() + 2 * (columns - 1)) + "\n");
        text + &self.rows.iter().map(|row| line(row)).collect::<String>()
    }
}

fn db(value: Option<f64>) -> String {
    value.map_or("-".into(), |v| format!("{v:.2}"))
}

fn bits(value: Option<f64>) -> String {
    value.map_or("-".into(), |v| format!("{v:.3}"))
}

const HEAD: [&str; 7] = ["kind", "tensors", "weights", "rate\n(bits)", "MSE", "SQNR\n(dB)", "entropy\n(bits)"];

/// The cells that every row has: kind, counts and rate.
fn planned_cells(row: &KindRow) -> Vec<String> {
    vec![row.kind.clone(), row.tensor_count.to_string(), row.weight_count.to_string(), format!("{:.4}", row.rate_bits)]
}

fn kind_row(row: &KindRow) -> Vec<String> {
    let mut cells = planned_cells(row);
    match &row.reason {
        Some(reason) => cells.push(dense_note(reason)),
        None => cells.extend([format!("{:.3e}", row.mse), db(row.sqnr_db), bits(row.entropy_bits)]),
    }
    cells
}

fn dense_note(reason: &str) -> String {
    format!("left dense: {reason}")
}

/// The table and the totals of a run.
pub fn report(report: &Report) -> String {
    let totals = &report.totals;
    let mut table = Table::new(&HEAD, false);
    rows_by_kind(&report.tensors).iter().for_each(|row| table.row(kind_row(row)));
    table.row(vec![
        "quantized in all".into(),
        report.tensors.iter().filter(|t| t.is_quantized()).count().to_string(),
        totals.weight_count.to_string(),
        format!("{:.4}", totals.rate_bits),
        format!("{:.3e}", totals.mse),
        db(totals.sqnr_db),
        bits(totals.entropy_bits),
    ]);
    let mut text = table.render();
    let rate = totals.weight_count as f64 / totals.seconds.max(1e-9) / 1e6;
    if let Some(db) = totals.weighted_sqnr_db {
        let _ = writeln!(text, "\nweighted SQNR {db:.2} dB");
    }
    let _ = writeln!(text, "\nrecipe        {} to {} on {}", totals.recipe, totals.target, totals.device);
    let _ = writeln!(
        text,
        "size          {} -> {}, {:.4} bits per weight with the dense tensors",
        size(totals.source_len_bytes),
        size(totals.output_len_bytes),
        totals.checkpoint_rate_bits
    );
    let _ = writeln!(text, "time          {:.2} s, {rate:.1} million weights/s", totals.seconds);
    if let Some(error) = totals.output_error {
        let fed = report.tensors.iter().filter_map(|t| t.output_error);
        let (lower, all) = fed.fold((0, 0), |(n, all), e| (n + usize::from(e.fed_back < e.nearest), all + 1));
        let gain = 10.0 * (error.nearest / error.fed_back).log10();
        let _ = writeln!(
            text,
            "output error  {:.4e} per token, {:.4e} without feedback ({gain:.2} dB); lower in {lower} of {all} tensors",
            error.fed_back, error.nearest
        );
        if error.reordered + error.left_nearest > 0 {
            let _ = writeln!(
                text,
                "              {} matrices in the other order and {} at nearest levels, where feedback would have lost more",
                error.reordered, error.left_nearest
            );
        }
    }
    let peak = totals.peak_memory_bytes.map_or("not told by this system".into(), size);
    let _ = writeln!(text, "peak memory   {peak} of {} promised", size(totals.peak_memory_bound_bytes));
    let _ = writeln!(text, "codes hash    {}", totals.codes_hash);
    text
}

/// The table of a dry run.
pub fn plan(tensors: &[TensorReport], rows: &[KindRow], output_len_bytes: u64) -> String {
    let mut table = Table::new(&["kind", "tensors", "weights", "rate\n(bits)", ""], true);
    for row in rows {
        let mut cells = planned_cells(row);
        cells.push(row.reason.as_deref().map(dense_note).unwrap_or_default());
        table.row(cells);
    }
    let bits: u64 = tensors.iter().map(|t| t.sums.stored_bits).sum();
    let weights: u64 = tensors.iter().map(|t| t.sums.weight_count).sum();
    let rate = bits as f64 / weights.max(1) as f64;
    table.row(vec![
        "in all".into(),
        tensors.len().to_string(),
        weights.to_string(),
        format!("{rate:.4}"),
        String::new(),
    ]);
    table.render() + &format!("\nsize          {} of tensor data\n", size(output_len_bytes))
}

/// What a checkpoint holds.
pub fn inspection(inspection: &Inspection) -> String {
    let mut table = Table::new(&["tensor", "shape", "dtype", "rate\n(bits)", "size", "stored as"], true);
    for t in &inspection.tensors {
        table.row(vec![
            t.name.clone(),
            format!("{:?}", t.shape),
            t.dtype.clone(),
            format!("{:.4}", t.rate_bits),
            size(t.stored_len_bytes),
            t.method.clone(),
        ]);
    }
    let mut text = table.render();
    let _ = writeln!(text, "\nsource        {}", inspection.source);
    for (name, len) in &inspection.files {
        let _ = writeln!(text, "file          {name}, {}", size(*len));
    }
    if let Some(mark) = &inspection.transform {
        let _ = writeln!(text, "transform     {}, {} inputs at run time", mark.method, mark.online_input_count);
    }
    let _ = writeln!(
        text,
        "in all        {} weights, {:.4} bits per weight",
        inspection.weight_count, inspection.rate_bits
    );
    text
}

/// Two checkpoints side by side.
pub fn comparison(comparison: &Comparison) -> String {
    let mut table = Table::new(&["tensor", "MSE", "SQNR\n(dB)", "largest\nerror", "second stored as"], true);
    let number = |v: Option<f64>| v.map_or("-".into(), |v| format!("{v:.4e}"));
    for t in &comparison.tensors {
        let sqnr = if t.error_max == Some(0.0) { "equal".into() } else { db(t.sqnr_db) };
        let note = t.problem.clone().unwrap_or_else(|| t.method.clone());
        table.row(vec![t.name.clone(), number(t.mse), sqnr, number(t.error_max), note]);
    }
    let all = if comparison.error_max == 0.0 { "equal".into() } else { db(comparison.sqnr_db) };
    let (mse, error) = (number(Some(comparison.mse)), number(Some(comparison.error_max)));
    table.row(vec!["in all".into(), mse, all, error, String::new()]);
    let mut text = table.render();
    for (which, names) in [("first", &comparison.only_in_a), ("second", &comparison.only_in_b)] {
        for name in names {
            let _ = writeln!(text, "only in the {which}: {name}");
        }
    }
    text
}

/// The devices of this machine.
pub fn devices(devices: &[DeviceFacts]) -> String {
    let mut table = Table::new(&["device", "kind", "API", "largest binding", "name and driver"], true);
    for d in devices {
        let name = match &d.driver {
            Some(driver) => format!("{}; {driver}", d.name),
            None => d.name.clone(),
        };
        let api = d.api.clone().unwrap_or("-".into());
        let binding = d.binding_len_bytes.map_or("-".into(), size);
        table.row(vec![d.device.clone(), d.kind.clone(), api, binding, name]);
    }
    table.render()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let mut table = Table::new(&["a", "n", "note"], true);
        table.row(vec!["long name".into(), "1".into(), "x".into()]);
        assert_eq!(table.render(), "a          n  note\n------------------\nlong name  1  x\n");
        let mut table = Table::new(&["a", "rate\n(bits)", "b"], false);
        table.row(vec!["x".into(), "4.5".into(), "1".into()]);
        table.row(vec!["y".into(), "a long note".into()]);
        assert_eq!(table.render(), "     rate\na  (bits)  b\n------------\nx     4.5  1\ny  a long note\n");
        assert_eq!((size(999), size(1_500), size(2_000_000_000)), ("999 B".into(), "1.5 kB".into(), "2.00 GB".into()));
    }
}
