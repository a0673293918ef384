//! A folder for what is on its way to elsewhere, readable by its owner only. It goes with its
//! process; what a killed process left is swept away by the next.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::destination::DestinationError;

/// How the folders' names begin, in the system's folder for temporary files.
const PREFIX: &str = "selvedge-scratch-";
/// A sweep of another process can take a folder in the instant before it is locked.
const ATTEMPTS: usize = 5;

/// A folder of this process, locked while it is in use.
#[derive(Debug)]
pub struct Scratch {
    folder: TempDir,
    _lock: File,
}

impl Scratch {
    /// Makes a folder, and removes those of processes that are no more.
    pub fn new() -> Result<Self, DestinationError> {
        let place = std::env::temp_dir();
        sweep(&place);
        let failed = |error| DestinationError::file(&place, error);
        for _ in 0..ATTEMPTS {
            let folder = TempDir::with_prefix_in(PREFIX, &place).map_err(failed)?;
            let lock = File::open(folder.path()).map_err(failed)?;
            if lock.try_lock().is_ok() && folder.path().exists() {
                return Ok(Self { folder, _lock: lock });
            }
        }
        Err(failed(io::Error::other("no folder for temporary files could be kept")))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// A part of it; made when it is not there yet.
    pub fn part(&self, name: &str) -> Result<PathBuf, DestinationError> {
        let part = self.folder.path().join(name);
        fs::create_dir_all(&part).map_err(|error| DestinationError::file(&part, error))?;
        Ok(part)
    }
}

/// Removes the folders that nobody holds. What cannot be opened or removed is somebody else's.
fn sweep(place: &Path) {
    let Ok(entries) = fs::read_dir(place) else { return };
    for entry in entries.flatten() {
        if !entry.file_name().to_string_lossy().starts_with(PREFIX) {
            continue;
        }
        let held = File::open(entry.path());
        if held.is_ok_and(|held| held.try_lock().is_ok()) {
            let _kept = fs::remove_dir_all(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_dead_process_left_is_swept_and_what_is_in_use_stays() {
        let living = Scratch::new().unwrap();
        // Its lock goes, as with a process; its folder stays.
        let left = Scratch::new().unwrap().folder.keep();
        fs::write(left.join("row.jsonl"), "{}").unwrap();
        drop(Scratch::new().unwrap());
        assert!(!left.exists());
        assert!(living.path().exists());
    }
}
