//! Quantizes one matrix whenever it is told to: `rounds FILE DTYPE ROWS COLUMNS THREADS`, FILE being little-endian
//! samples and DTYPE `F32`, `F16` or `BF16`.
//!
//! Each line on standard input names a contestant; the answer is a line of JSON with the seconds that one run took. So
//! another program can time its own quantizer in turn with ours, on the same samples, in the same minutes, and read our
//! processor time with its own clock: nothing but the run happens between line and answer. Contestants: `absmax` and
//! `search` choose scales and encode into buffers that exist; `absmax-afresh` and `search-afresh` into buffers that they
//! allocate, as other quantizers do; `absmax-whole` and `search-whole` also refuse NaN and measure the distortion, as
//! `quant quantize` does; `copy` copies the matrix. `quality NAME` answers with MSE, SQNR and rate.

use anyhow::{Context, Result, bail};
use quant_benches::case::{Case, Verb};
use quant_benches::rounds::copy;
use quant_core::quantize::quantize;
use quant_core::recipe::Recipe;
use quant_core::scale::ScaleRule;
use quant_core::tensor::{Dtype, Matrix, Samples};
use quant_cpu::{Cpu, CpuOptions};
use serde_json::json;
use std::io::{BufRead, Write};
use std::time::Instant;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [file, dtype, rows, columns, threads] = arguments.as_slice() else {
        bail!("usage: rounds FILE DTYPE ROWS COLUMNS THREADS");
    };
    let (rows, columns): (usize, usize) = (rows.parse()?, columns.parse()?);
    let dtypes = [Dtype::F32, Dtype::F16, Dtype::Bf16];
    let dtype =
        dtypes.into_iter().find(|d| d.name() == dtype).with_context(|| format!("no dtype is called {dtype}"))?;
    let bytes = std::fs::read(file).with_context(|| format!("cannot read {file}"))?;
    let samples = Samples::from_bytes(&bytes, dtype).context("the file holds whole samples, and memory is aligned")?;
    let matrix = Matrix::new(samples, rows, columns)?;
    let threads = Some(threads.parse()?).filter(|&n: &usize| n > 0);
    let cpu = Cpu::new(CpuOptions { threads, ..CpuOptions::default() })?;
    answer(&cpu, matrix, &bytes)
}

/// `bytes` are what the matrix views.
fn answer(cpu: &Cpu, matrix: Matrix<'_>, bytes: &[u8]) -> Result<()> {
    let search_recipe = Recipe::preset("nf4")?;
    let absmax_recipe = search_recipe.with_scale(ScaleRule::Absmax)?;
    let mut absmax = Case::new(cpu, matrix, absmax_recipe, Verb::Encode, None)?;
    let mut search = Case::new(cpu, matrix, search_recipe, Verb::Encode, None)?;
    let pool = rayon::ThreadPoolBuilder::new().num_threads(cpu.thread_count()).build()?;
    let mut copied = vec![0; bytes.len()];
    let mut out = std::io::stdout();
    for line in std::io::stdin().lock().lines() {
        let name = line?;
        if let Some(of) = name.strip_prefix("quality ") {
            let quality = if of.starts_with("search") { search.quality() } else { absmax.quality() };
            let (mse, sqnr_db, rate_bits) = (quality.mse, quality.sqnr_db, quality.rate_bits);
            writeln!(out, "{}", json!({"mse": mse, "sqnr_db": sqnr_db, "rate_bits": rate_bits}))?;
            out.flush()?;
            continue;
        }
        let start = Instant::now();
        match name.as_str() {
            "absmax" => absmax.run(),
            "search" => search.run(),
            "absmax-afresh" => absmax.run_afresh(),
            "search-afresh" => search.run_afresh(),
            "absmax-whole" => drop(quantize(cpu, matrix, &absmax_recipe)?),
            "search-whole" => drop(quantize(cpu, matrix, &search_recipe)?),
            "copy" => copy(&pool, bytes, &mut copied),
            _ => bail!("no contestant is called {name}"),
        }
        let seconds = start.elapsed().as_secs_f64();
        writeln!(out, "{}", json!({"seconds": seconds}))?;
        out.flush()?;
    }
    Ok(())
}
