//! A web address that batches are posted to, as JSON Lines.
//!
//! Guarantee: at least once. Every batch carries the same `idempotency-key` whenever it is sent again;
//! a receiver that keeps keys has every change exactly once. There is no place for a mark on the other
//! side, so whoever writes keeps it.

use std::collections::HashMap;
use std::time::Duration;

use async_trait::async_trait;
use model::DestinationSettings;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;

use crate::destination::{Batch, Destination, DestinationError, Load, MissingColumn};
use crate::line_message::{line_of, lines_of};

/// A receiver has this long to take a batch.
const DEADLINE: Duration = Duration::from_secs(60);
/// Pauses between the tries of a batch.
const PAUSES: [Duration; 3] =
    [Duration::from_secs(1), Duration::from_secs(4), Duration::from_secs(15)];

/// A receiver of posts.
pub struct Http {
    client: reqwest::Client,
    url: SecretString,
    place: String,
    headers: HeaderMap,
    taken: HashMap<String, String>,
}

impl Http {
    /// Takes the client that the program made.
    pub fn new(
        client: reqwest::Client,
        settings: &DestinationSettings,
    ) -> Result<Self, DestinationError> {
        let place = settings.to_string();
        let DestinationSettings::Http { url, headers } = settings else {
            return Err(DestinationError::settings(place, "it is no web address", "Name its url"));
        };
        let mut own = HeaderMap::new();
        for (name, value) in headers {
            let (name, value) =
                (name.parse::<HeaderName>(), HeaderValue::from_str(value.expose_secret()));
            let (Ok(name), Ok(mut value)) = (name, value) else {
                let fix = "Give headers as name = \"value\", in ASCII";
                return Err(DestinationError::settings(place, "a header cannot be sent", fix));
            };
            value.set_sensitive(true);
            own.insert(name, value);
        }
        Ok(Self { client, url: url.clone(), place, headers: own, taken: HashMap::new() })
    }

    async fn post(&self, key: &str, body: String) -> Result<(), DestinationError> {
        let mut pauses = PAUSES.iter();
        loop {
            let failure = match self.try_post(key, &body).await {
                Ok(()) => return Ok(()),
                Err(failure) => failure,
            };
            match pauses.next() {
                Some(pause) if is_passing(&failure) => tokio::time::sleep(*pause).await,
                _ => return Err(failure),
            }
        }
    }

    async fn try_post(&self, key: &str, body: &str) -> Result<(), DestinationError> {
        let request = self
            .client
            .post(self.url.expose_secret())
            .headers(self.headers.clone())
            .header(CONTENT_TYPE, "application/x-ndjson")
            .header("idempotency-key", key)
            .timeout(DEADLINE)
            .body(body.to_owned());
        let answer = request.send().await.map_err(|error| {
            // The error names the URL, which may hold a token.
            let error = error.without_url();
            DestinationError::passing(&self.place, error.to_string()).because(error)
        })?;
        let status = answer.status();
        let said = format!("it answered {status}");
        match status.as_u16() {
            200..=299 => Ok(()),
            408 | 425 | 429 | 500..=599 => Err(DestinationError::passing(&self.place, said)),
            401 | 403 => {
                let fix = "Check the headers that let us in";
                Err(DestinationError::settings(&self.place, said, fix))
            }
            _ => {
                let fix = "Check the url; the receiver has to answer 2xx to what it has kept";
                Err(DestinationError::settings(&self.place, said, fix))
            }
        }
    }
}

fn is_passing(error: &DestinationError) -> bool {
    error.trouble == crate::destination::DestinationTrouble::Passing
}

#[async_trait]
impl Destination for Http {
    /// A batch without rows, which every receiver has to take.
    async fn check(&mut self) -> Result<(), DestinationError> {
        self.post("check", String::new()).await
    }

    async fn prepare(
        &mut self,
        _loads: &[Load],
        _add_columns: bool,
    ) -> Result<Vec<MissingColumn>, DestinationError> {
        Ok(Vec::new())
    }

    fn keeps_marks(&self) -> bool {
        false
    }

    async fn mark(&mut self, load: &str) -> Result<Option<String>, DestinationError> {
        Ok(self.taken.get(load).cloned())
    }

    async fn begin_aside(&mut self, load: &Load, mark: &str) -> Result<(), DestinationError> {
        let begin = line_of(load, "refresh_begun", json!({ "generation": load.generation }));
        self.post(&format!("{}/{mark}/begin", load.id), begin).await
    }

    async fn write(&mut self, batch: Batch<'_>) -> Result<(), DestinationError> {
        self.post(&format!("{}/{}", batch.load.id, batch.mark), lines_of(&batch)).await?;
        if !batch.aside {
            self.taken.insert(batch.load.id.clone(), batch.mark);
        }
        Ok(())
    }

    async fn settle(&mut self, _load: &Load) -> Result<(), DestinationError> {
        Ok(())
    }

    /// The receiver is told that every older generation is to go.
    async fn swap(&mut self, load: &Load, mark: &str) -> Result<(), DestinationError> {
        let done = line_of(load, "refresh_done", json!({ "generation": load.generation }));
        self.post(&format!("{}/{mark}/done", load.id), done).await?;
        self.taken.insert(load.id.clone(), mark.to_owned());
        Ok(())
    }

    async fn clear(&mut self, load: &Load) -> Result<(), DestinationError> {
        let cleared = line_of(load, "cleared", json!({}));
        self.post(&format!("{}/cleared/{}", load.id, load.generation), cleared).await
    }
}
