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
        stage.succeed(&[&fed[..], order].concat());
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
    refuse(&["moments", "--skip", "*norm*"], &["lm_head", "no moments of its inputs", "--exclude"]);
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
    assert!(out.contains("headroom (dB)") && out.contains("0.self_attn.q_proj") && out.contains("cat-8"), "{out}");
    assert!(err.contains("calibration's own tokens"), "{err}");
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
    stage.calibrate("48", "more");
    stage.succeed(&["calibrate", &model, "--merge", "few", "more", "-o", "sum"]);
    let sum = std::fs::read_to_string(stage.path("sum/calibration.json")).unwrap();
    assert_eq!(serde_json::from_str::<Value>(&sum).unwrap()["tokens"].as_array().unwrap().len(), 96);
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
