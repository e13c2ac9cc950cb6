//! A folder in the making: it gets its name when it is whole, and is removed when it fails before.

use std::fs;
use std::path::{Path, PathBuf};

use quant::Error;

use crate::io;

/// Removed with all that is in it unless it is finished or left.
#[derive(Debug)]
pub(crate) struct Unfinished {
    folder: Option<PathBuf>,
}

impl Unfinished {
    /// Watches over a folder that was made for a run.
    pub fn watch(folder: PathBuf) -> Self {
        Self { folder: Some(folder) }
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        self.folder.as_deref().expect("neither finished nor left")
    }

    /// Gives it its final name.
    pub fn finish(mut self, output: &Path) -> Result<(), Error> {
        fs::rename(self.folder(), output).map_err(io("rename", output))?;
        self.folder = None;
        Ok(())
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        // The error that ends the run is the one to tell.
        let _ = self.folder.as_deref().map(fs::remove_dir_all);
    }
}
