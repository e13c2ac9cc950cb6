//! Small files, as reports, plans and pictures, that appear only when they are whole.

use std::fs;
use std::io::Write;
use std::path::Path;

use crate::error::Error;
use crate::partial::beside;

/// Writes a file beside its place and renames it there. A link is followed, and what is no regular file (a device, a pipe),
/// or what is open already (`/dev/stdout`, `/dev/fd/3`), is added to instead of being replaced.
///
/// # Errors
///
/// What the disk refuses, with the path.
pub fn write(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let place = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    if is_open_already(path) || place.symlink_metadata().is_ok_and(|kind| !kind.is_file()) {
        let opened = fs::OpenOptions::new().append(true).create(true).open(path);
        return opened.and_then(|mut file| file.write_all(bytes)).map_err(Error::io("write", path));
    }
    let fresh = beside(&place, ".partial");
    fs::write(&fresh, bytes).map_err(Error::io("write", path))?;
    fs::rename(&fresh, &place).map_err(Error::io("write", path))
}

/// Whether `path` is the name of a descriptor, or a link to one.
fn is_open_already(path: &Path) -> bool {
    let mut path = path.to_owned();
    // As many links as Linux follows.
    for _ in 0..40 {
        if ["/dev/fd", "/proc"].iter().any(|of_descriptors| path.starts_with(of_descriptors)) {
            return true;
        }
        let Ok(target) = path.read_link() else { return false };
        path = path.parent().unwrap_or(Path::new("")).join(target);
    }
    false
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::os::unix::fs::{FileTypeExt, symlink};
    use std::process::Command;

    #[test]
    fn links_are_followed_and_files_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let (file, link, dangling) = (dir.path().join("file"), dir.path().join("link"), dir.path().join("dangling"));
        fs::write(&file, "before, and longer").unwrap();
        symlink(&file, &link).unwrap();
        symlink(dir.path().join("new"), &dangling).unwrap();
        write(&link, b"after").unwrap();
        write(&dangling, b"made").unwrap();
        assert!(link.is_symlink() && dangling.is_symlink());
        assert_eq!(fs::read(&file).unwrap(), b"after");
        assert_eq!(fs::read(dir.path().join("new")).unwrap(), b"made");
        write(&file, b"again").unwrap();
        assert_eq!(fs::read(&link).unwrap(), b"again");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 4, "nothing is left beside");
        let missing = write(&dir.path().join("no/where"), b"").unwrap_err().to_string();
        assert!(missing.contains("no/where"), "{missing}");
    }

    #[test]
    fn what_is_open_already_is_added_to() {
        use std::os::fd::AsRawFd;
        let dir = tempfile::tempdir().unwrap();
        let (log, link) = (dir.path().join("log"), dir.path().join("link"));
        fs::write(&log, "earlier\n").unwrap();
        let open = fs::OpenOptions::new().append(true).open(&log).unwrap();
        let descriptor = std::path::PathBuf::from(format!("/dev/fd/{}", open.as_raw_fd()));
        symlink(&descriptor, &link).unwrap();
        write(&descriptor, b"report\n").unwrap();
        write(&link, b"again\n").unwrap();
        (&open).write_all(b"later\n").unwrap();
        assert_eq!(fs::read_to_string(&log).unwrap(), "earlier\nreport\nagain\nlater\n");
    }

    #[test]
    fn a_pipe_stays_a_pipe() {
        let dir = tempfile::tempdir().unwrap();
        let pipe = dir.path().join("pipe");
        assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        let reader = std::thread::spawn({
            let pipe = pipe.clone();
            move || fs::read(pipe).unwrap()
        });
        write(&pipe, b"report").unwrap();
        assert_eq!(reader.join().unwrap(), b"report");
        assert!(fs::metadata(&pipe).unwrap().file_type().is_fifo());
    }
}
