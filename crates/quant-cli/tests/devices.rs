//! Does the device change a code? Every preset over a checkpoint of hard cases, on the processor and on a GPU.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tempfile::tempdir;

fn quant(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_quant")).args(arguments).stdin(Stdio::null()).output().unwrap()
}

fn json(arguments: &[&str]) -> Value {
    let output = quant(arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Samples of one tensor: name, rows, columns, values.
type Tensor = (&'static str, usize, usize, Vec<f32>);

/// What goes wrong where devices differ: ties, outliers, few values, the ends of the number format, odd lengths.
fn hard_cases() -> Vec<Tensor> {
    let mut state = 7u32;
    let mut noise = move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let u = (state >> 8) as f32 / (1 << 23) as f32 - 1.0;
        u * u * u
    };
    let mut values = |count: usize| (0..count).map(|_| noise()).collect::<Vec<f32>>();
    let extremes = [0.0, 1e-45, 1e-39, 1.2e-38, 1e-20, 1e-5, 1.0, 6e4, 1e30, 3e38];
    let extremes = extremes.iter().flat_map(|x| [*x, -x]).cycle().take(4 * 140).collect();
    vec![
        ("noise", 96, 256, values(96 * 256)),
        ("odd rows", 33, 77, values(33 * 77)),
        ("long rows", 3, 4099, values(3 * 4099)),
        ("narrow", 200, 3, values(600)),
        ("all zero", 4, 70, vec![0.0; 280]),
        ("two values", 4, 64, (0..256).map(|i| if i % 3 == 0 { -1.0 } else { 0.5 }).collect()),
        ("ties", 8, 64, (0..512).map(|i| (i % 33) as f32 / 16.0 - 1.0).collect()),
        ("outlier", 2, 128, values(255).into_iter().chain([1000.0]).collect()),
        ("extremes", 4, 140, extremes),
    ]
}

/// The cases as f32, f16 and bf16 in one safetensors file.
fn checkpoint(folder: &Path) -> PathBuf {
    let (mut entries, mut data) = (Vec::new(), Vec::new());
    for (name, rows, columns, values) in hard_cases() {
        for dtype in ["F32", "F16", "BF16"] {
            let start = data.len();
            for &x in &values {
                match dtype {
                    "F32" => data.extend(x.to_le_bytes()),
                    "F16" => data.extend(half::f16::from_f32(x.clamp(-65504.0, 65504.0)).to_le_bytes()),
                    _ => data.extend(half::bf16::from_f32(x).to_le_bytes()),
                }
            }
            let end = data.len();
            entries.push(format!(
                "\"{name} {dtype}\":{{\"dtype\":\"{dtype}\",\"shape\":[{rows},{columns}],\"data_offsets\":[{start},{end}]}}"
            ));
        }
    }
    let mut header = format!("{{{}}}", entries.join(","));
    header += &" ".repeat(header.len().next_multiple_of(8) - header.len());
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.bytes());
    bytes.extend(data);
    let path = folder.join("hard.safetensors");
    std::fs::write(&path, bytes).unwrap();
    path
}

/// The hash of the codes, levels and scales of each tensor.
fn hashes(input: &Path, output: &Path, recipe: &[&str], device: &str) -> Vec<(String, String)> {
    let mut arguments = vec!["quantize", input.to_str().unwrap(), output.to_str().unwrap(), "--overwrite"];
    arguments.extend(["--skip", "none", "--json", "-", "--device", device]);
    arguments.extend(recipe);
    let report = json(&arguments);
    let tensors = report["tensors"].as_array().unwrap();
    let text = |t: &Value, key: &str| t[key].as_str().unwrap_or_default().to_owned();
    tensors.iter().map(|t| (text(t, "name"), text(t, "codes_hash"))).collect()
}

fn compare(recipes: &[&[&str]]) {
    let dir = tempdir().unwrap();
    let (input, output) = (checkpoint(dir.path()), dir.path().join("out.safetensors"));
    for recipe in recipes {
        let expected = hashes(&input, &output, recipe, "cpu");
        let quantized = expected.iter().filter(|(_, hash)| !hash.is_empty()).count();
        // Where rows are short, groups of a row or codebooks of a row would not pay, and tensors stay dense.
        assert!(quantized >= 9, "{recipe:?}: only {quantized} tensors were quantized");
        assert_eq!(hashes(&input, &output, recipe, "gpu"), expected, "{recipe:?}");
    }
}

#[test]
fn fixed_codebooks_have_equal_codes_on_all_devices() {
    compare(&[
        &["--preset", "nf4"],
        &["--preset", "nf3"],
        &["--preset", "fp4"],
        &["--preset", "int4"],
        &["--preset", "int8", "--group", "row"],
        &["--preset", "nf2", "--group", "32", "--scale", "search"],
        &["--preset", "nf4", "--scale", "absmax", "--double-quant"],
        &["--preset", "nf5", "--group", "tensor"],
    ]);
}

#[test]
fn designed_codebooks_have_equal_codes_on_all_devices() {
    compare(&[
        &["--preset", "lloyd4"],
        &["--preset", "lloyd3"],
        &["--preset", "kmeans4-row"],
        &["--preset", "kmeans3-row"],
        &["--preset", "lloyd4", "--group", "64"],
        &["--preset", "kmeans4-row", "--group", "32"],
    ]);
}

#[test]
fn devices_are_listed_and_can_be_chosen_by_their_names() {
    let devices = json(&["devices", "--json", "-"]);
    let devices = devices.as_array().unwrap();
    assert_eq!(devices[0]["device"], "cpu");
    assert!(devices.len() > 1, "no GPU adapter; `cargo xtask test` installs a software one or says how");
    let dir = tempdir().unwrap();
    let (input, output) = (checkpoint(dir.path()), dir.path().join("out.safetensors"));
    let name = |device: &Value| device["device"].as_str().unwrap().to_owned();
    for device in devices.iter().map(name).chain(["gpu:all".into(), "auto".into()]) {
        assert!(!hashes(&input, &output, &["--preset", "nf4"], &device).is_empty(), "{device}");
    }
}

#[test]
fn a_device_that_is_not_there_is_refused() {
    let dir = tempdir().unwrap();
    let (input, output) = (checkpoint(dir.path()), dir.path().join("out.safetensors"));
    let arguments = ["quantize", input.to_str().unwrap(), output.to_str().unwrap(), "--preset", "nf4", "--device"];
    for (device, part) in [("gpu:99", "no GPU adapter has number 99"), ("tpu", "gpu:all expected")] {
        let run = quant(&[&arguments[..], &[device]].concat());
        let message = String::from_utf8(run.stderr).unwrap();
        assert!(run.status.code() == Some(2) && message.contains(part), "{message}");
    }
}
