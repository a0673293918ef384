//! A NATS cluster between the processes of one installation: how it is named and reached.

use std::time::Duration;

use async_nats::jetstream::{self, Context};
use async_nats::{Client, ConnectOptions};
use secrecy::{ExposeSecret, SecretString};

/// What streams and subjects begin with, unless the URL says otherwise.
const PREFIX: &str = "selvedge";
/// How long the server may take to answer.
const DEADLINE: Duration = Duration::from_secs(5);

/// Why a cluster cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum NatsError {
    /// Not a URL of one.
    #[error(
        "{0:?} is no URL of NATS; it has the form nats://USER:PASSWORD@HOST:PORT,HOST:PORT?replicas=3&prefix=selvedge"
    )]
    Url(String),
    /// It cannot be reached, or refuses.
    #[error("NATS at {place}: {said}")]
    Refused {
        /// Its hosts.
        place: String,
        /// What was said.
        said: String,
    },
}

/// A cluster as named in a URL. Cheap to clone.
#[derive(Clone)]
pub struct Nats {
    servers: Vec<String>,
    /// Apart from the servers, whose addresses are logged.
    user: Option<(String, SecretString)>,
    place: String,
    /// What streams and subjects begin with.
    pub(crate) prefix: String,
    /// Servers that hold each message.
    pub(crate) replicas: usize,
    /// Days for which the event log is kept; without an end when absent.
    pub(crate) keep: Option<Duration>,
}

impl Nats {
    /// Reads `nats://USER:PASSWORD@HOST:PORT,HOST:PORT?replicas=N&prefix=NAME&keep_days=N`.
    pub fn parse(text: &str) -> Result<Self, NatsError> {
        // What is shown must not hold a password.
        let wrong = || NatsError::Url(text.rsplit('@').next().unwrap_or_default().to_owned());
        let (address, query) = text.split_once('?').unwrap_or((text, ""));
        let (scheme, rest) = address.split_once("://").ok_or_else(wrong)?;
        if !matches!(scheme, "nats" | "tls" | "ws" | "wss") || rest.is_empty() {
            return Err(wrong());
        }
        let (user, hosts) = match rest.rsplit_once('@') {
            Some((user, hosts)) => {
                let (name, password) = user.split_once(':').ok_or_else(wrong)?;
                let plain = |text: &str| {
                    let decoded = percent_decode(text);
                    decoded.ok_or_else(wrong)
                };
                (Some((plain(name)?, SecretString::from(plain(password)?))), hosts)
            }
            None => (None, rest),
        };
        let mut nats = Self {
            servers: hosts.split(',').map(|host| format!("{scheme}://{host}")).collect(),
            user,
            place: hosts.trim_end_matches('/').to_owned(),
            prefix: PREFIX.to_owned(),
            replicas: 1,
            keep: None,
        };
        for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
            match parameter.split_once('=') {
                Some(("replicas", count)) => {
                    nats.replicas = count.parse().map_err(|_| wrong())?;
                }
                Some(("prefix", name)) if !name.is_empty() && is_token(name) => {
                    name.clone_into(&mut nats.prefix);
                }
                Some(("keep_days", days)) => {
                    let days: u64 = days.parse().map_err(|_| wrong())?;
                    nats.keep = Some(Duration::from_secs(days * 24 * 60 * 60));
                }
                _ => return Err(wrong()),
            }
        }
        Ok(nats)
    }

    /// Its hosts, without user and password.
    pub fn place(&self) -> &str {
        &self.place
    }

    /// Connects, and goes on trying in the background for as long as it takes: work does not wait for
    /// the cluster.
    pub(crate) async fn connect(&self) -> Result<(Client, Context), NatsError> {
        let options = match &self.user {
            Some((name, password)) => ConnectOptions::with_user_and_password(
                name.clone(),
                password.expose_secret().to_owned(),
            ),
            None => ConnectOptions::new(),
        };
        let options = options
            .name("selvedge")
            .request_timeout(Some(DEADLINE))
            .max_reconnects(None)
            .retry_on_initial_connect();
        let client = options.connect(self.servers.clone()).await;
        let client = client.map_err(|error| self.refused(&error))?;
        Ok((client.clone(), jetstream::new(client)))
    }

    pub(crate) fn refused(&self, error: &impl std::fmt::Display) -> NatsError {
        NatsError::Refused { place: self.place.clone(), said: error.to_string() }
    }
}

/// A part of a URL without its escapes.
fn percent_decode(text: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let digits = [rest.next()?, rest.next()?];
                u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?
            }
            byte => byte,
        });
    }
    String::from_utf8(bytes).ok()
}

fn is_token(name: &str) -> bool {
    name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_name_hosts_and_what_is_asked_of_them() {
        let nats =
            Nats::parse("nats://u:p%40@a:4222,b:4222?replicas=3&keep_days=7").expect("a URL");
        assert_eq!(nats.servers, ["nats://a:4222", "nats://b:4222"]);
        let (name, password) = nats.user.as_ref().expect("a user");
        assert_eq!((name.as_str(), password.expose_secret()), ("u", "p@"));
        assert_eq!(
            (nats.place(), nats.replicas, nats.prefix.as_str()),
            ("a:4222,b:4222", 3, PREFIX)
        );
        for wrong in ["http://a", "nats://", "nats://a?replicas=x", "nats://a?prefix=a.b"] {
            assert!(Nats::parse(wrong).is_err(), "{wrong}");
        }
        let shown = Nats::parse("nats://u:secret@a?x=1").err().expect("an error").to_string();
        assert!(!shown.contains("secret"), "{shown}");
    }
}
