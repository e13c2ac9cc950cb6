//! How fast is it beside the Python packages that solve the same?

use crate::bench::Options;
use crate::shell;
use anyhow::{Context, Result, bail};
use std::path::Path;
use std::process::Command;

/// Packages by the module that is imported, as `pip` knows them.
const PEERS: &[(&str, &str)] = &[
    ("numpy", "numpy"),
    ("flash1dkmeans", "flash1dkmeans==0.2.5"),
    ("joblib", "joblib"),
    ("coremltools", "coremltools==9.0"),
    ("ckwrap", "ckwrap==1.2.3"),
    ("faiss", "faiss-cpu==1.15.1"),
    ("sklearn", "scikit-learn==1.3.1"),
    ("threadpoolctl", "threadpoolctl"),
];

/// Which of `packages` that Python lacks, after saying so with the line that installs them.
pub fn missing<'a>(python: &Path, packages: &[(&str, &'a str)]) -> Vec<&'a str> {
    let has = |module: &str| {
        // Looked up and not imported: some take long, and print.
        let find = format!("import importlib.util as u, sys; sys.exit(u.find_spec('{module}') is None)");
        shell::succeeds(Command::new(python).args(["-c", &find]))
    };
    let missing: Vec<_> = packages.iter().filter(|(module, _)| !has(module)).map(|(_, package)| *package).collect();
    if !missing.is_empty() {
        println!("missing: {}", missing.join(", "));
        println!("to install: {} -m pip install {}", python.display(), missing.join(" "));
    }
    missing
}

/// Runs W1 to W3 in turn with the peers that are installed, and says how to install the others.
pub fn run(options: &Options) -> Result<()> {
    if options.against.is_some() {
        bail!(
            "--peers is compared with peers of the same run; --against compares runs without --peers, or with --devices"
        );
    }
    if missing(&options.python, PEERS).contains(&"numpy") {
        bail!("no peer runs without numpy");
    }
    let threads = if options.threads == 0 { std::thread::available_parallelism()?.get() } else { options.threads };
    let words = if options.only.is_empty() { &[String::new()][..] } else { &options.only };
    let mut text = String::new();
    for word in words {
        let build = ["run", "--release", "--locked", "--quiet", "-p", "quant-cpu", "--example", "kmeans_workloads"];
        let mut command = shell::cargo(&build);
        command.args(["--", "--threads", &threads.to_string(), "--rounds", &options.rounds().to_string()]);
        command.args(["--only", word, "--python"]);
        let line = format!("{} python3", shell::line(&command));
        let output = shell::capture(command.arg(&options.python))?;
        println!("{line}\n{output}");
        text += &format!("$ {line}\n{output}\n");
    }
    if let Some(name) = &options.save {
        let path = shell::root().join("benches/records").join(format!("{name}.txt"));
        std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        println!("saved: benches/records/{name}.txt");
    }
    Ok(())
}
