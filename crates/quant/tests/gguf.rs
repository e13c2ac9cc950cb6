//! Is a GGUF file that we write the source's, with blocks in the place of the quantized weights?

mod common;

use std::path::{Path, PathBuf};

use quant::checkpoint::Checkpoint;
use quant::outputs::Target;
use quant_gguf::{Array, GgmlType, PlannedTensor, Value, dequantize, lay_out};

const ROWS: usize = 24;
const COLUMNS: usize = 96;

fn metadata() -> Vec<(String, Value)> {
    let tokens = Array::String(vec!["<s>".into(), "Ġthe".into()]);
    vec![
        ("general.architecture".into(), Value::String("llama".into())),
        ("general.file_type".into(), Value::U32(0)),
        ("tokenizer.ggml.tokens".into(), Value::Array(tokens)),
        ("llama.rope.freq_base".into(), Value::F32(1e5)),
    ]
}

/// Two linears, one of them ragged, a norm, and an embedding in blocks that nothing here decodes.
fn source(folder: &Path) -> (PathBuf, Vec<f32>) {
    let tensor =
        |name: &str, shape: &[usize], ggml_type| PlannedTensor { name: name.into(), shape: shape.into(), ggml_type };
    let tensors = [
        tensor("token_embd.weight", &[2, 256], GgmlType::IQ4_XS),
        tensor("blk.0.attn_norm.weight", &[COLUMNS], GgmlType::F32),
        tensor("blk.0.ffn_up.weight", &[ROWS, COLUMNS], GgmlType::F32),
        tensor("blk.0.ffn_odd.weight", &[ROWS, 40], GgmlType::F32),
    ];
    let layout = lay_out(&metadata(), &tensors).unwrap();
    let mut file = layout.header.clone();
    file.resize(usize::try_from(layout.byte_len).unwrap(), 0);
    let samples = common::weights(ROWS * COLUMNS, 3);
    let mut put = |index: usize, bytes: &[u8]| {
        file[usize::try_from(layout.places[index].offset).unwrap()..][..bytes.len()].copy_from_slice(bytes);
    };
    put(0, &(0..2 * 136).map(|i| (i % 251) as u8).collect::<Vec<_>>());
    put(1, bytemuck::cast_slice(&common::weights(COLUMNS, 1)));
    put(2, bytemuck::cast_slice(&samples));
    put(3, bytemuck::cast_slice(&common::weights(ROWS * 40, 2)));
    let path = folder.join("model.gguf");
    std::fs::write(&path, file).unwrap();
    (path, samples)
}

fn entry(checkpoint: &Checkpoint, name: &str) -> usize {
    checkpoint.tensors().iter().position(|t| t.name == name).unwrap()
}

#[test]
fn blocks_replace_weights_and_all_else_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let (input, samples) = source(folder.path());
    let before = Checkpoint::open(&input).unwrap();
    let presets =
        [("iq4_nl", GgmlType::IQ4_NL, 25, 20.0), ("q4_0", GgmlType::Q4_0, 2, 19.0), ("q8_0", GgmlType::Q8_0, 7, 42.0)];
    for (preset, ggml_type, file_type, sqnr_min) in presets {
        let output = folder.path().join(format!("{preset}.gguf"));
        let report = common::run(&input, &output, &common::to(common::options(preset), Target::Gguf)).unwrap();
        let after = Checkpoint::open(&output).unwrap();
        let mut expected = metadata();
        expected[1].1 = Value::U32(file_type);
        expected.push(("general.quantization_version".into(), Value::U32(2)));
        assert_eq!(after.gguf_metadata().unwrap(), expected);
        for name in ["token_embd.weight", "blk.0.attn_norm.weight", "blk.0.ffn_odd.weight"] {
            let (a, b) = (entry(&before, name), entry(&after, name));
            assert_eq!(before.tensors()[a].dtype, after.tensors()[b].dtype, "{name}");
            assert_eq!(*before.read_raw(a).unwrap(), *after.read_raw(b).unwrap(), "{name}");
        }
        let listed = quant::inspect::run(&quant::decoded::DecodedCheckpoint::open(&output).unwrap());
        let listed = listed.tensors.into_iter().find(|t| t.name == "blk.0.ffn_up.weight").unwrap();
        let rate = 8.0 * ggml_type.block_byte_len() as f64 / 32.0;
        assert_eq!((listed.method, listed.rate_bits), (format!("ggml {}", ggml_type.name()), rate));
        assert!(report.totals.recipe.starts_with(&format!("{preset} group 32")), "{}", report.totals.recipe);
        let blocks = after.read_raw(entry(&after, "blk.0.ffn_up.weight")).unwrap();
        assert_eq!(blocks.len(), ROWS * COLUMNS / 32 * ggml_type.block_byte_len());
        let mut decoded = vec![0.0; ROWS * COLUMNS];
        dequantize(ggml_type, &blocks, &mut decoded).unwrap();
        let square = |x: f32| f64::from(x) * f64::from(x);
        let energy: f64 = samples.iter().map(|&x| square(x)).sum();
        let error: f64 = samples.iter().zip(&decoded).map(|(&x, &y)| square(x - y)).sum();
        let sqnr_db = 10.0 * (energy / error).log10();
        let reported = report.totals.sqnr_db.unwrap();
        // What the runtime decodes has the error that the report states: the same levels, to the bit.
        assert!((sqnr_db - reported).abs() < 1e-6, "{preset}: {sqnr_db} decoded, {reported} reported");
        assert!(sqnr_db > sqnr_min, "{preset}: {sqnr_db} dB");
    }
}

/// A llama of one layer with 2 query heads of 16 rows and one key head, with a byte-level tokenizer.
fn llama(folder: &Path) -> PathBuf {
    use safetensors::Dtype::{BF16, F32};
    std::fs::create_dir_all(folder).unwrap();
    let tensors = [
        common::tensor("model.embed_tokens.weight", BF16, &[8, 64], 1),
        common::tensor("model.layers.0.self_attn.q_proj.weight", F32, &[32, 64], 2),
        common::tensor("model.layers.0.self_attn.k_proj.weight", BF16, &[16, 64], 3),
        common::tensor("model.layers.0.self_attn.k_proj.bias", BF16, &[16], 4),
        common::tensor("model.layers.0.mlp.down_proj.weight", F32, &[64, 40], 5),
        common::tensor("model.norm.weight", BF16, &[64], 6),
        common::tensor("lm_head.weight", BF16, &[8, 64], 7),
    ];
    common::write_safetensors(&folder.join("model.safetensors"), &tensors);
    let config = serde_json::json!({"model_type": "llama", "hidden_size": 64, "num_hidden_layers": 1,
        "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 16, "intermediate_size": 40, "rms_norm_eps": 1e-5,
        "max_position_embeddings": 32, "tie_word_embeddings": true});
    std::fs::write(folder.join("config.json"), config.to_string()).unwrap();
    let tokenizer = serde_json::json!({"pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false},
        "model": {"type": "BPE", "vocab": {"a": 0, "b": 1}, "merges": []}});
    std::fs::write(folder.join("tokenizer.json"), tokenizer.to_string()).unwrap();
    folder.to_owned()
}

#[test]
fn a_folder_becomes_a_gguf_file_in_llama_cpps_order() {
    let folder = tempfile::tempdir().unwrap();
    let (input, output) = (llama(&folder.path().join("llama")), folder.path().join("out.gguf"));
    let report = common::run(&input, &output, &common::to(common::options("q8_0"), Target::Gguf)).unwrap();
    let (before, after) = (Checkpoint::open(&input).unwrap(), Checkpoint::open(&output).unwrap());
    let listed: Vec<(&str, String)> = after.tensors().iter().map(|t| (t.name.as_str(), t.dtype.name())).collect();
    let expected = [
        ("token_embd.weight", "BF16"),
        ("blk.0.attn_q.weight", "Q8_0"),
        ("blk.0.attn_k.weight", "Q8_0"),
        ("blk.0.attn_k.bias", "F32"),
        ("blk.0.ffn_down.weight", "F32"),
        ("output_norm.weight", "F32"),
    ];
    let mut sorted: Vec<(&str, &str)> = listed.iter().map(|(name, dtype)| (*name, dtype.as_str())).collect();
    sorted.sort_by_key(|(name, _)| expected.iter().position(|(known, _)| known == name));
    assert_eq!(sorted, expected, "a tied head is left out, and so is nothing else");
    let samples = |checkpoint: &Checkpoint, name: &str| -> Vec<f32> {
        let index = entry(checkpoint, name);
        let bytes = checkpoint.read_samples(index).unwrap();
        let dtype = checkpoint.tensors()[index].dtype.float().unwrap();
        let samples = quant_core::tensor::Samples::from_bytes(&bytes, dtype).unwrap();
        (0..samples.len()).map(|i| samples.get(i)).collect()
    };
    // Rows 0 and 8 of a head of 16 are neighbours in llama.cpp, then 1 and 9, and so on.
    let in_pairs = |row: usize| row / 16 * 16 + row % 16 / 2 + row % 2 * 8;
    let kept = [("model.embed_tokens.weight", "token_embd.weight"), ("model.norm.weight", "output_norm.weight")];
    kept.iter().for_each(|(from, to)| assert_eq!(samples(&before, from), samples(&after, to), "{to}"));
    let (bias, written) =
        (samples(&before, "model.layers.0.self_attn.k_proj.bias"), samples(&after, "blk.0.attn_k.bias"));
    (0..16).for_each(|row| assert_eq!(written[row], bias[in_pairs(row)], "bias {row}"));
    for (from, to) in [("q_proj", "attn_q"), ("k_proj", "attn_k")] {
        let from = samples(&before, &format!("model.layers.0.self_attn.{from}.weight"));
        let to = samples(&after, &format!("blk.0.{to}.weight"));
        for (row, written) in to.chunks_exact(64).enumerate() {
            let exact = &from[in_pairs(row) * 64..][..64];
            let square = |x: f32| f64::from(x) * f64::from(x);
            let error: f64 = exact.iter().zip(written).map(|(a, b)| square(a - b)).sum();
            assert!(error < 1e-3 * exact.iter().map(|&x| square(x)).sum::<f64>(), "row {row}");
        }
    }
    let bytes: u64 = after.tensors().iter().map(|t| t.byte_len).sum();
    assert_eq!(report.totals.output_len_bytes, bytes);
}

#[test]
fn weights_go_with_their_rows_into_pairs() {
    let folder = tempfile::tempdir().unwrap();
    let (input, path) = (llama(&folder.path().join("llama")), folder.path().join("w.safetensors"));
    let name = "model.layers.0.self_attn.q_proj.weight";
    let mut weights = common::tensor(name, safetensors::Dtype::F32, &[32, 64], 1);
    let weight = |row: usize| if row == 1 { 1e6f32 } else { 1.0 };
    weights.bytes = (0..32 * 64).flat_map(|i| weight(i / 64).to_le_bytes()).collect();
    common::write_safetensors(&path, &[weights]);
    let mut options = common::to(common::options("q4_0"), Target::Gguf);
    options.sensitivities = Some(quant::sensitivities::Sensitivities::open(&path).unwrap());
    let report = common::run(&input, &folder.path().join("out.gguf"), &options).unwrap();
    let (_, energy) = report.tensors.iter().find(|t| t.name == name).unwrap().sums.weighted.unwrap();
    let checkpoint = Checkpoint::open(&input).unwrap();
    let index = checkpoint.tensors().iter().position(|t| t.name == name).unwrap();
    let bytes = checkpoint.read_samples(index).unwrap();
    let samples = bytes.as_chunks::<4>().0.iter().map(|b| f64::from(f32::from_le_bytes(*b)));
    let expected: f64 = samples.enumerate().map(|(i, x)| f64::from(weight(i / 64)) * x * x).sum();
    let mean: f64 = (0..32).map(|row| f64::from(weight(row)) / 32.0).sum();
    assert!((energy * mean / expected - 1.0).abs() < 1e-6, "{energy} of {expected}");
}

#[test]
fn a_sample_that_is_not_finite_is_named_where_the_folder_has_it() {
    let folder = tempfile::tempdir().unwrap();
    let input = llama(&folder.path().join("llama"));
    let place = input.join("model.safetensors");
    let mut bytes = std::fs::read(&place).unwrap();
    let query = common::place_of(&bytes, "model.layers.0.self_attn.q_proj.weight");
    let at = 19 * 64 + 5;
    bytes[query.start + 4 * at..][..4].copy_from_slice(&f32::NAN.to_le_bytes());
    std::fs::write(&place, bytes).unwrap();
    let options = common::to(common::options("q8_0"), Target::Gguf);
    let error = common::run(&input, &folder.path().join("out.gguf"), &options).unwrap_err().to_string();
    assert!(error.contains("q_proj") && error.contains(&at.to_string()), "{error}");
}

#[test]
fn what_gguf_cannot_hold_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let (input, _) = source(folder.path());
    let refused = |input: &Path, output: &str, preset: &str, part: &str| {
        let options = common::to(common::options(preset), Target::Gguf);
        let message = common::run(input, &folder.path().join(output), &options).unwrap_err().to_string();
        assert!(message.contains(part), "{message}");
    };
    refused(&input, "out.gguf", "nf4", "iq4_nl, q4_0 and q8_0");
    refused(&input, "out.safetensors", "iq4_nl", "end OUT in .gguf");
    let model = common::model(folder.path());
    refused(&model, "out.gguf", "iq4_nl", "config.json has no usable \"num_hidden_layers\"");
    let lone = folder.path().join("lone.safetensors");
    common::write_safetensors(&lone, &[common::tensor("w.weight", safetensors::Dtype::F32, &[8, 64], 1)]);
    refused(&lone, "out.gguf", "iq4_nl", "a lone safetensors file has no tokenizer");
}
