//! What the layout promises is what readers find: ours, and the safetensors crate.

use std::collections::BTreeMap;

use quant::checkpoint::layout::{FileLayout, LayoutError, SafetensorsLayout};
use quant::checkpoint::{Checkpoint, Source, StoredDtype};
use safetensors::{Dtype, SafeTensors};

/// Fills each slot with its own number.
fn written(layout: &FileLayout) -> Vec<u8> {
    let mut file = layout.header.clone();
    file.resize(usize::try_from(layout.byte_len).unwrap(), 0xee);
    for (at, slot) in layout.slots.iter().enumerate() {
        let begin = usize::try_from(slot.offset).unwrap();
        file[begin..][..usize::try_from(slot.byte_len).unwrap()].fill(u8::try_from(at).unwrap());
    }
    file
}

fn mixed() -> SafetensorsLayout {
    let metadata = BTreeMap::from([("format".to_owned(), "pt".to_owned()), ("a".to_owned(), "ü\"".to_owned())]);
    let mut layout = SafetensorsLayout::new(metadata);
    layout.add("codes", Dtype::U8, &[3, 5]).unwrap();
    layout.add("w", Dtype::BF16, &[2, 3]).unwrap();
    layout.add("quote\"d\n", Dtype::F32, &[]).unwrap();
    layout.add("empty", Dtype::F32, &[0, 7]).unwrap();
    layout.add("scales", Dtype::F32, &[2]).unwrap();
    layout
}

#[test]
fn the_safetensors_crate_reads_what_we_lay_out() {
    let layout = mixed().finish().unwrap();
    let file = written(&layout);
    let read = SafeTensors::deserialize(&file).unwrap();
    assert_eq!(read.len(), layout.slots.len());
    for (at, slot) in layout.slots.iter().enumerate() {
        let tensor = read.tensor(&slot.name).unwrap();
        assert_eq!((tensor.dtype(), tensor.shape()), (slot.dtype, &slot.shape[..]));
        assert!(tensor.data().iter().all(|&byte| usize::from(byte) == at), "{}", slot.name);
        assert_eq!(slot.offset % (slot.dtype.bitsize() as u64 / 8), 0, "{} is aligned", slot.name);
    }
    let (_, metadata) = SafeTensors::read_metadata(&file).unwrap();
    assert_eq!(metadata.metadata().as_ref().unwrap()["format"], "pt");
}

#[test]
fn we_read_what_we_lay_out() {
    let layout = mixed().finish().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.safetensors");
    std::fs::write(&path, written(&layout)).unwrap();
    let checkpoint = Checkpoint::open(&path).unwrap();
    assert_eq!(checkpoint.source(), Source::SafetensorsFile);
    assert_eq!(checkpoint.shards()[0].metadata["a"], "ü\"");
    assert_eq!(checkpoint.tensors().len(), 5);
    for (at, slot) in layout.slots.iter().enumerate() {
        let tensor = checkpoint.tensors().iter().position(|tensor| tensor.name == slot.name).unwrap();
        let entry = &checkpoint.tensors()[tensor];
        assert_eq!((entry.dtype, &entry.shape), (StoredDtype::Safetensors(slot.dtype), &slot.shape));
        let raw = checkpoint.read_raw(tensor).unwrap();
        assert_eq!(raw.len() as u64, slot.byte_len);
        assert!(raw.iter().all(|&byte| usize::from(byte) == at));
    }
}

#[test]
fn the_same_tensors_give_the_same_bytes() {
    assert_eq!(mixed().finish().unwrap().header, mixed().finish().unwrap().header);
}

#[test]
fn no_tensor_at_all_is_a_file() {
    let layout = SafetensorsLayout::default().finish().unwrap();
    assert!(SafeTensors::deserialize(&layout.header).unwrap().is_empty());
    assert_eq!(layout.byte_len, layout.header.len() as u64);
}

#[test]
fn taken_names_and_impossible_shapes_are_refused() {
    let mut layout = mixed();
    assert!(matches!(layout.add("w", Dtype::U8, &[1]), Err(LayoutError::NameTaken { name }) if name == "w"));
    assert!(layout.add("__metadata__", Dtype::U8, &[1]).is_err());
    let overflow = layout.add("big", Dtype::F32, &[1 << 40, 1 << 40]).unwrap_err().to_string();
    assert!(overflow.contains("big") && overflow.contains("overflows"), "{overflow}");
    assert!(matches!(layout.add("f4", Dtype::F4, &[3]), Err(LayoutError::Shape { .. })));
    for at in 0..6 {
        layout.add(&format!("big.{at}"), Dtype::U8, &[usize::MAX / 8]).unwrap();
    }
    assert!(matches!(layout.finish(), Err(LayoutError::TooLarge { what: "data", .. })));
}
