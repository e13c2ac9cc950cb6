//! What the fuzz targets share: a place for the input, seeds, and the promises that hold for every input.

#[path = "../../crates/quant/tests/samples/mod.rs"]
pub mod samples;

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use quant::checkpoint::Checkpoint;
use quant::decoded::DecodedCheckpoint;
use quant::device::Device;
use quant_core::tensor::Dtype;

/// How the folders of this and earlier processes are named, before the process's number.
const FOLDER: &str = "quant-fuzz-";

/// A folder of this process, in memory where the system has such a place.
pub fn folder() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| {
        let shm = Path::new("/dev/shm");
        let parent = if shm.is_dir() { shm.to_owned() } else { std::env::temp_dir() };
        sweep(&parent);
        let folder = parent.join(format!("{FOLDER}{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder for the input");
        folder
    })
}

/// Removes the folders of processes that are gone: libFuzzer leaves no chance to do so at the end.
fn sweep(parent: &Path) {
    for entry in parent.read_dir().into_iter().flatten().flatten() {
        let name = entry.file_name();
        let process = name.to_str().and_then(|name| name.strip_prefix(FOLDER));
        if process.is_some_and(|id| Path::new("/proc/self").exists() && !Path::new("/proc").join(id).exists()) {
            // Another process may sweep too.
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

/// Writes `data` under `name` and returns the path.
pub fn written(name: &str, data: &[u8]) -> PathBuf {
    let path = folder().join(name);
    std::fs::write(&path, data).expect("room for the input");
    path
}

/// Puts the valid samples of a target into `corpus/TARGET`, which libFuzzer reads next; makes `artifacts/TARGET`, too.
pub fn write_seeds(target: &str, seeds: Vec<(&str, Vec<u8>)>) {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let corpus = here.join("corpus").join(target);
    std::fs::create_dir_all(&corpus).expect("a folder for the corpus");
    std::fs::create_dir_all(here.join("artifacts").join(target)).expect("a folder for what fails");
    for (name, seed) in seeds {
        std::fs::write(corpus.join(format!("seed-{name}")), seed).expect("room for the seeds");
    }
}

/// Opens `path` as decoded weights, of whichever layout, and decodes them all: no panic, and a refusal is one line.
pub fn decode_all(path: &Path) {
    let decode = || {
        let checkpoint = DecodedCheckpoint::open(path)?;
        let device = Device::cpu(Some(1))?;
        for (index, tensor) in checkpoint.tensors().iter().enumerate() {
            if tensor.decoded_dtype.is_some() {
                let weights = checkpoint.read(index, Dtype::F32, &device)?;
                assert_eq!(weights.len(), 4 * tensor.shape.iter().product::<usize>());
            }
        }
        Ok::<(), quant::Error>(())
    };
    if let Err(error) = decode() {
        assert!(error.is_refused_input() && !error.to_string().contains('\n'), "{error}");
    }
}

/// Opens `path` and reads every tensor in every way.
///
/// Whatever the file: no panic, a refusal names the file, and what opens can be read to the end.
pub fn open_and_read(path: &Path) -> Option<Checkpoint> {
    let checkpoint = match Checkpoint::open(path) {
        Ok(checkpoint) => checkpoint,
        Err(error) => {
            assert!(error.is_refused_input(), "{error}");
            assert!(error.to_string().contains(folder().to_str().expect("a plain name")), "{error}");
            return None;
        }
    };
    for (index, tensor) in checkpoint.tensors().iter().enumerate() {
        let raw = checkpoint.read_raw(index).expect("an opened tensor can be read");
        assert_eq!(raw.len() as u64, tensor.byte_len);
        match (tensor.dtype.float(), checkpoint.read_samples(index)) {
            (Some(dtype), Ok(samples)) => assert_eq!(samples.len(), tensor.sample_count() * dtype.byte_len()),
            (None, Err(error)) => assert!(error.is_refused_input(), "{error}"),
            (dtype, read) => panic!("{dtype:?}, but {read:?}"),
        }
    }
    assert_eq!(checkpoint.fingerprint().len(), 64);
    Some(checkpoint)
}
