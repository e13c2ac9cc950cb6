//! Are LUT-B tiles written as the prototype lays them out, and read back to the same weights?

mod common;

use std::path::{Path, PathBuf};

use common::{Tensor, options, place_of, refused, run, tensor, to, write_safetensors};
use quant::decoded::DecodedCheckpoint;
use quant::device::Device;
use quant::outputs::Target;
use quant_core::tensor::Dtype as Float;
use safetensors::Dtype;
use tempfile::tempdir;

const NAME: &str = "model.layers.0.mlp.up_proj";

fn model(place: &Path) -> PathBuf {
    let folder = place.join("in");
    std::fs::create_dir_all(&folder).unwrap();
    let tensors = [
        tensor("model.embed_tokens.weight", Dtype::BF16, &[24, 192], 1),
        tensor(&format!("{NAME}.weight"), Dtype::F32, &[24, 192], 2),
        tensor("model.layers.0.mlp.down_proj.weight", Dtype::BF16, &[192, 24], 3),
    ];
    write_safetensors(&folder.join("model.safetensors"), &tensors);
    std::fs::write(folder.join("config.json"), r#"{"model_type": "llama", "dtype": "bfloat16"}"#).unwrap();
    folder
}

fn floats(path: &Path) -> Vec<f32> {
    let checkpoint = DecodedCheckpoint::open(path).unwrap();
    let index = checkpoint.tensors().iter().position(|t| t.name == format!("{NAME}.weight")).unwrap();
    let bytes = checkpoint.read(index, Float::F32, &Device::cpu(Some(1)).unwrap()).unwrap();
    bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
}

#[test]
fn tiles_hold_three_bits_and_eight_levels() {
    let dir = tempdir().unwrap();
    let (input, output) = (model(dir.path()), dir.path().join("out"));
    let report = run(&input, &output, &to(options("kmeans3-row"), Target::LutB)).unwrap();
    let row = report.tensors.iter().find(|t| t.is_quantized()).unwrap();
    assert_eq!((row.name.as_str(), row.rate_bits), ("model.layers.0.mlp.up_proj.weight", 3.125));
    let dense: Vec<_> = report.tensors.iter().filter(|t| t.substituted).map(|t| t.reason.clone().unwrap()).collect();
    assert_eq!(dense, ["192 x 24 weights are not whole tiles of 8 x 64"]);
    let file = std::fs::read(output.join("model.safetensors")).unwrap();
    let part = |suffix: &str| &file[place_of(&file, &format!("{NAME}.{suffix}"))];
    let (packed, levels) = (part("weight_packed"), part("weight_codebook"));
    assert_eq!((packed.len(), levels.len()), (9 * 192, 9 * 8));
    let (source, ours) = (floats(&input), floats(&output));
    let mut error = 0.0;
    for (index, (x, y)) in source.iter().zip(&ours).enumerate() {
        // Three tiles beside each other; eight codes are three bytes.
        let (r, c) = (index / 192, index % 192);
        let (tile, within) = (r / 8 * 3 + c / 64, r % 8 * 64 + c % 64);
        let three = &packed[192 * tile + within / 8 * 3..][..3];
        let word = u32::from_le_bytes([three[0], three[1], three[2], 0]);
        let code = (word >> (3 * (within % 8)) & 7) as usize;
        let of_tile: Vec<f64> = levels[8 * tile..][..8].iter().map(|&b| e4m3(b)).collect();
        assert_eq!(of_tile[code], f64::from(*y), "weight {index}");
        let distance = |level: &f64| (level - f64::from(*x)).abs();
        assert!(of_tile.iter().all(|level| distance(level) >= distance(&of_tile[code])), "weight {index} is nearest");
        error += distance(&of_tile[code]).powi(2);
    }
    assert!((error / source.len() as f64 / row.mse - 1.0).abs() < 1e-5);
    let config: serde_json::Value =
        serde_json::from_slice(&std::fs::read(output.join("config.json")).unwrap()).unwrap();
    let config = &config["quantization_config"];
    assert_eq!(
        (config["quant_method"].as_str(), config["format"].as_str()),
        (Some("compressed-tensors"), Some("lut-b"))
    );
    let ignored = config["ignore"].as_array().unwrap();
    assert!(ignored.contains(&"model.layers.0.mlp.down_proj".into()), "{ignored:?}");
    let opened = DecodedCheckpoint::open(&output).unwrap();
    assert!(opened.tensors().iter().any(|t| t.method == "LUT-B 3 bits" && t.decoded_dtype == Some(Float::Bf16)));
    let dense = dir.path().join("dense");
    quant::dequantize::run(&opened, &dense, Some(Float::F32), false, &Device::cpu(Some(1)).unwrap(), &|_| {}).unwrap();
    assert_eq!(floats(&dense), ours);
}

/// Four exponent bits of bias 7, three bits of mantissa.
fn e4m3(byte: u8) -> f64 {
    let (exponent, mantissa) = (i32::from(byte >> 3 & 15), f64::from(byte & 7) / 8.0);
    let magnitude = if exponent == 0 { mantissa / 64.0 } else { (1.0 + mantissa) * 2f64.powi(exponent - 7) };
    if byte < 128 { magnitude } else { -magnitude }
}

#[test]
fn other_recipes_and_places_are_refused() {
    let dir = tempdir().unwrap();
    let (input, output) = (model(dir.path()), dir.path().join("out"));
    for recipe in ["kmeans4-row", "nf3", "lloyd3", "kmeans3-row outliers 0.01"] {
        refused(run(&input, &output, &to(options(recipe), Target::LutB)), &["--to lut-b", "kmeans3-row only", recipe]);
    }
    let file = input.join("model.safetensors");
    refused(run(&file, &output, &to(options("kmeans3-row"), Target::LutB)), &["needs a model folder"]);
    run(&input, &output, &to(options("kmeans3-row"), Target::LutB)).unwrap();
    refused(run(&output, &dir.path().join("again"), &options("nf4")), &["already quantized by compressed-tensors"]);
}

#[test]
fn a_weight_that_is_not_finite_is_named_by_its_place_in_the_tensor() {
    let dir = tempdir().unwrap();
    let input = model(dir.path());
    let path = input.join("model.safetensors");
    let mut file = std::fs::read(&path).unwrap();
    let begin = place_of(&file, &format!("{NAME}.weight")).start;
    file[begin + 4 * 1000..][..4].copy_from_slice(&f32::NAN.to_le_bytes());
    std::fs::write(&path, file).unwrap();
    let result = run(&input, &dir.path().join("out"), &to(options("kmeans3-row"), Target::LutB));
    refused(result, &["model.safetensors", NAME, "weight 1000"]);
}

#[test]
fn bad_files_are_refused() {
    type Change = fn(&mut Tensor);
    let cases: [(&str, Change, &str); 7] = [
        ("weight_packed", |t| t.dtype = Dtype::I8, "dtype I8; U8 expected"),
        ("weight_packed", |t| t.shape = vec![9, 192], "3 axes expected"),
        ("weight_packed", |t| t.shape = vec![9, 2, 96], "shape [9, 2, 96]; [9, 2, 192] expected"),
        ("weight_packed", |t| t.name = "gone".into(), "weight_packed\" is missing"),
        ("weight_codebook", |t| t.dtype = Dtype::U8, "dtype U8; F8_E4M3 expected"),
        ("weight_codebook", |t| t.shape = vec![3, 8, 3], "shape [3, 8, 3]; [3, 3, 8] expected"),
        ("weight_codebook", |t| t.bytes[5] = 0xff, "level 5 of its codebooks is not a number"),
    ];
    let dir = tempdir().unwrap();
    let output = dir.path().join("out");
    run(&model(dir.path()), &output, &to(options("kmeans3-row"), Target::LutB)).unwrap();
    let bytes = std::fs::read(output.join("model.safetensors")).unwrap();
    for (suffix, change, says) in cases {
        let bad = tempdir().unwrap();
        let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let owned = |(name, view): (String, safetensors::tensor::TensorView<'_>)| {
            let (dtype, shape, bytes) = (view.dtype(), view.shape().to_vec(), view.data().to_vec());
            Tensor { name, dtype, shape, bytes }
        };
        let mut tensors: Vec<Tensor> = file.tensors().into_iter().map(owned).collect();
        change(tensors.iter_mut().find(|t| t.name == format!("{NAME}.{suffix}")).unwrap());
        tensors.retain(|t| t.name != "gone");
        write_safetensors(&bad.path().join("model.safetensors"), &tensors);
        let read = DecodedCheckpoint::open(bad.path()).and_then(|checkpoint| {
            let index = checkpoint.tensors().iter().position(|t| t.name.starts_with(NAME)).unwrap();
            checkpoint.read(index, Float::F32, &Device::cpu(Some(1)).unwrap()).map(drop)
        });
        refused(read, &[bad.path().to_str().unwrap(), NAME, says]);
    }
}
