//! Arguments of the commands that run a model.

use std::path::PathBuf;

use clap::Args;
use quant_core::grouping::GroupLength;
use quant_core::transform::cat::DAMPING;

use super::{group, threads};

/// Accumulate second moments of every linear input of a model over a text.
#[derive(Args, Debug)]
#[command(after_help = "\
Moments are sums: --merge adds calibrations of MODEL, made of different texts
or on different machines. A run that was killed goes on after its last whole
layer with --resume.

Examples:
  quant calibrate SmolLM2-135M --text valid.txt -o moments
  quant calibrate SmolLM2-135M --merge moments-a moments-b -o moments")]
pub struct Calibrate {
    /// A Llama, Mistral, Qwen2 or Qwen3: a folder with config.json and tokenizer.json, or a .gguf file.
    #[arg(value_name = "MODEL")]
    pub model: PathBuf,
    /// A UTF-8 text; from its beginning.
    #[arg(long, value_name = "FILE", required_unless_present = "merge")]
    pub text: Option<PathBuf>,
    /// The folder to write. Must not exist.
    #[arg(long, short, value_name = "C")]
    pub output: PathBuf,
    /// Tokens to read, in whole windows.
    #[arg(long, value_name = "N", default_value_t = 8192, value_parser = count)]
    pub tokens: usize,
    /// Tokens in a window.
    #[arg(long, value_name = "N", default_value_t = 512, value_parser = context)]
    pub context: usize,
    /// A tokenizer.json; the one beside the model otherwise.
    #[arg(long, value_name = "FILE")]
    pub tokenizer: Option<PathBuf>,
    /// Add these calibrations instead of reading a text.
    #[arg(long, value_name = "C", num_args = 1.., conflicts_with_all = ["text", "resume"])]
    pub merge: Vec<PathBuf>,
    /// Continue a run that was killed.
    #[arg(long)]
    pub resume: bool,
    /// Threads; as many as the machine has otherwise.
    #[arg(long, value_name = "N", value_parser = threads)]
    pub threads: Option<usize>,
    /// Write the report as JSON to FILE, or to stdout with `-`.
    #[arg(long, value_name = "FILE|-")]
    pub json: Option<PathBuf>,
}

/// Explain the error of every linear layer.
#[derive(Args, Debug)]
#[command(after_help = "\
SQNR ≈ 12·(N²C(x) ‖ N²C(W))·A: bits, concentration of inputs and weights, and
their alignment. The headroom is what the best invertible map would add to A.
Inputs are quantized per token (asymmetric), weights per row (symmetric).
A layer is limited by the factor whose repair alone adds most to the predicted
SQNR: a concentration raised to that of Gaussian samples, or the alignment to
its best.

Example:
  quant analyze SmolLM2-135M --calibration moments --text test.txt \\
      --plot factors.png")]
pub struct Analyze {
    /// The model that was calibrated.
    #[arg(value_name = "MODEL")]
    pub model: PathBuf,
    /// A folder written by `quant calibrate`.
    #[arg(long, value_name = "C")]
    pub calibration: PathBuf,
    /// The text to score on; the calibration's own tokens otherwise, which flatters large blocks.
    #[arg(long, value_name = "FILE")]
    pub text: Option<PathBuf>,
    /// Tokens to score on, in whole windows.
    #[arg(long, value_name = "N", default_value_t = 1024, value_parser = count)]
    pub tokens: usize,
    /// Tokens in a window.
    #[arg(long, value_name = "N", default_value_t = 512, value_parser = context)]
    pub context: usize,
    /// Channels of a CAT block.
    #[arg(long, value_name = "K", default_value_t = 128, value_parser = channels)]
    pub block: usize,
    /// Bits of the inputs.
    #[arg(long, value_name = "2..8", default_value_t = 4, value_parser = clap::value_parser!(u32).range(2..=8))]
    pub activation_bits: u32,
    /// Bits of the weights.
    #[arg(long, value_name = "2..8", default_value_t = 4, value_parser = clap::value_parser!(u32).range(2..=8))]
    pub weight_bits: u32,
    /// Take a calibration of other weights, or of another configuration, of the same sizes.
    #[arg(long)]
    pub allow_other_weights: bool,
    /// Damping, in units of the mean diagonal: 0 or more.
    #[arg(long, value_name = "EPS", default_value_t = DAMPING, value_parser = damping, allow_negative_numbers = true)]
    pub damping: f64,
    /// Of the signs of the Hadamard rotations.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// Only these layers; may be repeated.
    #[arg(long, value_name = "N")]
    pub layer: Vec<usize>,
    /// A tokenizer.json; the one beside the model otherwise.
    #[arg(long, value_name = "FILE")]
    pub tokenizer: Option<PathBuf>,
    /// Threads; as many as the machine has otherwise.
    #[arg(long, value_name = "N", value_parser = threads)]
    pub threads: Option<usize>,
    /// Draw concentration against alignment into a .png or .svg file.
    #[arg(long, value_name = "FILE")]
    pub plot: Option<PathBuf>,
    /// Write the report as JSON to FILE, or to stdout with `-`.
    #[arg(long, value_name = "FILE|-")]
    pub json: Option<PathBuf>,
}

/// Channels of a block, or all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockLength(pub Option<usize>);

/// Which transform.
#[derive(Args, Debug)]
pub struct MethodArguments {
    /// identity, smooth, smooth-hadamard, hadamard, cat, cat-unrotated.
    #[arg(long, value_name = "NAME")]
    pub method: Option<String>,
    /// Channels of a CAT block: 1 for a scaling, `full` for one block.
    #[arg(long, value_name = "K|full", default_value = "128", value_parser = block)]
    pub block: BlockLength,
    /// A folder written by `quant calibrate`; needed for smooth and cat.
    #[arg(long, value_name = "C")]
    pub calibration: Option<PathBuf>,
    /// Take a calibration of other weights, or of another configuration, of the same sizes.
    #[arg(long)]
    pub allow_other_weights: bool,
    /// Damping, in units of the mean diagonal: 0 or more.
    #[arg(long, value_name = "EPS", default_value_t = DAMPING, value_parser = damping, allow_negative_numbers = true)]
    pub damping: f64,
    /// Of the signs of the Hadamard rotations.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// Add weights that share an input plainly, not by their output energy.
    #[arg(long)]
    pub plain_sum: bool,
}

/// Write a model with transforms folded into its weights.
#[derive(Args, Debug)]
#[command(after_help = "\
Scalings fold into norms and neighbouring weights; blocks and rotations are
stored in OUT/transforms and applied by `quant eval`. The output computes what
the model computes; quantize it afterwards.

Examples:
  quant transform SmolLM2-135M smollm2-cat --method cat --block 128 \\
      --calibration moments
  quant transform SmolLM2-135M smollm2-balanced --method cat-unrotated \\
      --block 1 --calibration moments")]
pub struct Transform {
    /// A Hugging Face folder.
    #[arg(value_name = "MODEL")]
    pub model: PathBuf,
    /// The folder to write. Must not exist.
    #[arg(value_name = "OUT")]
    pub output: PathBuf,
    /// Which transform.
    #[command(flatten)]
    pub method: MethodArguments,
    /// Threads; as many as the machine has otherwise.
    #[arg(long, value_name = "N", value_parser = threads)]
    pub threads: Option<usize>,
    /// Write the report as JSON to FILE, or to stdout with `-`.
    #[arg(long, value_name = "FILE|-")]
    pub json: Option<PathBuf>,
}

/// Perplexity of a model on a text.
#[derive(Args, Debug)]
#[command(after_help = "\
Weights: rtn2 to rtn8 (a symmetric grid for each row, round to nearest;
  rtn4-clip searches its range), or a preset of `quant quantize` such as nf4,
  int4, kmeans4-row. Embedding, head, norms and attention stay in f32.
Activations: int2 to int8, one asymmetric grid for each token at every linear
  input; int4-sym for a symmetric one.

Examples:
  quant eval SmolLM2-135M --text test.txt --windows 40
  quant eval SmolLM2-135M --text test.txt --weights rtn4 --activations int4 \\
      --method cat --block 128 --calibration moments
  quant eval smollm2-cat --text test.txt --weights kmeans4-row --activations int4")]
pub struct Eval {
    /// A folder with config.json and tokenizer.json (dense, quantized or transformed), or a .gguf file.
    #[arg(value_name = "MODEL")]
    pub model: PathBuf,
    /// A UTF-8 text.
    #[arg(long, value_name = "FILE", required_unless_present = "token_file")]
    pub text: Option<PathBuf>,
    /// A JSON list of token numbers instead of a text.
    #[arg(long, value_name = "FILE", conflicts_with = "text")]
    pub token_file: Option<PathBuf>,
    /// Tokens in a window.
    #[arg(long, value_name = "N", default_value_t = 512, value_parser = context)]
    pub context: usize,
    /// Tokens between windows; the context otherwise. Each token is scored once.
    #[arg(long, value_name = "N")]
    pub stride: Option<usize>,
    /// Windows at most; all otherwise.
    #[arg(long, value_name = "N", value_parser = count)]
    pub windows: Option<usize>,
    /// How weights are quantized; see below. As they are otherwise.
    #[arg(long, value_name = "NAME")]
    pub weights: Option<String>,
    /// Samples that share a scale, for presets: a number, `row` or `tensor`.
    #[arg(long, value_name = "N|row|tensor", value_parser = group)]
    pub group: Option<GroupLength>,
    /// How activations are quantized; see below. As they are otherwise.
    #[arg(long, value_name = "NAME")]
    pub activations: Option<String>,
    /// Which transform goes first.
    #[command(flatten)]
    pub method: MethodArguments,
    /// A tokenizer.json; the one beside the model otherwise.
    #[arg(long, value_name = "FILE")]
    pub tokenizer: Option<PathBuf>,
    /// Threads; as many as the machine has otherwise.
    #[arg(long, value_name = "N", value_parser = threads)]
    pub threads: Option<usize>,
    /// Write the report, with −ln p of every token, as JSON to FILE, or to stdout with `-`.
    #[arg(long, value_name = "FILE|-")]
    pub json: Option<PathBuf>,
}

fn block(text: &str) -> Result<BlockLength, String> {
    match text {
        "full" => Ok(BlockLength(None)),
        number => match channels(number) {
            Ok(n) => Ok(BlockLength(Some(n))),
            Err(_) => Err("a number from 1 to 65536 or `full` expected".into()),
        },
    }
}

fn channels(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|n| (1..=65_536).contains(n)).ok_or("a number from 1 to 65536 expected".into())
}

fn context(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|n| (2..=1 << 20).contains(n)).ok_or("a number from 2 to 1048576 expected".into())
}

fn count(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|n| *n > 0).ok_or("a number of 1 or more expected".into())
}

fn damping(text: &str) -> Result<f64, String> {
    let parsed = text.parse().ok().filter(|x: &f64| x.is_finite() && *x >= 0.0);
    parsed.ok_or("a finite number of 0 or more expected".into())
}
