//! Are moments on disk those of the tokens that were read, of the model that was meant, and each token counted once?

mod common;

use common::{calibrate, copy, open, quiet, tokens, windows};
use quant_eval::calibration::{self, Calibration};
use quant_eval::model::Model;
use quant_eval::text::Windows;

#[test]
fn a_killed_calibration_goes_on_and_ends_in_the_same_bytes() {
    let (model, ..) = open("llama");
    let folder = tempfile::tempdir().unwrap();
    let (whole, broken) = (folder.path().join("whole"), folder.path().join("broken"));
    calibration::run(&model, &windows(), &whole, false, &mut quiet).unwrap();
    // Killed after the first layer.
    let killed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        calibration::run(&model, &windows(), &broken, false, &mut |done, _| assert!(done != 1, "killed"))
    }));
    assert!(killed.is_err() && !broken.exists());
    let again = calibration::run(&model, &windows(), &broken, false, &mut quiet).unwrap_err();
    assert!(again.to_string().contains("--resume"), "{again}");
    let other = Windows::new(&tokens()[1..], 24, 24, None).unwrap();
    let other = calibration::run(&model, &other, &broken, true, &mut quiet).unwrap_err();
    assert!(other.to_string().contains("cannot resume"), "{other}");
    let mut layers = Vec::new();
    calibration::run(&model, &windows(), &broken, true, &mut |done, _| layers.push(done)).unwrap();
    assert_eq!(layers, [2], "only the second layer was left");
    for file in ["layer-000.safetensors", "layer-001.safetensors", "calibration.json"] {
        assert!(std::fs::read(whole.join(file)).unwrap() == std::fs::read(broken.join(file)).unwrap(), "{file}");
    }
    assert_eq!(std::fs::read_dir(&broken).unwrap().count(), 3, "nothing else is left");
}

#[test]
fn calibrations_of_parts_merge_into_that_of_the_whole() {
    let (model, ..) = open("qwen3");
    let folder = tempfile::tempdir().unwrap();
    let part = |name: &str, tokens: &[u32]| {
        let place = folder.path().join(name);
        calibration::run(&model, &Windows::new(tokens, 24, 24, None).unwrap(), &place, false, &mut quiet).unwrap();
        place
    };
    let all = tokens();
    let parts = [part("a", &all[..120]), part("b", &all[120..])];
    let whole = Calibration::open(&part("whole", &all)).unwrap();
    let place = folder.path().join("merged");
    calibration::merge(&parts, &place, &mut quiet).unwrap();
    let merged = Calibration::open(&place).unwrap();
    assert_eq!(merged.description().tokens(), all);
    for index in 0..2 {
        for (found, expected) in merged.layer(index).unwrap().iter().zip(&whole.layer(index).unwrap()) {
            assert_eq!((found.token_count(), found.channel_max()), (288, expected.channel_max()));
            let (found, expected) = (found.moment(), expected.moment());
            let scale = expected.values().iter().fold(0.0, |m: f64, x| m.max(x.abs()));
            assert!(found.values().iter().zip(expected.values()).all(|(a, b)| (a - b).abs() < 1e-6 * scale));
        }
    }
    let (other, ..) = open("llama");
    let foreign = folder.path().join("foreign");
    calibration::run(&other, &windows(), &foreign, false, &mut quiet).unwrap();
    let error = calibration::merge(&[parts[0].clone(), foreign], &folder.path().join("mixed"), &mut quiet);
    assert!(error.unwrap_err().to_string().contains("another model"));
    assert!(whole.check(&other).is_err(), "sizes differ");
}

#[test]
fn what_was_counted_already_does_not_merge() {
    let (model, ..) = open("qwen3");
    let folder = tempfile::tempdir().unwrap();
    let all = tokens();
    let part = |name: &str, tokens: &[u32], context: usize| {
        let place = folder.path().join(name);
        calibration::run(&model, &Windows::new(tokens, context, context, None).unwrap(), &place, false, &mut quiet)
            .unwrap();
        place
    };
    let (first, second) = (part("first", &all[..144], 24), part("second", &all[144..], 24));
    let sum = folder.path().join("sum");
    calibration::merge(&[first.clone(), second.clone()], &sum, &mut quiet).unwrap();
    let overlapping = part("overlapping", &all[120..168], 24);
    let refuse = |parts: [&std::path::PathBuf; 2], words: &[&str]| {
        let output = folder.path().join("refused");
        let error = calibration::merge(&parts.map(Clone::clone), &output, &mut quiet).unwrap_err();
        assert!(error.is_refused_input() && words.iter().all(|word| error.to_string().contains(word)), "{error}");
        assert!(!output.exists() && !folder.path().join("refused.partial").exists());
    };
    refuse([&first, &first], &["same run", "twice"]);
    refuse([&sum, &second], &["same run", "twice"]);
    refuse([&first, &overlapping], &["1 of the same windows of 24", "twice"]);
    // A layer that is missing is noticed in the middle; nothing is left behind.
    std::fs::remove_file(second.join("layer-001.safetensors")).unwrap();
    let error = calibration::merge(&[first, second], &folder.path().join("refused"), &mut quiet).unwrap_err();
    assert!(error.to_string().contains("layer-001"), "{error}");
    assert!(!folder.path().join("refused.partial").exists());
}

#[test]
fn the_fingerprint_tells_configurations_and_weights_apart_and_no_places() {
    let folder = tempfile::tempdir().unwrap();
    let place = |name: &str| folder.path().join(name);
    let (model, ..) = open("llama");
    let moments = calibrate(&model, folder.path());
    copy("llama", &place("moved"), |_| ());
    std::fs::rename(place("moved/model.safetensors"), place("moved/model-00001-of-00001.safetensors")).unwrap();
    moments.check(&Model::open(&place("moved")).unwrap()).expect("the same weights in a file of another name");
    copy("llama", &place("turned"), |config| config["rope_parameters"]["rope_theta"] = 501.0.into());
    copy("llama", &place("tuned"), |_| ());
    // The last byte of the file is in the last tensor.
    let path = place("tuned/model.safetensors");
    let mut bytes = std::fs::read(&path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&path, bytes).unwrap();
    for name in ["turned", "tuned"] {
        let other = Model::open(&place(name)).unwrap();
        let error = moments.check(&other).unwrap_err();
        let text = error.to_string();
        assert!(error.is_refused_input() && text.contains("another model") && text.contains("--allow-other"), "{text}");
        moments.check_sizes(&other).expect("of the same sizes");
    }
}

#[test]
fn a_description_that_the_layers_contradict_is_refused() {
    let (model, ..) = open("llama");
    let folder = tempfile::tempdir().unwrap();
    drop(calibrate(&model, folder.path()));
    let place = folder.path().join("moments");
    let path = place.join("calibration.json");
    let whole = std::fs::read_to_string(&path).unwrap();
    let changed = |change: &dyn Fn(&mut serde_json::Value)| {
        let mut value = serde_json::from_str(&whole).unwrap();
        change(&mut value);
        std::fs::write(&path, value.to_string()).unwrap();
        let error = Calibration::open(&place).and_then(|c| c.check_sizes(&model).and_then(|()| c.layer(0).map(|_| ())));
        error.unwrap_err().to_string()
    };
    let error = changed(&|v| v["runs"][0]["tokens"] = serde_json::json!([1, 2]));
    assert!(error.contains("has seen 288 tokens; 2 expected"), "{error}");
    let error = changed(&|v| v["layer_count"] = 3.into());
    assert!(error.contains("3 layers; 2 expected"), "{error}");
    let error = changed(&|v| v["widths"]["down"] = 41.into());
    assert!(error.contains("41 channels") && error.contains("40 expected"), "{error}");
    let error = changed(&|v| v["format"] = "quant-calibration/1".into());
    assert!(error.contains("quant-calibration/2 expected: calibrate again"), "{error}");
}

#[cfg(unix)]
#[test]
fn files_get_the_mode_of_any_other_file() {
    use std::os::unix::fs::PermissionsExt;
    let (model, ..) = open("llama");
    let folder = tempfile::tempdir().unwrap();
    drop(calibrate(&model, folder.path()));
    std::fs::write(folder.path().join("plain"), "").unwrap();
    let mode = |name: &str| std::fs::metadata(folder.path().join(name)).unwrap().permissions().mode();
    for name in ["moments/layer-000.safetensors", "moments/calibration.json"] {
        assert_eq!(mode(name), mode("plain"), "{name}");
    }
}
