//! What a run leaves behind on request: a transcript of every call, and a report on whether every
//! answer and webhook kept to Plaid's contract.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use serde_json::{Value, json};

use crate::contract;
use crate::fault::FaultKind;

/// Fields of a request that a transcript leaves out.
const SECRETS: [&str; 2] = ["secret", "override_password"];

/// A file to which lines are added whole.
#[derive(Debug)]
struct Lines(Mutex<File>);

impl Lines {
    fn write(&self, line: &Value) {
        let mut text = line.to_string();
        text.push('\n');
        let mut file = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = file.write_all(text.as_bytes()) {
            tracing::error!(%error, "a report of the emulator could not be written");
        }
    }
}

/// Every call with its answer, one JSON object a line.
#[derive(Debug)]
pub(crate) struct Transcript(Lines);

impl Transcript {
    pub(crate) fn open(file: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(file)?;
        Ok(Self(Lines(Mutex::new(file))))
    }

    /// Notes a call, the answer as it was before a fault spoiled it, and the fault.
    pub(crate) fn note(
        &self,
        at: jiff::Timestamp,
        path: &str,
        request: &[u8],
        (status, answer): (u16, &[u8]),
        fault: Option<FaultKind>,
    ) {
        let mut request: Value = serde_json::from_slice(request).unwrap_or(Value::Null);
        redact(&mut request);
        let answer: Value = serde_json::from_slice(answer).unwrap_or(Value::Null);
        self.0.write(&json!({
            "answer": answer, "at": at.to_string(), "fault": fault, "path": path,
            "request": request, "status": status,
        }));
    }
}

fn redact(value: &mut Value) {
    if let Value::Object(fields) = value {
        for (name, field) in fields {
            if SECRETS.contains(&name.as_str()) && !field.is_null() {
                *field = json!("left out");
            } else {
                redact(field);
            }
        }
    }
}

/// Every answer and webhook, and what is wrong with it, one JSON object a line.
#[derive(Debug)]
pub(crate) struct ContractReport(Lines);

impl ContractReport {
    /// Opens a report of its own in a folder that many emulators may share.
    pub(crate) fn open(folder: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(folder)?;
        // Concurrent emulators of one process and of many: the first free number is taken.
        for number in 0_u32.. {
            let path = folder.join(format!("{}-{number}.ndjson", std::process::id()));
            match OpenOptions::new().create_new(true).append(true).open(path) {
                Ok(file) => return Ok(Self(Lines(Mutex::new(file)))),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
        Err(io::Error::other("no free name for a report"))
    }

    pub(crate) fn answer(&self, path: &str, status: u16, answer: &[u8]) {
        let flaws = match serde_json::from_slice(answer) {
            Ok(answer) => contract::flaws_of_answer(path, status, &answer),
            Err(error) => vec![format!("not JSON: {error}")],
        };
        self.note("answer", path, status, &flaws);
    }

    /// An answer that is a file and no JSON.
    pub(crate) fn file(&self, path: &str) {
        self.note("answer", path, 200, &[]);
    }

    pub(crate) fn webhook(&self, body: &Value) {
        let name = format!(
            "{} {}",
            body["webhook_type"].as_str().unwrap_or_default(),
            body["webhook_code"].as_str().unwrap_or_default()
        );
        self.note("webhook", &name, 200, &contract::flaws_of_webhook(body));
    }

    fn note(&self, what: &str, name: &str, status: u16, flaws: &[String]) {
        for flaw in flaws {
            tracing::error!(name, flaw, "against Plaid's contract");
        }
        self.0.write(&json!({ "what": what, "name": name, "status": status, "flaws": flaws }));
    }
}
