//! `quant design`, `curve` and `plot` as a user runs them.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

fn quant(arguments: &[&str], folder: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_quant")).args(arguments).current_dir(folder).output().expect("the binary runs")
}

fn run(line: &str, folder: &Path) -> String {
    let output = quant(&line.split_whitespace().collect::<Vec<_>>(), folder);
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

fn json(line: &str, folder: &Path) -> Value {
    serde_json::from_str(&run(&format!("{line} --json -"), folder)).expect("JSON")
}

/// The one line on stderr of a refusal.
fn refusal(line: &str, folder: &Path) -> String {
    let output = quant(&line.split_whitespace().collect::<Vec<_>>(), folder);
    let text = String::from_utf8(output.stderr).expect("text");
    assert_eq!(output.status.code(), Some(2), "{line}: {text}");
    assert!(output.stdout.is_empty() && text.lines().count() == 1, "{line}: {text}");
    text
}

/// 400 numbers that look random, with a tail.
fn samples() -> Vec<f64> {
    (1..=400).map(|i| f64::from(i * i * 31 % 397) / 397.0 - 0.5).map(|x| x * x * x * 8.0 + x * 0.1).collect()
}

fn npy(format: &str, count: usize, data: &[u8]) -> Vec<u8> {
    let header = format!("{{'descr': '{format}', 'fortran_order': False, 'shape': ({count},), }}\n");
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.as_bytes());
    bytes.extend(data);
    bytes
}

fn wav() -> Vec<u8> {
    let sample_format = hound::SampleFormat::Int;
    let spec = hound::WavSpec { channels: 1, sample_rate: 8000, bits_per_sample: 16, sample_format };
    let mut bytes = std::io::Cursor::new(Vec::new());
    let mut writer = hound::WavWriter::new(&mut bytes, spec).expect("a writer");
    samples().iter().for_each(|x| writer.write_sample((x * 16384.0) as i16).expect("memory"));
    writer.finalize().expect("memory");
    bytes.into_inner()
}

fn png() -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, 16, 16);
    encoder.set_color(png::ColorType::Rgba);
    let pixels: Vec<u8> = (0..1024u32).map(|i| (i * i % 251) as u8).collect();
    encoder.write_header().and_then(|mut w| w.write_image_data(&pixels)).expect("memory");
    bytes
}

/// A checkpoint of one tensor of f32 weights.
fn safetensors() -> Vec<u8> {
    let header = r#"{"layer.weight":{"dtype":"F32","shape":[20,20],"data_offsets":[0,1600]}}"#;
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.extend(samples().iter().flat_map(|&x| (x as f32).to_le_bytes()));
    bytes
}

/// A folder with the same samples in every form, and with broken files.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, bytes: &[u8]| std::fs::write(folder.path().join(name), bytes).expect("a file");
    let bytes: Vec<u8> = samples().iter().flat_map(|x| x.to_le_bytes()).collect();
    write("a.npy", &npy("<f8", 400, &bytes));
    write("a.safetensors", &safetensors());
    write("short.npy", &npy("<f8", 500, &bytes));
    write("nan.npy", &npy("<f8", 2, &[1.0f64.to_le_bytes(), f64::NAN.to_le_bytes()].concat()));
    let lines: Vec<String> = samples().iter().enumerate().map(|(i, x)| format!("{i},{x}\n")).collect();
    write("a.csv", format!("index,weight\n{}", lines.concat()).as_bytes());
    write("bad.csv", b"1,2\n3,four\n");
    write("weights.txt", "2\n".repeat(400).as_bytes());
    write("few.txt", b"1\n2\n");
    write("equal.txt", &b"7\n".repeat(9));
    let (wav, png) = (wav(), png());
    write("a.wav", &wav);
    write("short.wav", &wav[..wav.len() - 31]);
    write("a.png", &png);
    write("short.png", &png[..png.len() / 2]);
    folder
}

/// The lecture's table for N(0, 1) and M = 8, then that for the Laplacian: t₁ … t₇ and y₀ … y₇.
const GAUSSIAN: ([&str; 7], [&str; 8]) = (
    ["-1.7479", "-1.0500", "-0.5005", "0", "0.5005", "1.0500", "1.7479"],
    ["-2.1519", "-1.3439", "-0.7560", "-0.2451", "0.2451", "0.7560", "1.3439", "2.1519"],
);
const LAPLACIAN: ([&str; 7], [&str; 8]) = (
    ["-2.3796", "-1.2527", "-0.5332", "0", "0.5332", "1.2527", "2.3796"],
    ["-3.0867", "-1.6725", "-0.8330", "-0.2334", "0.2334", "0.8330", "1.6725", "3.0867"],
);

#[test]
fn the_lectures_tables_come_out_to_all_digits() {
    let folder = tempfile::tempdir().unwrap();
    for (source, (thresholds, levels)) in [("gaussian", GAUSSIAN), ("laplacian", LAPLACIAN)] {
        let text = run(&format!("design --source {source} --levels 8 --designer lloyd-max"), folder.path());
        let rows: Vec<String> = text.lines().map(|l| l.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        let entry = |letter: char, k: usize, x: &str| format!("{letter}_{k} {} {x}", if x == "0" { '=' } else { '≈' });
        for k in 0..=8 {
            let left = match k {
                0 => "t_0 = -∞".into(),
                8 => "t_8 = +∞".into(),
                _ => entry('t', k, thresholds[k - 1]),
            };
            let right = if k < 8 { format!(" {}", entry('y', k, levels[k])) } else { String::new() };
            assert!(rows.contains(&format!("{k} {left}{right}")), "{source} {k}:\n{text}");
        }
    }
}

#[test]
fn json_has_the_promised_shape_and_the_published_distortion() {
    let folder = tempfile::tempdir().unwrap();
    let value = json("design --source gaussian --levels 8 --designer lloyd-max", folder.path());
    assert_eq!(value["levels"].as_array().unwrap().len(), 8);
    assert_eq!(value["thresholds"].as_array().unwrap().len(), 7);
    assert!((value["mse"].as_f64().unwrap() - 0.0345477607885).abs() < 1e-12);
    assert!((value["entropy_bits"].as_f64().unwrap() - 2.8248652).abs() < 1e-7);
    assert!((value["sqnr_db"].as_f64().unwrap() - 14.6158).abs() < 1e-4);
    assert!(value["iterations"].as_u64().unwrap() > 0 && value["stop"] == "converged");
    assert!((value["theory"]["panter_dite_mse"].as_f64().unwrap() - 2.7206990463 / 64.0).abs() < 1e-9);
}

const DESIGNERS: [(&str, &str); 20] = [
    ("lloyd-max", "--levels 8"),
    ("uniform", "--levels 8"),
    ("compander", "--levels 8"),
    ("mu-law", "--levels 8 --param mu=100"),
    ("a-law", "--levels 8 --param a=50 --param x_max=3"),
    ("power-law", "--levels 8 --param power=0.5"),
    ("g711-mu-law", ""),
    ("g711-a-law", "--bits 8"),
    ("dead-zone", "--bits 3 --param zero_width=1.5"),
    ("logarithmic", "--levels 9 --param x_min=0.1"),
    ("fp4-e2m1", ""),
    ("fp6-e2m3", "--scale absmax"),
    ("fp6-e3m2", "--scale 0.1"),
    ("fp8-e4m3", ""),
    ("fp8-e5m2", ""),
    ("fp4-bitsandbytes", "--bits 4"),
    ("nf", "--bits 4"),
    ("student-float", "--levels 8 --param nu=6"),
    ("block-nf", "--bits 2 --param block=32"),
    ("ecsq", "--bits 2"),
];

#[test]
fn every_designer_runs_on_densities_and_on_samples() {
    let folder = folder();
    for (designer, options) in DESIGNERS {
        for source in ["uniform", "a.npy"] {
            let value = json(&format!("design --source {source} --designer {designer} {options}"), folder.path());
            assert!(value["mse"].as_f64().unwrap() > 0.0, "{designer} on {source}");
            assert!(value["levels"].as_array().unwrap().len() >= 3, "{designer} on {source}");
        }
    }
}

#[test]
fn every_density_has_a_design() {
    let folder = tempfile::tempdir().unwrap();
    for source in [
        "logistic",
        "student-t --param nu=4",
        "generalized-gaussian --param beta=2",
        "mixture --param deviation2=5",
        "block-normalised --param block=32",
        "beta",
        "chi",
        "chi-squared --param freedom=6",
        "erlang --param shape=3",
        "exponential",
        "fisher-snedecor",
        "gamma --param rate=2",
        "gumbel",
        "inverse-gamma",
        "log-normal",
        "pareto",
        "triangular",
        "weibull",
    ] {
        let value = json(&format!("design --source {source} --levels 4"), folder.path());
        assert_eq!(value["levels"].as_array().unwrap().len(), 4, "{source}");
    }
}

#[test]
fn every_form_of_samples_gives_a_codebook() {
    let folder = folder();
    let levels =
        |line: &str| json(&format!("design --levels 4 --designer k-means {line}"), folder.path())["levels"].clone();
    let expected = levels("--source a.npy");
    assert_eq!(levels("--source a.csv:weight"), expected);
    assert_eq!(levels("--source a.csv:2 --weights weights.txt"), expected);
    for file in ["a.wav", "a.png", "a.safetensors:layer.weight"] {
        assert_eq!(levels(&format!("--source {file}")).as_array().unwrap().len(), 4);
    }
    let text = run("design --source a.npy --levels 4 --designer k-means --held-out 0.25", folder.path());
    assert!(text.contains("held out") && text.contains("histogram of the samples") && text.contains("y_3"), "{text}");
}

#[test]
fn an_exponential_has_its_published_limit() {
    let folder = tempfile::tempdir().unwrap();
    let value = json("design --source exponential --levels 64", folder.path());
    // Panter and Dite: M²D* = (1/12)·27 for one side of a Laplacian of scale 1.
    assert!((value["theory"]["panter_dite_mse"].as_f64().unwrap() * 4096.0 - 2.25).abs() < 1e-9);
}

#[test]
fn vectors_beat_the_scalar_and_tell_what_they_lose_on_other_samples() {
    let folder = folder();
    let scalar = json("design --source a.npy --bits 2 --designer k-means", folder.path());
    for (designer, options) in [
        ("vector-lloyd", "--dim 2 --bits 2"),
        ("vector-mini-batch", "--dim 2 --levels 16"),
        ("vector-product", "--dim 4 --bits 2"),
        ("vector-residual", "--dim 2 --levels 4 --param stages=2"),
    ] {
        let line = format!("design --source a.npy --designer {designer} {options}");
        let value = json(&line, folder.path());
        assert_eq!(value["rate_bits"], 2.0, "{designer}");
        let least = if designer == "vector-residual" { 2.0 } else { 1.0 };
        assert!(value["mse"].as_f64().unwrap() < least * scalar["mse"].as_f64().unwrap(), "{designer}: {value}");
        let held = json(&format!("{line} --held-out 0.25"), folder.path());
        assert!(held["held_out"]["gap_db"].as_f64().unwrap() > 0.0, "{designer}: {held}");
        let text = run(&format!("{line} --held-out 0.25"), folder.path());
        assert!(text.contains("held out") && text.contains("codevectors"), "{text}");
    }
    let lloyd = json("design --source a.npy --designer vector-lloyd --bits 2", folder.path());
    assert!(lloyd["theory"]["zador_mse"].as_f64().unwrap() > 0.0 && lloyd["stop"] == "converged");
    assert_eq!(lloyd["codebooks"][0].as_array().unwrap().len(), 16);
}

#[test]
fn block_formats_have_their_rates() {
    let folder = folder();
    let mut last = 0.0;
    for (name, rate) in [("mxfp4", 4.0), ("nvfp4", 4.0), ("mxfp6-e2m3", 6.0), ("mxfp8-e4m3", 8.0)] {
        let value = json(&format!("design --source a.npy --designer {name}"), folder.path());
        let blocks = if name == "nvfp4" { 25.0 } else { 13.0 };
        assert_eq!(value["rate_bits"], rate + 8.0 * blocks / 400.0, "{name}");
        let db = value["sqnr_db"].as_f64().unwrap();
        assert!(db > 15.0 && (db > last || name == "mxfp8-e4m3"), "{name}: {db}");
        last = db;
    }
    assert!(run("design --source a.npy --designer mxfp4", folder.path()).contains("bits in blocks of 32"));
}

#[test]
fn codes_of_samples_are_coded_to_their_entropy() {
    let folder = folder();
    let value = json("design --source a.npy --levels 8 --designer uniform", folder.path());
    let coded = &value["entropy_coded"];
    let number = |key: &str| coded[key].as_f64().unwrap();
    assert_eq!(number("code_count"), 400.0);
    assert!((number("ideal_bits") / 400.0 - value["entropy_bits"].as_f64().unwrap()).abs() < 1e-9);
    // The last words of so few codes are not full.
    assert!(number("payload_bits") >= number("ideal_bits") && number("payload_bits") < number("ideal_bits") + 96.0);
    let weighted = json("design --source a.npy --weights weights.txt --levels 8 --designer uniform", folder.path());
    assert!(weighted["entropy_coded"].is_null());
}

#[test]
fn bennett_stands_beside_every_scalar_design() {
    let folder = tempfile::tempdir().unwrap();
    let value = json("design --source uniform --levels 8", folder.path());
    assert!((value["theory"]["bennett_mse"].as_f64().unwrap() - 1.0 / 64.0).abs() < 1e-12);
    assert!(run("design --source uniform --levels 8", folder.path()).contains("Bennett"));
}

#[test]
fn all_equal_samples_give_one_level() {
    let folder = folder();
    for designer in ["k-means", "lloyd-max", "uniform"] {
        let value = json(&format!("design --source equal.txt --levels 4 --designer {designer}"), folder.path());
        assert_eq!((&value["levels"], value["mse"].as_f64()), (&serde_json::json!([7.0]), Some(0.0)), "{designer}");
    }
}

#[test]
fn bad_input_is_refused_in_one_line() {
    let folder = folder();
    let cases = [
        ("--source gausian --levels 8", "\"gausian\" is unknown"),
        ("--source gaussian --levels 8 --designer best", "\"best\" is unknown"),
        ("--source gaussian --levels 8 --designer best", "vector-lloyd"),
        ("--source gaussian --levels 8 --param nu=3", "--param nu: neither"),
        ("--source student-t --levels 8 --param nu=2", "above 2"),
        ("--source gaussian --levels 0", "--levels is 0"),
        ("--source gaussian --levels 1", "--levels is 1"),
        ("--source gaussian --bits 17", "--bits is 17"),
        ("--source gaussian", "needs --levels or --bits"),
        ("--source gaussian --levels 8 --designer k-means", "needs samples"),
        ("--source gaussian --levels 8 --designer dead-zone", "an odd number can"),
        ("--source gaussian --levels 9 --designer nf", "2 to 8 bits"),
        ("--source gaussian --levels 9 --designer fp4-e2m1", "15 levels"),
        ("--source gaussian --levels 9 --held-out 0.1", "samples from a file"),
        ("--source cauchy --levels 4", "no finite variance"),
        ("--source gamma --levels 4 --param shape=-1", "Shape is NaN"),
        ("--source gaussian --levels 4 --start odd", "`uniform`, `quantile` or `compander`"),
        ("--source gaussian --bits 2 --designer ecsq --start quantile", "`best`, `odd` or `even`"),
        ("--source gaussian --levels 4 --dim 2", "--dim is for vectors"),
        ("--source a.npy --designer vector-lloyd --dim 3 --levels 4", "400 samples do not make points of dimension 3"),
        ("--source a.npy --designer vector-lloyd --dim 2", "need --levels"),
        ("--source a.npy --designer vector-lloyd --dim 2 --levels 4 --zero", "take no --symmetric"),
        ("--source a.npy --designer mxfp4 --bits 4", "fixed by its standard"),
        ("--source gaussian --levels 9 --weights few.txt", "samples from a file"),
        ("--source a.npy --levels 4 --weights few.txt", "2 weights given for 400"),
        ("--source a.npy --levels 4 --held-out 1.5", "below 1"),
        ("--source nan.npy --levels 4", "nan.npy: sample 1 is NaN"),
        ("--source short.npy --levels 4", "the file ends after"),
        ("--source short.wav --levels 4", "short.wav: not a readable .wav"),
        ("--source short.png --levels 4", "short.png: not a readable .png"),
        ("--source a.csv:size --levels 4", "the columns are index, weight"),
        ("--source bad.csv:2 --levels 4", "line 2, column 2"),
        ("--source a.safetensors --levels 4", "a tensor must be named"),
        ("--source a.safetensors:bias --levels 4", "there is no tensor \"bias\"; it holds \"layer.weight\""),
        ("--source none.npy --levels 4", "none.npy: no such file"),
        ("--source none.xyz --levels 4", "not a known form"),
    ];
    for (arguments, expected) in cases {
        let text = refusal(&format!("design {arguments}"), folder.path());
        assert!(text.starts_with("error: ") && text.contains(expected), "{arguments}: {text}");
    }
    let text = refusal("plot cells --source gaussian -o a.jpg", folder.path());
    assert!(text.contains(".png or .svg"), "{text}");
}

#[test]
fn the_curve_agrees_with_published_distortions() {
    let folder = tempfile::tempdir().unwrap();
    let value = json("curve --source laplacian --bits 2..4 --plot curve.svg", folder.path());
    let rows = value["rows"].as_array().unwrap();
    for (row, published) in rows.iter().zip([0.176194881054, 0.0544759879139, 0.0153725270599]) {
        let mse = |key: &str| row[key]["mse"].as_f64().unwrap();
        assert!((mse("lloyd_max") - published).abs() < 1e-12);
        let best = mse("lloyd_max");
        assert!(["uniform", "compander", "nf"].iter().all(|key| mse(key) >= best), "{row}");
        assert!(mse("shannon") < mse("ecsq") && mse("ecsq") < best, "{row}");
    }
    let picture = std::fs::read_to_string(folder.path().join("curve.svg")).unwrap();
    assert!(picture.contains("(B) Lloyd-Max") && picture.contains("SQNR (dB)"));
}

#[test]
fn pictures_are_drawn_as_png_and_svg() {
    let folder = folder();
    for kind in ["codebook --levels 4 --designer k-means", "compressors", "cells --bits 3", "errors"] {
        run(&format!("plot {kind} --source a.npy -o picture.png"), folder.path());
        run(&format!("plot {kind} --source a.npy -o picture.svg"), folder.path());
        let bytes = std::fs::read(folder.path().join("picture.png")).unwrap();
        let mut reader = png::Decoder::new(std::io::Cursor::new(bytes)).read_info().unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        reader.next_frame(&mut pixels).unwrap();
        let dark = pixels.chunks_exact(3).filter(|p| p.iter().all(|&c| c < 60)).count();
        assert!(dark > 500, "{kind}: {dark} dark pixels; are the letters there?");
        assert!(std::fs::read_to_string(folder.path().join("picture.svg")).unwrap().contains("a.npy"), "{kind}");
    }
}
