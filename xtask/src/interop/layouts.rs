//! Do SqueezeLLM, any-precision and the prototype of LUT-B pack, unpack and load what we write in their layouts?

use super::Bench;
use crate::shell;
use anyhow::Result;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A layout, and where the programme that it comes from is.
pub struct Layout {
    /// `--to`.
    name: &'static str,
    /// Recipes to write.
    recipes: &'static [&'static [&'static str]],
    repository: &'static str,
    /// The version that was compared.
    commit: &'static str,
    /// What its packing code imports beside the libraries of all checks.
    library: &'static str,
    script: &'static str,
}

pub const SQUEEZELLM: Layout = Layout {
    name: "squeezellm",
    recipes: &[
        &["--preset", "kmeans4-row"],
        &["--preset", "kmeans3-row"],
        &["--preset", "kmeans4-row", "--outliers", "0.005"],
        &["--preset", "kmeans3-row", "--outliers", "0.0045"],
    ],
    repository: "https://github.com/SqueezeAILab/SqueezeLLM",
    commit: "a5fd71f353bf569feb7b55737c1c1493e78e8f31",
    library: "tqdm",
    script: "row_tables.py",
};

pub const ANY_PRECISION: Layout = Layout {
    name: "any-precision",
    recipes: &[&["--preset", "kmeans4-row"], &["--preset", "kmeans3-row"]],
    repository: "https://github.com/SNU-ARC/any-precision-llm",
    commit: "a3257d02740cc5757c78673da534b0630ff3a4ea",
    library: "numba",
    script: "row_tables.py",
};

pub const LUT_B: Layout = Layout {
    name: "lut-b",
    recipes: &[&["--preset", "kmeans3-row"]],
    repository: "https://github.com/vllm-project/compressed-tensors",
    commit: "383dfe259f3341be72ffb3b21deceb9732bd4c27",
    library: "torch",
    script: "lut_b.py",
};

impl Bench {
    /// Writes the model by each recipe and hands it to their code, which is fetched unless `sources` says where it is.
    pub(super) fn layout(&self, layout: &Layout, sources: Option<&PathBuf>) -> Result<()> {
        let (python, library) = (self.python.display(), layout.library);
        if !shell::succeeds(Command::new(&self.python).args(["-c", &format!("import {library}")])) {
            anyhow::bail!("{python} lacks {library}: `{python} -m pip install {library}`");
        }
        let sources = match sources {
            Some(path) => path.clone(),
            None => self.fetched(layout)?,
        };
        for recipe in layout.recipes {
            let ours = self.quantize(layout.name, &[recipe, &["--to", layout.name][..]].concat())?;
            let dense = self.folder.join("dense");
            if dense.exists() {
                std::fs::remove_dir_all(&dense)?;
            }
            let mut quant = Command::new(shell::released("quant"));
            shell::run(quant.arg("dequantize").arg(&ours).arg(&dense).args(["--dtype", "f32"]))?;
            let mut check = self.script(layout.script);
            if layout.script == LUT_B.script {
                shell::run(check.args([&sources, &self.model, &ours, &dense]))?;
                continue;
            }
            let native = self.quantize("native", recipe)?;
            let folders: [&Path; 5] = [&sources, &self.model, &native, &ours, &dense];
            shell::run(check.arg(layout.name).args(folders))?;
        }
        Ok(())
    }

    /// The sources, cloned once.
    fn fetched(&self, layout: &Layout) -> Result<PathBuf> {
        let place = self.folder.join(format!("{}-sources", layout.name));
        let git = |arguments: &[&str]| shell::run(Command::new("git").arg("-C").arg(&place).args(arguments));
        if !place.join("README.md").is_file() {
            std::fs::create_dir_all(&place)?;
            git(&["init", "--quiet"])?;
            git(&["fetch", "--quiet", "--depth", "1", layout.repository, layout.commit])?;
            git(&["checkout", "--quiet", "FETCH_HEAD"])?;
        }
        Ok(place)
    }
}
