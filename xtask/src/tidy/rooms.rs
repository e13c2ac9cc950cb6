//! Does each file answer one question, in one sitting?

use super::rust;
use super::tree::{File, Finding, Tree};
use anyhow::{Context, Result, bail};
use syn::spanned::Spanned;
use syn::visit::{self, Visit};

/// Lines of a source file.
const FILE_LINES_MAX: usize = 400;
/// Lines of a function, signature and closing brace included.
const FUNCTION_LINES_MAX: usize = 60;
/// The exceptions, each with its reason.
const EXCEPTIONS: &str = "xtask/tidy-exceptions.txt";

/// Something measured: a file, or a function as `path::name`.
#[derive(Debug, PartialEq, Eq)]
struct Room {
    place: String,
    line: usize,
    line_count: usize,
    limit: usize,
}

/// A room that may be larger, up to its own limit.
#[derive(Debug, PartialEq, Eq)]
struct Exception {
    place: String,
    limit: usize,
    line: usize,
}

/// Rooms beyond their limit, and exceptions that nothing needs any more.
pub fn check(tree: &Tree) -> Result<Vec<Finding>> {
    let exceptions = tree.get(EXCEPTIONS).map_or_else(|| Ok(Vec::new()), |f| exceptions(&f.text))?;
    let mut rooms = Vec::new();
    for file in tree.with_extension("rs").filter(|f| is_source(&f.path)) {
        rooms.extend(rooms_of(file)?);
    }
    let mut findings: Vec<Finding> = rooms.iter().filter_map(|room| too_large(room, &exceptions)).collect();
    findings.extend(exceptions.iter().filter_map(|exception| healed(exception, &rooms)));
    Ok(findings)
}

/// Sources count; tests, fixtures and benches in their own folders may be long lists.
fn is_source(path: &str) -> bool {
    path.contains("/src/")
}

fn too_large(room: &Room, exceptions: &[Exception]) -> Option<Finding> {
    let limit = exceptions.iter().find(|e| e.place == room.place).map_or(room.limit, |e| e.limit);
    let path = room.place.split("::").next().unwrap_or(&room.place);
    let message = || format!("{} has {} lines; the limit is {limit}", room.place, room.line_count);
    (room.line_count > limit).then(|| Finding::line(path, room.line, message()))
}

fn healed(exception: &Exception, rooms: &[Room]) -> Option<Finding> {
    let room = rooms.iter().filter(|r| r.place == exception.place).max_by_key(|r| r.line_count);
    let message = match room {
        None => format!("{} is gone: remove the exception", exception.place),
        Some(room) if room.line_count <= room.limit => format!("{} has healed: remove the exception", room.place),
        Some(_) => return None,
    };
    Some(Finding::line(EXCEPTIONS, exception.line, message))
}

/// Lines of the form `place limit reason…`; empty lines and lines that start with # are comments.
fn exceptions(text: &str) -> Result<Vec<Exception>> {
    let mut list = Vec::new();
    for (index, line) in text.lines().enumerate().filter(|(_, l)| !l.is_empty() && !l.starts_with('#')) {
        let mut words = line.split_whitespace();
        let (Some(place), Some(limit)) = (words.next(), words.next()) else {
            bail!("{EXCEPTIONS}:{}: expected a place, a limit and a reason", index + 1);
        };
        let limit = limit.parse().with_context(|| format!("{EXCEPTIONS}:{}: {limit} is not a limit", index + 1))?;
        if words.count() < 3 {
            bail!("{EXCEPTIONS}:{}: the exception of {place} needs a reason", index + 1);
        }
        list.push(Exception { place: place.to_owned(), limit, line: index + 1 });
    }
    Ok(list)
}

fn rooms_of(file: &File) -> Result<Vec<Room>> {
    let line_count = file.text.lines().count();
    let mut functions = Functions { path: &file.path, rooms: Vec::new() };
    functions.visit_file(&rust::parse(file)?);
    let whole = Room { place: file.path.clone(), line: 1, line_count, limit: FILE_LINES_MAX };
    Ok(std::iter::once(whole).chain(functions.rooms).collect())
}

struct Functions<'t> {
    path: &'t str,
    rooms: Vec<Room>,
}

impl Functions<'_> {
    fn measure(&mut self, signature: &syn::Signature, block: &syn::Block) {
        let (first, last) = (signature.span().start().line, block.span().end().line);
        let place = format!("{}::{}", self.path, signature.ident);
        self.rooms.push(Room { place, line: first, line_count: last - first + 1, limit: FUNCTION_LINES_MAX });
    }
}

impl<'s> Visit<'s> for Functions<'_> {
    fn visit_item_fn(&mut self, node: &'s syn::ItemFn) {
        self.measure(&node.sig, &node.block);
        visit::visit_item_fn(self, node);
    }

    fn visit_impl_item_fn(&mut self, node: &'s syn::ImplItemFn) {
        self.measure(&node.sig, &node.block);
        visit::visit_impl_item_fn(self, node);
    }

    fn visit_trait_item_fn(&mut self, node: &'s syn::TraitItemFn) {
        if let Some(block) = &node.default {
            self.measure(&node.sig, block);
        }
        visit::visit_trait_item_fn(self, node);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::tree::printed;

    fn long_function(line_count: usize) -> String {
        format!("//! A.\n\n/// Long.\nfn long() {{\n{}}}\n", "    f();\n".repeat(line_count - 2))
    }

    #[test]
    fn a_function_is_measured_from_signature_to_brace() {
        let (fits, long) = (long_function(60), long_function(61));
        let tree = Tree::of(&[("a/src/fits.rs", &fits), ("a/src/long.rs", &long), ("a/tests/long.rs", &long)]);
        assert_eq!(printed(check(&tree)), ["a/src/long.rs:4: a/src/long.rs::long has 61 lines; the limit is 60"]);
    }

    #[test]
    fn a_long_file_is_found() {
        let text = format!("//! A.\n{}", "\n".repeat(400));
        assert_eq!(
            printed(check(&Tree::of(&[("a/src/b.rs", &text)]))),
            ["a/src/b.rs:1: a/src/b.rs has 401 lines; the limit is 400"]
        );
    }

    #[test]
    fn exceptions_hold_up_to_their_limit_and_complain_when_healed() {
        let (long, longer, fits) = (long_function(70), long_function(71), long_function(9));
        let list = "# place limit reason\na/src/a.rs::long 70 one table of cases\na/src/b.rs::long 70 one table of cases\n\
                    a/src/c.rs::long 70 one table of cases\na/src/d.rs 500 one table of cases\n";
        let tree =
            Tree::of(&[("a/src/a.rs", &long), ("a/src/b.rs", &longer), ("a/src/c.rs", &fits), (EXCEPTIONS, list)]);
        let expected = [
            "a/src/b.rs:4: a/src/b.rs::long has 71 lines; the limit is 70",
            "xtask/tidy-exceptions.txt:4: a/src/c.rs::long has healed: remove the exception",
            "xtask/tidy-exceptions.txt:5: a/src/d.rs is gone: remove the exception",
        ];
        assert_eq!(printed(check(&tree)), expected);
    }

    #[test]
    fn an_exception_needs_a_reason() {
        let error = check(&Tree::of(&[(EXCEPTIONS, "a/src/a.rs 500 because\n")])).unwrap_err();
        assert!(error.to_string().ends_with("needs a reason"), "{error}");
    }
}
