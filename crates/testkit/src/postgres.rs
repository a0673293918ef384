//! A private PostgreSQL in a folder of its own, reached by socket only, gone with the value.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU16, AtomicU32, Ordering};

use tempfile::TempDir;

/// Users that the server may run as, because it refuses to run as root.
const SERVER_USERS: [&str; 2] = ["postgres", "nobody"];

/// A running server.
pub struct Postgres {
    folder: TempDir,
    programs: PathBuf,
    user: Option<&'static str>,
    /// Names its socket, and is listened on where that is asked for.
    port: AtomicU16,
}

impl Postgres {
    /// Makes a cluster and starts it.
    pub fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let user = server_user();
        let port = AtomicU16::new(5_432);
        let server = Self { folder, programs: programs(), user, port };
        fs::set_permissions(server.folder.path(), fs::Permissions::from_mode(0o777))
            .expect("permissions");
        let data = server.data();
        server.run("initdb", &["-D", &data, "-U", "postgres", "-A", "trust", "-N", "-E", "UTF8"]);
        server.start_again();
        server
    }

    /// Starts the server of this cluster.
    pub fn start_again(&self) {
        self.start_with("-c listen_addresses=''");
    }

    fn start_with(&self, listening: &str) {
        let socket = self.folder.path().display();
        // Several worlds at a time have a dozen connections each.
        let options = format!(
            "{listening} -c unix_socket_directories='{socket}' -c max_connections=400 \
             -c port={}",
            self.port.load(Ordering::Relaxed)
        );
        let log = format!("{socket}/log");
        self.run("pg_ctl", &["-D", &self.data(), "-o", &options, "-l", &log, "-w", "start"]);
    }

    /// Ends the server without warning; its data stay.
    pub fn stop(&self) {
        self.run("pg_ctl", &["-D", &self.data(), "-m", "immediate", "stop"]);
    }

    /// A server that all tests of this process share, gone with the process.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Postgres> = OnceLock::new();
        SHARED.get_or_init(|| {
            let server = Self::start();
            let program = server.programs.join("pg_ctl");
            let user = server.user.map(|user| format!("runuser -u {user} -- ")).unwrap_or_default();
            let stop =
                format!("{user}{} -D {} -m immediate stop", program.display(), server.data());
            clean_up_at_exit(&stop, server.folder.path());
            server
        })
    }

    /// A URL of its first database, as its superuser.
    pub fn url(&self) -> String {
        self.url_of("postgres", "postgres")
    }

    /// A URL of a database, as a role.
    pub fn url_of(&self, database: &str, role: &str) -> String {
        format!("postgres:///{database}?user={role}&host={}", self.folder.path().display())
    }

    /// Makes an empty database that belongs to the role `selvedge`, which is bound by row-level
    /// security. Gives its URL.
    pub fn create_database(&self) -> String {
        static NUMBER: AtomicU32 = AtomicU32::new(1);
        let name = format!("test_{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        self.sql(
            "postgres",
            "DO $$ BEGIN CREATE ROLE selvedge LOGIN; \
             EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$",
        );
        self.sql("postgres", &format!("CREATE DATABASE {name} OWNER selvedge"));
        self.url_of(&name, "selvedge")
    }

    /// Has the superuser carry out a statement. Gives what it printed.
    pub fn sql(&self, database: &str, statement: &str) -> String {
        let done = Command::new(self.programs.join("psql"))
            .args(["-XAtq", "-v", "ON_ERROR_STOP=1", "-U", "postgres", "-d", database])
            .args(["-p", &self.port.load(Ordering::Relaxed).to_string(), "-h"])
            .arg(self.folder.path())
            .args(["-c", statement])
            .output()
            .expect("psql");
        assert!(done.status.success(), "{statement}: {}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8_lossy(&done.stdout).trim().to_owned()
    }

    /// Lets it also listen on a port of this machine, with a certificate of its own making, for those who
    /// come by TLS. Gives the port.
    pub fn listen_with_tls(&self) -> u16 {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        drop(listener);
        let (data, certificate) = (PathBuf::from(self.data()), self.certificate());
        let key = data.join("server.key");
        let made = Command::new("openssl")
            .args(["req", "-new", "-x509", "-days", "2", "-nodes", "-subj", "/CN=localhost"])
            .args(["-addext", "subjectAltName=IP:127.0.0.1"])
            .args(["-addext", "basicConstraints=critical,CA:FALSE", "-keyout"])
            .arg(&key)
            .arg("-out")
            .arg(&certificate)
            .stderr(Stdio::null())
            .status();
        assert!(made.expect("openssl").success(), "a certificate");
        if let Some(user) = self.user {
            let mut give = Command::new("chown");
            assert!(give.arg(user).arg(&key).arg(&certificate).status().expect("chown").success());
        }
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).expect("permissions");
        let trusted = "local all all trust\nhostssl all all 127.0.0.1/32 trust\n";
        fs::write(data.join("pg_hba.conf"), trusted).expect("who may come");
        self.sql("postgres", "ALTER SYSTEM SET ssl = on");
        self.stop();
        self.port.store(port, Ordering::Relaxed);
        self.start_with("-c listen_addresses=127.0.0.1");
        port
    }

    /// Its certificate.
    pub fn certificate(&self) -> PathBuf {
        PathBuf::from(self.data()).join("server.crt")
    }

    /// The folder of its socket, which is on the port of PostgreSQL.
    pub fn socket_folder(&self) -> &Path {
        self.folder.path()
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

/// Carries out a command and removes a folder once this process has ended, however that comes.
#[expect(clippy::zombie_processes, reason = "it ends after this process")]
pub(crate) fn clean_up_at_exit(command: &str, folder: &Path) {
    let script = format!("cat >/dev/null; {command}; rm -rf '{}'", folder.display());
    let mut cleaner = Command::new("sh")
        .args(["-c", &script])
        // It reads from this process until there is none.
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .expect("a shell");
    std::mem::forget(cleaner.stdin.take());
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
