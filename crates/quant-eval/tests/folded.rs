//! Do a transformed folder's weights and transforms stay together, and is whatever does not fit refused in a sentence?

mod common;

use std::path::{Path, PathBuf};

use common::{calibrate, copy, open, quiet};
use quant_eval::fold;
use quant_eval::method::{Build, Method};
use quant_eval::model::Model;
use serde_json::{Value, json};

/// The tiny Llama with CAT in blocks of 8, in a folder of its own.
fn transformed(folder: &Path) -> PathBuf {
    let (model, ..) = open("llama");
    let place = folder.join("cat");
    let method = Method::Cat { block: 8, rotated: true };
    fold::fold(&model, Some(&calibrate(&model, folder)), method, &Build::default(), &place, &mut quiet).unwrap();
    place
}

fn refuses(place: &Path, words: &[&str]) {
    let error = Model::open(place).and_then(|model| fold::read(&model)).expect_err("it does not fit");
    let text = error.to_string();
    assert!(error.is_refused_input() && !text.contains('\n'), "{text}");
    words.iter().for_each(|word| assert!(text.contains(word), "\"{text}\" without \"{word}\""));
}

#[test]
fn a_model_with_online_transforms_is_not_taken_for_a_plain_one() {
    let folder = tempfile::tempdir().unwrap();
    let error = fold::open_untransformed(&transformed(folder.path())).unwrap_err();
    assert!(error.is_refused_input() && error.to_string().contains("online"), "{error}");
    assert!(fold::open_untransformed(&common::folder("llama")).is_ok());
}

#[test]
fn weights_and_transforms_that_lost_each_other_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let place = transformed(folder.path());
    assert!(fold::read(&Model::open(&place).unwrap()).unwrap().is_some());
    let (kept, away) = (place.join("transforms"), folder.path().join("away"));
    std::fs::rename(&kept, &away).unwrap();
    refuses(&place, &["cat-8", "transforms/transforms.json is missing"]);
    // The files of weights say so, too.
    let config = std::fs::read_to_string(place.join("config.json")).unwrap();
    std::fs::copy(common::folder("llama").join("config.json"), place.join("config.json")).unwrap();
    refuses(&place, &["cat-8", "transforms/transforms.json is missing"]);
    std::fs::write(place.join("config.json"), config).unwrap();
    // Transforms of other signs.
    let (model, ..) = open("llama");
    let other = folder.path().join("other");
    fold::fold(&model, None, Method::Hadamard, &Build { seed: 2, ..Build::default() }, &other, &mut quiet).unwrap();
    std::fs::rename(other.join("transforms"), &kept).unwrap();
    refuses(&place, &["not those that the weights expect"]);
    // Transforms beside weights that expect none.
    let plain = folder.path().join("plain");
    copy("llama", &plain, |_| ());
    std::fs::rename(&away, plain.join("transforms")).unwrap();
    refuses(&plain, &["do not say that they expect any"]);
}

#[test]
fn a_mark_of_another_version_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("marked");
    copy("llama", &place, |c| c["quant_transform"] = json!({"version": 2, "method": "x", "online_input_count": 0}));
    refuses(&place, &["config.json", "version 2; 1 expected"]);
    copy("llama", &place, |c| c["quant_transform"] = "cat".into());
    refuses(&place, &["config.json", "mark"]);
}

#[test]
fn what_was_folded_whole_is_an_ordinary_checkpoint_that_says_what_was_done() {
    let (model, ..) = open("llama");
    let folder = tempfile::tempdir().unwrap();
    let (moments, place) = (calibrate(&model, folder.path()), folder.path().join("balanced"));
    let method = Method::Cat { block: 1, rotated: false };
    fold::fold(&model, Some(&moments), method, &Build::default(), &place, &mut quiet).unwrap();
    assert!(fold::open_untransformed(&place).is_ok() && !place.join("transforms").exists());
    let config: Value = serde_json::from_slice(&std::fs::read(place.join("config.json")).unwrap()).unwrap();
    let mark = json!({"version": 1, "method": "cat-1 without H", "online_input_count": 0});
    assert_eq!((&config["quant_transform"], &config["dtype"]), (&mark, &json!("float32")));
    assert_eq!(
        config["rope_parameters"],
        json!(open("llama").0.checkpoint().checkpoint().config().unwrap()["rope_parameters"])
    );
}

/// A tensor as written: name, dtype, shape, bytes.
type Stored = (String, safetensors::Dtype, Vec<usize>, Vec<u8>);

/// What is done to tensor `at` of all.
type Change = dyn Fn(&mut Vec<Stored>, usize);

/// Rewrites a tensor of the transforms, and the mark so that it takes them for its own.
fn rewrite(place: &Path, name: &str, change: impl Fn(&mut Vec<Stored>, usize)) {
    let path = place.join("transforms/transforms.safetensors");
    let bytes = std::fs::read(&path).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let view = |(name, view): (String, safetensors::tensor::TensorView<'_>)| {
        (name, view.dtype(), view.shape().to_vec(), view.data().to_vec())
    };
    let mut tensors: Vec<Stored> = file.tensors().into_iter().map(view).collect();
    let at = tensors.iter().position(|(n, ..)| n == name).expect("it is there");
    change(&mut tensors, at);
    let views = tensors.iter().map(|(name, dtype, shape, bytes)| {
        (name.as_str(), safetensors::tensor::TensorView::new(*dtype, shape.clone(), bytes).unwrap())
    });
    std::fs::write(&path, safetensors::serialize(views, None).unwrap()).unwrap();
    let config = place.join("config.json");
    let mut value: Value = serde_json::from_slice(&std::fs::read(&config).unwrap()).unwrap();
    value["quant_transform"].as_object_mut().unwrap().remove("transforms");
    std::fs::write(&config, value.to_string()).unwrap();
}

#[test]
fn stored_transforms_that_do_not_fit_are_refused_with_what_was_expected() {
    let folder = tempfile::tempdir().unwrap();
    let file = "transforms.safetensors";
    let cases: [(&str, &Change, &[&str]); 7] = [
        (
            "layers.0.attention.signs",
            &|all, at| drop(all.remove(at)),
            &[file, "layers.0.attention.signs", "missing", "F32 [24]"],
        ),
        (
            "layers.0.attention.signs",
            &|all, at| {
                all[at].2 = vec![23];
                all[at].3.truncate(92);
            },
            &[file, "F32 [23] found; F32 [24] expected"],
        ),
        (
            "layers.1.down.signs",
            &|all, at| {
                all[at].1 = safetensors::Dtype::F16;
                all[at].3.truncate(80);
            },
            &[file, "layers.1.down.signs", "F16 [40] found; F32 [40] expected"],
        ),
        (
            "layers.0.attention.signs",
            &|all, at| all[at].3[..4].copy_from_slice(&0.5f32.to_le_bytes()),
            &[file, "value 0 is 0.5; 1 or -1 expected"],
        ),
        (
            "layers.0.output.block.1",
            &|all, at| all[at].2 = vec![64],
            &[file, "layers.0.output.block.1", "F32 [64] found; F32 [24, 24] expected"],
        ),
        (
            "layers.0.output.block.1",
            &|all, at| {
                all[at].2 = vec![4, 4];
                all[at].3.truncate(64);
            },
            &[file, "20 channels; 24 expected"],
        ),
        (
            "layers.0.output.block.1",
            &|all, at| all[at].3[..4].copy_from_slice(&f32::NAN.to_le_bytes()),
            &[file, "layers.0.output.block.1", "value 0 is NaN"],
        ),
    ];
    for (index, (name, change, words)) in cases.into_iter().enumerate() {
        let own = folder.path().join(index.to_string());
        std::fs::create_dir(&own).unwrap();
        let place = transformed(&own);
        rewrite(&place, name, change);
        refuses(&place, words);
    }
}

#[test]
fn a_description_that_does_not_fit_the_model_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let place = transformed(folder.path());
    let path = place.join("transforms/transforms.json");
    let whole = std::fs::read_to_string(&path).unwrap();
    let refuse = |change: &dyn Fn(&mut Value), words: &[&str]| {
        let mut value = serde_json::from_str(&whole).unwrap();
        change(&mut value);
        std::fs::write(&path, value.to_string()).unwrap();
        refuses(&place, &[&["transforms.json"], words].concat());
    };
    refuse(&|v| v["inputs"][0]["layer"] = 7.into(), &["layer 7", "no such input"]);
    refuse(&|v| v["inputs"][0]["input"] = "side".into(), &["\"side\"", "no such input"]);
    refuse(&|v| v["inputs"][1] = v["inputs"][0].clone(), &["layer 0, input \"attention\" stands there twice"]);
    refuse(&|v| drop(v["inputs"].as_array_mut().unwrap().pop()), &["layer 1, input \"down\" is missing"]);
    refuse(&|v| v["format"] = "quant-transforms/9".into(), &["quant-transforms/9", "quant-transforms/1"]);
    refuse(&|v| drop(v.as_object_mut().unwrap().remove("inputs")), &["inputs"]);
}

#[test]
fn a_run_that_fails_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let (model, ..) = open("llama");
    let moments = calibrate(&model, folder.path());
    std::fs::remove_file(folder.path().join("moments/layer-001.safetensors")).unwrap();
    let place = folder.path().join("out");
    let method = Method::Cat { block: 8, rotated: true };
    fold::fold(&model, Some(&moments), method, &Build::default(), &place, &mut quiet).unwrap_err();
    assert!(!place.exists() && !folder.path().join("out.partial").exists());
    for damping in [-1.0, f64::NAN, f64::INFINITY] {
        let build = Build { damping, ..Build::default() };
        let error = fold::fold(&model, None, Method::Hadamard, &build, &place, &mut quiet).unwrap_err();
        assert!(error.is_refused_input() && error.to_string().contains("0 or more"), "{error}");
    }
}

#[cfg(unix)]
#[test]
fn files_get_the_mode_of_any_other_file() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let place = transformed(folder.path());
    std::fs::write(folder.path().join("plain"), "").unwrap();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode();
    for name in ["model-00001-of-00003.safetensors", "transforms/transforms.safetensors", "config.json"] {
        assert_eq!(mode(&place.join(name)), mode(&folder.path().join("plain")), "{name}");
    }
}
