//! Where tests find files of the crate, and where they write their own.

use std::fs;
use std::path::PathBuf;

/// A file of the crate.
pub(crate) fn here(path: &str) -> String {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path).display().to_string()
}

/// A folder of its own for one test.
pub(crate) struct Place(pub(crate) PathBuf);

impl Place {
    pub(crate) fn new(name: &str) -> Self {
        let path =
            std::env::temp_dir().join(format!("registry-conform-{}-{name}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    /// A copy of an adapter's folder, with a text in one file replaced.
    pub(crate) fn with(adapter: &str, name: &str, file: &str, from: &str, to: &str) -> Self {
        let place = Self::new(name);
        for entry in fs::read_dir(here(&format!("adapters/{adapter}"))).unwrap() {
            let entry = entry.unwrap();
            if entry.path().is_file() {
                fs::copy(entry.path(), place.0.join(entry.file_name())).unwrap();
            }
        }
        let right = fs::read_to_string(place.0.join(file)).unwrap();
        let wrong = right.replace(from, to);
        assert_ne!(wrong, right, "{from}");
        place.write(file, &wrong);
        place
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        fs::write(self.0.join(name), text).unwrap();
    }

    /// The name of a file in it.
    pub(crate) fn file(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
