//! Do the commands and presets that the documents name exist?

use super::markdown::lines;
use super::rust;
use super::tree::{File, Finding, Tree};
use crate::Arguments;
use anyhow::Result;
use clap::Parser;
use quant_core::recipe::Recipe;
use std::collections::BTreeSet;
use syn::visit::{self, Visit};

/// Documents whose code blocks a reader will type.
fn documents(tree: &Tree) -> impl Iterator<Item = &File> {
    tree.with_extension("md").filter(|f| !f.path.starts_with("docs/decisions/") && f.path != "CHANGELOG.md")
}

/// `cargo xtask …` lines must parse; `quant …` lines must name a subcommand and flags that quant-cli declares.
pub fn known(tree: &Tree) -> Result<Vec<Finding>> {
    let declared = declared(tree)?;
    let mut findings = Vec::new();
    for file in documents(tree) {
        for line in lines(&file.text).filter(|l| l.in_code) {
            if let Some(message) = fault(&words(line.text), &declared) {
                findings.push(Finding::line(&file.path, line.number, message));
            }
        }
    }
    Ok(findings)
}

/// `--preset NAME` must name a preset; capitals stand for any name.
pub fn presets(tree: &Tree) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for file in documents(tree) {
        for line in lines(&file.text).filter(|l| l.in_code) {
            let words = words(line.text);
            let named = words.windows(2).filter(|w| w[0] == "--preset" && w[1] != "NAME").map(|w| w[1]);
            let errors = named.filter_map(|name| Recipe::preset(name).err());
            findings.extend(errors.map(|error| Finding::line(&file.path, line.number, error.to_string())));
        }
    }
    Ok(findings)
}

/// The words of a command as typed, without prompt and comment.
fn words(line: &str) -> Vec<&str> {
    let command = line.split(" #").next().unwrap_or(line);
    command.split_whitespace().skip_while(|w| *w == "$").collect()
}

fn fault(words: &[&str], declared: &Declared) -> Option<String> {
    match words {
        ["cargo", "xtask", rest @ ..] => {
            let error = Arguments::try_parse_from(std::iter::once(&"xtask").chain(rest)).err()?;
            let asks_for_help = !error.use_stderr();
            (!asks_for_help).then(|| error.to_string().lines().next().unwrap_or_default().to_owned())
        }
        ["quant", subcommand, rest @ ..] => {
            let is_word =
                subcommand.chars().all(|c| c.is_ascii_lowercase() || c == '-') && !subcommand.starts_with('-');
            if !is_word {
                return None;
            }
            if !declared.subcommands.contains(*subcommand) {
                return Some(format!("quant has no subcommand {subcommand}"));
            }
            let flags = rest.iter().filter_map(|w| w.strip_prefix("--")).map(|w| w.split('=').next().unwrap_or(w));
            let unknown = flags.into_iter().find(|flag| !flag.is_empty() && !declared.flags.contains(*flag))?;
            Some(format!("quant {subcommand} has no flag --{unknown}"))
        }
        _ => None,
    }
}

/// What the sources of quant-cli declare through clap's derive: a field is a flag of its name, dashes for underscores.
#[derive(Debug, Default)]
struct Declared {
    subcommands: BTreeSet<String>,
    flags: BTreeSet<String>,
}

fn declared(tree: &Tree) -> Result<Declared> {
    let mut declared = Declared { flags: ["help".to_owned()].into(), ..Declared::default() };
    for file in tree.with_extension("rs").filter(|f| f.path.starts_with("crates/quant-cli/src/")) {
        declared.visit_file(&rust::parse(file)?);
    }
    Ok(declared)
}

fn derives(attributes: &[syn::Attribute], names: &[&str]) -> bool {
    let mut found = false;
    for attribute in attributes.iter().filter(|a| a.path().is_ident("derive")) {
        // A derive that is no list of paths does not compile; there is nothing to report here.
        let _ = attribute.parse_nested_meta(|meta| {
            found |= meta.path.segments.last().is_some_and(|s| names.iter().any(|n| s.ident == n));
            Ok(())
        });
    }
    found
}

fn kebab(name: &str) -> String {
    let mut out = String::new();
    for (index, c) in name.chars().enumerate() {
        if c.is_uppercase() && index > 0 {
            out.push('-');
        }
        out.push(if c == '_' { '-' } else { c.to_ascii_lowercase() });
    }
    out
}

impl<'s> Visit<'s> for Declared {
    fn visit_item_enum(&mut self, node: &'s syn::ItemEnum) {
        if derives(&node.attrs, &["Subcommand"]) {
            for variant in &node.variants {
                self.subcommands.insert(kebab(&variant.ident.to_string()));
                let fields = variant.fields.iter().filter_map(|f| f.ident.as_ref());
                self.flags.extend(fields.map(|ident| kebab(&ident.to_string())));
            }
        }
        visit::visit_item_enum(self, node);
    }

    fn visit_item_struct(&mut self, node: &'s syn::ItemStruct) {
        if derives(&node.attrs, &["Args", "Parser"]) {
            let fields = node.fields.iter().filter_map(|f| f.ident.as_ref());
            self.flags.extend(fields.map(|ident| kebab(&ident.to_string())));
        }
        visit::visit_item_struct(self, node);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::tree::printed;

    const CLI: &str = "//! Arguments.\n#[derive(clap::Subcommand)]\nenum Task { Quantize(Options), DryInspect { json: u8 } }\n\
                       #[derive(Debug, clap::Args)]\nstruct Options { dry_run: bool, preset: String }\n";

    #[test]
    fn commands_are_checked_in_code_blocks_only() {
        let text = "# A\ncargo xtask nothing\n```\n$ cargo xtask test\ncargo xtask tset\nquant quantize IN OUT --dry-run # dry\n\
                    quant quantise IN\nquant quantize --wet-run=1\nquant --help\n\
                    quant ──── quant-gguf\n```\n";
        let tree = Tree::of(&[("README.md", text), ("crates/quant-cli/src/main.rs", CLI)]);
        let expected = [
            "README.md:5: error: unrecognized subcommand 'tset'",
            "README.md:7: quant has no subcommand quantise",
            "README.md:8: quant quantize has no flag --wet-run",
        ];
        assert_eq!(printed(known(&tree)), expected);
    }

    #[test]
    fn presets_are_those_of_the_recipe() {
        let text = "# A\n```\nquant quantize a b --preset nf4\nquant quantize a b --preset nf55\n\
                    quant quantize a b --preset NAME\n```\n";
        let found = printed(presets(&Tree::of(&[("README.md", text)])));
        assert!(found.len() == 1 && found[0].starts_with("README.md:4: unknown preset \"nf55\""), "{found:?}");
    }
}
