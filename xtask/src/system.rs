//! Which programs and libraries of the operating system the tests need beyond the Rust toolchain, and how they come.

use crate::shell;
use anyhow::{Result, bail};
use std::path::Path;
use std::process::Command;

/// A Debian package that some tests need.
#[derive(Clone, Copy, Debug)]
pub struct Package {
    /// Its name for apt-get.
    pub name: &'static str,
    /// A file it installs; there means installed, however it came.
    pub file: &'static str,
    /// What is not tested without it.
    pub needed_by: &'static str,
}

/// What the tests need now: the toolchain is enough.
pub const PACKAGES: &[Package] = &[];

/// Installs the packages that are missing, or fails with the command that would.
pub fn install(packages: &[Package]) -> Result<()> {
    let missing = missing(packages, |file| Path::new(file).exists());
    if missing.is_empty() {
        return Ok(());
    }
    let mut install = Command::new("apt-get");
    install.args(["install", "--yes", "--no-install-recommends"]).args(missing.iter().map(|p| p.name));
    for package in &missing {
        eprintln!("{} is missing, needed by {}", package.name, package.needed_by);
    }
    if !is_root() || !shell::succeeds(Command::new("apt-get").arg("--version")) {
        bail!("install what is missing first, on Debian and its relatives by: sudo {}", shell::line(&install));
    }
    shell::run(Command::new("apt-get").arg("update"))?;
    shell::run(&mut install)
}

fn missing(packages: &[Package], exists: impl Fn(&str) -> bool) -> Vec<Package> {
    packages.iter().copied().filter(|p| !exists(p.file)).collect()
}

fn is_root() -> bool {
    shell::capture(Command::new("id").arg("-u")).is_ok_and(|id| id.trim() == "0")
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Package = Package { name: "a", file: "/lib/a.so", needed_by: "tests of a" };
    const B: Package = Package { name: "b", file: "/lib/b.so", needed_by: "tests of b" };

    #[test]
    fn only_absent_packages_are_missing() {
        let names: Vec<_> = missing(&[A, B], |file| file == "/lib/a.so").iter().map(|p| p.name).collect();
        assert_eq!(names, ["b"]);
        assert!(install(&[]).is_ok());
    }
}
