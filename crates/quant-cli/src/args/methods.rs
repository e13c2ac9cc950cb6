//! What can be typed about finer methods: steps and shapes, sensitivity, outliers, rates; and comparing methods.

use std::path::PathBuf;

use clap::Args;

use super::threads;

/// What refines a preset.
#[derive(Args, Debug)]
pub struct Refinement {
    /// Let every group choose among 2^N scales of the tensor, instead of storing an f32.
    #[arg(long, value_name = "0..8")]
    pub step_bits: Option<u32>,
    /// Let every group choose among 2^N codebooks of the tensor too; for lloyd and switched.
    #[arg(long, value_name = "0..8")]
    pub shape_bits: Option<u32>,
    /// What errors weigh: a safetensors file or folder with a tensor of weights, or one weight for each input channel, under
    /// the name of each tensor; a folder written by `quant calibrate`; or an importance matrix of llama.cpp (.dat, .gguf). Looked
    /// at by every preset that designs levels or steps, but for ecsq.
    #[arg(long, value_name = "FILE|FOLDER")]
    pub weights: Option<PathBuf>,
    /// Keep this share of weights exact, such as 0.005: the largest magnitudes.
    #[arg(long, value_name = "FRACTION")]
    pub outliers: Option<f64>,
    /// Keep those of largest weight times square instead; needs --weights.
    #[arg(long, requires_all = ["outliers", "weights"])]
    pub outliers_by_sensitivity: bool,
    /// Give each tensor the bits, 2 to 8 of the preset, with which all together have least error at this mean rate.
    #[arg(long, value_name = "BITS", conflicts_with_all = ["target_sqnr", "plan"], value_parser = rate)]
    pub rate: Option<f64>,
    /// The same for the lowest rate that reaches this SQNR.
    #[arg(long, value_name = "DB", conflicts_with = "plan", value_parser = decibels)]
    pub target_sqnr: Option<f64>,
    /// Give each tensor the recipe that a plan names; --preset is for those it does not name.
    #[arg(long, value_name = "FILE")]
    pub plan: Option<PathBuf>,
    /// Write what --rate or --target-sqnr chose.
    #[arg(long, value_name = "FILE")]
    pub save_plan: Option<PathBuf>,
}

/// Measure methods and bit widths on a checkpoint.
#[derive(Args, Debug)]
#[command(after_help = "\
Nothing is written but the plot and the report. Rates count all that the native format stores.

Examples:
  quant compare-methods SmolLM2-135M --plot methods.svg
  quant compare-methods model --methods switched,nf,kmeans-row --bits 3..5 --sample 20000000 --json -
  quant compare-methods model --recipe \"nf4 group 32 step-bits 6 shape-bits 0\" --recipe switched4")]
pub struct CompareMethods {
    /// A model folder, one .safetensors file, or a .gguf file.
    #[arg(value_name = "MODEL")]
    pub input: PathBuf,
    /// Families to try at every number of bits.
    #[arg(long, value_name = "NAME,…", value_delimiter = ',', default_value = "nf,int,lloyd,kmeans-row,switched")]
    pub methods: Vec<String>,
    /// Bits of a code.
    #[arg(long, value_name = "FIRST..LAST", default_value = "2..5", value_parser = super::design::bits_range)]
    pub bits: (u32, u32),
    /// Recipes to try instead, each in one line as `quant inspect` prints it; may be repeated.
    #[arg(long, value_name = "RECIPE", conflicts_with_all = ["methods", "bits"])]
    pub recipe: Vec<String>,
    /// Look at tensors of about so many weights, evenly spaced, instead of all.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub sample: Option<u64>,
    /// What errors weigh, as for `quant quantize`.
    #[arg(long, value_name = "FILE|FOLDER")]
    pub weights: Option<PathBuf>,
    /// Only tensors that match; may be repeated.
    #[arg(long, value_name = "PATTERN")]
    pub include: Vec<String>,
    /// No tensors that match; may be repeated.
    #[arg(long, value_name = "PATTERN")]
    pub exclude: Vec<String>,
    /// Threads; as many as the machine has otherwise.
    #[arg(long, value_name = "N", value_parser = threads)]
    pub threads: Option<usize>,
    /// Draw SQNR against rate into FILE, .png or .svg.
    #[arg(long, value_name = "FILE")]
    pub plot: Option<PathBuf>,
    /// Write JSON to FILE, or to stdout with `-`.
    #[arg(long, value_name = "FILE|-")]
    pub json: Option<PathBuf>,
}

/// Codes have at most 8 bits and may carry a scale for every 8 weights, of 32 bits.
fn rate(text: &str) -> Result<f64, String> {
    text.parse()
        .ok()
        .filter(|x| (0.0..=64.0).contains(x))
        .ok_or("a number from 0 to 64 expected, in bits per weight".into())
}

fn decibels(text: &str) -> Result<f64, String> {
    text.parse().ok().filter(|x| (0.0..=200.0).contains(x)).ok_or("a number from 0 to 200 expected, in dB".into())
}
