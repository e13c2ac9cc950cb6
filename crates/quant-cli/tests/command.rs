//! The program as a person runs it: exit codes, stdout and stderr, JSON, kill and resume.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use tempfile::tempdir;

fn quant(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_quant")).args(arguments).stdin(Stdio::null()).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[track_caller]
fn refused(arguments: &[&str], parts: &[&str]) {
    let output = quant(arguments);
    let message = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{arguments:?}: {message}");
    assert!(output.stdout.is_empty(), "results only on stdout");
    for part in parts {
        assert!(message.contains(part), "{arguments:?}: \"{part}\" is missing in: {message}");
    }
}

/// A safetensors file of `count` matrices of `rows × columns` f32.
fn checkpoint(folder: &Path, count: usize, rows: usize, columns: usize) -> PathBuf {
    let len = rows * columns * 4;
    let entry = |i: usize| {
        format!(
            "\"model.layers.{i}.mlp.up_proj.weight\":{{\"dtype\":\"F32\",\"shape\":[{rows},{columns}],\"data_offsets\":[{},{}]}}",
            i * len,
            (i + 1) * len
        )
    };
    let mut header = format!("{{{}}}", (0..count).map(entry).collect::<Vec<_>>().join(","));
    header += &" ".repeat(header.len().next_multiple_of(8) - header.len());
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.bytes());
    let mut state = 1u32;
    for _ in 0..count * rows * columns {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let u = (state >> 8) as f32 / (1 << 23) as f32 - 1.0;
        bytes.extend((u * u * u).to_le_bytes());
    }
    let path = folder.join("model.safetensors");
    std::fs::write(&path, bytes).unwrap();
    path
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn a_run_prints_its_table_on_stdout_and_the_rest_on_stderr() {
    let dir = tempdir().unwrap();
    let input = checkpoint(dir.path(), 2, 64, 128);
    let output = dir.path().join("out.safetensors");
    let run = quant(&["quantize", path(&input), path(&output), "--preset", "nf4"]);
    let (out, err) = (text(&run.stdout), text(&run.stderr));
    assert!(run.status.success(), "{err}");
    for part in ["rate", "(bits)", "SQNR", "(dB)", "entropy", "mlp.up_proj", "peak memory", "codes hash"] {
        assert!(out.contains(part), "{part} is missing in:\n{out}");
    }
    assert!(
        err.contains("recipe: nf4 group 64 signed-search, to native") && err.contains("left dense (--skip): *embed*")
    );
    let listing = text(&quant(&["inspect", path(&output)]).stdout);
    assert!(listing.contains("nf4 group 64 signed-search") && listing.contains("[64, 128]"), "{listing}");
    let back = dir.path().join("back.safetensors");
    assert!(quant(&["dequantize", path(&output), path(&back), "--dtype", "bf16"]).status.success());
    let compared = text(&quant(&["compare", path(&input), path(&back)]).stdout);
    assert!(compared.contains("(dB)") && compared.contains("in all"), "{compared}");
}

#[test]
fn json_has_the_promised_fields() {
    let dir = tempdir().unwrap();
    let input = checkpoint(dir.path(), 1, 64, 128);
    let at = |name: &str| dir.path().join(name);
    let run = quant(&["quantize", path(&input), path(&at("a.safetensors")), "--preset", "lloyd3", "--json", "-"]);
    let report: serde_json::Value = serde_json::from_slice(&run.stdout).expect("stdout is JSON and nothing else");
    for field in ["weight_count", "rate_bits", "mse", "sqnr_db", "seconds", "peak_memory_bytes", "codes_hash"] {
        assert!(!report["totals"][field].is_null(), "totals.{field}");
    }
    for field in ["name", "shape", "dtype", "method", "rate_bits", "mse", "sqnr_db", "entropy_bits"] {
        assert!(!report["tensors"][0][field].is_null(), "tensors[0].{field}");
    }
    let file = at("report.json");
    quant(&["quantize", path(&input), path(&at("b.safetensors")), "--preset", "lloyd3", "--json", path(&file)]);
    let again: serde_json::Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    assert_eq!(again["totals"]["codes_hash"], report["totals"]["codes_hash"]);
    for command in [vec!["inspect", path(&input)], vec!["compare", path(&input), path(&at("a.safetensors"))]] {
        let run = quant(&[&command[..], &["--json", "-"]].concat());
        assert!(serde_json::from_slice::<serde_json::Value>(&run.stdout).is_ok(), "{command:?}");
    }
}

#[test]
fn a_dry_run_writes_nothing() {
    let dir = tempdir().unwrap();
    let input = checkpoint(dir.path(), 1, 64, 128);
    let output = dir.path().join("out.safetensors");
    let run = quant(&["quantize", path(&input), path(&output), "--preset", "nf4", "--dry-run"]);
    let out = text(&run.stdout);
    assert!(run.status.success() && out.contains("nothing was written") && out.contains("4.5625"), "{out}");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn bad_usage_exits_with_2_and_one_clear_line() {
    let dir = tempdir().unwrap();
    let input = checkpoint(dir.path(), 1, 64, 128);
    let out = dir.path().join("out.safetensors");
    let (input, out) = (path(&input), path(&out));
    refused(&["quantize", input, input, "--preset", "nf4"], &["IN and OUT are the same"]);
    refused(&["quantize", "/no/such", out, "--preset", "nf4"], &["/no/such"]);
    refused(&["quantize", input, out, "--preset", "nf5x"], &["unknown preset \"nf5x\"", "kmeans4-row"]);
    refused(&["quantize", input, out, "--preset", "nf4", "--bits", "9"], &["9 bits", "2 to 8"]);
    refused(&["quantize", input, out, "--preset", "nf4", "--group", "7"], &["8 to 65536"]);
    refused(
        &["quantize", input, out, "--preset", "nf4", "--include", "nope*"],
        &["--include \"nope*\" matches no tensor"],
    );
    refused(&["quantize", input, out, "--preset", "nf4", "--dtype", "f16"], &["--dtype is for --to dense only"]);
    refused(&["quantize", input, out, "--preset", "nf4", "--to", "bitsandbytes"], &["needs a model folder"]);
    refused(&["quantize", input, out], &["--preset"]);
    refused(&["compare", input, "/no/such"], &["/no/such"]);
}

#[test]
fn every_help_has_an_example() {
    for command in ["quantize", "dequantize", "inspect", "compare"] {
        let help = text(&quant(&[command, "--help"]).stdout);
        assert!(help.contains("Example") && help.contains(&format!("quant {command} ")), "{help}");
    }
}

#[test]
fn a_full_disk_is_a_fault_that_names_the_file() {
    let dir = tempdir().unwrap();
    let input = checkpoint(dir.path(), 1, 64, 128);
    let file = dir.path().join("plain-file");
    std::fs::write(&file, "x").unwrap();
    // A folder that cannot be made: its parent is a file.
    refused(&["quantize", path(&input), path(&file.join("out")), "--preset", "nf4"], &["plain-file", "does not exist"]);
    if cfg!(target_os = "linux") {
        // Limits the size of files that the program may write, as a full disk would.
        let script = format!(
            "ulimit -f 4; trap '' XFSZ; exec {} quantize {} {} --preset nf4",
            env!("CARGO_BIN_EXE_quant"),
            path(&input),
            path(&dir.path().join("out.safetensors"))
        );
        let run = Command::new("bash").args(["-c", &script]).output().unwrap();
        let message = text(&run.stderr);
        assert_eq!(run.status.code(), Some(1), "{message}");
        assert!(message.contains("out.safetensors") && message.contains("too large"), "{message}");
        assert!(!dir.path().join("out.safetensors").exists());
    }
}

#[cfg(unix)]
#[test]
fn a_killed_run_resumes_to_the_same_bytes() {
    let dir = tempdir().unwrap();
    let input = checkpoint(dir.path(), 24, 256, 512);
    let whole = dir.path().join("whole.safetensors");
    let arguments = |output: &Path| {
        ["quantize", path(&input), path(output), "--preset", "kmeans4-row", "--threads", "1"].map(str::to_owned)
    };
    let start = std::time::Instant::now();
    assert!(Command::new(env!("CARGO_BIN_EXE_quant")).args(arguments(&whole)).output().unwrap().status.success());
    let total = start.elapsed();
    let mut killed = 0;
    for part in 1..=6u32 {
        let output = dir.path().join(format!("{part}.safetensors"));
        let mut child = Command::new(env!("CARGO_BIN_EXE_quant"))
            .args(arguments(&output))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(total * part / 8 + Duration::from_millis(3 * u64::from(part)));
        child.kill().unwrap();
        killed += usize::from(!child.wait().unwrap().success());
        let mut again: Vec<String> = arguments(&output).into();
        if !output.exists() {
            again.push("--resume".into());
            let run = Command::new(env!("CARGO_BIN_EXE_quant")).args(again).output().unwrap();
            assert!(run.status.success(), "{}", text(&run.stderr));
        }
        assert!(std::fs::read(&output).unwrap() == std::fs::read(&whole).unwrap(), "killed at {part}/8");
    }
    assert!(killed >= 2, "only {killed} of 6 runs were still going when they were killed");
}

#[cfg(unix)]
#[test]
fn an_interrupted_run_says_how_to_go_on() {
    let dir = tempdir().unwrap();
    let input = checkpoint(dir.path(), 48, 256, 512);
    let output = dir.path().join("out.safetensors");
    let child = Command::new(env!("CARGO_BIN_EXE_quant"))
        .args(["quantize", path(&input), path(&output), "--preset", "kmeans4-row", "--threads", "1"])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let journal = dir.path().join("out.safetensors.journal");
    while !journal.exists() {
        std::thread::sleep(Duration::from_millis(1));
    }
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let ended = child.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(130), "{}", text(&ended.stderr));
    assert!(text(&ended.stderr).contains("--resume") && !output.exists(), "{}", text(&ended.stderr));
}
