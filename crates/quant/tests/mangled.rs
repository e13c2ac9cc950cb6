//! Valid files cut short or with bytes changed: refused or read to the end, never a panic.

mod common;
mod samples;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use quant::checkpoint::{Checkpoint, CheckpointError};
use quant::decoded::DecodedCheckpoint;
use quant::device::Device;

/// Opens `path` and reads every tensor; a tensor that is not samples is no failure.
fn read_all(path: &Path) -> Result<(), CheckpointError> {
    let checkpoint = Checkpoint::open(path)?;
    for (index, tensor) in checkpoint.tensors().iter().enumerate() {
        assert_eq!(checkpoint.read_raw(index)?.len() as u64, tensor.byte_len);
        if let Some(dtype) = tensor.dtype.float() {
            assert_eq!(checkpoint.read_samples(index)?.len(), tensor.sample_count() * dtype.byte_len());
        }
    }
    Ok(())
}

/// Decodes every weight, in whichever layout it is.
fn decode_all(path: &Path) -> Result<(), quant::Error> {
    let checkpoint = DecodedCheckpoint::open(path)?;
    let device = Device::cpu(Some(1))?;
    let mut weights = (0..checkpoint.tensors().len()).filter(|&i| checkpoint.tensors()[i].decoded_dtype.is_some());
    weights.try_for_each(|index| checkpoint.read(index, quant_core::tensor::Dtype::F32, &device).map(drop))
}

fn read_bytes(name: &str, bytes: &[u8]) -> Result<(), CheckpointError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    let read = read_all(&path);
    if let Err(error) = decode_all(&path) {
        assert!(error.is_refused_input() && error.to_string().contains(path.to_str().unwrap()), "{error}");
    }
    if let Err(error) = &read {
        assert!(error.is_refused_input() && error.to_string().contains(path.to_str().unwrap()), "{error}");
    }
    read
}

/// The two shards and this index.
fn read_index(text: &[u8]) -> Result<(), CheckpointError> {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in samples::shards() {
        std::fs::write(folder.path().join(name), bytes).unwrap();
    }
    std::fs::write(folder.path().join("model.safetensors.index.json"), text).unwrap();
    read_all(folder.path())
}

#[test]
fn the_samples_are_valid() {
    samples::valid_safetensors().iter().for_each(|(name, file)| read_bytes("m.safetensors", file).expect(name));
    samples::valid_gguf().iter().for_each(|(name, file)| read_bytes("m.gguf", file).expect(name));
    let folder = tempfile::tempdir().unwrap();
    for (name, file) in samples::valid_safetensors() {
        let path = folder.path().join(name);
        std::fs::write(&path, file).unwrap();
        decode_all(&path).expect(name);
    }
    samples::valid_indexes().iter().for_each(|(name, text)| read_index(text).expect(name));
}

#[test]
fn a_safetensors_file_cut_anywhere_is_refused() {
    for (name, file) in samples::valid_safetensors() {
        for len in 0..file.len() {
            assert!(read_bytes("m.safetensors", &file[..len]).is_err(), "{name} cut to {len}");
        }
    }
}

#[test]
fn a_gguf_file_cut_anywhere_is_refused() {
    for (name, file) in samples::valid_gguf() {
        // The padding behind the last tensor may be missing.
        let header = quant_gguf::Header::read(&file[..], file.len() as u64).unwrap();
        let end = header.tensors.last().map_or(file.len() as u64, |tensor| tensor.offset + tensor.byte_len);
        for len in 0..file.len() {
            assert_eq!(read_bytes("m.gguf", &file[..len]).is_ok(), len as u64 >= end, "{name} cut to {len}");
        }
    }
}

#[test]
fn an_index_cut_anywhere_is_refused() {
    for (name, text) in samples::valid_indexes() {
        for len in 0..text.len() {
            assert!(read_index(&text[..len]).is_err(), "{name} cut to {len}");
        }
    }
}

/// One of `files` with some bytes replaced and perhaps the end cut off.
fn mangled(files: Vec<(&'static str, Vec<u8>)>) -> impl Strategy<Value = Vec<u8>> {
    let edits = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6);
    let cut = prop::option::of(any::<prop::sample::Index>());
    (prop::sample::select(files), edits, cut).prop_map(|((_, mut file), edits, cut)| {
        for (at, byte) in edits {
            let at = at.index(file.len());
            file[at] = byte;
        }
        file.truncate(cut.map_or(file.len(), |cut| cut.index(file.len() + 1)));
        file
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn mangled_safetensors_never_panic(file in mangled(samples::valid_safetensors())) {
        let _ = read_bytes("m.safetensors", &file);
    }

    #[test]
    fn mangled_gguf_never_panics(file in mangled(samples::valid_gguf())) {
        let _ = read_bytes("m.gguf", &file);
    }

    #[test]
    fn mangled_indexes_never_panic(text in mangled(samples::valid_indexes())) {
        let _ = read_index(&text);
    }
}

/// Four hundred bytes changed, one at a time, and the file cut at sixty places. The tensors of a matrix `P` in it.
fn mangle(input: &Path, recipe: &str) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out.safetensors");
    common::run(input, &path, &common::options(recipe)).unwrap();
    decode_all(&path).expect(recipe);
    let file = std::fs::read(&path).unwrap();
    // Odd, so that each place in a number and each change meet.
    for at in (0..file.len()).step_by((file.len() / 400) | 1) {
        let mut changed = file.clone();
        changed[at] ^= [0x01, 0x10, 0x80, 0xff][at % 4];
        // A manifest that is none any more leaves tensors of other names, which are read as they are.
        let _ = read_bytes("m.safetensors", &changed);
    }
    for len in (0..file.len()).step_by((file.len() / 60) | 1) {
        assert!(read_bytes("m.safetensors", &file[..len]).is_err(), "{recipe} cut to {len}");
    }
    let (header, _) = common::header(&file);
    header
        .as_object()
        .unwrap()
        .keys()
        .filter_map(|name| Some(format!("P.{}", name.split_once(".weight.")?.1)))
        .collect()
}

/// One matrix, one that is stored transposed, and a fused one, each in a file.
fn inputs(folder: &Path) -> [PathBuf; 3] {
    let shapes =
        [("a.weight", &[24, 64][..]), ("h.0.attn.c_attn.weight", &[64, 24]), ("a.experts.weight", &[2, 20, 64])];
    shapes.map(|(name, shape)| {
        let path = folder.join(format!("{name}.safetensors"));
        common::write_safetensors(&path, &[common::tensor(name, safetensors::Dtype::F32, shape, 1)]);
        path
    })
}

#[test]
fn native_files_of_every_layout_with_a_byte_changed_are_refused_or_decoded() {
    let folder = tempfile::tempdir().unwrap();
    let [one, transposed, fused] = inputs(folder.path());
    let recipes = [
        (&one, "nf4"),
        (&one, "lloyd3"),
        (&one, "lloyd2 group 16 search e4m3-scales"),
        (&one, "iq4_nl"),
        (&one, "q8_0"),
        (&one, "nf4 group 32 search double-quant"),
        (&one, "ecsq2.5"),
        (&one, "switched3"),
        (&one, "nf4 group 32 step-bits 4 shape-bits 0"),
        (&one, "vq2x3"),
        (&one, "vq4x2x2p2 outliers 0.01"),
        (&one, "kmeans2-row outliers 0.01"),
        (&one, "any2 f16-scales"),
        (&transposed, "kmeans2-row"),
        (&transposed, "nf4 group 32 search double-quant outliers 0.01"),
        (&fused, "ecsq2.5"),
        (&fused, "switched2 outliers 0.01"),
        (&fused, "vq2x2"),
    ];
    let found: BTreeSet<String> = recipes.into_iter().flat_map(|(input, recipe)| mangle(input, recipe)).collect();
    let format = include_str!("../../../docs/format.md").split("## Decoding").next().unwrap();
    let named = format.split("`P.").skip(1).map(|rest| format!("P.{}", rest.split('`').next().unwrap()));
    assert_eq!(found, named.collect(), "every tensor that the format names is in one of the files");
}
