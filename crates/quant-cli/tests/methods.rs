//! Finer methods as a person types them: comparing, rates and plans, weights, outliers.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tempfile::tempdir;

fn quant(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_quant")).args(arguments).stdin(Stdio::null()).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[track_caller]
fn done(arguments: &[&str]) -> (String, String) {
    let output = quant(arguments);
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{arguments:?}: {stderr}");
    (stdout, stderr)
}

#[track_caller]
fn refused(arguments: &[&str], parts: &[&str]) {
    let output = quant(arguments);
    let message = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{arguments:?}: {message}");
    assert!(parts.iter().all(|part| message.contains(part)), "{arguments:?}: {parts:?} in {message}");
}

/// Three matrices of 48 × 64, each ten times as large as the one before.
fn checkpoint(folder: &Path) -> PathBuf {
    let len = 48 * 64 * 4;
    let entry = |i: usize| {
        let (start, end) = (i * len, (i + 1) * len);
        format!(
            "\"layers.{i}.up_proj.weight\":{{\"dtype\":\"F32\",\"shape\":[48,64],\"data_offsets\":[{start},{end}]}}"
        )
    };
    let mut header = format!("{{{}}}", (0..3).map(entry).collect::<Vec<_>>().join(","));
    header += &" ".repeat(header.len().next_multiple_of(8) - header.len());
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.bytes());
    let mut state = 1u32;
    for i in 0..3 * 48 * 64 {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let u = (state >> 8) as f32 / (1 << 23) as f32 - 1.0;
        bytes.extend((u * u * u * 10f32.powi(i / 3072)).to_le_bytes());
    }
    let path = folder.join("model.safetensors");
    std::fs::write(&path, bytes).unwrap();
    path
}

#[test]
fn methods_are_compared_in_a_table_a_report_and_a_plot() {
    let dir = tempdir().unwrap();
    let input = checkpoint(dir.path());
    let (input, plot) = (input.to_str().unwrap(), dir.path().join("methods.svg"));
    let some = ["compare-methods", input, "--methods", "nf,switched,kmeans-row", "--bits", "3..4"];
    let (table, _) = done(&[&some[..], &["--plot", plot.to_str().unwrap()]].concat());
    for part in ["switched4 group 16 step-bits 4 shape-bits 3", "kmeans3-row", "9216 weights of 3 tensors", "*"] {
        assert!(table.contains(part), "{part} in {table}");
    }
    let picture = std::fs::read_to_string(&plot).unwrap();
    assert!(picture.contains("<svg") && picture.contains("kmeans-row"));
    let (report, _) = done(&[&some[..], &["--json", "-", "--sample", "3072"]].concat());
    let report: serde_json::Value = serde_json::from_str(&report).unwrap();
    let methods = report["methods"].as_array().unwrap();
    assert_eq!(methods.len(), 6);
    for method in methods {
        assert_eq!(method["tensors"].as_array().unwrap().len(), 1, "a sample of a third");
        assert!(method["seconds"].as_f64().unwrap() > 0.0 && method["rate_bits"].as_f64().unwrap() > 3.0);
    }
    let front = methods.iter().filter(|m| m["is_on_front"] == true).count();
    assert!((1..=6).contains(&front));
    refused(&["compare-methods", input, "--methods", "nff"], &["unknown preset \"nff2\""]);
    refused(&["compare-methods", input, "--recipe", "nf4 group"], &["\"group\" is not understood"]);
    refused(&["compare-methods", input, "--plot", "x.pdf"], &[".png or .svg"]);
    refused(&["compare-methods", input, "--bits", "5..3"], &["between 1 and 10"]);
    refused(&["compare-methods", input, "--bits", "1..3"], &["unknown preset \"nf1\""]);
    refused(&["compare-methods", input, "--json", input], &["model.safetensors", "must not replace"]);
    refused(&["compare-methods", input, "--sample", "0"], &["--sample"]);
    refused(&["compare-methods", input, "--recipe", "nf4", "--methods", "nf"], &["cannot be used with"]);
}

#[test]
fn a_rate_becomes_a_plan_and_the_plan_the_same_file() {
    let dir = tempdir().unwrap();
    let input = checkpoint(dir.path());
    let at = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let (input, plan) = (input.to_str().unwrap(), at("plan.json"));
    let preset = ["--preset", "nf4", "--group", "32", "--step-bits", "4"];
    let (first, second) = (at("a.safetensors"), at("b.safetensors"));
    let (_, told) = done(&[&["quantize", input, &first, "--rate", "5", "--save-plan", &plan][..], &preset].concat());
    assert!(told.contains("plan: ") && told.contains("wrote the plan"), "{told}");
    done(&[&["quantize", input, &second, "--plan", &plan][..], &preset].concat());
    let read = |path: &str| std::fs::read(path).unwrap();
    assert_eq!(read(&first), read(&second));
    let plan: serde_json::Value = serde_json::from_slice(&read(&plan)).unwrap();
    let bits = |i: usize| plan["tensors"][format!("layers.{i}.up_proj.weight")].as_str().unwrap()[2..3].to_owned();
    assert!(bits(0) < bits(2), "the larger one gets more bits: {plan}");
    assert!(plan["rate_bits"].as_f64().unwrap() <= 5.0);
    let (listed, _) = done(&["inspect", &first]);
    assert!(listed.contains("step-bits 4 shape-bits 0"), "{listed}");
    refused(&["quantize", input, &second, "--preset", "nf4", "--save-plan", "p.json"], &["--rate or --target-sqnr"]);
    let gguf = ["quantize", input, &second, "--preset", "q4_0", "--to", "gguf", "--rate", "4.5"];
    refused(&gguf, &["--to gguf holds one recipe"]);
    refused(&["quantize", input, &second, "--preset", "iq4_nl", "--rate", "8"], &["no other number of bits"]);
    refused(&["quantize", input, &second, "--preset", "nf4", "--rate", "1.5"], &["--rate 1.5", "at least"]);
    for no_number in ["--rate=nan", "--rate=inf", "--rate=99", "--target-sqnr=nan", "--target-sqnr=-inf"] {
        refused(&["quantize", input, &second, "--preset", "nf4", "--overwrite", no_number], &["a number from 0 to"]);
    }
    refused(&["quantize", input, &second, "--preset", "nf4", "--plan", &first], &["a.safetensors"]);
}

#[test]
fn weights_and_outliers_are_reported_and_bad_ones_refused() {
    let dir = tempdir().unwrap();
    let input = checkpoint(dir.path());
    let output = dir.path().join("out.safetensors");
    let quantize = ["quantize", input.to_str().unwrap(), output.to_str().unwrap(), "--preset"];
    // The weights of a model can weigh their own errors where they are positive; here they are not.
    let own = ["--weights", input.to_str().unwrap()];
    refused(&[&quantize[..], &["kmeans3-row"], &own].concat(), &["model.safetensors", "up_proj", "weight 0 is -"]);
    let mut bytes = std::fs::read(&input).unwrap();
    let data = bytes.len() - 3 * 48 * 64 * 4;
    bytes[data..].chunks_exact_mut(4).for_each(|x| x[3] &= 0x7f);
    let weights = dir.path().join("weights.safetensors");
    std::fs::write(&weights, bytes).unwrap();
    let good = ["--weights", weights.to_str().unwrap(), "--outliers", "0.01", "--outliers-by-sensitivity"];
    let (table, told) = done(&[&quantize[..], &["kmeans3-row"], &good].concat());
    assert!(table.contains("weighted SQNR"), "{table}");
    assert!(told.contains("outliers 0.01 by-sensitivity, weighted by"), "{told}");
    assert!(!told.contains("warning"), "{told}");
    let bytes = std::fs::read(&weights).unwrap();
    let at = bytes.windows(8).position(|name| name == b"layers.1").unwrap();
    std::fs::write(&weights, [&bytes[..at], b"layers.9", &bytes[at + 8..]].concat()).unwrap();
    let (_, told) = done(&[&quantize[..], &["kmeans3-row", "--overwrite"], &good].concat());
    assert!(told.contains("no weights for 1 of 3 tensors") && told.contains("layers.1.up_proj"), "{told}");
    refused(&[&quantize[..], &["nf4", "--outliers", "2"]].concat(), &["a fraction of 2", "0.1"]);
    refused(&[&quantize[..], &["nf4", "--step-bits", "9"]].concat(), &["9 step bits", "1 to 8"]);
    refused(&[&quantize[..], &["nf4", "--step-bits", "4", "--shape-bits", "1"]].concat(), &["one fixed codebook"]);
    refused(&[&quantize[..], &["q4_0", "--double-quant"]].concat(), &["no room for anything else"]);
    refused(&[&quantize[..], &["nf4", "--weights", "nowhere.safetensors"]].concat(), &["nowhere.safetensors"]);
}
