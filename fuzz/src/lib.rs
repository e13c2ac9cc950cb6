//! What the fuzz targets share: a place for the input, and the promises that hold for every input.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use quant::checkpoint::{Checkpoint, CheckpointError};

/// A folder of this process, in memory where the system has such a place.
pub fn folder() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let shm = Path::new("/dev/shm");
        let parent = if shm.is_dir() { shm.to_owned() } else { std::env::temp_dir() };
        let folder = parent.join(format!("quant-fuzz-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder for the input");
        folder
    })
}

/// Writes `data` under `name` and returns the path.
pub fn written(name: &str, data: &[u8]) -> PathBuf {
    let path = folder().join(name);
    std::fs::write(&path, data).expect("room for the input");
    path
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
            (None, Err(error)) => assert_refused(&error, &tensor.dtype.name()),
            (dtype, read) => panic!("{dtype:?}, but {read:?}"),
        }
    }
    assert_eq!(checkpoint.fingerprint().len(), 64);
    Some(checkpoint)
}

fn assert_refused(error: &CheckpointError, reason: &str) {
    assert!(error.is_refused_input() && error.to_string().contains(reason), "{error}");
}
