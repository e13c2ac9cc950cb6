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
    refused(&model, "out.gguf", "iq4_nl", "needs a .gguf file as IN");
}
