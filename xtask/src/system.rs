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
    /// Where a file that it installs may lie; there means installed, however it came.
    pub files: &'static [&'static str],
    /// What is not tested without it.
    pub needed_by: &'static str,
}

/// What the tests need now. macOS and Windows have a GPU driver of their own, if only a software one.
pub const PACKAGES: &[Package] = if cfg!(target_os = "linux") { VULKAN } else { &[] };

const VULKAN: &[Package] = &[
    Package {
        name: "libvulkan1",
        files: &[
            "/usr/lib/x86_64-linux-gnu/libvulkan.so.1",
            "/usr/lib/aarch64-linux-gnu/libvulkan.so.1",
            "/usr/lib64/libvulkan.so.1",
            "/usr/lib/libvulkan.so.1",
        ],
        needed_by: "all tests of GPU kernels",
    },
    Package {
        name: "mesa-vulkan-drivers",
        files: &[
            "/usr/share/vulkan/icd.d/lvp_icd.x86_64.json",
            "/usr/share/vulkan/icd.d/lvp_icd.aarch64.json",
            "/usr/share/vulkan/icd.d/lvp_icd.json",
        ],
        needed_by: "tests of GPU kernels on machines without a GPU: a Vulkan driver that computes on the processor",
    },
];

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
    packages.iter().copied().filter(|p| !p.files.iter().any(|file| exists(file))).collect()
}

fn is_root() -> bool {
    shell::capture(Command::new("id").arg("-u")).is_ok_and(|id| id.trim() == "0")
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Package = Package { name: "a", files: &["/lib64/a.so", "/lib/a.so"], needed_by: "tests of a" };
    const B: Package = Package { name: "b", files: &["/lib/b.so"], needed_by: "tests of b" };

    #[test]
    fn only_absent_packages_are_missing() {
        let names: Vec<_> = missing(&[A, B], |file| file == "/lib/a.so").iter().map(|p| p.name).collect();
        assert_eq!(names, ["b"]);
        assert!(install(&[]).is_ok());
    }
}
