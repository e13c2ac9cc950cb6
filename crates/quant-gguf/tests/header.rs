//! What a valid header reads as.

mod writer;

use quant_gguf::{Array, GgmlType, GgufError, Header, Value};
use writer::{GgufWriter, array, string};

fn read(file: &[u8]) -> Result<Header, GgufError> {
    Header::read(file, file.len() as u64)
}

#[test]
fn tensors_come_reversed_and_absolute() {
    let file = GgufWriter::default()
        .text("general.architecture", "llama")
        .tensor("w", &[64, 3], 2, vec![1; 2 * 3 * 18])
        .tensor("scalar", &[], 0, vec![2; 4])
        .tensor("v", &[5], 1, vec![3; 10])
        .build();
    let header = read(&file).unwrap();
    assert_eq!(header.version, 3);
    let seen: Vec<_> = header.tensors.iter().map(|t| (t.name.as_str(), t.shape.as_slice(), t.ggml_type)).collect();
    let expected: [(&str, &[usize], GgmlType); 3] =
        [("w", &[3, 64], GgmlType::Q4_0), ("scalar", &[], GgmlType::F32), ("v", &[5], GgmlType::F16)];
    assert_eq!(seen, expected);
    for (tensor, byte) in header.tensors.iter().zip(1u8..) {
        let begin = usize::try_from(tensor.offset).unwrap();
        let data = &file[begin..begin + usize::try_from(tensor.byte_len).unwrap()];
        assert!(data.iter().all(|&b| b == byte), "{}", tensor.name);
        assert_eq!(tensor.offset % 32, 0);
    }
}

#[test]
fn every_value_type_is_read() {
    let nested = [array(0, 2, &[1, 2]), array(8, 1, &string(b"x"))].concat();
    let file = GgufWriter { version: 2, ..GgufWriter::default() }
        .entry("u8", 0, &[200])
        .entry("i8", 1, &[0xff])
        .entry("u16", 2, &[1, 2])
        .entry("i16", 3, &[0xfe, 0xff])
        .u32("u32", 7)
        .entry("i32", 5, &(-7i32).to_le_bytes())
        .entry("f32", 6, &1.5f32.to_le_bytes())
        .entry("bool", 7, &[1])
        .text("text", "ü")
        .entry("raw", 8, &string(&[b'a', 0xff]))
        .entry("u64", 10, &u64::MAX.to_le_bytes())
        .entry("i64", 11, &(-1i64).to_le_bytes())
        .entry("f64", 12, &0.1f64.to_le_bytes())
        .entry("bools", 9, &array(7, 3, &[0, 1, 1]))
        .entry("nested", 9, &array(9, 2, &nested))
        .build();
    let header = read(&file).unwrap();
    let value = |key| header.value(key).unwrap().clone();
    assert_eq!(value("u8"), Value::U8(200));
    assert_eq!(value("i8"), Value::I8(-1));
    assert_eq!(value("u16"), Value::U16(0x201));
    assert_eq!(value("i16"), Value::I16(-2));
    assert_eq!(value("u32").as_u64(), Some(7));
    assert_eq!(value("i32").as_u64(), None);
    assert_eq!(value("f32").as_f64(), Some(1.5));
    assert_eq!(value("bool"), Value::Bool(true));
    assert_eq!(value("text").as_str(), Some("ü"));
    assert_eq!(value("raw").as_str(), Some("a\u{fffd}"));
    assert_eq!(value("u64").as_u64(), Some(u64::MAX));
    assert_eq!(value("i64"), Value::I64(-1));
    assert_eq!(value("f64").as_f64(), Some(0.1));
    assert_eq!(value("bools"), Value::Array(Array::Bool(vec![false, true, true])));
    let inner = vec![Array::U8(vec![1, 2]), Array::String(vec!["x".to_owned()])];
    assert_eq!(value("nested"), Value::Array(Array::Array(inner)));
    assert_eq!(header.value("absent"), None);
}

#[test]
fn a_stated_alignment_is_used() {
    let writer = GgufWriter { alignment: 8, ..GgufWriter::default() };
    let file = writer.u32("general.alignment", 8).tensor("a", &[3], 0, vec![1; 12]).tensor("b", &[1], 0, vec![2; 4]);
    let header = read(&file.build()).unwrap();
    assert_eq!(header.tensors[1].offset - header.tensors[0].offset, 16);
}

#[test]
fn a_file_may_end_without_padding() {
    let mut file = GgufWriter::default().tensor("a", &[3], 0, vec![1; 12]).build();
    file.truncate(file.len() - 20);
    assert_eq!(read(&file).unwrap().tensors[0].byte_len, 12);
    assert!(read(&GgufWriter::default().build()).unwrap().tensors.is_empty());
}

#[test]
fn tensors_are_listed_by_position() {
    let file = GgufWriter::default()
        .tensor("late", &[8], 0, vec![0; 32])
        .with_last(|tensor| tensor.offset = Some(32))
        .tensor("early", &[8], 0, vec![0; 32])
        .with_last(|tensor| tensor.offset = Some(0))
        .build();
    let names: Vec<String> = read(&file).unwrap().tensors.into_iter().map(|tensor| tensor.name).collect();
    assert_eq!(names, ["early", "late"]);
}
