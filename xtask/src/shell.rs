//! How the chores run other programs: each printed before it starts, each failure named.

use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// The root of the workspace.
pub fn root() -> PathBuf {
    // `cargo run` sets the variable; the constant is for a binary that was started by hand.
    let manifest =
        std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from);
    manifest.parent().expect("xtask is a folder of the workspace").to_path_buf()
}

/// A program of the workspace as a release build leaves it.
pub fn released(program: &str) -> PathBuf {
    // The cargo started here reads the variable too, relative to the same folder.
    let folder = std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into());
    root().join(folder).join("release").join(program)
}

/// The cargo that runs this binary, started in the root of the workspace.
pub fn cargo(arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(arguments).current_dir(root());
    command
}

/// Runs a command whose output the user sees; fails when it does.
pub fn run(command: &mut Command) -> Result<()> {
    let line = line(command);
    eprintln!("$ {line}");
    let status = command.status().with_context(|| format!("cannot start `{line}`"))?;
    if !status.success() {
        bail!("`{line}` failed: {status}");
    }
    Ok(())
}

/// Runs a command and returns what it wrote to standard output; its standard error stays visible.
pub fn capture(command: &mut Command) -> Result<String> {
    let line = line(command);
    let output = command.stderr(Stdio::inherit()).output().with_context(|| format!("cannot start `{line}`"))?;
    if !output.status.success() {
        bail!("`{line}` failed: {}", output.status);
    }
    String::from_utf8(output.stdout).with_context(|| format!("`{line}` wrote something other than UTF-8"))
}

/// Runs a command silently: does it start and succeed?
pub fn succeeds(command: &mut Command) -> bool {
    command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

/// The command as a user would type it, with the root of the workspace left out of paths.
pub fn line(command: &Command) -> String {
    let root = format!("{}/", root().display());
    let program = Path::new(command.get_program());
    let short = match program.file_name() {
        Some(name) if name == "cargo" => "cargo".to_owned(),
        _ => program.display().to_string(),
    };
    let words = std::iter::once(short).chain(command.get_args().map(|a| a.to_string_lossy().into_owned()));
    let quoted = words.map(|w| if w.is_empty() || w.contains(' ') { format!("'{w}'") } else { w });
    quoted.collect::<Vec<_>>().join(" ").replace(&root, "")
}

/// Runs `work` and returns its result with the time it took.
pub fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let start = Instant::now();
    let result = work();
    (result, start.elapsed())
}

/// A time for people: `0.8 s`, `2 min 05 s`.
pub fn seconds(time: Duration) -> String {
    let total = time.as_secs();
    if total >= 60 { format!("{} min {:02} s", total / 60, total % 60) } else { format!("{:.1} s", time.as_secs_f64()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_reads_as_typed() {
        let command = cargo(&["test", "--workspace", "a b"]);
        assert_eq!(line(&command), "cargo test --workspace 'a b'");
    }

    #[test]
    fn times_read_well() {
        assert_eq!(seconds(Duration::from_millis(840)), "0.8 s");
        assert_eq!(seconds(Duration::from_secs(125)), "2 min 05 s");
    }

    #[test]
    fn a_missing_program_is_named() {
        let error = run(&mut Command::new("no-such-program-here")).unwrap_err();
        assert!(format!("{error:#}").contains("cannot start `no-such-program-here`"));
    }
}
