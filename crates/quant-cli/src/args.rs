//! What can be typed.

mod design;
mod methods;
mod model;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use quant::device::DeviceChoice;
use quant_core::grouping::GroupLength;
use quant_core::scale::ScaleRule;
use quant_core::scale_storage::ScaleStorage;
use quant_core::tensor::Dtype;

pub use methods::{CompareMethods, Refinement};
pub use model::{Analyze, Calibrate, Eval, MethodArguments, Transform};

pub use design::{Curve, Design, DesignerArguments, Picture, Plot, PlotKind, RangeName, SourceArguments, StartName};

/// Optimal codebooks for the weights of language models, on any processor.
#[derive(Debug, Parser)]
#[command(name = "quant", version, arg_required_else_help = true)]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Quantize a checkpoint.
    Quantize(Box<Quantize>),
    /// Turn a quantized checkpoint back into dense weights.
    Dequantize(Dequantize),
    /// List what a checkpoint holds: names, shapes, how each tensor is stored and at what rate.
    Inspect(Inspect),
    /// Compare two checkpoints tensor by tensor: MSE, SQNR, largest error.
    Compare(Compare),
    /// Measure methods and bit widths on a checkpoint: rate, SQNR, seconds, and which no other beats.
    CompareMethods(Box<CompareMethods>),
    /// List the devices that can quantize.
    Devices(Devices),
    /// Design a codebook for a density or for samples, with theory beside it.
    Design(Box<Design>),
    /// Tabulate designers against theory over a range of bits.
    Curve(Box<Curve>),
    /// Draw quantizers as PNG or SVG.
    Plot(Box<Plot>),
    /// Accumulate second moments of every linear input of a model over a text.
    Calibrate(Box<Calibrate>),
    /// Explain the error of every linear layer, and what each transform would change.
    Analyze(Box<Analyze>),
    /// Write a model with transforms folded into its weights.
    Transform(Box<Transform>),
    /// Perplexity of a model on a text, as it is or quantized.
    Eval(Box<Eval>),
}

/// Quantize a checkpoint.
#[derive(Args, Debug)]
#[command(after_help = "\
Presets: nf4, nf3, fp4, int4 (fixed codebooks, groups of 64, searched signed scales), sf4 (of Student's t, for rows with
         heavy tails), bnf4 (levels for the group length),
         lloyd4, lloyd3 (one codebook per tensor), kmeans4-row, kmeans3-row (one exact codebook per output row),
         switched4, switched3 (groups of 16 that choose a scale and a codebook: the least error for its rate);
         any4, easyquant4, squeezellm4 (methods of papers: docs/quantizers.md);
         each family with 2 to 8 bits;
         ecsq4.25 (one codebook per tensor for codes of an entropy of 4.25 bits, 1 to 6; native files hold them entropy coded);
         vq2x8, vq4x8, vq8x8 (codebooks of 2^8 points of 2, 4 or 8 weights; 2 to 12 bits), vq8x8x2 (two that add up, of at most
         4), vq4x8p2 (two that take turns, of at most 8);
         iq4_nl, q4_0, q8_0 (blocks of 32 with an f16 scale, for --to gguf).

Patterns: a glob over the whole tensor name in which * also crosses dots (\"*q_proj*\"), a module that stands for
everything below it (model.layers.0), or re: and a regular expression (\"re:layers\\.[0-3]\\.\").

Examples:
  quant quantize SmolLM2-135M smollm2-nf4 --preset nf4
  quant quantize model.gguf model-k4.safetensors --preset kmeans4-row --json report.json
  quant quantize model-f16.gguf model-iq4_nl.gguf --preset iq4_nl --to gguf
  quant quantize model model-nf4 --preset nf4 --device auto
  quant quantize model model-e3 --preset ecsq3 --error-feedback moments --activation-order
  quant quantize SmolLM2-135M smollm2.gguf --preset iq4_nl --to gguf
  quant quantize SmolLM2-135M smollm2-e4 --preset ecsq4.25
  quant quantize SmolLM2-135M smollm2-v2 --preset vq4x8
  quant quantize SmolLM2-135M smollm2-bnb --preset nf4 --double-quant --to bitsandbytes
  quant quantize SmolLM2-135M smollm2-sq --preset kmeans4-row --outliers 0.005 --to squeezellm
  quant quantize SmolLM2-135M smollm2-ap --preset kmeans3-row --to any-precision
  quant quantize SmolLM2-135M smollm2-lutb --preset kmeans3-row --to lut-b
  quant quantize model model-s4 --preset switched4 --weights moments --outliers 0.005
  quant quantize model model-mixed --preset switched4 --rate 3.5 --save-plan plan.json
  quant quantize SmolLM2-135M smollm2-3bit --preset nf3 --group 32 --exclude \"*down_proj*\" --dry-run")]
pub struct Quantize {
    /// A model folder (config.json, safetensors), one .safetensors file, or a .gguf file.
    #[arg(value_name = "IN")]
    pub input: PathBuf,
    /// Where to write: a folder when IN is a folder, else one .safetensors file, or one .gguf file with `--to gguf`. Must not exist.
    #[arg(value_name = "OUT")]
    pub output: PathBuf,
    /// Which codebook; see below.
    #[arg(long, value_name = "NAME")]
    pub preset: String,
    /// Steps, shapes, weights, outliers and rates.
    #[command(flatten)]
    pub refinement: Refinement,
    /// Bits of a code, 2 to 8; the preset's own otherwise.
    #[arg(long, value_name = "2..8")]
    pub bits: Option<u32>,
    /// Samples that share a scale: a number such as 32, 64 or 128, `row` or `tensor`.
    #[arg(long, value_name = "N|row|tensor", value_parser = group)]
    pub group: Option<GroupLength>,
    /// How a group's scale is chosen; signed-search for fixed codebooks otherwise.
    #[arg(long, value_name = "RULE")]
    pub scale: Option<Scale>,
    /// Quantize the scales too: 8 bits each, with one f32 per 256 scales.
    #[arg(long)]
    pub double_quant: bool,
    /// In which numbers scales are stored; an E4M3 (FP8) scale is multiplied by one f32 of the tensor.
    #[arg(long, value_name = "FORMAT", conflicts_with = "double_quant")]
    pub scale_dtype: Option<ScaleDtype>,
    /// Make up for errors of rounding with the second moments in C, a folder written by `quant calibrate` on this model.
    #[arg(long, value_name = "C")]
    pub error_feedback: Option<PathBuf>,
    /// With `--error-feedback`, round the columns with the most input energy first.
    #[arg(long, requires = "error_feedback")]
    pub activation_order: bool,
    /// With `--error-feedback`, what is added to the moments, in units of their mean diagonal.
    #[arg(long, value_name = "EPS", default_value_t = quant_core::error_feedback::DAMPING, requires = "error_feedback", value_parser = damping)]
    pub damping: f64,
    /// Code the codes to their entropy (native output): fewer bits, the same weights to the bit.
    #[arg(long)]
    pub entropy: bool,
    /// What to write: packed codes, a folder for transformers with bitsandbytes, decoded weights, a GGUF file for llama.cpp,
    /// or a folder in the layout of SqueezeLLM or any-precision.
    #[arg(long, default_value = "native")]
    pub to: To,
    /// Number format of the quantized tensors with `--to dense`; each one's own otherwise. Other tensors stay as they are.
    #[arg(long, value_name = "DTYPE")]
    pub dtype: Option<Float>,
    /// Quantize only tensors that match; may be repeated.
    #[arg(long, value_name = "PATTERN")]
    pub include: Vec<String>,
    /// Never quantize tensors that match; may be repeated.
    #[arg(long, value_name = "PATTERN")]
    pub exclude: Vec<String>,
    /// Replace the default list of tensors left dense (embeddings, norms, heads, …; printed); `none` for no list.
    #[arg(long, value_name = "PATTERN")]
    pub skip: Option<Vec<String>>,
    /// Threads; as many as the machine has otherwise.
    #[arg(long, value_name = "N", value_parser = threads)]
    pub threads: Option<usize>,
    /// Where to compute: auto, cpu, gpu, gpu:N or gpu:NAME (see `quant devices`), gpu:all. Codes do not depend on it.
    /// `auto` takes the fastest GPU, and the processor where there is none or it fails.
    #[arg(long, value_name = "DEVICE", default_value = "cpu")]
    pub device: DeviceChoice,
    /// Say what would be done, with sizes and rates, and write nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// Fail when a wanted tensor cannot be quantized for its shape or dtype, instead of leaving it dense.
    #[arg(long)]
    pub strict: bool,
    /// Continue a run that was killed.
    #[arg(long)]
    pub resume: bool,
    /// Replace an earlier OUT, and discard an unfinished run unless it can be resumed and `--resume` is given too.
    #[arg(long)]
    pub overwrite: bool,
    /// Write the report as JSON to FILE, or to stdout with `-`.
    #[arg(long, value_name = "FILE|-")]
    pub json: Option<PathBuf>,
}

/// Turn a quantized checkpoint back into dense weights.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  quant dequantize smollm2-nf4 smollm2-dense --dtype bf16\n  \
                        quant dequantize smollm2-l3 smollm2-l3.gguf --dtype f16")]
pub struct Dequantize {
    /// A checkpoint in native or bitsandbytes format, or in the layout of SqueezeLLM or any-precision.
    #[arg(value_name = "IN")]
    pub input: PathBuf,
    /// Where to write; a folder of the Llama family also becomes a GGUF file, if OUT ends in .gguf. Must not exist.
    #[arg(value_name = "OUT")]
    pub output: PathBuf,
    /// Number format of the decoded tensors; each one's original otherwise. Tensors that are dense stay as they are.
    #[arg(long, value_name = "DTYPE")]
    pub dtype: Option<Float>,
    /// Threads; as many as the machine has otherwise.
    #[arg(long, value_name = "N", value_parser = threads)]
    pub threads: Option<usize>,
    /// Replace an earlier OUT.
    #[arg(long)]
    pub overwrite: bool,
}

/// List what a checkpoint holds.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  quant inspect smollm2-nf4")]
pub struct Inspect {
    /// Any checkpoint.
    #[arg(value_name = "FILE")]
    pub input: PathBuf,
    /// Write JSON to FILE, or to stdout with `-`.
    #[arg(long, value_name = "FILE|-")]
    pub json: Option<PathBuf>,
}

/// Compare two checkpoints tensor by tensor.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  quant compare SmolLM2-135M smollm2-nf4")]
pub struct Compare {
    /// The original.
    #[arg(value_name = "A")]
    pub a: PathBuf,
    /// The approximation.
    #[arg(value_name = "B")]
    pub b: PathBuf,
    /// Threads; as many as the machine has otherwise.
    #[arg(long, value_name = "N", value_parser = threads)]
    pub threads: Option<usize>,
    /// Write JSON to FILE, or to stdout with `-`.
    #[arg(long, value_name = "FILE|-")]
    pub json: Option<PathBuf>,
}

/// List the devices that can quantize.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  quant devices --json -")]
pub struct Devices {
    /// Write JSON to FILE, or to stdout with `-`.
    #[arg(long, value_name = "FILE|-")]
    pub json: Option<PathBuf>,
}

/// In which numbers scales are stored.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum ScaleDtype {
    /// 32 bits for each group.
    F32,
    /// 16 bits for each group; magnitudes from 6e-8 to 65504, others are refused.
    F16,
    /// 8 bits for each group; from the largest of the matrix down to 1/229376 of it, others are refused.
    E4m3,
}

impl From<ScaleDtype> for ScaleStorage {
    fn from(dtype: ScaleDtype) -> Self {
        match dtype {
            ScaleDtype::F32 => Self::F32,
            ScaleDtype::F16 => Self::F16,
            ScaleDtype::E4m3 => Self::E4m3,
        }
    }
}

/// How a group's scale is chosen.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Scale {
    /// The largest magnitude of the group.
    Absmax,
    /// The positive scale of least squared error.
    Search,
    /// The scale of least squared error, positive or negative.
    SignedSearch,
}

impl From<Scale> for ScaleRule {
    fn from(scale: Scale) -> Self {
        match scale {
            Scale::Absmax => Self::Absmax,
            Scale::Search => Self::Search,
            Scale::SignedSearch => Self::SignedSearch,
        }
    }
}

/// What to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum To {
    /// Packed codes, levels and scales in safetensors.
    Native,
    /// What transformers and bitsandbytes load as pre-quantized NF4 or FP4.
    Bitsandbytes,
    /// Decoded weights that any runtime loads.
    Dense,
    /// A GGUF file for llama.cpp, made of a GGUF file, whose names and metadata are kept, or of a folder of the Llama family.
    Gguf,
    /// SqueezeLLM's layout of kmeans3-row or kmeans4-row, with or without outliers.
    Squeezellm,
    /// Any-precision's layout of kmeans3-row to kmeans8-row.
    AnyPrecision,
    /// Experimental: the LUT-B tiles of a compressed-tensors prototype, of kmeans3-row with a tile of 8 x 64 weights for each row.
    LutB,
}

/// A float format.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Float {
    /// 32 bits.
    F32,
    /// 16 bits, IEEE.
    F16,
    /// 16 bits, bfloat.
    Bf16,
}

impl From<Float> for Dtype {
    fn from(float: Float) -> Self {
        match float {
            Float::F32 => Self::F32,
            Float::F16 => Self::F16,
            Float::Bf16 => Self::Bf16,
        }
    }
}

fn damping(text: &str) -> Result<f64, String> {
    text.parse().ok().filter(|x| (0.0..=1e6).contains(x)).ok_or("a number from 0 to 1e6 expected".into())
}

pub(crate) fn group(text: &str) -> Result<GroupLength, String> {
    match text {
        "row" => Ok(GroupLength::Row),
        "tensor" => Ok(GroupLength::Tensor),
        number => match number.parse() {
            Ok(n @ 8..=65_536) => Ok(GroupLength::Samples(n)),
            _ => Err("a number from 8 to 65536, `row` or `tensor` expected".into()),
        },
    }
}

pub(crate) fn threads(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(n @ 1..=1024) => Ok(n),
        _ => Err("a number from 1 to 1024 expected".into()),
    }
}
