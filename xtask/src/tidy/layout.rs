//! Is everything there that a reader looks for?

use super::tree::{Finding, Tree};
use anyhow::Result;

const REQUIRED: &[&str] = &[
    ".ci/run",
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "Cargo.lock",
    "LICENSE-APACHE",
    "LICENSE-MIT",
    "README.md",
    "docs/format.md",
];

/// The files that the project promises.
pub fn required_files(tree: &Tree) -> Result<Vec<Finding>> {
    let absent = REQUIRED.iter().filter(|path| tree.get(path).is_none());
    Ok(absent.map(|path| Finding::file(path, "must exist, as text, and not be ignored")).collect())
}

/// Every WGSL file starts with a comment of more than a word.
pub fn shader_heads(tree: &Tree) -> Result<Vec<Finding>> {
    let headless = tree.with_extension("wgsl").filter(|f| {
        let head = f.text.lines().next().unwrap_or_default();
        head.strip_prefix("//").is_none_or(|comment| comment.split_whitespace().count() <= 2)
    });
    Ok(headless.map(|f| Finding::line(&f.path, 1, "starts without a comment that says what it computes")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::tree::printed;

    #[test]
    fn an_absent_licence_is_found() {
        let files: Vec<_> = REQUIRED.iter().filter(|p| **p != "LICENSE-MIT").map(|p| (*p, "")).collect();
        assert_eq!(
            printed(required_files(&Tree::of(&files))),
            ["LICENSE-MIT: must exist, as text, and not be ignored"]
        );
    }

    #[test]
    fn a_shader_without_head_is_found() {
        let tree = Tree::of(&[
            ("shaders/a.wgsl", "// Codes of a tile of samples.\nfn main() {}\n"),
            ("shaders/b.wgsl", "fn main() {}\n"),
        ]);
        assert_eq!(
            printed(shader_heads(&tree)),
            ["shaders/b.wgsl:1: starts without a comment that says what it computes"]
        );
    }
}
