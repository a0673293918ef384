//! A private PostgreSQL in a folder of its own, reached by socket only, gone with the value.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

/// Users that the server may run as, because it refuses to run as root.
const SERVER_USERS: [&str; 2] = ["postgres", "nobody"];

/// A running server.
pub struct Postgres {
    folder: TempDir,
    programs: PathBuf,
    user: Option<&'static str>,
}

impl Postgres {
    /// Makes a cluster and starts it.
    pub fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let user = server_user();
        let server = Self { folder, programs: programs(), user };
        fs::set_permissions(server.folder.path(), fs::Permissions::from_mode(0o777))
            .expect("permissions");
        let data = server.data();
        server.run("initdb", &["-D", &data, "-U", "postgres", "-A", "trust", "-N", "-E", "UTF8"]);
        server.start_again();
        server
    }

    /// Starts the server of this cluster.
    pub fn start_again(&self) {
        let socket = self.folder.path().display();
        let options = format!("-c listen_addresses='' -c unix_socket_directories='{socket}'");
        let log = format!("{socket}/log");
        self.run("pg_ctl", &["-D", &self.data(), "-o", &options, "-l", &log, "-w", "start"]);
    }

    /// Ends the server without warning; its data stay.
    pub fn stop(&self) {
        self.run("pg_ctl", &["-D", &self.data(), "-m", "immediate", "stop"]);
    }

    /// A URL of its one database.
    pub fn url(&self) -> String {
        format!("postgres:///postgres?user=postgres&host={}", self.folder.path().display())
    }

    fn data(&self) -> String {
        self.folder.path().join("data").display().to_string()
    }

    fn run(&self, program: &str, arguments: &[&str]) {
        let program = self.programs.join(program);
        let mut command = match self.user {
            Some(user) => {
                let mut command = Command::new("runuser");
                command.args(["-u", user, "--"]).arg(&program);
                command
            }
            None => Command::new(&program),
        };
        // pg_ctl's server inherits the output and would keep a pipe open for ever.
        command.args(arguments).current_dir("/").stdout(Stdio::null()).stderr(Stdio::null());
        let status = command.status().expect("a program of PostgreSQL's");
        assert!(status.success(), "{} {arguments:?}: {status}", program.display());
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.stop();
    }
}

fn server_user() -> Option<&'static str> {
    let uid = Command::new("id").arg("-u").output().expect("id").stdout;
    if uid.trim_ascii() != b"0" {
        return None;
    }
    let passwd = fs::read_to_string("/etc/passwd").expect("users");
    let known = |name: &&str| passwd.lines().any(|line| line.starts_with(&format!("{name}:")));
    SERVER_USERS.into_iter().find(known)
}

/// Debian keeps the server's programs off the path.
fn programs() -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let folders = versions.map(|version| version.path().join("bin"));
    let found = folders.filter(|folder| folder.join("initdb").exists()).max();
    let on_path = || Path::new("/usr/local/bin").to_path_buf();
    found.unwrap_or_else(on_path)
}
