//! On what a world runs. `SELVEDGE_TEST_MODE` chooses: nothing for a SQLite file and one process,
//! `postgres` for a server with four worker processes, `nats` for the same with a cluster of three
//! between them.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use store::{Database, Store};

use crate::nats_cluster::NatsCluster;
use crate::postgres::Postgres;
use crate::surroundings::ambient;
use crate::world::master_key;

/// Worker processes of a world that is not one process.
pub const WORKER_PROCESSES: usize = 4;
/// The file in a world's folder that names its database, where that is not a file itself.
const NAMED: &str = "database.url";

/// On what a world runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// A SQLite file, one process.
    Sqlite,
    /// PostgreSQL, and worker processes.
    Postgres,
    /// The same, and a cluster of three NATS servers.
    Nats,
}

impl Mode {
    /// The mode that was asked for.
    pub fn chosen() -> Self {
        match std::env::var("SELVEDGE_TEST_MODE").as_deref() {
            Ok("postgres") => Self::Postgres,
            Ok("nats") => Self::Nats,
            Ok("sqlite" | "") | Err(_) => Self::Sqlite,
            Ok(other) => panic!("SELVEDGE_TEST_MODE is sqlite, postgres or nats, not {other}"),
        }
    }

    /// Whether workers are processes of their own.
    pub fn has_worker_processes(self) -> bool {
        self != Self::Sqlite
    }
}

/// The URL of the database that belongs to a folder, made when it is first asked for.
pub fn database_url(folder: &Path) -> String {
    if Mode::chosen() == Mode::Sqlite {
        return format!("sqlite:{}", folder.join("selvedge.db").display());
    }
    let named = folder.join(NAMED);
    if let Ok(url) = std::fs::read_to_string(&named) {
        return url;
    }
    let url = Postgres::shared().create_database();
    std::fs::write(folder.join("master.key"), crate::world::MASTER_KEY).expect("a key");
    let mut migrate = Command::new(program());
    migrate.args(["migrate", "--data-dir"]).arg(folder).env("SELVEDGE_DATABASE_URL", &url);
    let migrated = migrate.stdout(Stdio::null()).status().expect("the program; build it first");
    assert!(migrated.success(), "the schema is made");
    std::fs::write(named, &url).expect("the name of a database");
    url
}

/// Opens the store of a folder.
pub async fn open_store(folder: &Path, exclusive: bool) -> Store {
    let database = Database::parse(&database_url(folder), exclusive).expect("a database");
    Store::open(&database, master_key(), ambient()).await.expect("a store")
}

/// Lets a command of the program use the database of a folder, and the brokers of this mode.
pub fn settle(command: &mut Command, folder: &Path) {
    command.env("SELVEDGE_DATABASE_URL", database_url(folder));
    if Mode::chosen() == Mode::Nats {
        command.env("SELVEDGE_NATS_URL", NatsCluster::shared().url(&prefix(folder)));
    }
}

/// What the streams of the installation of a folder begin with.
pub fn prefix(folder: &Path) -> String {
    let name = folder.file_name().expect("a name").to_string_lossy();
    name.chars().filter(char::is_ascii_alphanumeric).collect()
}

/// A worker process, killed with the value.
pub struct WorkerProcess(Child);

impl WorkerProcess {
    /// Starts `selvedge work` on the database of a folder, whose master key is in the folder.
    pub fn start(folder: &Path, arguments: &[&str]) -> Self {
        let log = folder.join("work.log");
        Self::try_start(folder, arguments, &[], &log).expect("a worker that is ready")
    }

    /// The same with more in its environment; nothing if it ends before it is ready.
    pub fn try_start(
        folder: &Path,
        arguments: &[&str],
        environment: &[(&str, &str)],
        log: &Path,
    ) -> Option<Self> {
        std::fs::write(folder.join("master.key"), crate::world::MASTER_KEY).expect("a key");
        let mut command = Command::new(program());
        command.args(["work", "--data-dir"]).arg(folder).args(arguments);
        settle(&mut command, folder);
        let log = std::fs::OpenOptions::new().create(true).append(true).open(log).expect("a log");
        command.envs(environment.iter().copied());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log);
        let mut child = command.spawn().expect("a worker; build the program first");
        let mut line = String::new();
        let output = child.stdout.take().expect("its output");
        BufReader::new(output).read_line(&mut line).expect("a line");
        let worker = Self(child);
        line.contains("ready").then_some(worker)
    }

    /// Ends it without warning.
    pub fn kill(&mut self) {
        let _gone = self.0.kill();
        let _reaped = self.0.wait();
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for WorkerProcess {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Sends a process a signal, by the signal's name.
pub fn send_signal(process: u32, name: &str) {
    let mut kill = Command::new("kill");
    kill.arg(format!("-{name}")).arg(process.to_string());
    assert!(kill.status().expect("kill").success(), "{name} to {process}");
}

/// The program: beside the tests that run, or the one that `SELVEDGE_TEST_PROGRAM` names, such as a release.
pub fn program() -> PathBuf {
    if let Some(named) = std::env::var_os("SELVEDGE_TEST_PROGRAM") {
        return PathBuf::from(named);
    }
    let tests = std::env::current_exe().expect("this program");
    let folder = tests.ancestors().find(|folder| folder.join("selvedge").is_file());
    folder.expect("the program beside its tests").join("selvedge")
}
