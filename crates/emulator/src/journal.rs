//! Keeps a world over a restart: the commands it received, one JSON line each, beside the seed.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::world::{Command, World};

const FILE_NAME: &str = "journal.ndjson";

/// The first line of a journal.
#[derive(Serialize, Deserialize)]
struct Header {
    seed: u64,
}

#[derive(Serialize, Deserialize)]
struct Entry {
    at: Timestamp,
    command: Command,
}

/// An open journal.
pub(crate) struct Journal(File);

impl Journal {
    /// Opens the journal of a folder and replays it. A new folder starts a world of this seed; an
    /// old one keeps its own.
    pub(crate) fn open(folder: &Path, seed: u64) -> io::Result<(Self, World)> {
        std::fs::create_dir_all(folder)?;
        let path = folder.join(FILE_NAME);
        let file = OpenOptions::new().create(true).read(true).append(true).open(&path)?;
        // Two writers would mix their commands.
        file.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => {
                io::Error::new(io::ErrorKind::ResourceBusy, "another emulator is using it")
            }
            TryLockError::Error(error) => error,
        })?;
        let mut reader = BufReader::new(&file);
        let mut line = String::new();
        let mut good = reader.read_line(&mut line)?;
        // A folder whose first line never became whole holds nothing.
        if !line.ends_with('\n') {
            file.set_len(0)?;
            let mut journal = Self(file);
            journal.write(&Header { seed })?;
            return Ok((journal, World::new(seed)));
        }
        let kept = serde_json::from_str::<Header>(&line)?.seed;
        if kept != seed {
            tracing::info!(kept, asked = seed, "the data folder keeps its own seed");
        }
        let mut world = World::new(kept);
        loop {
            line.clear();
            let length = reader.read_line(&mut line)?;
            if length == 0 {
                break;
            }
            // A last line cut short by a crash was never answered; it is dropped below.
            if !line.ends_with('\n') {
                break;
            }
            let entry: Entry = serde_json::from_str(&line)?;
            let _replayed = world.apply(entry.at, &entry.command);
            good += length;
        }
        file.set_len(u64::try_from(good).unwrap_or(u64::MAX))?;
        Ok((Self(file), world))
    }

    /// Notes a command that was carried out.
    pub(crate) fn note(&mut self, at: Timestamp, command: &Command) -> io::Result<()> {
        self.write(&Entry { at, command: command.clone() })
    }

    fn write(&mut self, line: &impl Serialize) -> io::Result<()> {
        let mut bytes = serde_json::to_vec(line)?;
        bytes.push(b'\n');
        self.0.write_all(&bytes)
    }
}
