//! NATS between the processes of one installation: what the pipeline asks for, in the broker's words.

use std::sync::Arc;

use pipeline::{Dispatch, EventLog};

use crate::command::doctor::Finding;

/// What carries wake-ups, and the log of the feed.
pub(crate) type Broker = (Option<Arc<dyn Dispatch>>, Option<Arc<dyn EventLog>>);

#[cfg(not(feature = "nats"))]
pub(crate) async fn broker(_: &str, _: bool) -> anyhow::Result<Broker> {
    anyhow::bail!("this build has no NATS; build with `make build FEATURES=nats`")
}

#[cfg(not(feature = "nats"))]
pub(crate) async fn examine(_: &str, _: Option<&str>) -> Vec<Finding> {
    let fix = "Build with `make build FEATURES=nats`";
    vec![Finding::broken("this build has no NATS", fix)]
}

#[cfg(feature = "nats")]
pub(crate) use with_nats::{broker, examine};

#[cfg(feature = "nats")]
mod with_nats {
    use async_trait::async_trait;
    use brokers::{LogMessage, Nats, WakeUps};
    use store::{Hint, LogEntry, WorkKind};

    use super::{Arc, Broker, Dispatch, EventLog, Finding};
    use crate::surroundings;

    /// Servers of which one may be lost without losing a message.
    const ENOUGH_REPLICAS: usize = 3;

    /// Hints of this kind are for all; of work only one process is told.
    const HEAD: &str = "head ";
    const WRITTEN: &str = "written";

    /// The cluster of this URL; `takes_work` for a process with workers.
    pub(crate) async fn broker(url: &str, takes_work: bool) -> anyhow::Result<Broker> {
        let nats = Nats::parse(url)?;
        let wake_ups = WakeUps::start(&nats, takes_work).await?;
        let log = brokers::EventLog::new(nats);
        Ok((Some(Arc::new(Carried(wake_ups))), Some(Arc::new(Log(log)))))
    }

    /// Whether the cluster keeps what it takes.
    pub(crate) async fn examine(url: &str, monitor: Option<&str>) -> Vec<Finding> {
        let nats = match Nats::parse(url) {
            Ok(nats) => nats,
            Err(error) => return vec![Finding::broken(error.to_string(), "Correct the URL.")],
        };
        let log = match brokers::EventLog::new(nats.clone()).describe().await {
            Ok(log) => log,
            Err(error) => {
                let fix =
                    "Start it with JetStream; meanwhile work is found by asking the database.";
                return vec![Finding::broken(error.to_string(), fix)];
            }
        };
        let mut findings = vec![Finding::well(format!(
            "NATS at {} has the log up to change {}",
            nats.place(),
            log.last
        ))];
        if log.replicas < ENOUGH_REPLICAS {
            findings.push(Finding::weak(
                format!("each message of the log is held by {} server(s)", log.replicas),
                "Run three servers or more and set replicas=3 in the URL: one disk lost is the log lost \
                 (the database still has it all).",
            ));
        }
        findings.push(match syncs_always(monitor).await {
            Some(true) => Finding::well("NATS syncs every write"),
            Some(false) => Finding::weak(
                "NATS acknowledges before it syncs: a loss of power can take messages with it",
                "Set `sync_interval: always` in the jetstream block of each server (2.10 and newer).",
            ),
            None => Finding::weak(
                "whether NATS syncs every write cannot be seen from here",
                "Name a monitoring address with --nats-monitor-url, or set `sync_interval: always`.",
            ),
        });
        findings
    }

    /// As the server's monitoring address tells it.
    async fn syncs_always(monitor: Option<&str>) -> Option<bool> {
        let url = format!("{}/varz", monitor?.trim_end_matches('/'));
        let answer = surroundings::http_client().ok()?.get(url).send().await.ok()?;
        let told: serde_json::Value = answer.json().await.ok()?;
        let config = &told["jetstream"]["config"];
        config.is_object().then(|| config["sync_always"].as_bool().unwrap_or(false))
    }

    struct Carried(WakeUps);

    #[async_trait]
    impl Dispatch for Carried {
        async fn tell(&self, hint: Hint) {
            match hint {
                Hint::Work(kind) => self.0.tell_one(kind.as_str()).await,
                Hint::Written => self.0.tell_all(WRITTEN).await,
                Hint::Head(head) => self.0.tell_all(&format!("{HEAD}{head}")).await,
            }
        }

        async fn next(&self) -> Hint {
            loop {
                let heard = self.0.next().await;
                let head = heard.strip_prefix(HEAD).and_then(|head| head.parse().ok());
                let work = || WorkKind::from_name(&heard).map(Hint::Work);
                let written = || (heard == WRITTEN).then_some(Hint::Written);
                // A word of a newer program says nothing to this one.
                if let Some(hint) = head.map(Hint::Head).or_else(work).or_else(written) {
                    return hint;
                }
            }
        }
    }

    struct Log(brokers::EventLog);

    #[async_trait]
    impl EventLog for Log {
        async fn last(&self) -> Result<i64, String> {
            self.0.last().await.map_err(|error| error.to_string())
        }

        async fn append(&self, first: i64, changes: Vec<Option<LogEntry>>) -> Result<(), String> {
            let message = |entry: LogEntry| {
                let body =
                    serde_json::to_string(&entry.change).map_err(|error| error.to_string())?;
                Ok(LogMessage { integration: entry.integration, end_user: entry.end_user, body })
            };
            let messages = changes.into_iter().map(|entry| entry.map(message).transpose());
            let messages = messages.collect::<Result<Vec<_>, String>>()?;
            self.0.append(first, messages).await.map_err(|error| error.to_string())
        }
    }
}
