//! Do the Rust sources keep the house rules that the compiler does not know?

use super::tree::{File, Finding, Tree};
use anyhow::{Context, Result};
use syn::spanned::Spanned;
use syn::visit::{self, Visit};

/// Macros and attributes that must not be committed, and why.
const FORBIDDEN_MACROS: &[(&str, &str)] = &[
    ("dbg", "a report goes through the report"),
    ("todo", "an operation exists when it works"),
    ("unimplemented", "an operation exists when it works"),
];
const FORBIDDEN_ATTRIBUTES: &[(&str, &str)] =
    &[("ignore", "nothing passes by not running"), ("should_panic", "a refused input is a value; assert on it")];

/// The only sources that may contain `unsafe`.
const KERNELS: &[&str] = &["crates/quant-cpu/src/"];

/// The syntax of a Rust file.
pub fn parse(file: &File) -> Result<syn::File> {
    syn::parse_file(&file.text).with_context(|| format!("{} is not Rust", file.path))
}

/// Every file starts with a line of documentation: the question it answers.
pub fn heads(tree: &Tree) -> Result<Vec<Finding>> {
    let headless = tree.with_extension("rs").filter(|f| !f.text.starts_with("//! "));
    Ok(headless.map(|f| Finding::line(&f.path, 1, "starts without a //! line")).collect())
}

/// Macros and attributes of unfinished work.
pub fn forbidden(tree: &Tree) -> Result<Vec<Finding>> {
    visit_all(tree, |file| Forbidden { path: &file.path, findings: Vec::new() }, |visitor| visitor.findings)
}

/// `unsafe` outside kernels, or without a SAFETY comment in the three lines above.
pub fn unsafe_code(tree: &Tree) -> Result<Vec<Finding>> {
    visit_all(tree, |file| Unsafe { file, findings: Vec::new() }, |visitor| visitor.findings)
}

fn visit_all<'t, V: for<'s> Visit<'s>>(
    tree: &'t Tree,
    start: impl Fn(&'t File) -> V,
    finish: impl Fn(V) -> Vec<Finding>,
) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for file in tree.with_extension("rs") {
        let mut visitor = start(file);
        visitor.visit_file(&parse(file)?);
        findings.extend(finish(visitor));
    }
    Ok(findings)
}

struct Forbidden<'t> {
    path: &'t str,
    findings: Vec<Finding>,
}

impl Forbidden<'_> {
    fn look_up(&mut self, path: &syn::Path, list: &[(&str, &str)]) {
        let last = path.segments.last().map(|s| s.ident.to_string()).unwrap_or_default();
        if let Some((name, reason)) = list.iter().find(|(name, _)| *name == last) {
            self.findings.push(Finding::line(self.path, path.span().start().line, format!("{name}: {reason}")));
        }
    }
}

impl<'s> Visit<'s> for Forbidden<'_> {
    fn visit_macro(&mut self, node: &'s syn::Macro) {
        self.look_up(&node.path, FORBIDDEN_MACROS);
        visit::visit_macro(self, node);
    }

    fn visit_attribute(&mut self, node: &'s syn::Attribute) {
        self.look_up(node.path(), FORBIDDEN_ATTRIBUTES);
        visit::visit_attribute(self, node);
    }
}

struct Unsafe<'t> {
    file: &'t File,
    findings: Vec<Finding>,
}

impl Unsafe<'_> {
    fn note(&mut self, line: usize, needs_comment: bool) {
        if !KERNELS.iter().any(|folder| self.file.path.starts_with(folder)) {
            self.findings.push(Finding::line(&self.file.path, line, "`unsafe` outside the kernels"));
        } else if needs_comment && !self.has_comment(line) {
            self.findings.push(Finding::line(&self.file.path, line, "`unsafe` without a SAFETY comment above it"));
        }
    }

    fn has_comment(&self, line: usize) -> bool {
        let above: Vec<&str> = self.file.text.lines().take(line).collect();
        above.iter().rev().take(4).any(|text| text.contains("SAFETY:"))
    }
}

impl<'s> Visit<'s> for Unsafe<'_> {
    fn visit_expr_unsafe(&mut self, node: &'s syn::ExprUnsafe) {
        self.note(node.unsafe_token.span.start().line, true);
        visit::visit_expr_unsafe(self, node);
    }

    fn visit_item_impl(&mut self, node: &'s syn::ItemImpl) {
        if let Some(token) = node.unsafety {
            self.note(token.span.start().line, true);
        }
        visit::visit_item_impl(self, node);
    }

    fn visit_signature(&mut self, node: &'s syn::Signature) {
        // The contract of an unsafe function is its "# Safety" section, which clippy demands.
        if let Some(token) = node.unsafety {
            self.note(token.span.start().line, false);
        }
        visit::visit_signature(self, node);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::tree::printed;

    #[test]
    fn a_file_without_head_is_found() {
        let tree = Tree::of(&[("a.rs", "//! A question.\n"), ("b.rs", "fn f() {}\n")]);
        assert_eq!(printed(heads(&tree)), ["b.rs:1: starts without a //! line"]);
    }

    #[test]
    fn unfinished_work_is_found_but_not_in_words() {
        let text = "// todo!()\nfn f() {\n    let s = \"dbg!\";\n    std::todo!()\n}\n#[ignore]\nfn g() {}\n";
        let expected =
            ["a.rs:4: todo: an operation exists when it works", "a.rs:6: ignore: nothing passes by not running"];
        assert_eq!(printed(forbidden(&Tree::of(&[("a.rs", text)]))), expected);
    }

    #[test]
    fn unsafe_needs_a_kernel_and_a_reason() {
        let bare = "fn f() {\n    unsafe { g() }\n}\n";
        let reasoned = "fn f() {\n    // SAFETY: g has no condition.\n    unsafe { g() }\n}\nunsafe fn h() {}\n";
        let tree = Tree::of(&[
            ("crates/quant-cpu/src/a.rs", reasoned),
            ("crates/quant-cpu/src/b.rs", bare),
            ("crates/quant/src/c.rs", reasoned),
        ]);
        let expected = [
            "crates/quant-cpu/src/b.rs:2: `unsafe` without a SAFETY comment above it",
            "crates/quant/src/c.rs:3: `unsafe` outside the kernels",
            "crates/quant/src/c.rs:5: `unsafe` outside the kernels",
        ];
        assert_eq!(printed(unsafe_code(&tree)), expected);
    }
}
