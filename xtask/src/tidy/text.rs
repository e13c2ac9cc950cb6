//! Is the white space plain?

use super::tree::{File, Finding, Tree};
use anyhow::Result;

/// No tabs, trailing spaces, carriage returns; a newline at the end.
pub fn white_space(tree: &Tree) -> Result<Vec<Finding>> {
    Ok(tree.files.iter().flat_map(white_space_of).collect())
}

fn white_space_of(file: &File) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (index, line) in file.text.split('\n').enumerate() {
        let faults = [
            (line.contains('\t'), "tab"),
            (line.ends_with(' '), "trailing space"),
            (line.contains('\r'), "carriage return"),
        ];
        let found = faults.iter().filter(|(present, _)| *present);
        findings.extend(found.map(|(_, name)| Finding::line(&file.path, index + 1, *name)));
    }
    if !file.text.is_empty() && !file.text.ends_with('\n') {
        findings.push(Finding::file(&file.path, "no newline at the end"));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::tree::printed;

    #[test]
    fn each_fault_is_found_at_its_line() {
        let tree = Tree::of(&[("a", "fine\n\tx \n"), ("b", "x\r\n"), ("c", "x"), ("d", "")]);
        let expected = ["a:2: tab", "a:2: trailing space", "b:1: carriage return", "c: no newline at the end"];
        assert_eq!(printed(white_space(&tree)), expected);
    }
}
