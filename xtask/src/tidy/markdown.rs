//! Do the documents hold together?

use super::tree::{File, Finding, Tree};
use anyhow::Result;

/// What stands in a document where a number has still to be measured.
const UNFILLED: &str = concat!("TODO-", "MEASURE");

/// A line of a document with its number, and whether it is in a code block.
pub struct Line<'a> {
    pub number: usize,
    pub text: &'a str,
    pub in_code: bool,
}

/// The lines of a document; the fences themselves count as code.
pub fn lines(text: &str) -> impl Iterator<Item = Line<'_>> {
    let mut in_code = false;
    text.lines().enumerate().map(move |(index, text)| {
        let fence = text.trim_start().starts_with("```");
        let line = Line { number: index + 1, text, in_code: in_code || fence };
        in_code ^= fence;
        line
    })
}

/// Exactly one `# ` title, on the first line.
pub fn titles(tree: &Tree) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for file in tree.with_extension("md") {
        let titles: Vec<_> = lines(&file.text).filter(|l| !l.in_code && l.text.starts_with("# ")).collect();
        if titles.len() != 1 {
            findings.push(Finding::file(&file.path, format!("{} titles; one is wanted", titles.len())));
        } else if titles[0].number != 1 {
            findings.push(Finding::line(&file.path, titles[0].number, "the title is not on the first line"));
        }
    }
    Ok(findings)
}

/// Relative links and images point at files of the tree.
pub fn links(tree: &Tree) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for file in tree.with_extension("md") {
        for line in lines(&file.text).filter(|l| !l.in_code) {
            for target in targets(line.text) {
                let path = resolve(&file.path, target);
                let folder = format!("{path}/");
                if !tree.paths.iter().any(|p| *p == path || p.starts_with(&folder)) {
                    findings.push(Finding::line(&file.path, line.number, format!("{target} does not exist")));
                }
            }
        }
    }
    Ok(findings)
}

/// The files that a line links to, without anchors; links to the net are left alone.
fn targets(line: &str) -> Vec<&str> {
    let after = line.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    let files = after.map(|link| link.split('#').next().unwrap_or(link)).filter(|link| !link.is_empty());
    files.filter(|link| !link.contains("://") && !link.starts_with("mailto:")).collect()
}

/// `link` as seen from the document at `from`.
fn resolve(from: &str, link: &str) -> String {
    let mut parts: Vec<&str> = from.split('/').collect();
    parts.pop();
    for part in link.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            name => parts.push(name),
        }
    }
    parts.join("/")
}

/// No place is left where a measured number has to be filled in.
pub fn unfilled(tree: &Tree) -> Result<Vec<Finding>> {
    let of_file = |file: &File| -> Vec<Finding> {
        let places = lines(&file.text).filter(|l| l.text.contains(UNFILLED));
        places.map(|l| Finding::line(&file.path, l.number, format!("{UNFILLED} is left"))).collect()
    };
    Ok(tree.with_extension("md").flat_map(of_file).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::tree::printed;

    #[test]
    fn titles_are_counted_outside_code() {
        let tree = Tree::of(&[
            ("good.md", "# Title\n```\n# a comment\n```\n"),
            ("none.md", "text\n"),
            ("two.md", "# A\n# B\n"),
            ("late.md", "\n# A\n"),
        ]);
        let expected = [
            "none.md: 0 titles; one is wanted",
            "two.md: 2 titles; one is wanted",
            "late.md:2: the title is not on the first line",
        ];
        assert_eq!(printed(titles(&tree)), expected);
    }

    #[test]
    fn links_are_resolved_from_their_document() {
        let good = "[a](../README.md#part) [b](https://example.org/x.md) [c](#here) ![d](images/) [e](./x.md)\n";
        let bad = "[a](docs/y.md), `code`\n```\n[b](nowhere)\n```\n";
        let tree = Tree::of(&[("docs/x.md", good), ("README.md", bad), ("docs/images/p.svg", "")]);
        assert_eq!(printed(links(&tree)), ["README.md:1: docs/y.md does not exist"]);
    }

    #[test]
    fn an_unfilled_number_is_found() {
        let text = format!("# A\n| {UNFILLED} |\n");
        assert_eq!(printed(unfilled(&Tree::of(&[("a.md", &text)]))), [format!("a.md:2: {UNFILLED} is left")]);
    }
}
