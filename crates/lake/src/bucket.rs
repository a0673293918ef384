//! A bucket of S3, GCS, Azure, or of anything that speaks as they do, as a place of files.

use std::fs::File;
use std::io::{Read, Seek, Write};

use async_trait::async_trait;
use destinations::{DestinationError, Place, Scratch, plain_name};
use futures_util::TryStreamExt;
use model::FilesSettings;
use object_store::aws::AmazonS3ConfigKey;
use object_store::azure::AzureConfigKey;
use object_store::gcp::GoogleConfigKey;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, WriteMultipart};
use secrecy::ExposeSecret;
use tempfile::{NamedTempFile, TempPath};
use url::Url;

/// A part of a file on its way, and parts on their way at a time.
const PART_BYTES: usize = 8 * 1024 * 1024;
const PARTS_AT_A_TIME: usize = 4;
/// How the services' environment variables begin.
const SERVICES: [&str; 3] = ["aws_", "google_", "azure_"];

/// A bucket, and where in it.
pub struct Bucket {
    store: Box<dyn ObjectStore>,
    root: Path,
    place: String,
    /// Where files are written before they are sent.
    scratch: Scratch,
}

impl Bucket {
    /// Takes `s3://bucket/folder` and its kin, with what the service needs.
    pub fn new(files: &FilesSettings) -> Result<Self, DestinationError> {
        let place = files.path.clone();
        let refused = |said: String| {
            let fix = "Check path and options: their names are those of the service, such as \
                       aws_access_key_id, aws_secret_access_key, aws_region, aws_endpoint";
            DestinationError::settings(&place, said, fix)
        };
        let url = place.parse().map_err(|_| refused("the path is no URL".to_owned()))?;
        if let Some(unknown) = files.options.keys().find(|name| !is_option_of(&url, name)) {
            return Err(refused(format!("{unknown} is no option of this service")));
        }
        // As with the services' own tools, what the settings do not say the environment may.
        let surroundings = std::env::vars_os().filter_map(|(name, value)| {
            Some((name.to_str()?.to_ascii_lowercase(), value.into_string().ok()?))
        });
        let surroundings = surroundings.filter(|(name, _)| {
            SERVICES.iter().any(|service| name.starts_with(service)) && is_option_of(&url, name)
        });
        let told = files.options.iter();
        let told = told.map(|(name, value)| (name.clone(), value.expose_secret().to_owned()));
        let options = surroundings.chain(told);
        let (store, root) = object_store::parse_url_opts(&url, options).map_err(|error| {
            // The library's message may hold a value.
            tracing::debug!(%error, "a bucket could not be opened");
            refused("the bucket's settings cannot be used".to_owned())
        })?;
        Ok(Self { store, root, place, scratch: Scratch::new()? })
    }

    fn path(&self, name: &str) -> Path {
        name.split('/').fold(self.root.clone(), Path::join)
    }

    fn failed(&self, name: &str, error: object_store::Error) -> DestinationError {
        use object_store::Error;
        let place = format!("{}/{name}", self.place);
        let own = match &error {
            Error::Unauthenticated { .. } | Error::PermissionDenied { .. } => {
                let fix = "Give the key the right to read, write, list and delete there";
                DestinationError::settings(place, "access was refused", fix)
            }
            Error::NotFound { .. } => {
                let fix = "Make the bucket, or name another";
                DestinationError::settings(place, "there is no such bucket", fix)
            }
            _ => DestinationError::passing(place, brief(&error.to_string())),
        };
        own.because(error)
    }

    async fn upload(&self, name: &str, mut file: File) -> Result<(), DestinationError> {
        let upload = self.store.put_multipart(&self.path(name)).await;
        let upload = upload.map_err(|error| self.failed(name, error))?;
        let mut upload = WriteMultipart::new_with_chunk_size(upload, PART_BYTES);
        let mut buffer = vec![0; PART_BYTES];
        loop {
            let read = file.read(&mut buffer);
            let read = read.map_err(|error| DestinationError::file(self.scratch.path(), error))?;
            if read == 0 {
                break;
            }
            upload
                .wait_for_capacity(PARTS_AT_A_TIME)
                .await
                .map_err(|error| self.failed(name, error))?;
            upload.write(&buffer[..read]);
        }
        upload.finish().await.map_err(|error| self.failed(name, error))?;
        Ok(())
    }
}

/// Whether the service behind a URL knows an option of this name.
fn is_option_of(url: &Url, name: &str) -> bool {
    match url.scheme() {
        "s3" | "s3a" => name.parse::<AmazonS3ConfigKey>().is_ok(),
        "gs" => name.parse::<GoogleConfigKey>().is_ok(),
        _ => name.parse::<AzureConfigKey>().is_ok(),
    }
}

/// The first line of a message that may hold a whole answer.
fn brief(text: &str) -> String {
    text.lines().next().unwrap_or_default().chars().take(300).collect()
}

#[async_trait]
impl Place for Bucket {
    fn describe(&self) -> String {
        self.place.clone()
    }

    fn scratch(&self, owner: &str) -> Result<NamedTempFile, DestinationError> {
        let folder = self.scratch.part(&plain_name(owner))?;
        NamedTempFile::new_in(&folder).map_err(|error| DestinationError::file(&folder, error))
    }

    fn clear_scratch(&self, owner: &str) {
        // What cannot be removed now goes with the process.
        let _kept = std::fs::remove_dir_all(self.scratch.path().join(plain_name(owner)));
    }

    async fn put(&self, name: &str, file: TempPath) -> Result<(), DestinationError> {
        let opened = File::open(&file);
        let opened = opened.map_err(|error| DestinationError::file(&file, error))?;
        let len = opened.metadata().map_or(0, |metadata| metadata.len());
        if len > PART_BYTES as u64 {
            return self.upload(name, opened).await;
        }
        let mut bytes = Vec::new();
        let mut opened = opened;
        let read = opened.read_to_end(&mut bytes);
        read.map_err(|error| DestinationError::file(&file, error))?;
        let put = self.store.put(&self.path(name), bytes.into()).await;
        put.map(|_| ()).map_err(|error| self.failed(name, error))
    }

    async fn copy(&self, from: &str, to: &str) -> Result<bool, DestinationError> {
        match self.store.copy(&self.path(from), &self.path(to)).await {
            Ok(()) => Ok(true),
            Err(object_store::Error::NotFound { .. }) => Ok(false),
            Err(error) => Err(self.failed(from, error)),
        }
    }

    async fn open(&self, name: &str) -> Result<Option<File>, DestinationError> {
        let found = match self.store.get(&self.path(name)).await {
            Ok(found) => found,
            Err(object_store::Error::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(self.failed(name, error)),
        };
        let failed = |error| DestinationError::file(self.scratch.path(), error);
        let mut file = tempfile::tempfile_in(self.scratch.path()).map_err(failed)?;
        let mut parts = found.into_stream();
        while let Some(part) = parts.try_next().await.map_err(|error| self.failed(name, error))? {
            file.write_all(&part).map_err(failed)?;
        }
        file.rewind().map_err(failed)?;
        Ok(Some(file))
    }

    async fn list(&self, folder: &str) -> Result<Vec<String>, DestinationError> {
        let listed = self.store.list_with_delimiter(Some(&self.path(folder))).await;
        let listed = listed.map_err(|error| self.failed(folder, error))?;
        let names = listed.objects.iter().filter_map(|object| object.location.filename());
        Ok(names.map(str::to_owned).collect())
    }

    async fn remove(&self, name: &str) -> Result<(), DestinationError> {
        match self.store.delete(&self.path(name)).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(self.failed(name, error)),
        }
    }
}
