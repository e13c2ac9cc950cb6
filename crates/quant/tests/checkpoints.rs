//! What is found in a folder, and how it is read.

mod samples;

use std::path::{Path, PathBuf};

use quant::checkpoint::{Checkpoint, CheckpointError, Source};
use quant_core::tensor::{Dtype, Samples};
use samples::{counting, safetensors, shards, valid_gguf, valid_indexes, valid_safetensors};

fn folder(files: &[(&str, &[u8])]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, content) in files {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
    folder
}

fn names(checkpoint: &Checkpoint) -> Vec<&str> {
    checkpoint.tensors().iter().map(|tensor| tensor.name.as_str()).collect()
}

fn paths(names: &[&str]) -> Vec<PathBuf> {
    names.iter().map(PathBuf::from).collect()
}

/// The shards, an index, a configuration and whatever else lies in model repositories.
fn repository() -> tempfile::TempDir {
    let [(a, a_bytes), (b, b_bytes)] = shards();
    folder(&[
        ("model.safetensors.index.json", &valid_indexes()[0].1),
        (b, &b_bytes),
        (a, &a_bytes),
        ("config.json", br#"{"model_type":"llama"}"#),
        ("tokenizer.json", b"{}"),
        (".gitattributes", b"x"),
        (".cache/x", b"x"),
        ("pytorch_model-00001-of-00002.bin", b"PK"),
        ("pytorch_model.bin.index.json", b"{}"),
        ("consolidated.safetensors", b"never opened"),
        ("original/consolidated.00.pth", b"PK"),
        ("original/params.json", b"{}"),
        ("1_Dense/model.safetensors", b"never opened"),
    ])
}

#[test]
fn a_folder_is_its_shards_and_what_lies_beside() {
    let folder = repository();
    let checkpoint = Checkpoint::open(folder.path()).unwrap();
    assert_eq!(checkpoint.source(), Source::Folder);
    assert_eq!(checkpoint.path(), folder.path());
    let shards: Vec<&str> = checkpoint.shards().iter().map(|shard| shard.file_name.as_str()).collect();
    assert_eq!(shards, ["a.safetensors", "b.safetensors"]);
    assert_eq!(names(&checkpoint), ["x", "y", "z"]);
    assert_eq!(checkpoint.tensors()[2].shard, 1);
    assert_eq!(checkpoint.config().unwrap()["model_type"], "llama");
    let carried =
        [".gitattributes", "1_Dense/model.safetensors", "config.json", "original/params.json", "tokenizer.json"];
    assert_eq!(checkpoint.side_files(), paths(&carried));
    let left_out = [
        "consolidated.safetensors",
        "original/consolidated.00.pth",
        "pytorch_model-00001-of-00002.bin",
        "pytorch_model.bin.index.json",
    ];
    assert_eq!(checkpoint.left_out(), paths(&left_out));
}

#[test]
fn model_safetensors_goes_before_an_index_as_in_transformers() {
    let folder = folder(&[
        ("model.safetensors", &valid_safetensors()[1].1),
        ("model.safetensors.index.json", b"not read"),
        ("a.safetensors", b"not read"),
    ]);
    let checkpoint = Checkpoint::open(folder.path()).unwrap();
    assert_eq!(names(&checkpoint), ["w"]);
    assert_eq!(checkpoint.left_out(), paths(&["a.safetensors", "model.safetensors.index.json"]));
}

#[test]
fn a_folder_without_an_index_is_all_its_safetensors() {
    let [(_, a), (_, b)] = shards();
    let folder = folder(&[("2.safetensors", &a), ("1.safetensors", &b), ("m.gguf", b"not read")]);
    let checkpoint = Checkpoint::open(folder.path()).unwrap();
    assert_eq!(names(&checkpoint), ["z", "x", "y"]);
    assert!(checkpoint.config().is_none() && checkpoint.side_files().is_empty());
}

#[test]
fn a_folder_with_one_gguf_is_that_gguf() {
    let folder = folder(&[("m.gguf", &valid_gguf()[1].1), ("README.md", b"x")]);
    let checkpoint = Checkpoint::open(folder.path()).unwrap();
    assert_eq!(checkpoint.source(), Source::Gguf);
    assert_eq!(checkpoint.shards()[0].file_name, "m.gguf");
    assert_eq!(checkpoint.gguf_metadata().unwrap()[0].0, "general.alignment");
    let shapes: Vec<&[usize]> = checkpoint.tensors().iter().map(|tensor| &tensor.shape[..]).collect();
    assert_eq!(shapes, [&[3][..], &[], &[2, 1, 1, 2]]);
}

#[test]
fn content_goes_before_the_extension() {
    let folder = folder(&[("g.safetensors", &valid_gguf()[1].1), ("s.weights", &valid_safetensors()[1].1)]);
    let source = |name| Checkpoint::open(&folder.path().join(name)).unwrap().source();
    assert_eq!(source("g.safetensors"), Source::Gguf);
    assert_eq!(source("s.weights"), Source::SafetensorsFile);
}

#[cfg(unix)]
#[test]
fn links_are_followed_as_the_hub_cache_has_them() {
    let blobs = folder(&[("blob1", &valid_safetensors()[1].1), ("blob2", b"{}")]);
    let snapshot = tempfile::tempdir().unwrap();
    for (blob, name) in [("blob1", "model.safetensors"), ("blob2", "config.json")] {
        std::os::unix::fs::symlink(blobs.path().join(blob), snapshot.path().join(name)).unwrap();
    }
    std::os::unix::fs::symlink(snapshot.path(), snapshot.path().join("loop")).unwrap();
    let checkpoint = Checkpoint::open(snapshot.path()).unwrap();
    assert_eq!(checkpoint.side_files(), paths(&["config.json"]));
    assert!(checkpoint.config().is_some());
}

#[test]
fn tensors_are_read_whole_in_part_and_as_samples() {
    let folder = folder(&[("m.safetensors", &valid_safetensors()[0].1)]);
    let checkpoint = Checkpoint::open(&folder.path().join("m.safetensors")).unwrap();
    assert_eq!(names(&checkpoint), ["b", "w", "empty", "s", "codes", "f4"]);
    let w = checkpoint.read_samples(1).unwrap();
    assert_eq!(*w, counting(24)[12..]);
    assert!(matches!(Samples::from_bytes(&w, Dtype::Bf16), Some(Samples::Bf16(samples)) if samples.len() == 6));
    let mut part = [0; 3];
    checkpoint.read_raw_range(1, 2..5, &mut part).unwrap();
    assert_eq!(part, [14, 15, 16]);
    assert!(checkpoint.read_samples(2).unwrap().is_empty());
    assert_eq!(checkpoint.tensors()[3].sample_count(), 1);
    assert!(checkpoint.read_samples(3).is_err() && checkpoint.read_raw(3).is_ok());
}

#[test]
fn ggml_blocks_are_read_as_f32() {
    let q8_0 = [&[0x00, 0x38][..], &counting(32)].concat();
    let writer = samples::writer::GgufWriter::default().tensor("w", &[32, 1], 8, q8_0);
    let folder = folder(&[("m.gguf", &writer.build())]);
    let checkpoint = Checkpoint::open(folder.path()).unwrap();
    assert_eq!(checkpoint.tensors()[0].dtype.float(), Some(Dtype::F32));
    let bytes = checkpoint.read_samples(0).unwrap();
    let Some(Samples::F32(samples)) = Samples::from_bytes(&bytes, Dtype::F32) else { panic!("aligned f32") };
    assert_eq!(samples[..3], [0.0, 0.5, 1.0]);
}

#[test]
fn a_file_that_shrinks_while_open_is_an_error() {
    let folder = folder(&[("m.safetensors", &valid_safetensors()[0].1)]);
    let path = folder.path().join("m.safetensors");
    let checkpoint = Checkpoint::open(&path).unwrap();
    std::fs::File::options().write(true).open(&path).unwrap().set_len(20).unwrap();
    let error = checkpoint.read_raw(0).unwrap_err();
    assert!(matches!(error, CheckpointError::Shrunk { .. }) && !error.is_refused_input(), "{error}");
    assert!(error.to_string().contains("m.safetensors"), "{error}");
}

#[test]
fn the_fingerprint_tells_inputs_apart() {
    let fingerprint = |name: &str, file: &[u8]| {
        let folder = folder(&[(name, file)]);
        Checkpoint::open(&folder.path().join(name)).unwrap().fingerprint()
    };
    let header = r#"{"w":{"dtype":"F32","shape":[50000],"data_offsets":[0,200000]}}"#;
    let with = |at: Option<usize>| {
        let mut data = vec![0; 200_000];
        at.into_iter().for_each(|at| data[at] = 1);
        safetensors(header, &data)
    };
    let base = fingerprint("m.safetensors", &with(None));
    assert_eq!(base.len(), 64);
    assert_eq!(base, fingerprint("m.safetensors", &with(None)));
    assert_ne!(base, fingerprint("n.safetensors", &with(None)));
    for at in [0, 100_000, 199_999] {
        assert_ne!(base, fingerprint("m.safetensors", &with(Some(at))), "the same header, other weights at {at}");
    }
}

#[test]
fn checkpoints_are_shared_between_threads() {
    fn shared<T: Send + Sync>(_: &T) {}
    let folder = repository();
    shared(&Checkpoint::open(Path::new(folder.path())).unwrap());
}
