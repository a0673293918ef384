//! Three NATS servers with JetStream on free ports of this machine, gone with the process.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, OnceLock};

use tempfile::TempDir;

use crate::postgres::clean_up_at_exit;

/// Servers of a cluster.
const SERVERS: usize = 3;

/// A running cluster.
pub struct NatsCluster {
    folder: TempDir,
    /// Ports for clients, and for the other servers.
    ports: Vec<(u16, u16)>,
    servers: Mutex<Vec<Option<Child>>>,
}

impl NatsCluster {
    /// Starts three servers.
    pub fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let ports = (0..SERVERS).map(|_| (free_port(), free_port())).collect();
        let cluster = Self { folder, ports, servers: Mutex::default() };
        for number in 0..SERVERS {
            let server = cluster.spawn(number);
            cluster.servers.lock().expect("servers").push(Some(server));
        }
        cluster
    }

    /// One that all tests of this process share.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<NatsCluster> = OnceLock::new();
        SHARED.get_or_init(|| {
            let cluster = Self::start();
            // Those that were started again have other ids than the first ones.
            let folder = cluster.folder.path();
            let kill = format!(
                "for id in '{}'/*.pid; do kill -9 \"$(cat \"$id\")\"; done",
                folder.display()
            );
            clean_up_at_exit(&kill, folder);
            cluster
        })
    }

    /// A URL of all its servers, with streams of this prefix on each of them.
    pub fn url(&self, prefix: &str) -> String {
        let hosts: Vec<String> =
            self.ports.iter().map(|(port, _)| format!("127.0.0.1:{port}")).collect();
        format!("nats://{}?replicas={SERVERS}&prefix={prefix}", hosts.join(","))
    }

    /// Where one server takes clients.
    pub fn server_url(&self, number: usize) -> String {
        format!("nats://127.0.0.1:{}", self.ports[number].0)
    }

    /// The number of the server of this name.
    pub fn number_of(name: &str) -> Option<usize> {
        name.strip_prefix("server-")?.parse().ok()
    }

    /// Kills a server without warning.
    pub fn kill(&self, number: usize) {
        if let Some(mut server) = self.servers.lock().expect("servers")[number].take() {
            server.kill().expect("a kill");
            server.wait().expect("an end");
        }
    }

    /// Starts a server that was killed, with what it had on disk.
    pub fn start_again(&self, number: usize) {
        let server = self.spawn(number);
        self.servers.lock().expect("servers")[number] = Some(server);
    }

    fn spawn(&self, number: usize) -> Child {
        let (port, route) = self.ports[number];
        let routes: Vec<String> =
            self.ports.iter().map(|(_, route)| format!("nats://127.0.0.1:{route}")).collect();
        Command::new("nats-server")
            .args(["-js", "-a", "127.0.0.1", "-p", &port.to_string()])
            .args(["-n", &format!("server-{number}"), "--cluster_name", "test"])
            .args(["--cluster", &format!("nats://127.0.0.1:{route}")])
            .args(["--routes", &routes.join(",")])
            .arg("-P")
            .arg(self.folder.path().join(format!("{number}.pid")))
            .arg("-sd")
            .arg(Path::new(self.folder.path()).join(number.to_string()))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("nats-server; `make test` installs it")
    }
}

impl Drop for NatsCluster {
    fn drop(&mut self) {
        for number in 0..self.ports.len() {
            self.kill(number);
        }
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").port()
}
