//! Do the libraries that read our files agree with us?

mod layouts;

use crate::{demo, shell};
use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Compare with the real bitsandbytes, transformers, llama.cpp, SqueezeLLM and any-precision
///
/// A long check that is run by hand: it needs a Python with torch, transformers, bitsandbytes, safetensors and numpy.
/// Without --python it makes such an environment in .cache/interop (a download of some gigabytes, once).
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: cargo xtask interop --only fixture\n         \
                        cargo xtask interop --python ~/env/bin/python --model ~/models/smollm2\n         \
                        cargo xtask interop --only squeezellm --squeezellm ~/src/SqueezeLLM --model ~/models/smollm2")]
pub struct Options {
    /// An interpreter that has the libraries
    #[arg(long, value_name = "PATH")]
    python: Option<PathBuf>,
    /// A Llama as a Hugging Face folder; generated weights otherwise
    #[arg(long, value_name = "DIR")]
    model: Option<PathBuf>,
    /// An unquantized GGUF file to quantize in the check of that name; random weights otherwise
    #[arg(long, value_name = "FILE")]
    gguf: Option<PathBuf>,
    /// llama.cpp's `llama-simple`: generates greedily from GGUF files; compared with transformers where --model is given
    #[arg(long, value_name = "PATH")]
    llama: Option<PathBuf>,
    /// A checkout of SqueezeLLM; fetched by git otherwise
    #[arg(long, value_name = "DIR")]
    squeezellm: Option<PathBuf>,
    /// A checkout of any-precision-llm; fetched by git otherwise
    #[arg(long, value_name = "DIR")]
    any_precision: Option<PathBuf>,
    /// A checkout of the compressed-tensors branch with LUT-B; fetched by git otherwise
    #[arg(long, value_name = "DIR")]
    lut_b: Option<PathBuf>,
    /// Run this check only; may be repeated
    #[arg(long, value_name = "CHECK")]
    only: Vec<Check>,
    /// Write the fixture and the record again instead of comparing with them
    #[arg(long)]
    write: bool,
}

/// What is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Check {
    /// The committed fixture is what bitsandbytes computes
    Fixture,
    /// NF4 codes of a checkpoint equal those of an independent implementation, weight by weight
    Codes,
    /// A bitsandbytes folder and the dense folder of the same recipe generate the same tokens
    Generate,
    /// Likelihoods of a text by `quant eval` are those of transformers, for the model given and tiny ones of each architecture
    Likelihoods,
    /// Quantization speed, ours and that of bitsandbytes, interleaved in one run
    Throughput,
    /// GGUF files, out of GGUF files and of folders, are read by gguf-py as by us, bit for bit, and by llama.cpp where it is at hand
    Gguf,
    /// SqueezeLLM's own code packs our codes into our bytes, unpacks them to our weights, and loads our files
    Squeezellm,
    /// The same by any-precision's code, which also computes the logits of the dense weights from our folder
    AnyPrecision,
    /// The prototype of LUT-B in compressed-tensors decodes our tiles to our weights, and chooses the same codes
    LutB,
}

const FIXTURE: &str = "crates/quant/tests/fixtures/bitsandbytes_nf4.safetensors";
const EVAL_FIXTURES: &str = "crates/quant-eval/tests/fixtures";
const RECORD: &str = "benches/records/2026-11-22-quantize-throughput.md";
const LIBRARIES: &str = "import torch, transformers, bitsandbytes, safetensors, numpy";
const REQUIREMENTS: [&str; 7] = [
    "gguf==0.19.*",
    "torch>=2.6",
    "transformers==5.23.*",
    "bitsandbytes==0.50.2",
    "safetensors>=0.6",
    "numpy>=2",
    "accelerate>=1.0",
];

/// The recipes whose outputs are loaded and run; each is written in both formats.
const GENERATE_RECIPES: [&[&str]; 4] = [
    &["--preset", "nf4", "--group", "64"],
    &["--preset", "nf4", "--group", "64", "--double-quant"],
    &["--preset", "nf4", "--group", "64", "--scale", "absmax"],
    &["--preset", "fp4", "--group", "64"],
];

/// The presets that GGUF files are written with.
const GGUF_PRESETS: [&str; 3] = ["iq4_nl", "q4_0", "q8_0"];

/// What the checks share.
struct Bench {
    python: PathBuf,
    model: PathBuf,
    folder: PathBuf,
    gguf: Option<PathBuf>,
    llama: Option<PathBuf>,
    squeezellm: Option<PathBuf>,
    any_precision: Option<PathBuf>,
    lut_b: Option<PathBuf>,
    write: bool,
}

/// Prepares what the checks need, then runs them.
pub fn run(options: &Options) -> Result<()> {
    let folder = shell::root().join(".cache/interop");
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let python = match &options.python {
        Some(path) => path.clone(),
        None => environment(&folder)?,
    };
    if !shell::succeeds(Command::new(&python).args(["-c", LIBRARIES])) {
        bail!("{} lacks one of the libraries: `{LIBRARIES}` fails", python.display());
    }
    let model = match &options.model {
        Some(path) => std::path::absolute(path).with_context(|| format!("cannot resolve {}", path.display()))?,
        None => demo::generated(&folder)?,
    };
    let (gguf, llama) = (options.gguf.clone(), options.llama.clone());
    let (squeezellm, any_precision) = (options.squeezellm.clone(), options.any_precision.clone());
    let (lut_b, write) = (options.lut_b.clone(), options.write);
    let bench = Bench { python, model, folder, gguf, llama, squeezellm, any_precision, lut_b, write };
    let wanted = |check: &&Check| options.only.is_empty() || options.only.contains(check);
    for check in Check::value_variants().iter().filter(wanted) {
        eprintln!("\n== {check:?}");
        bench.run(*check)?;
    }
    Ok(())
}

/// A virtual environment of our own.
fn environment(folder: &Path) -> Result<PathBuf> {
    let venv = folder.join("venv");
    let python = venv.join("bin/python");
    if !shell::succeeds(Command::new(&python).args(["-c", LIBRARIES])) {
        shell::run(Command::new("python3").args(["-m", "venv"]).arg(&venv))?;
        let mut pip = Command::new(&python);
        shell::run(pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]).args(REQUIREMENTS))?;
    }
    Ok(python)
}

impl Bench {
    fn run(&self, check: Check) -> Result<()> {
        match check {
            Check::Fixture => {
                let flag = if self.write { None } else { Some("--check") };
                shell::run(self.script("make_fixture.py").args(flag).arg(FIXTURE))
            }
            Check::Codes => {
                let native = self.quantize("native", &["--preset", "nf4", "--group", "64", "--scale", "absmax"])?;
                shell::run(self.script("check_codes.py").arg(&self.model).arg(native))
            }
            Check::Generate => GENERATE_RECIPES.iter().try_for_each(|recipe| self.generate(recipe)),
            Check::Likelihoods => self.likelihoods(),
            Check::Gguf => {
                GGUF_PRESETS.iter().try_for_each(|preset| self.gguf(preset))?;
                self.gguf_of_folder()
            }
            Check::Squeezellm => self.layout(&layouts::SQUEEZELLM, self.squeezellm.as_ref()),
            Check::AnyPrecision => self.layout(&layouts::ANY_PRECISION, self.any_precision.as_ref()),
            Check::LutB => self.layout(&layouts::LUT_B, self.lut_b.as_ref()),
            Check::Throughput => {
                let build = ["build", "--release", "--locked", "-p", "quant-benches", "--bin", "rounds"];
                shell::run(&mut shell::cargo(&build))?;
                let mut throughput = self.script("throughput.py");
                throughput.arg(shell::released("rounds"));
                shell::run(throughput.args(self.write.then_some(RECORD)))
            }
        }
    }

    /// Transformers computes likelihoods of the fixture's tokens anew, with the model at hand, and ours are compared.
    fn likelihoods(&self) -> Result<()> {
        if self.write {
            return shell::run(self.script("make_eval_fixtures.py").args(["tiny", EVAL_FIXTURES]));
        }
        let (theirs, ours) = (self.folder.join("theirs.json"), self.folder.join("ours.json"));
        let tokens = self.folder.join("tokens.json");
        let mut script = self.script("make_eval_fixtures.py");
        shell::run(script.arg("score").arg(&self.model).arg(&tokens).arg(&theirs))?;
        shell::run(&mut shell::cargo(&["build", "--release", "--locked", "-p", "quant-cli"]))?;
        let mut quant = Command::new(shell::released("quant"));
        let quant = quant.arg("eval").arg(&self.model).arg("--token-file").arg(&tokens).args(["--context", "512"]);
        shell::run(quant.arg("--json").arg(&ours))?;
        shell::run(self.script("make_eval_fixtures.py").arg("compare").arg(ours).arg(theirs))
    }

    fn generate(&self, recipe: &[&str]) -> Result<()> {
        let theirs = self.quantize("bitsandbytes", &[recipe, &["--to", "bitsandbytes"]].concat())?;
        let dense = self.quantize("dense", &[recipe, &["--to", "dense"]].concat())?;
        shell::run(self.script("check_bitsandbytes.py").arg(theirs).arg(dense))
    }

    fn gguf(&self, preset: &str) -> Result<()> {
        if !shell::succeeds(Command::new(&self.python).args(["-c", "import gguf"])) {
            bail!("{} lacks gguf: `{0} -m pip install gguf==0.19.*`", self.python.display());
        }
        shell::run(&mut shell::cargo(&["build", "--release", "--locked", "-p", "quant-cli"]))?;
        let source = match &self.gguf {
            Some(path) => path.clone(),
            None => self.folder.join("random.gguf"),
        };
        if self.gguf.is_none() {
            shell::run(self.script("check_gguf.py").arg("make").arg(&source))?;
        }
        let output = self.folder.join(format!("{preset}.gguf"));
        let dense = self.folder.join(format!("{preset}.safetensors"));
        let quant = || Command::new(shell::released("quant"));
        let to_gguf = ["--preset", preset, "--to", "gguf", "--overwrite"];
        shell::run(quant().arg("quantize").arg(&source).arg(&output).args(to_gguf))?;
        shell::run(quant().arg("dequantize").arg(&output).arg(&dense).arg("--overwrite"))?;
        shell::run(self.script("check_gguf.py").arg("check").args([&source, &output, &dense]))?;
        match (&self.llama, &self.gguf) {
            (Some(llama), Some(_)) => [&source, &output].into_iter().try_for_each(|file| {
                shell::run(Command::new(llama).arg("-m").arg(file).args(["-n", "32", "The capital of France is"]))
            }),
            _ => {
                eprintln!("llama.cpp was not run: give a model with --gguf and its `llama-simple` with --llama");
                Ok(())
            }
        }
    }

    /// A folder as GGUF: dense, and with each preset. Needs a model with a tokenizer, which the generated one lacks.
    fn gguf_of_folder(&self) -> Result<()> {
        if !self.model.join("tokenizer.json").is_file() {
            eprintln!("folders as GGUF were not checked: give a model with a tokenizer.json with --model");
            return Ok(());
        }
        for preset in [&["f32"][..], &GGUF_PRESETS].concat() {
            let output = self.folder.join(format!("folder-{preset}.gguf"));
            let dense = self.folder.join(format!("folder-{preset}.safetensors"));
            let mut quant = Command::new(shell::released("quant"));
            let quant = match preset {
                "f32" => quant.arg("dequantize").arg(&self.model).arg(&output).args(["--dtype", "f32"]),
                _ => quant.arg("quantize").arg(&self.model).arg(&output).args(["--preset", preset, "--to", "gguf"]),
            };
            shell::run(quant.arg("--overwrite"))?;
            let mut quant = Command::new(shell::released("quant"));
            shell::run(quant.arg("dequantize").arg(&output).arg(&dense).arg("--overwrite"))?;
            let mut check = self.script("check_gguf_folder.py");
            shell::run(check.arg(&self.model).args([&output, &dense]).args(&self.llama))?;
        }
        Ok(())
    }

    fn quantize(&self, name: &str, arguments: &[&str]) -> Result<PathBuf> {
        shell::run(&mut shell::cargo(&["build", "--release", "--locked", "-p", "quant-cli"]))?;
        let output = self.folder.join(name);
        // Ours, and perhaps of another model: `--overwrite` rightly refuses to lose that one's tokenizer.
        if output.exists() {
            std::fs::remove_dir_all(&output).with_context(|| format!("cannot remove {}", output.display()))?;
        }
        let mut quant = Command::new(shell::released("quant"));
        shell::run(quant.arg("quantize").arg(&self.model).arg(&output).args(arguments))?;
        Ok(output)
    }

    fn script(&self, name: &str) -> Command {
        let mut command = Command::new(&self.python);
        command.arg(shell::root().join("xtask/python").join(name)).current_dir(shell::root());
        command.env("HF_HUB_OFFLINE", "1").env("TRANSFORMERS_OFFLINE", "1");
        command
    }
}
