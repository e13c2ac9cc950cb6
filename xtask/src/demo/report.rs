//! How do the presets compare?

use super::chart::{self, Point};
use anyhow::{Context, Result};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::path::Path;

/// What one run of `quant quantize` reported.
#[derive(Debug)]
pub struct Outcome {
    name: String,
    arguments: String,
    totals: Value,
    size_bytes: u64,
}

/// All runs on one model.
#[derive(Debug)]
pub struct Report {
    /// What was quantized.
    pub model: String,
    /// In the order they ran.
    pub outcomes: Vec<Outcome>,
}

/// Heading, key in `totals`, digits after the point.
const COLUMNS: [(&str, &str, usize); 5] = [
    ("rate (bits)", "rate_bits", 3),
    ("SQNR (dB)", "sqnr_db", 2),
    ("MSE", "mse", 0),
    ("entropy (bits)", "entropy_bits", 3),
    ("seconds", "seconds", 1),
];

impl Outcome {
    /// Reads the JSON report and the size of the output, a file or a folder.
    pub fn read(name: &str, arguments: &str, json: &Path, output: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(json).with_context(|| format!("cannot read {}", json.display()))?;
        let report: Value = serde_json::from_str(&text).with_context(|| format!("{} is not JSON", json.display()))?;
        let totals = report["totals"].clone();
        Ok(Self { name: name.to_owned(), arguments: arguments.to_owned(), totals, size_bytes: size_bytes(output)? })
    }

    fn cells(&self) -> Vec<String> {
        let mut cells = vec![self.name.clone()];
        cells.extend(COLUMNS.map(|(_, key, digits)| match self.totals[key].as_f64() {
            None => "–".to_owned(),
            Some(value) if digits == 0 => format!("{value:.3e}"),
            Some(value) => format!("{value:.digits$}"),
        }));
        cells.push(format!("{:.1}", self.size_bytes as f64 / 1e6));
        cells
    }
}

impl Report {
    /// A Markdown table with aligned columns, so that it reads well in a terminal too.
    pub fn table(&self) -> String {
        let mut rows = vec![vec!["preset".to_owned()]];
        rows[0].extend(COLUMNS.map(|(heading, ..)| heading.to_owned()));
        rows[0].push("size (MB)".to_owned());
        rows.extend(self.outcomes.iter().map(Outcome::cells));
        let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..rows[0].len()).map(width).collect();
        let mut table = String::new();
        for (index, row) in rows.iter().enumerate() {
            let cells = row.iter().zip(&widths).enumerate();
            let padded = cells.map(|(i, (c, &w))| if i == 0 { format!("{c:<w$}") } else { format!("{c:>w$}") });
            line(&mut table, padded);
            if index == 0 {
                let rule = widths.iter().enumerate();
                line(&mut table, rule.map(|(i, &w)| if i == 0 { "-".repeat(w) } else { "-".repeat(w - 1) + ":" }));
            }
        }
        table
    }

    fn points(&self) -> Vec<Point> {
        let point = |o: &Outcome| {
            let (rate_bits, sqnr_db) = (o.totals["rate_bits"].as_f64()?, o.totals["sqnr_db"].as_f64()?);
            Some(Point { label: o.name.clone(), rate_bits, sqnr_db })
        };
        self.outcomes.iter().filter_map(point).collect()
    }

    /// Writes report.md, report.json and report.svg into `folder`.
    pub fn write(&self, folder: &Path) -> Result<()> {
        let mut text = format!(
            "# Four presets on one model\n\nModel: {}\n\n![Rate against SQNR](report.svg)\n\n{}\n",
            self.model,
            self.table()
        );
        text += "Rate counts all side information. Written by `cargo xtask demo`; each row is one run of\n\n```\n";
        for outcome in &self.outcomes {
            writeln!(text, "quant quantize IN OUT {}", outcome.arguments).expect("writing to a string cannot fail");
        }
        text += "```\n";
        let run = |o: &Outcome| json!({"name": o.name, "arguments": o.arguments, "size_bytes": o.size_bytes, "totals": o.totals});
        let runs: Vec<Value> = self.outcomes.iter().map(run).collect();
        let json = json!({"model": self.model, "runs": runs});
        std::fs::write(folder.join("report.md"), text).context("cannot write report.md")?;
        std::fs::write(folder.join("report.svg"), chart::svg(&self.model, &self.points()))
            .context("cannot write report.svg")?;
        std::fs::write(folder.join("report.json"), format!("{json:#}\n")).context("cannot write report.json")
    }
}

fn line(table: &mut String, cells: impl Iterator<Item = String>) {
    let cells: Vec<String> = cells.collect();
    writeln!(table, "| {} |", cells.join(" | ")).expect("writing to a string cannot fail");
}

/// Bytes of a file, or of all files of a folder.
fn size_bytes(path: &Path) -> Result<u64> {
    let metadata = std::fs::metadata(path).with_context(|| format!("cannot read {}", path.display()))?;
    if !metadata.is_dir() {
        return Ok(metadata.len());
    }
    std::fs::read_dir(path)?.map(|entry| size_bytes(&entry?.path())).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(name: &str, totals: Value) -> Outcome {
        Outcome { name: name.to_owned(), arguments: format!("--preset {name}"), totals, size_bytes: 76_543_210 }
    }

    #[test]
    fn a_row_has_each_number_with_its_digits_and_absent_ones_are_dashes() {
        let totals = json!({"rate_bits": 4.5, "sqnr_db": 20.7263, "mse": 3.3912e-6, "seconds": 12.34});
        let report = Report { model: "m".to_owned(), outcomes: vec![outcome("nf4", totals)] };
        let table = report.table();
        let lines: Vec<&str> = table.lines().collect();
        assert_eq!(lines[0], "| preset | rate (bits) | SQNR (dB) |      MSE | entropy (bits) | seconds | size (MB) |");
        assert_eq!(lines[1], "| ------ | ----------: | --------: | -------: | -------------: | ------: | --------: |");
        assert_eq!(lines[2], "| nf4    |       4.500 |     20.73 | 3.391e-6 |              – |    12.3 |      76.5 |");
    }

    #[test]
    fn both_reports_are_written() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let report = Report { model: "m".to_owned(), outcomes: vec![outcome("nf4", json!({"sqnr_db": 20.5}))] };
        report.write(folder.path()).expect("a writable folder");
        let text = std::fs::read_to_string(folder.path().join("report.md")).expect("it was written");
        assert!(text.starts_with("# ") && text.contains("20.50"));
        assert!(folder.path().join("report.svg").exists());
        let json = std::fs::read_to_string(folder.path().join("report.json")).expect("it was written");
        let json: Value = serde_json::from_str(&json).expect("it is JSON");
        assert_eq!(json["runs"][0]["totals"]["sqnr_db"], 20.5);
    }
}
