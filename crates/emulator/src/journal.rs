//! Keeps a world over a restart: the commands it received, one JSON line each, beside the seed.

use std::fs::{File, OpenOptions};
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
        let mut reader = match File::open(&path) {
            Ok(file) => BufReader::new(file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let mut journal = Self(File::create(&path)?);
                journal.write(&Header { seed })?;
                return Ok((journal, World::new(seed)));
            }
            Err(error) => return Err(error),
        };
        let mut line = String::new();
        let mut good = reader.read_line(&mut line)?;
        let mut world = World::new(serde_json::from_str::<Header>(&line)?.seed);
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
        let file = OpenOptions::new().append(true).open(path)?;
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
