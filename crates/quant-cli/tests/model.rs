//! Do the commands that run a model agree with each other, on a tiny Llama with a tokenizer of its own?

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};

struct Stage {
    folder: tempfile::TempDir,
}

impl Stage {
    /// A folder with a text, a tokenizer of 96 words, and room for outputs.
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let vocabulary: serde_json::Map<String, Value> = (0..96).map(|i| (format!("w{i}"), json!(i))).collect();
        let tokenizer = json!({
            "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
            "pre_tokenizer": {"type": "WhitespaceSplit"}, "post_processor": null, "decoder": null,
            "model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": "w0"},
        });
        std::fs::write(folder.path().join("tokenizer.json"), tokenizer.to_string()).unwrap();
        let text: Vec<String> = (0..400u32).map(|i| format!("w{}", (i * i + 7 * i + i / 5) % 96)).collect();
        std::fs::write(folder.path().join("text.txt"), text.join(" ")).unwrap();
        Self { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_quant"));
        command.current_dir(self.folder.path()).args(arguments).output().expect("the command runs")
    }

    fn succeed(&self, arguments: &[&str]) -> (String, String) {
        let output = self.run(arguments);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
        (text(&output.stdout), text(&output.stderr))
    }

    fn refuse(&self, arguments: &[&str], words: &[&str]) {
        let output = self.run(arguments);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {text}");
        words.iter().for_each(|word| assert!(text.contains(word), "{arguments:?}: \"{text}\" without \"{word}\""));
    }

    fn calibrate(&self, tokens: &str, output: &str) {
        let model = model();
        let text = ["--text", "text.txt", "--tokenizer", "tokenizer.json", "--context", "24", "--tokens", tokens];
        self.succeed(&[&["calibrate", &model, "-o", output], &text[..]].concat());
    }

    fn perplexity(&self, model: &str, more: &[&str]) -> f64 {
        let text = ["--text", "text.txt", "--tokenizer", "tokenizer.json", "--context", "24", "--json", "-"];
        let (out, _) = self.succeed(&[&["eval", model], &text[..], more].concat());
        let report: Value = serde_json::from_str(&out).expect("JSON and nothing else on stdout");
        assert_eq!((&report["context"], &report["stride"]), (&json!(24), &json!(24)));
        report["perplexity"].as_f64().unwrap()
    }
}

fn model() -> String {
    let place = Path::new(env!("CARGO_MANIFEST_DIR")).join("../quant-eval/tests/fixtures/llama");
    place.to_str().unwrap().to_owned()
}

#[test]
fn a_transformed_and_quantized_folder_scores_as_the_same_steps_in_one_command() {
    let stage = Stage::new();
    let model = model();
    stage.calibrate("384", "moments");
    let plain = stage.perplexity(&model, &[]);
    let method = ["--method", "cat", "--block", "8", "--calibration", "moments"];
    let (out, err) = stage.succeed(&[&["transform", &model, "cat"], &method[..]].concat());
    assert!(out.contains("online") && err.contains("other runtimes"), "{out}{err}");
    let near = |a: f64, b: f64| assert!((a / b - 1.0).abs() < 1e-3, "{a} against {b}");
    near(stage.perplexity("cat", &[]), plain);
    let rounding = ["--weights", "kmeans3-row", "--activations", "int4"];
    let together = stage.perplexity(&model, &[&rounding[..], &method[..]].concat());
    near(stage.perplexity("cat", &rounding), together);
    assert!((together / plain - 1.0).abs() > 1e-3, "3 bits are not free");
    stage.succeed(&["quantize", "cat", "cat-k3", "--preset", "kmeans3-row"]);
    near(stage.perplexity("cat-k3", &["--activations", "int4"]), together);
    stage.refuse(
        &["eval", "cat", "--text", "text.txt", "--tokenizer", "tokenizer.json", "--method", "hadamard"],
        &["transformed already"],
    );
}

#[test]
fn error_feedback_lowers_the_error_of_outputs_and_says_so() {
    let stage = Stage::new();
    let model = model();
    stage.calibrate("384", "moments");
    let plain = ["quantize", &model, "plain", "--preset", "lloyd3", "--json", "plain.json"];
    stage.succeed(&plain);
    let read = |name: &str| -> Value { serde_json::from_slice(&std::fs::read(stage.path(name)).unwrap()).unwrap() };
    for (name, order) in [("fed", &[][..]), ("ordered", &["--activation-order"])] {
        let json = format!("{name}.json");
        let fed = ["quantize", &model, name, "--preset", "lloyd3", "--error-feedback", "moments", "--json", &json];
        let (_, err) = stage.succeed(&[&fed[..], order].concat());
        assert!(!err.contains("other weights"), "{err}");
        let report = read(&json);
        let error = |value: &Value, key: &str| value["output_error"][key].as_f64().unwrap();
        let totals = &report["totals"];
        assert!(error(totals, "fed_back") < 0.9 * error(totals, "nearest"), "{totals}");
        let first = &report["tensors"].as_array().unwrap().iter().find(|t| !t["output_error"].is_null()).unwrap();
        assert!(
            error(first, "fed_back") > 0.0 && first["method"].as_str().unwrap().contains("error-feedback"),
            "{first}"
        );
        let mse = |report: &Value| report["totals"]["mse"].as_f64().unwrap();
        assert!(mse(&report) > mse(&read("plain.json")), "single weights are further from their levels");
    }
    let refuse = |more: &[&str], words: &[&str]| {
        stage.refuse(&[&["quantize", &model, "no", "--preset", "lloyd3", "--error-feedback"], more].concat(), words);
    };
    refuse(&["plain"], &["not a calibration"]);
    refuse(&["moments", "--skip", "*norm*"], &["embed_tokens", "no moments of its inputs", "--exclude"]);
    stage.succeed(&["transform", &model, "turned", "--method", "hadamard"]);
    let turned = ["quantize", "turned", "no", "--preset", "lloyd3", "--error-feedback", "moments"];
    stage.refuse(&turned, &["holds transforms"]);
}

#[test]
fn analysis_has_a_table_a_picture_and_the_same_as_json() {
    let stage = Stage::new();
    let model = model();
    stage.calibrate("384", "moments");
    let scene = ["analyze", &model, "--calibration", "moments", "--block", "8"];
    let (out, err) = stage.succeed(&[&scene[..], &["--plot", "factors.svg"]].concat());
    assert!(
        out.contains("headroom")
            && out.contains("layers limited by: alignment")
            && out.contains("0.self_attn.q_proj")
            && out.contains("cat-8"),
        "{out}"
    );
    assert!(err.contains("calibration's own tokens"), "{err}");
    assert!(out.lines().all(|line| line.chars().count() <= 100), "{out}");
    assert!(std::fs::read_to_string(stage.path("factors.svg")).unwrap().contains("alignment A (dB)"));
    let text = ["--text", "text.txt", "--tokenizer", "tokenizer.json", "--context", "24", "--json", "-"];
    let (out, _) = stage.succeed(&[&scene[..], &text[..]].concat());
    let report: Value = serde_json::from_str(&out).expect("JSON and nothing else on stdout");
    assert_eq!(report["linears"].as_array().unwrap().len(), 14);
    assert_eq!(report["calibration_token_count"], 384);
    let first = &report["linears"][0];
    assert!(first["headroom_db"].as_f64().unwrap() >= 0.0 && first["limit"].as_str().is_some_and(|l| !l.is_empty()));
}

#[test]
fn too_few_tokens_are_told_and_nothing_is_overwritten() {
    let stage = Stage::new();
    let model = model();
    stage.calibrate("48", "few");
    let method = ["--method", "cat", "--block", "8", "--calibration", "few"];
    let (_, err) = stage.succeed(&[&["transform", &model, "cat"], &method[..]].concat());
    assert!(err.contains("warning: 48 calibration tokens are too few"), "{err}");
    stage.refuse(&["transform", &model, "cat", "--method", "hadamard"], &["already exists"]);
    stage.refuse(&["transform", &model, "other", "--method", "cat"], &["--calibration"]);
    let again =
        ["calibrate", &model, "--text", "text.txt", "--tokenizer", "tokenizer.json", "--context", "24", "-o", "few"];
    stage.refuse(&again, &["already exists"]);
    stage.refuse(&["calibrate", &model, "--merge", "few", "few", "-o", "sum"], &["same run", "twice"]);
    let other: Vec<String> = (0..48).map(|i| format!("w{}", (i * 31 + 5) % 96)).collect();
    std::fs::write(stage.path("other.txt"), other.join(" ")).unwrap();
    let text = ["--text", "other.txt", "--tokenizer", "tokenizer.json", "--context", "24", "--json", "-"];
    let (out, err) = stage.succeed(&[&["calibrate", &model, "-o", "more", "--tokens", "50"], &text[..]].concat());
    assert_eq!(serde_json::from_str::<Value>(&out).unwrap()["token_count"], 48);
    assert!(err.contains("48 tokens are read, 2 whole window(s) of 24; 50 were asked for"), "{err}");
    let other = model.replace("llama", "qwen2");
    stage.refuse(&["calibrate", &other, "--merge", "few", "more", "-o", "sum"], &["few", "made from another model"]);
    let (out, _) = stage.succeed(&["calibrate", &model, "--merge", "few", "more", "-o", "sum"]);
    assert!(out.contains("96 tokens"), "{out}");
    let sum: Value = serde_json::from_slice(&std::fs::read(stage.path("sum/calibration.json")).unwrap()).unwrap();
    assert_eq!(sum["runs"].as_array().unwrap().len(), 2);
}

#[test]
fn a_scaling_instead_of_blocks_is_called_one() {
    let stage = Stage::new();
    let model = model();
    stage.calibrate("48", "few");
    let name = "cat-1 (too few tokens for cat-8)";
    let method = ["--method", "cat", "--block", "8", "--calibration", "few"];
    let (out, _) = stage.succeed(&[&["transform", &model, "cat", "--json", "-"], &method[..]].concat());
    let report: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&report["method"], &report["fell_back"]), (&json!(name), &json!(8)));
    let text = ["--text", "text.txt", "--tokenizer", "tokenizer.json", "--context", "24"];
    let (out, _) = stage.succeed(&[&["eval", &model], &text[..], &method].concat());
    assert!(out.contains(&format!("transform     {name}\n")), "{out}");
    let (out, _) = stage.succeed(&[&["eval", "cat"], &text[..]].concat());
    assert!(out.contains(&format!("transform     {name}, in the model\n")), "{out}");
    let (out, _) = stage.succeed(&[&["analyze", &model, "--calibration", "few", "--block", "8"], &text[..]].concat());
    assert!(out.contains("(not cat-8)") && out.contains("* a scaling instead"), "{out}");
}

#[test]
fn a_transformed_folder_is_not_written_where_its_transforms_are_lost() {
    let stage = Stage::new();
    let model = model();
    stage.succeed(&["transform", &model, "rotated", "--method", "hadamard"]);
    for (target, preset) in [("bitsandbytes", "nf4"), ("dense", "nf4"), ("gguf", "iq4_nl")] {
        let quantize = ["quantize", "rotated", "lost.gguf", "--preset", preset, "--to", target];
        stage.refuse(&quantize, &["rotated", "transformed at run time (hadamard)", &format!("--to {target}")]);
        stage.refuse(&[&quantize[..], &["--dry-run"]].concat(), &["hadamard"]);
    }
    let shard = "rotated/model-00001-of-00003.safetensors";
    stage.refuse(&["quantize", shard, "lost.safetensors", "--preset", "nf4"], &["hadamard", "a lone file"]);
    stage.succeed(&["quantize", "rotated", "kept", "--preset", "kmeans4-row"]);
    stage.succeed(&["dequantize", "kept", "again"]);
    stage.refuse(&["dequantize", "kept", "kept.gguf"], &["transformed at run time", "--to gguf"]);
    let (out, _) = stage.succeed(&["inspect", "kept"]);
    assert!(out.contains("transform     hadamard, 8 inputs at run time"), "{out}");
    let scored = |place: &str| stage.perplexity(place, &["--activations", "int8"]);
    assert_eq!(scored("kept"), scored("again"));
    for place in ["kept", "again"] {
        std::fs::remove_dir_all(stage.path(place).join("transforms")).unwrap();
        let lost = [place, "transforms/transforms.json is missing"];
        stage.refuse(&["eval", place, "--text", "text.txt", "--tokenizer", "tokenizer.json"], &lost);
    }
    stage.refuse(&["dequantize", "kept", "more"], &["transforms/transforms.json is missing"]);
    stage.refuse(&["quantize", "again", "more", "--preset", "nf4"], &["transforms/transforms.json is missing"]);
    // What folds whole is an ordinary checkpoint.
    stage.calibrate("48", "few");
    let folds = ["--method", "cat-unrotated", "--block", "1", "--calibration", "few"];
    stage.succeed(&[&["transform", &model, "balanced"], &folds[..]].concat());
    stage.succeed(&["quantize", "balanced", "dense", "--preset", "kmeans4-row", "--to", "dense"]);
    assert!(stage.perplexity("dense", &[]).is_finite());
}

#[test]
fn a_calibration_of_other_weights_is_taken_only_when_that_is_meant() {
    let stage = Stage::new();
    let model = model();
    stage.calibrate("384", "moments");
    let folds = ["--method", "cat-unrotated", "--block", "1", "--calibration", "moments"];
    stage.succeed(&[&["transform", &model, "balanced"], &folds[..]].concat());
    let method = ["--method", "cat", "--block", "8", "--calibration", "moments"];
    let transform = [&["transform", "balanced", "cat"], &method[..]].concat();
    stage.refuse(&transform, &["moments", "another model", "--allow-other-weights"]);
    let (_, err) = stage.succeed(&[&transform[..], &["--allow-other-weights"]].concat());
    assert!(err.contains("warning: moments: was made from another model"), "{err}");
}

#[test]
fn bad_words_are_refused_with_what_is_known() {
    let stage = Stage::new();
    let model = model();
    let eval = |more: &[&'static str]| {
        let mut arguments = vec!["eval".to_owned(), model.clone(), "--text".into(), "text.txt".into()];
        arguments.extend(["--tokenizer".into(), "tokenizer.json".into()]);
        arguments.extend(more.iter().map(|a| (*a).to_owned()));
        arguments
    };
    let refuse = |more: &[&'static str], words: &[&str]| {
        let arguments = eval(more);
        stage.refuse(&arguments.iter().map(String::as_str).collect::<Vec<_>>(), words);
    };
    refuse(&["--weights", "q4"], &["q4", "rtn4-clip"]);
    refuse(&["--activations", "fp4"], &["fp4", "int4-sym"]);
    refuse(&["--method", "rotate"], &["rotate", "smooth-hadamard"]);
    refuse(&["--context", "24", "--stride", "25"], &["stride"]);
    refuse(&["--weights", "rtn4", "--group", "64"], &["--group"]);
    refuse(&["--context", "512"], &["400 tokens"]);
    refuse(&["--windows", "0"], &["1 or more"]);
    refuse(&["--damping", "-1"], &["--damping", "0 or more"]);
    refuse(&["--damping", "NaN"], &["--damping", "finite"]);
    let calibrate = ["calibrate", &model, "--text", "text.txt", "--tokenizer", "tokenizer.json", "-o", "c"];
    stage.refuse(&[&calibrate[..], &["--tokens", "0"]].concat(), &["--tokens", "1 or more"]);
    stage.refuse(&["eval", &model, "--text", "text.txt"], &["tokenizer.json", "--tokenizer"]);
}

#[test]
fn every_command_has_help_with_an_example() {
    let stage = Stage::new();
    for command in ["calibrate", "analyze", "transform", "eval"] {
        let (out, _) = stage.succeed(&[command, "--help"]);
        assert!(out.contains("Example") && out.contains(&format!("quant {command} SmolLM2-135M")), "{out}");
    }
}
