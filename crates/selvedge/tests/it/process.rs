//! The program as a process: started, read until ready, killed.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;
use testkit::{program, settle};

/// The program as these tests built it.
pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_selvedge");

/// A command of the program, without this machine's settings.
pub(crate) fn selvedge(arguments: &[&str]) -> Command {
    let mut command = Command::new(program());
    for name in [
        "SELVEDGE_LOG",
        "SELVEDGE_DATA_DIR",
        "SELVEDGE_DATABASE_URL",
        "SELVEDGE_MASTER_KEY",
        "SELVEDGE_NATS_URL",
        "SELVEDGE_PUBLIC_URL",
    ] {
        command.env_remove(name);
    }
    command.args(arguments).stdin(Stdio::null());
    command
}

/// Runs a command to its end.
pub(crate) fn run(arguments: &[&str]) -> Output {
    selvedge(arguments).output().unwrap()
}

/// Standard output of a command that must succeed.
pub(crate) fn output_of(arguments: &[&str]) -> String {
    let output = run(arguments);
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{arguments:?}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

/// The same, on the database of a folder.
pub(crate) fn output_in(folder: &Path, arguments: &[&str]) -> String {
    let mut command = selvedge(arguments);
    settle(&mut command, folder);
    let output = command.arg("--data-dir").arg(folder).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{arguments:?}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

/// A long-running command that printed its ready line.
pub(crate) struct Running {
    child: Child,
    pub(crate) url: String,
}

impl Running {
    /// Starts it; its standard error goes to the file, if one is given.
    pub(crate) fn start(command: Command, log: Option<&Path>) -> Self {
        Self::try_start(command, log).expect("a ready line")
    }

    /// The same, or nothing if it ends before it is ready.
    pub(crate) fn try_start(mut command: Command, log: Option<&Path>) -> Option<Self> {
        let errors = log.map_or_else(Stdio::null, |path| {
            std::fs::OpenOptions::new().create(true).append(true).open(path).unwrap().into()
        });
        let mut child = command.stdout(Stdio::piped()).stderr(errors).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let Ok(ready) = serde_json::from_str::<Value>(&line) else {
            child.wait().unwrap();
            return None;
        };
        assert_eq!(ready["ready"], true);
        Some(Self { child, url: ready["url"].as_str().unwrap().to_owned() })
    }

    /// `selvedge serve` on a free port with its data in a folder.
    pub(crate) fn serve(folder: &Path, extra: &[&str], log: Option<&Path>) -> Self {
        let mut command = selvedge(&["serve", "--listen", "127.0.0.1:0", "--data-dir"]);
        command.arg(folder).args(extra);
        settle(&mut command, folder);
        Self::start(command, log)
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Ends it without warning, as a loss of power does to a process.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// The repository.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}
