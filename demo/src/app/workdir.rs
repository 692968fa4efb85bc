//! A temporary folder that is removed at the end, unless something failed.

use std::{
    io,
    path::{Path, PathBuf},
};

pub(crate) struct Workdir {
    path: PathBuf,
    keep: bool,
}

impl Workdir {
    pub(crate) fn new() -> io::Result<Self> {
        let path = std::env::temp_dir().join(format!("swaptide-demo-{}", std::process::id()));
        // The last process of this number may have left one behind.
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path)?;
        Ok(Self { path, keep: false })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Does not remove it: somebody will want to look.
    pub(crate) fn keep(&mut self) {
        self.keep = true;
    }
}

impl Drop for Workdir {
    fn drop(&mut self) {
        if !self.keep {
            let _ = std::fs::remove_dir_all(&self.path);
        }
    }
}
