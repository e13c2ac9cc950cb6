//! What the rules look at: every text file that is committed or about to be.

use crate::shell;
use anyhow::{Context, Result};
use std::fmt;
use std::path::Path;
use std::process::Command;

/// A text file.
#[derive(Clone, Debug)]
pub struct File {
    /// Relative to the root, with forward slashes.
    pub path: String,
    /// Its contents.
    pub text: String,
}

/// All text files.
#[derive(Clone, Debug, Default)]
pub struct Tree {
    /// Sorted by path.
    pub files: Vec<File>,
    /// Paths of all files, binary ones included.
    pub paths: Vec<String>,
}

/// A place that breaks a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    place: String,
    message: String,
}

impl Finding {
    /// About a whole file.
    pub fn file(path: &str, message: impl Into<String>) -> Self {
        Self { place: path.to_owned(), message: message.into() }
    }

    /// About a line, counted from 1.
    pub fn line(path: &str, line: usize, message: impl Into<String>) -> Self {
        Self { place: format!("{path}:{line}"), message: message.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.message)
    }
}

impl Tree {
    /// Reads what git tracks or would track; ignored files are nobody's business.
    pub fn read(root: &Path) -> Result<Self> {
        let mut list = Command::new("git");
        list.args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]).current_dir(root);
        let mut tree = Self::default();
        for path in shell::capture(&mut list)?.split_terminator('\0') {
            let Ok(bytes) = std::fs::read(root.join(path)) else { continue }; // deleted, not yet committed
            tree.paths.push(path.to_owned());
            if !bytes.contains(&0) {
                let text = String::from_utf8(bytes).with_context(|| format!("{path} is neither binary nor UTF-8"))?;
                tree.files.push(File { path: path.to_owned(), text });
            }
        }
        tree.files.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(tree)
    }

    /// Files whose name ends in `.extension`.
    pub fn with_extension(&self, extension: &str) -> impl Iterator<Item = &File> {
        let suffix = format!(".{extension}");
        self.files.iter().filter(move |f| f.path.ends_with(&suffix))
    }

    /// The file at `path`.
    pub fn get(&self, path: &str) -> Option<&File> {
        self.files.iter().find(|f| f.path == path)
    }

    /// A tree for tests of rules.
    #[cfg(test)]
    pub fn of(files: &[(&str, &str)]) -> Self {
        let file = |&(path, text): &(&str, &str)| File { path: path.to_owned(), text: text.to_owned() };
        let paths = files.iter().map(|(path, _)| (*path).to_owned()).collect();
        Self { files: files.iter().map(file).collect(), paths }
    }
}

/// The findings as text, for tests of rules.
#[cfg(test)]
pub fn printed(findings: Result<Vec<Finding>>) -> Vec<String> {
    findings.expect("the rule can be checked").iter().map(Finding::to_string).collect()
}
