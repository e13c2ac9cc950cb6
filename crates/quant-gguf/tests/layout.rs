//! Does the reader find what the layout and the block packer wrote?

use quant_gguf::{Array, GgmlType, Header, PlannedTensor, Value, dequantize, lay_out, metadata_bytes, pack_blocks};

fn metadata() -> Vec<(String, Value)> {
    let nested = Array::Array(vec![Array::Bool(vec![true, false]), Array::F64(vec![0.5])]);
    let values = [
        Value::U8(200),
        Value::I8(-3),
        Value::U16(65_535),
        Value::I16(-2),
        Value::U32(7),
        Value::I32(-7),
        Value::F32(0.1),
        Value::Bool(true),
        Value::String("Ġ the".into()),
        Value::U64(u64::MAX),
        Value::I64(i64::MIN),
        Value::F64(1e300),
        Value::Array(nested),
        Value::Array(Array::String(vec!["a".into(), String::new()])),
        Value::Array(Array::U8(vec![1])),
        Value::Array(Array::I8(vec![-1])),
        Value::Array(Array::U16(vec![300])),
        Value::Array(Array::I16(vec![-300])),
        Value::Array(Array::U32(vec![70_000])),
        Value::Array(Array::I32(vec![-70_000])),
        Value::Array(Array::F32(vec![1.5])),
        Value::Array(Array::U64(vec![1 << 40])),
        Value::Array(Array::I64(vec![-1])),
    ];
    values.into_iter().enumerate().map(|(i, value)| (format!("key.{i}"), value)).collect()
}

fn tensor(name: &str, shape: &[usize], ggml_type: GgmlType) -> PlannedTensor {
    PlannedTensor { name: name.into(), shape: shape.to_vec(), ggml_type }
}

#[test]
fn values_of_every_type_are_read_back() {
    let layout = lay_out(&metadata(), &[]).unwrap();
    let header = Header::read(&layout.header[..], layout.header.len() as u64).unwrap();
    assert_eq!(header.metadata, metadata());
    assert!(layout.header.ends_with(&metadata_bytes(&metadata())));
}

#[test]
fn tensors_lie_where_the_layout_says() {
    for alignment in [None, Some(8), Some(4096)] {
        let mut metadata = metadata();
        metadata.extend(alignment.map(|a| ("general.alignment".to_owned(), Value::U32(a))));
        let tensors = [
            tensor("a", &[3, 64], GgmlType::Q8_0),
            tensor("b", &[5], GgmlType::F32),
            tensor("c", &[2, 2, 32], GgmlType::IQ4_NL),
            tensor("d", &[], GgmlType::BF16),
        ];
        let layout = lay_out(&metadata, &tensors).unwrap();
        let mut file = layout.header.clone();
        file.resize(usize::try_from(layout.byte_len).unwrap(), 0);
        let header = Header::read(&file[..], layout.byte_len).unwrap();
        for ((read, tensor), place) in header.tensors.iter().zip(&tensors).zip(&layout.places) {
            assert_eq!((&read.name, &read.shape, read.ggml_type), (&tensor.name, &tensor.shape, tensor.ggml_type));
            assert_eq!((read.offset, read.byte_len), (place.offset, place.byte_len));
            assert!(place.offset.is_multiple_of(alignment.unwrap_or(32).into()));
        }
    }
}

#[test]
fn what_no_runtime_reads_is_refused() {
    let refused = |tensors: &[PlannedTensor], part: &str| {
        let message = lay_out(&[], tensors).unwrap_err().to_string();
        assert!(message.contains(part), "{message}");
    };
    refused(&[tensor("w", &[4, 33], GgmlType::IQ4_NL)], "33 weights are not a multiple of the 32");
    refused(&[tensor("w", &[1], GgmlType::F32), tensor("w", &[1], GgmlType::F32)], "named twice");
    refused(&[tensor("w", &[0], GgmlType::F32)], "is zero");
    refused(&[tensor("w", &[1; 5], GgmlType::F32)], "5 dimensions");
    refused(&[tensor(&"w".repeat(64), &[1], GgmlType::F32)], "64 bytes; at most 63");
    let twice = [("k".to_owned(), Value::U8(1)), ("k".to_owned(), Value::U8(2))];
    assert!(lay_out(&twice, &[]).unwrap_err().to_string().contains("given twice"));
}

#[test]
fn packed_codes_decode_to_scale_times_level() {
    let codes: Vec<u8> = (0..64u8).map(|i| i.wrapping_mul(37) ^ 0x5a).collect();
    let scales = [0.125f32, -3.0];
    let values =
        [-127.0, -104.0, -83.0, -65.0, -49.0, -35.0, -22.0, -10.0, 1.0, 13.0, 25.0, 38.0, 53.0, 69.0, 89.0, 113.0f32];
    for ggml_type in [GgmlType::Q4_0, GgmlType::IQ4_NL, GgmlType::Q8_0] {
        let mask = if ggml_type == GgmlType::Q8_0 { 255 } else { 15 };
        let codes: Vec<u8> = codes.iter().map(|code| code & mask).collect();
        let level = |code: u8| match ggml_type {
            GgmlType::Q4_0 => f32::from(code) - 8.0,
            GgmlType::Q8_0 => f32::from(code) - 128.0,
            _ => values[usize::from(code)],
        };
        let mut blocks = Vec::new();
        pack_blocks(ggml_type, &codes, &scales, &mut blocks);
        let mut decoded = [0.0; 64];
        dequantize(ggml_type, &blocks, &mut decoded).unwrap();
        let expected: Vec<f32> = codes.iter().enumerate().map(|(i, &code)| scales[i / 32] * level(code)).collect();
        assert_eq!(decoded.as_slice(), expected, "{}", ggml_type.name());
    }
}
