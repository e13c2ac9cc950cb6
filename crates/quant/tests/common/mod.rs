//! Small checkpoints to quantize, and how to run one.
#![allow(dead_code, reason = "each test file uses its own part")]

use std::path::{Path, PathBuf};

use half::{bf16, f16};
use quant::checkpoint::layout::SafetensorsLayout;
use quant::device::Device;
use quant::outputs::Target;
use quant::pipeline::{self, Options, Silent};
use quant::report::Report;
use quant::{Error, Recipe, checkpoint::Checkpoint};
use safetensors::Dtype;

/// Every preset that the README names.
pub const PRESETS: [&str; 32] = [
    "nf4",
    "nf3",
    "fp4",
    "int4",
    "sf4",
    "bnf4",
    "lloyd4",
    "lloyd3",
    "kmeans4-row",
    "kmeans3-row",
    "switched4",
    "switched3",
    "ecsq2.5",
    "ecsq3",
    "ecsq3.43",
    "ecsq4.25",
    "ecsq4.49",
    "any4",
    "easyquant4",
    "squeezellm4",
    "iq4_nl",
    "q4_0",
    "q8_0",
    "vq2x8",
    "vq2x6",
    "vq4x12",
    "vq4x10",
    "vq4x8",
    "vq4x8p2",
    "vq8x8",
    "vq8x8x2",
    "vq8x10x2",
];

/// Heavy-tailed, reproducible: a 64-bit linear congruential generator through a cubic.
pub fn weights(count: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    (0..count)
        .map(|_| {
            let u = next() + next() + next();
            0.02 * (u + 0.3 * u * u * u)
        })
        .collect()
}

/// Checks that `result` is one line of refused input that has all `parts`.
#[track_caller]
pub fn refused(result: Result<impl Sized, Error>, parts: &[&str]) {
    let Err(error) = result else { panic!("{parts:?} should have been refused") };
    let message = error.to_string();
    assert!(error.is_refused_input() && !message.contains('\n'), "one refused line: {message}");
    assert!(parts.iter().all(|part| message.contains(part)), "{parts:?} expected in: {message}");
}

/// One tensor of a checkpoint to be written.
pub struct Tensor {
    pub name: String,
    pub dtype: Dtype,
    pub shape: Vec<usize>,
    pub bytes: Vec<u8>,
}

pub fn tensor(name: &str, dtype: Dtype, shape: &[usize], seed: u64) -> Tensor {
    let values = weights(shape.iter().product(), seed);
    let bytes = match dtype {
        Dtype::F32 => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
        Dtype::F16 => values.iter().flat_map(|v| f16::from_f32(*v).to_le_bytes()).collect(),
        Dtype::BF16 => values.iter().flat_map(|v| bf16::from_f32(*v).to_le_bytes()).collect(),
        _ => (0..values.len() * dtype.bitsize() / 8).map(|i| (i * 37 + seed as usize) as u8).collect(),
    };
    Tensor { name: name.into(), dtype, shape: shape.into(), bytes }
}

pub fn write_safetensors(path: &Path, tensors: &[Tensor]) {
    let metadata = [("format".to_owned(), "pt".to_owned())].into_iter().collect();
    let mut layout = SafetensorsLayout::new(metadata);
    for t in tensors {
        layout.add(&t.name, t.dtype, &t.shape).unwrap();
    }
    let file = layout.finish().unwrap();
    let mut bytes = file.header.clone();
    bytes.resize(file.byte_len as usize, 0);
    for (slot, t) in file.slots.iter().zip(tensors) {
        bytes[slot.offset as usize..][..t.bytes.len()].copy_from_slice(&t.bytes);
    }
    std::fs::write(path, bytes).unwrap();
}

/// A two-shard model: Llama-like linears in three dtypes, fused experts, a norm, an embedding, integers, odd shapes.
pub fn model(folder: &Path) -> PathBuf {
    std::fs::create_dir_all(folder.join("extra")).unwrap();
    let first = [
        tensor("model.embed_tokens.weight", Dtype::BF16, &[50, 128], 1),
        tensor("model.layers.0.self_attn.q_proj.weight", Dtype::F32, &[96, 128], 2),
        tensor("model.layers.0.self_attn.k_proj.weight", Dtype::F16, &[33, 128], 3),
        tensor("model.layers.0.mlp.up_proj.weight", Dtype::BF16, &[64, 128], 4),
        tensor("model.layers.0.mlp.down_proj.weight", Dtype::BF16, &[128, 72], 5),
        tensor("model.layers.0.input_layernorm.weight", Dtype::F32, &[128], 6),
    ];
    let second = [
        tensor("model.layers.1.mlp.experts.gate_up_proj", Dtype::BF16, &[3, 17, 64], 7),
        tensor("model.layers.1.self_attn.o_proj.weight", Dtype::F32, &[128, 128], 8),
        tensor("model.layers.1.self_attn.o_proj.bias", Dtype::F32, &[128], 9),
        tensor("model.buffer", Dtype::I64, &[4, 2], 10),
        tensor("model.empty.weight", Dtype::F32, &[0, 128], 11),
        tensor("lm_head.weight", Dtype::F16, &[50, 128], 12),
    ];
    let names = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"];
    let mut map = serde_json::Map::new();
    for (name, tensors) in names.iter().zip([&first[..], &second[..]]) {
        write_safetensors(&folder.join(name), tensors);
        tensors.iter().for_each(|t| {
            map.insert(t.name.clone(), (*name).into());
        });
    }
    let index = serde_json::json!({"metadata": {"total_size": 0}, "weight_map": map});
    std::fs::write(folder.join("model.safetensors.index.json"), index.to_string()).unwrap();
    std::fs::write(folder.join("config.json"), "{\n \"model_type\": \"llama\",   \"torch_dtype\": \"bfloat16\"}")
        .unwrap();
    std::fs::write(folder.join("tokenizer.json"), "{\"a\": [1, 2]}").unwrap();
    std::fs::write(folder.join("extra/notes.txt"), "kept").unwrap();
    folder.to_owned()
}

/// Where the data of tensor `name` lie in a safetensors file.
pub fn place_of(file: &[u8], name: &str) -> std::ops::Range<usize> {
    let (header_len, header) = safetensors::SafeTensors::read_metadata(file).unwrap();
    let (begin, end) = header.info(name).unwrap().data_offsets;
    8 + header_len + begin..8 + header_len + end
}

/// A run by a recipe in one line, such as a preset.
pub fn options(recipe: &str) -> Options {
    Options::new(recipe.parse::<Recipe>().unwrap())
}

pub fn run(input: &Path, output: &Path, options: &Options) -> Result<Report, Error> {
    run_on(input, output, options, 2)
}

pub fn run_on(input: &Path, output: &Path, options: &Options, threads: usize) -> Result<Report, Error> {
    let checkpoint = Checkpoint::open(input)?;
    pipeline::run(&checkpoint, output, options, &Device::cpu(Some(threads))?, &Silent)
}

pub fn to(mut options: Options, target: Target) -> Options {
    options.target = target;
    options
}

/// Every file below `folder` with its contents, by relative path.
pub fn tree(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    fn walk(root: &Path, folder: &Path, out: &mut Vec<(PathBuf, Vec<u8>)>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(root, &path, out);
            } else {
                out.push((path.strip_prefix(root).unwrap().to_owned(), std::fs::read(&path).unwrap()));
            }
        }
    }
    let mut out = Vec::new();
    walk(folder, folder, &mut out);
    out.sort();
    out
}

/// The header of a safetensors file, and where its data begins.
pub fn header(file: &[u8]) -> (serde_json::Value, usize) {
    let end = 8 + u64::from_le_bytes(file[..8].try_into().unwrap()) as usize;
    (serde_json::from_slice(&file[8..end]).unwrap(), end)
}

/// The file with the data of one tensor changed.
pub fn with_tensor(file: &[u8], name: &str, change: impl Fn(&mut [u8])) -> Vec<u8> {
    let ((header, data), mut file) = (header(file), file.to_vec());
    let place = |i: usize| data + header[name]["data_offsets"][i].as_u64().expect(name) as usize;
    change(&mut file[place(0)..place(1)]);
    file
}

/// The file with its manifest changed by replacing one text by another of any length.
pub fn with_manifest(file: &[u8], from: &str, to: &str) -> Vec<u8> {
    let (mut header, data) = header(file);
    let manifest = header["__metadata__"]["quant.manifest"].as_str().unwrap().to_owned();
    assert!(manifest.contains(from), "{from} in {manifest}");
    header["__metadata__"]["quant.manifest"] = manifest.replace(from, to).into();
    let mut text = header.to_string();
    text += &" ".repeat(text.len().next_multiple_of(8) - text.len());
    [&(text.len() as u64).to_le_bytes()[..], text.as_bytes(), &file[data..]].concat()
}
