//! Are SqueezeLLM's and any-precision's layouts written as their readers expect, and read back to the same weights?

mod common;

use std::path::{Path, PathBuf};

use common::{Tensor, options, place_of, refused, run, tensor, to, write_safetensors};
use quant::decoded::DecodedCheckpoint;
use quant::device::Device;
use quant::outputs::Target;
use quant::pipeline::Options;
use quant::{Error, checkpoint::Checkpoint};
use quant_core::tensor::Dtype as Float;
use safetensors::Dtype;
use tempfile::{TempDir, tempdir};

const Q: &str = "model.layers.0.self_attn.q_proj";
const UP: &str = "model.layers.1.mlp.up_proj";

/// Two layers whose last run of inputs is short, an embedding, a norm and a head.
fn model(place: &Path, columns: usize) -> PathBuf {
    let folder = place.join("in");
    std::fs::create_dir_all(&folder).unwrap();
    let mut tensors = vec![
        tensor("model.embed_tokens.weight", Dtype::BF16, &[20, columns], 1),
        tensor("model.layers.0.input_layernorm.weight", Dtype::F32, &[columns], 4),
        tensor("lm_head.weight", Dtype::F16, &[20, columns], 5),
    ];
    for layer in 0..2 {
        let name = |module: &str| format!("model.layers.{layer}.{module}.weight");
        tensors.push(tensor(&name("self_attn.q_proj"), Dtype::BF16, &[12, columns], 6 + layer));
        tensors.push(tensor(&name("mlp.up_proj"), Dtype::F32, &[9, columns], 8 + layer));
    }
    write_safetensors(&folder.join("model.safetensors"), &tensors);
    std::fs::write(folder.join("config.json"), r#"{"model_type": "llama", "torch_dtype": "bfloat16"}"#).unwrap();
    folder
}

fn decoded(path: &Path, name: &str, dtype: Float) -> Vec<u8> {
    let checkpoint = DecodedCheckpoint::open(path).unwrap();
    let index = checkpoint.tensors().iter().position(|t| t.name == name).unwrap();
    checkpoint.read(index, dtype, &Device::cpu(Some(1)).unwrap()).unwrap().to_vec()
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
}

fn written(recipe: &str, target: Target, columns: usize) -> (TempDir, PathBuf, PathBuf) {
    let dir = tempdir().unwrap();
    let input = model(dir.path(), columns);
    let output = dir.path().join("out");
    run(&input, &output, &to(options(recipe), target)).unwrap();
    (dir, input, output)
}

#[test]
fn squeezellm_decodes_to_what_native_files_decode_to() {
    for recipe in ["kmeans3-row", "kmeans4-row"] {
        let (dir, input, output) = written(recipe, Target::SqueezeLlm, 1120);
        let native = dir.path().join("native");
        run(&input, &native, &options(recipe)).unwrap();
        for layer in [Q, UP] {
            let name = format!("{layer}.weight");
            let ours = decoded(&output, &name, Float::F32);
            assert_eq!(ours, decoded(&native, &name, Float::F32), "{recipe} {name}");
        }
        let checkpoint = DecodedCheckpoint::open(&output).unwrap();
        let up = checkpoint.tensors().iter().find(|t| t.name == format!("{UP}.weight")).unwrap();
        assert_eq!((up.shape.as_slice(), up.decoded_dtype), (&[9, 1120][..], Some(Float::Bf16)));
        assert_eq!(checkpoint.tensors().len(), 7);
    }
}

#[test]
fn squeezellm_outliers_come_back_and_the_rest_is_as_in_native_files() {
    let recipe = "kmeans4-row outliers 0.01";
    let (dir, input, output) = written(recipe, Target::SqueezeLlm, 1120);
    let native = dir.path().join("native");
    run(&input, &native, &options(recipe)).unwrap();
    let name = format!("{Q}.weight");
    // In bf16, which the source is in, an outlier is what it was.
    assert_eq!(decoded(&output, &name, Float::Bf16), decoded(&native, &name, Float::Bf16));
    let source = floats(&decoded(&input, &name, Float::F32));
    let ours = floats(&decoded(&output, &name, Float::F32));
    let bytes = std::fs::read(output.join("model.safetensors")).unwrap();
    let part = |suffix: &str| bytes[place_of(&bytes, &format!("{Q}.{suffix}"))].to_vec();
    let numbers = |bytes: Vec<u8>| -> Vec<usize> {
        bytes.as_chunks::<4>().0.iter().map(|b| u32::from_le_bytes(*b) as usize).collect()
    };
    let (rows, columns) = (numbers(part("rows")), numbers(part("cols")));
    let (values, table) = (floats(&part("vals")), floats(&part("lookup_table")));
    assert_eq!((rows.len(), columns.len(), values.len()), (13, 134, 134));
    assert_eq!(part("startrows").len(), 4 * 128);
    for row in 0..12 {
        let levels = &table[16 * row..][..16];
        let zero = levels.iter().copied().min_by(|a, b| a.abs().total_cmp(&b.abs())).unwrap();
        for at in rows[row]..rows[row + 1] {
            let index = row * 1120 + columns[at];
            assert_eq!(values[at], source[index] - zero);
            assert_eq!(ours[index], zero + values[at]);
        }
    }
}

#[test]
fn any_precision_decodes_to_f16_levels_and_reports_their_error() {
    for (recipe, bits) in [("kmeans3-row", 3), ("kmeans4-row", 4), ("kmeans6-row", 6)] {
        let dir = tempdir().unwrap();
        let (input, output) = (model(dir.path(), 1120), dir.path().join("out"));
        let report = run(&input, &output, &to(options(recipe), Target::AnyPrecision)).unwrap();
        for tensor in report.tensors.iter().filter(|t| t.is_quantized()) {
            let source = floats(&decoded(&input, &tensor.name, Float::F32));
            let ours = decoded(&output, &tensor.name, Float::F32);
            let halves = decoded(&output, &tensor.name, Float::F16);
            let is_half = |(wide, half): (&f32, &[u8; 2])| *wide == half::f16::from_le_bytes(*half).to_f32();
            assert!(floats(&ours).iter().zip(halves.as_chunks::<2>().0).all(is_half), "levels are f16");
            let error: f64 = source.iter().zip(floats(&ours)).map(|(x, y)| f64::from(x - y).powi(2)).sum();
            assert!((error / source.len() as f64 / tensor.mse - 1.0).abs() < 1e-5, "{recipe} {}", tensor.name);
        }
        let config: serde_json::Value =
            serde_json::from_slice(&std::fs::read(output.join("config.json")).unwrap()).unwrap();
        let expected = serde_json::json!({
            "seed_precision": bits, "parent_precision": bits, "group_count": 1,
            "arch_config": {
                "model_name": "model", "layers_name": "layers", "module_names": ["mlp.up_proj", "self_attn.q_proj"],
            },
        });
        assert_eq!(config["anyprec"], expected);
        let dense = dir.path().join("dense");
        let opened = DecodedCheckpoint::open(&output).unwrap();
        quant::dequantize::run(&opened, &dense, None, false, &Device::cpu(Some(1)).unwrap(), &|_| {}).unwrap();
        let config = std::fs::read_to_string(dense.join("config.json")).unwrap();
        assert!(!config.contains("anyprec"), "{config}");
        assert_eq!(Checkpoint::open(&dense).unwrap().tensors().len(), 7);
    }
}

#[test]
fn what_the_layouts_cannot_hold_is_refused() {
    let dir = tempdir().unwrap();
    let (input, output) = (model(dir.path(), 128), dir.path().join("out"));
    let try_to = |recipe: &str, target: Target| run(&input, &output, &to(options(recipe), target));
    refused(try_to("nf4", Target::SqueezeLlm), &["--to squeezellm", "kmeans3-row to kmeans4-row", "nf4"]);
    refused(try_to("kmeans5-row", Target::SqueezeLlm), &["kmeans3-row to kmeans4-row", "kmeans5-row"]);
    refused(try_to("kmeans2-row", Target::AnyPrecision), &["kmeans3-row to kmeans8-row", "kmeans2-row"]);
    refused(try_to("lloyd4", Target::AnyPrecision), &["--to any-precision", "lloyd4"]);
    refused(try_to("kmeans4-row outliers 0.01", Target::AnyPrecision), &["without outliers"]);
    refused(try_to("kmeans4-row outliers 0.0001", Target::SqueezeLlm), &["tensor \"model.layers.0", "single outlier"]);
    let mut excluded = to(options("kmeans4-row"), Target::SqueezeLlm);
    excluded.selection = quant::select::Selection::new(&[], &["*1.mlp*".into()], None).unwrap();
    refused(run(&input, &output, &excluded), &["model.safetensors", &format!("{UP}.weight"), "no linear layer dense"]);
    let entropy = Options { entropy: true, ..to(options("kmeans4-row"), Target::SqueezeLlm) };
    refused(run(&input, &output, &entropy), &["--entropy is for --to native"]);
    let file = input.join("model.safetensors");
    refused(run(&file, &output, &to(options("kmeans4-row"), Target::SqueezeLlm)), &["needs a model folder"]);
    let odd = tempdir().unwrap();
    let wrong = model(odd.path(), 100);
    let parts = ["_proj.weight", "100 input channels are not a multiple of 32"];
    refused(run(&wrong, &output, &to(options("kmeans4-row"), Target::AnyPrecision)), &parts);
    run(&input, &output, &to(options("kmeans4-row"), Target::SqueezeLlm)).unwrap();
    refused(run(&output, &dir.path().join("again"), &options("nf4")), &["already quantized"]);
}

#[test]
fn layers_that_differ_are_refused_by_any_precision() {
    let dir = tempdir().unwrap();
    let mut input = model(dir.path(), 128);
    let (more, output) = ([tensor("model.layers.1.mlp.gate_proj.weight", Dtype::F32, &[64, 128], 1)], "out");
    write_safetensors(&input.join("more.safetensors"), &more);
    std::fs::rename(input.join("model.safetensors"), input.join("first.safetensors")).unwrap();
    let wanted = to(options("kmeans4-row"), Target::AnyPrecision);
    let parts = ["model.layers.0.mlp.gate_proj.weight", "same modules in every layer"];
    refused(run(&input, &dir.path().join(output), &wanted), &parts);
    input = dir.path().join("flat");
    std::fs::create_dir(&input).unwrap();
    write_safetensors(&input.join("model.safetensors"), &[tensor("proj.weight", Dtype::F32, &[64, 128], 1)]);
    std::fs::write(input.join("config.json"), "{}").unwrap();
    refused(run(&input, &dir.path().join(output), &wanted), &["proj.weight", "numbered layers"]);
}

/// The tensors of a written file, to be changed.
fn tensors_of(folder: &Path) -> Vec<Tensor> {
    let bytes = std::fs::read(folder.join("model.safetensors")).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let owned = |(name, view): (String, safetensors::tensor::TensorView<'_>)| {
        let (dtype, shape, bytes) = (view.dtype(), view.shape().to_vec(), view.data().to_vec());
        Tensor { name, dtype, shape, bytes }
    };
    file.tensors().into_iter().map(owned).collect()
}

/// Opens and reads everything.
fn read(path: &Path) -> Result<(), Error> {
    let checkpoint = DecodedCheckpoint::open(path)?;
    let device = Device::cpu(Some(1)).unwrap();
    let mut floats = (0..checkpoint.tensors().len()).filter(|&i| checkpoint.tensors()[i].decoded_dtype.is_some());
    floats.try_for_each(|index| checkpoint.read(index, Float::F32, &device).map(drop))
}

type Change = fn(&mut Tensor);

fn check_bad(recipe: &str, target: Target, cases: &[(&str, Change, &str)]) {
    let (_dir, _, output) = written(recipe, target, 1120);
    read(&output).unwrap();
    for (suffix, change, says) in cases {
        let bad = tempdir().unwrap();
        let mut tensors = tensors_of(&output);
        let name = format!("{Q}.{suffix}");
        let at = tensors.iter().position(|t| t.name == name).unwrap();
        change(&mut tensors[at]);
        tensors.retain(|t| t.name != "gone");
        write_safetensors(&bad.path().join("model.safetensors"), &tensors);
        refused(read(bad.path()), &[bad.path().to_str().unwrap(), Q, says]);
    }
}

/// Keeps so many 32-bit numbers, as one axis.
fn cut(tensor: &mut Tensor, count: usize) {
    (tensor.shape, tensor.bytes) = (vec![count], tensor.bytes[..4 * count].to_vec());
}

#[test]
fn bad_squeezellm_files_are_refused() {
    check_bad(
        "kmeans4-row outliers 0.01",
        Target::SqueezeLlm,
        &[
            ("qweight", |t| t.dtype = Dtype::F32, "dtype F32; I32 expected"),
            ("qweight", |t| t.shape = vec![t.shape[0] * t.shape[1]], "2 axes expected"),
            ("qweight", |t| t.shape.swap(0, 1), "shape [12, 16]; [140, 8] or [140, 16] expected"),
            ("qweight", |t| (t.shape[0], t.bytes) = (3, vec![0; 4 * 3 * 12]), "3 rows of words; a multiple of 4"),
            ("lookup_table", |t| t.dtype = Dtype::I32, "dtype I32; F32 expected"),
            ("lookup_table", |t| (t.shape, t.bytes) = (vec![12, 4], vec![0; 192]), "shape [12, 4]; [12, 8] or"),
            ("lookup_table", |t| t.bytes[..4].fill(0xff), "level 0 of its table is not finite"),
            ("rows", |t| t.name = "gone".into(), "rows\" is missing"),
            ("rows", |t| cut(t, 12), "shape [12]; [13] expected"),
            ("rows", |t| t.bytes[0] = 1, "do not ascend from 0"),
            ("cols", |t| cut(t, 133), "shape [133]; [134] expected"),
            (
                "cols",
                |t| t.bytes[..4].copy_from_slice(&1120i32.to_le_bytes()),
                "outlier 0 is in column 1120; it has 1120",
            ),
            ("cols", |t| t.bytes[..4].fill(0xff), "outlier 0 is in column -1"),
            ("vals", |t| t.bytes[4..8].fill(0xff), "outlier 1 is not finite"),
            ("startrows", |t| t.name = format!("{Q}.weight"), "both quantized and dense"),
            ("startrows", |t| t.name = format!("{Q}.full_rows"), "hybrid kernel"),
        ],
    );
}

#[test]
fn bad_any_precision_files_are_refused() {
    check_bad(
        "kmeans3-row",
        Target::AnyPrecision,
        &[
            ("qweight", |t| t.dtype = Dtype::U32, "dtype U32; I32 expected"),
            ("qweight", |t| (t.shape, t.bytes) = (vec![2, 12, 35], vec![0; 4 * 2 * 12 * 35]), "2 planes of 35 words"),
            ("qweight", |t| t.shape = vec![36, 35], "3 axes expected"),
            ("lut3", |t| t.dtype = Dtype::BF16, "dtype BF16; F16 expected"),
            ("lut3", |t| t.shape = vec![8, 12], "shape [8, 12]; [12, 8] expected"),
            ("lut3", |t| t.name = format!("{Q}.lut4"), "its tables are for [4] bits"),
            ("lut3", |t| t.bytes[..2].copy_from_slice(&[0, 0x7c]), "level 0 of its table is not finite"),
        ],
    );
}
