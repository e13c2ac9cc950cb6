//! Arguments of the commands that design and show codebooks.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

const SOURCES: &str = "\
Sources (unit variance, mean 0 unless a parameter says otherwise):
  gaussian, laplacian, logistic      mean=0, deviation=1
  student-t                          nu=5, mean=0, deviation=1
  generalized-gaussian               beta=1.5, mean=0, deviation=1
  uniform                            low=-1.7320508, high=1.7320508
  mixture (of two Gaussians)         weight2=0.1, mean=0, deviation=1, mean2=0, deviation2=3
  block-normalised                   block=64; Gaussian over the largest magnitude of its block
  beta                               shape_a=2, shape_b=3
  chi, chi-squared                   freedom=3, 4
  erlang, gamma                      shape=2, rate=1
  inverse-gamma                      shape=4, rate=1
  exponential                        rate=1
  fisher-snedecor                    freedom_1=5, freedom_2=12
  gumbel                             location=0, scale=1
  log-normal                         location=0, scale=0.5 (of the logarithm)
  pareto, weibull                    scale=1, shape=4, 1.5
  triangular                         min=0, max=1, mode=0.5
  FILE.npy, FILE.csv[:COLUMN], FILE.txt[:COLUMN], FILE.wav (full scale is 1), FILE.png (as stored),
  FILE.safetensors:TENSOR, FILE.gguf:TENSOR, FOLDER:TENSOR

Designers:
  lloyd-max                          --start
  k-means (samples only)             exact: the global optimum
  uniform                            --range; low, high or percentile
  compander                          the best at high rate; of a histogram with 128 bins for samples
  mu-law, a-law, power-law           mu=255, a=87.6, power=0.75; x_max
  g711-mu-law, g711-a-law            the 8-bit coders; x_max
  dead-zone (odd number of levels)   zero_width=2; step or x_max; reconstruction=0.5
  logarithmic (odd)                  x_min=x_max/100; x_max
  fp4-e2m1, fp6-e2m3, fp6-e3m2, fp8-e4m3, fp8-e5m2, fp4-bitsandbytes    --scale
  nf, student-float                  --scale; nu=5
  block-nf                           block=64; --scale
  ecsq (at an entropy of BITS)       rate or lambda; --start
For samples from a file, in their order:
  vector-lloyd, vector-mini-batch    --dim; --levels K codevectors, or --bits per sample; restarts=4, seed=1
  vector-product, vector-residual    the same for each of parts=2 or stages=2
  mxfp4, mxfp6-e2m3, mxfp6-e3m2, mxfp8-e4m3, mxfp8-e5m2, nvfp4    blocks with a scale; no levels to choose
x_max is the end of the source's support, or 4 root mean squares where that is infinite.
";

const DESIGN_EXAMPLES: &str = "\
Examples:
  quant design --source gaussian --levels 8 --designer lloyd-max
  quant design --source student-t --param nu=4 --bits 4 --designer nf
  quant design --source weights.npy --bits 4 --designer k-means --held-out 0.2 --json design.json
  quant design --source model.safetensors:lm_head.weight --levels 15 --designer dead-zone";

/// Design a codebook for a density or for samples.
#[derive(Args, Debug)]
#[command(after_help = format!("{SOURCES}\n{DESIGN_EXAMPLES}"))]
pub struct Design {
    /// What is quantized.
    #[command(flatten)]
    pub source: SourceArguments,
    /// How the codebook is found.
    #[command(flatten)]
    pub designer: DesignerArguments,
    /// Fit to all samples but this share, and measure on the rest; files only.
    #[arg(long, value_name = "SHARE")]
    pub held_out: Option<f64>,
    /// Decimals of thresholds and levels; as many as the deviation asks for otherwise.
    #[arg(long, value_name = "0..17", value_parser = clap::value_parser!(u8).range(0..=17))]
    pub digits: Option<u8>,
    /// Write JSON to FILE, or to stdout with `-`.
    #[arg(long, value_name = "FILE|-")]
    pub json: Option<PathBuf>,
}

/// What is quantized.
#[derive(Args, Clone, Debug)]
pub struct SourceArguments {
    /// A density or a file; see below.
    #[arg(long, value_name = "NAME|FILE")]
    pub source: String,
    /// A parameter of the source or the designer; may be repeated.
    #[arg(long, value_name = "NAME=VALUE", value_parser = parameter)]
    pub param: Vec<(String, f64)>,
    /// Weights of the samples: a file of as many numbers.
    #[arg(long, value_name = "FILE")]
    pub weights: Option<String>,
}

/// How the codebook is found.
#[derive(Args, Clone, Debug)]
pub struct DesignerArguments {
    /// Which designer; see below.
    #[arg(long, value_name = "NAME", default_value = "lloyd-max")]
    pub designer: String,
    /// Samples of a codevector, for vector quantizers.
    #[arg(long, value_name = "D")]
    pub dim: Option<usize>,
    /// Levels, 2 to 65536.
    #[arg(long, value_name = "N", conflicts_with = "bits")]
    pub levels: Option<usize>,
    /// Bits of a code, 1 to 16: 2^B levels, or 2^B - 1 where zero is amid them.
    #[arg(long, value_name = "B")]
    pub bits: Option<u32>,
    /// Levels symmetric about 0.
    #[arg(long)]
    pub symmetric: bool,
    /// One level is exactly 0.
    #[arg(long)]
    pub zero: bool,
    /// All levels between these two numbers.
    #[arg(long, value_name = "LOW:HIGH", value_parser = clip, allow_hyphen_values = true)]
    pub clip: Option<(f64, f64)>,
    /// Where lloyd-max (uniform, quantile, compander; compander by default) and ecsq (best, odd, even; best) start.
    #[arg(long, value_name = "START")]
    pub start: Option<StartName>,
    /// How uniform chooses its range; symmetric for a source that is, else asymmetric.
    #[arg(long, value_name = "RANGE")]
    pub range: Option<RangeName>,
    /// What a fixed codebook is multiplied by: `optimal`, `absmax` or a number; 1 for block-normalised, else optimal.
    #[arg(long, value_name = "SCALE")]
    pub scale: Option<String>,
}

/// Tabulate designers against theory over a range of bits.
#[derive(Args, Debug)]
#[command(after_help = "\
Sources: as for `quant design`.

Example:
  quant curve --source laplacian --bits 1..8 --plot laplacian.png")]
pub struct Curve {
    /// What is quantized.
    #[command(flatten)]
    pub source: SourceArguments,
    /// Bits of a code, the last included; 1 to 10.
    #[arg(long, value_name = "FIRST..LAST", default_value = "1..8", value_parser = bits_range)]
    pub bits: (u32, u32),
    /// Draw the table.
    #[arg(long, value_name = "FILE.png|FILE.svg")]
    pub plot: Option<PathBuf>,
    /// Write JSON to FILE, or to stdout with `-`.
    #[arg(long, value_name = "FILE|-")]
    pub json: Option<PathBuf>,
}

/// Draw quantizers as PNG or SVG.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  quant plot codebook --source laplacian --levels 8 -o codebook.png
  quant plot compressors --source gaussian -o compressors.svg
  quant plot cells --source gaussian --bits 4 -o cells.png
  quant plot errors --source gaussian --bits 4 -o errors.png")]
pub struct Plot {
    /// What to draw.
    #[command(subcommand)]
    pub kind: PlotKind,
}

/// What to draw.
#[derive(Debug, Subcommand)]
pub enum PlotKind {
    /// Histogram or density with levels and thresholds.
    #[command(
        after_help = "Example:\n  quant plot codebook --source weights.npy --bits 3 --designer k-means -o codebook.png"
    )]
    Codebook {
        /// What is quantized.
        #[command(flatten)]
        source: SourceArguments,
        /// How the codebook is found.
        #[command(flatten)]
        designer: DesignerArguments,
        /// The picture.
        #[arg(short, long, value_name = "FILE.png|FILE.svg")]
        output: PathBuf,
    },
    /// Compressor curves: the optimal compander of the source, mu-law, A-law, power law.
    #[command(after_help = "Example:\n  quant plot compressors --source laplacian -o compressors.png")]
    Compressors(Picture),
    /// The cells of a uniform quantizer and of NormalFloat, as the staircases x to Q(x).
    #[command(after_help = "Example:\n  quant plot cells --source gaussian --bits 4 -o cells.svg")]
    Cells(Picture),
    /// The error of a uniform quantizer and of NormalFloat over x.
    #[command(after_help = "Example:\n  quant plot errors --source gaussian --bits 4 -o errors.png")]
    Errors(Picture),
}

/// A source, bits and a file.
#[derive(Args, Debug)]
pub struct Picture {
    /// What is quantized.
    #[command(flatten)]
    pub source: SourceArguments,
    /// Bits of a code, 2 to 8.
    #[arg(long, value_name = "B", default_value_t = 4, value_parser = clap::value_parser!(u32).range(2..=8))]
    pub bits: u32,
    /// The picture.
    #[arg(short, long, value_name = "FILE.png|FILE.svg")]
    pub output: PathBuf,
}

/// Where an iterative designer starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum StartName {
    /// Equally spaced levels.
    Uniform,
    /// Equally likely cells.
    Quantile,
    /// The compander of the density, or quantiles of samples.
    Compander,
    /// The best of the others.
    Best,
    /// A grid with a cell about the centre.
    Odd,
    /// A grid with a threshold at the centre.
    Even,
}

/// How a uniform quantizer chooses its range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum RangeName {
    /// [-x, x] of least distortion.
    Symmetric,
    /// [low, high] of least distortion.
    Asymmetric,
    /// [-x, x] that covers the source.
    Absmax,
}

fn parameter(text: &str) -> Result<(String, f64), String> {
    let wrong = || "NAME=VALUE with a number expected, as in nu=5".to_string();
    let (name, value) = text.split_once('=').ok_or_else(wrong)?;
    Ok((name.trim().to_string(), value.trim().parse().map_err(|_| wrong())?))
}

fn clip(text: &str) -> Result<(f64, f64), String> {
    let wrong = || "LOW:HIGH expected, as in -2.5:2.5".to_string();
    let (low, high) = text.split_once(':').ok_or_else(wrong)?;
    Ok((low.parse().map_err(|_| wrong())?, high.parse().map_err(|_| wrong())?))
}

pub(super) fn bits_range(text: &str) -> Result<(u32, u32), String> {
    let (first, last) = text.split_once("..").unwrap_or((text, text));
    match (first.parse(), last.trim_start_matches('=').parse()) {
        (Ok(first), Ok(last)) if 1 <= first && first <= last && last <= 10 => Ok((first, last)),
        _ => Err("FIRST..LAST between 1 and 10 expected, as in 1..8".into()),
    }
}
