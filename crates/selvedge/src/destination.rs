//! Opens destinations: which ones this build has, and what they may use of this machine.

use std::sync::Arc;

use destinations::{
    Csv, Database, Destination, DestinationError, Files, Folder, Http, JsonLines, Place, Postgres,
    Process, Sqlite,
};
use model::{DestinationSettings, FilesSettings, LocalDestinations};
use pipeline::Open;

use crate::surroundings;

/// How destinations are opened by whoever may use so much of this machine.
pub(crate) fn opener(local: LocalDestinations, http: reqwest::Client) -> Open {
    Arc::new(move |settings| open(settings, &local, &http))
}

type Opened = Result<Box<dyn Destination>, DestinationError>;

fn open(
    settings: &DestinationSettings,
    local: &LocalDestinations,
    http: &reqwest::Client,
) -> Opened {
    if let Some((field, why)) = local.fault(settings) {
        let fix = "Change the setting, or start the server so that it allows it";
        return Err(DestinationError::settings(format!("{settings}, {field}"), why, fix));
    }
    let path = |path: &str| {
        let fix = "Name a path that may be written";
        let found = local.path(path).map_err(|why| DestinationError::settings(path, why, fix))?;
        if local.folder.is_some()
            && let Some(folder) = found.parent()
        {
            // The server's own folder for destinations is made when it is first needed.
            let made = std::fs::create_dir_all(folder);
            made.map_err(|error| DestinationError::file(folder, error))?;
        }
        Ok(found)
    };
    match settings {
        DestinationSettings::Postgres { url, schema } => {
            Ok(Box::new(Database::new(Postgres::new(url, schema)?)))
        }
        DestinationSettings::Sqlite { path: file } => {
            Ok(Box::new(Database::new(Sqlite::new(path(file)?))))
        }
        DestinationSettings::Csv(files) => Ok(Box::new(Files::new(Csv, place(files, local)?))),
        DestinationSettings::Jsonl(files) => {
            Ok(Box::new(Files::new(JsonLines, place(files, local)?)))
        }
        DestinationSettings::Http { .. } => Ok(Box::new(Http::new(http.clone(), settings)?)),
        DestinationSettings::Process { .. } => {
            Ok(Box::new(Process::new(settings, surroundings::now)?))
        }
        DestinationSettings::Parquet(files) => parquet(files, local),
        DestinationSettings::Duckdb { path: file, library, schema } => {
            let library = library.as_deref().or(local.duckdb_library.as_deref());
            duckdb(&path(file)?, library, schema)
        }
        DestinationSettings::Delta(files) => delta(files, local),
        DestinationSettings::Nats { .. } => nats(settings),
        DestinationSettings::Kafka { .. } => kafka(settings),
    }
}

/// A folder, or with a scheme a bucket.
fn place(
    files: &FilesSettings,
    local: &LocalDestinations,
) -> Result<Box<dyn Place>, DestinationError> {
    if files.path.contains("://") {
        return bucket(files);
    }
    let fix = "Name a folder that may be written";
    let folder =
        local.path(&files.path).map_err(|why| DestinationError::settings(&files.path, why, fix))?;
    Ok(Box::new(Folder::new(folder)))
}

#[cfg(feature = "lake")]
fn bucket(files: &FilesSettings) -> Result<Box<dyn Place>, DestinationError> {
    Ok(Box::new(lake::Bucket::new(files)?))
}

#[cfg(not(feature = "lake"))]
fn bucket(files: &FilesSettings) -> Result<Box<dyn Place>, DestinationError> {
    Err(absent(&files.path, "buckets", "lake"))
}

#[cfg(feature = "lake")]
fn parquet(files: &FilesSettings, local: &LocalDestinations) -> Opened {
    Ok(Box::new(Files::new(lake::Parquet, place(files, local)?)))
}

#[cfg(not(feature = "lake"))]
fn parquet(files: &FilesSettings, _: &LocalDestinations) -> Opened {
    Err(absent(&files.path, "parquet", "lake"))
}

#[cfg(feature = "lake")]
fn duckdb(path: &std::path::Path, library: Option<&str>, schema: &str) -> Opened {
    Ok(Box::new(Database::new(lake::DuckDb::new(path, library, schema)?)))
}

#[cfg(not(feature = "lake"))]
fn duckdb(path: &std::path::Path, _: Option<&str>, _: &str) -> Opened {
    Err(absent(&path.display().to_string(), "duckdb", "lake"))
}

#[cfg(feature = "delta")]
fn delta(files: &FilesSettings, local: &LocalDestinations) -> Opened {
    let fix = "Name a folder on this machine that may be written";
    if files.path.contains("://") {
        let said = "Delta Lake tables are written to folders only";
        return Err(DestinationError::settings(&files.path, said, fix));
    }
    let root = local.path(&files.path);
    let root = root.map_err(|why| DestinationError::settings(&files.path, why, fix))?;
    Ok(Box::new(lake::DeltaLake::new(root)))
}

#[cfg(not(feature = "delta"))]
fn delta(files: &FilesSettings, _: &LocalDestinations) -> Opened {
    Err(absent(&files.path, "delta", "delta"))
}

#[cfg(feature = "nats")]
fn nats(settings: &DestinationSettings) -> Opened {
    Ok(Box::new(brokers::JetStream::new(settings)?))
}

#[cfg(not(feature = "nats"))]
fn nats(settings: &DestinationSettings) -> Opened {
    Err(absent(&settings.to_string(), "nats", "nats"))
}

#[cfg(feature = "kafka")]
fn kafka(settings: &DestinationSettings) -> Opened {
    Ok(Box::new(brokers::Kafka::new(settings)?))
}

#[cfg(not(feature = "kafka"))]
fn kafka(settings: &DestinationSettings) -> Opened {
    Err(absent(&settings.to_string(), "kafka", "kafka"))
}

#[cfg(not(all(feature = "lake", feature = "delta", feature = "nats", feature = "kafka")))]
fn absent(place: &str, what: &str, feature: &str) -> DestinationError {
    DestinationError::settings(
        place,
        format!("this build has no {what}"),
        format!("Build with `make build FEATURES={feature}`"),
    )
}
