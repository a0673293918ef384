//! A folder on this machine as a place of files: written aside, synced, renamed.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use tempfile::{NamedTempFile, TempPath};

use crate::destination::DestinationError;
use crate::files::Place;
use crate::table::plain_name;

/// A folder; made when it is first written.
#[derive(Debug, Clone)]
pub struct Folder {
    root: PathBuf,
}

impl Folder {
    /// The folder at a path.
    pub fn new(root: PathBuf) -> Self {
        Self { root }
    }

    fn scratch_folder(&self, owner: &str) -> PathBuf {
        self.root.join("_selvedge").join("unfinished").join(plain_name(owner))
    }

    fn path(&self, name: &str) -> Result<PathBuf, DestinationError> {
        let path = self.root.join(name);
        let folder = path.parent().unwrap_or(&self.root);
        fs::create_dir_all(folder).map_err(|error| DestinationError::file(folder, error))?;
        Ok(path)
    }
}

#[async_trait]
impl Place for Folder {
    fn describe(&self) -> String {
        self.root.display().to_string()
    }

    fn scratch(&self, owner: &str) -> Result<NamedTempFile, DestinationError> {
        let folder = self.scratch_folder(owner);
        let made = fs::create_dir_all(&folder).and_then(|()| {
            // Others may read what is in the folder as far as the umask lets them.
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o666);
            tempfile::Builder::new().permissions(mode).tempfile_in(&folder)
        });
        made.map_err(|error| DestinationError::file(&folder, error))
    }

    fn clear_scratch(&self, owner: &str) {
        // What cannot be removed now is in nobody's way.
        let _kept = fs::remove_dir_all(self.scratch_folder(owner));
    }

    async fn put(&self, name: &str, file: TempPath) -> Result<(), DestinationError> {
        let path = self.path(name)?;
        let failed = |error| DestinationError::file(&path, error);
        File::open(&file).and_then(|file| file.sync_all()).map_err(failed)?;
        file.persist(&path).map_err(|error| failed(error.error))?;
        sync_folder(&path).map_err(failed)
    }

    async fn copy(&self, from: &str, to: &str) -> Result<bool, DestinationError> {
        let (from, to) = (self.root.join(from), self.path(to)?);
        let aside = to.with_extension("new");
        let linked = remove(&aside).and_then(|()| fs::hard_link(&from, &aside));
        match linked {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            // Some file systems have no links.
            Err(_) => fs::copy(&from, &aside).map(|_| ()),
            Ok(()) => Ok(()),
        }
        .and_then(|()| fs::rename(&aside, &to))
        .and_then(|()| sync_folder(&to))
        .map_err(|error| DestinationError::file(&to, error))?;
        Ok(true)
    }

    async fn open(&self, name: &str) -> Result<Option<File>, DestinationError> {
        let path = self.root.join(name);
        match File::open(&path) {
            Ok(file) => Ok(Some(file)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(DestinationError::file(&path, error)),
        }
    }

    async fn list(&self, folder: &str) -> Result<Vec<String>, DestinationError> {
        let path = self.root.join(folder);
        let Ok(entries) = fs::read_dir(&path) else { return Ok(Vec::new()) };
        let mut names: Vec<String> =
            entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
        names.sort();
        Ok(names)
    }

    async fn remove(&self, name: &str) -> Result<(), DestinationError> {
        let path = self.root.join(name);
        remove(&path).map_err(|error| DestinationError::file(&path, error))
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// A new name is durable only once its folder is.
fn sync_folder(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}
