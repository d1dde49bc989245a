//! A folder for one test, removed at its end.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process,
    sync::atomic::{AtomicUsize, Ordering},
};

pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("lhttp-test-{}-{}", process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let folder = env::temp_dir().join(name);
        fs::create_dir(&folder).expect("the folder for temporary files can be written to");
        Self(folder)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Writes a file atomically, so that a reader sees all or nothing of it, and returns its path.
    pub(crate) fn write(&self, name: &str, content: &str) -> String {
        let (part, path) = (self.0.join(format!("{name}.part")), self.0.join(name));
        fs::write(&part, content).expect("the folder can be written to");
        fs::rename(part, &path).expect("the folder can be written to");
        path.to_str().expect("the path is UTF-8").to_owned()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
