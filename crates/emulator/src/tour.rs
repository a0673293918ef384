//! A tour of every endpoint, errors included, of this emulator or of Plaid's own sandbox, and the
//! difference between two of them: which fields, types and errors one has and the other has not.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;
use std::time::Duration;

use jiff::ToSpan;
use jiff::civil::Date;
use serde::Deserialize;
use serde_json::{Map, Value, json};

/// A step waits for data this often, with this pause.
const WAITS: usize = 60;
const PAUSE: Duration = Duration::from_secs(2);
/// A base URL that takes no webhooks; the tour only sets it.
const WEBHOOK: &str = "https://example.com/webhook";

static STEPS: LazyLock<Vec<Step>> = LazyLock::new(|| {
    serde_json::from_str(include_str!("../data/tour.json"))
        .expect("the embedded file is read by a test")
});

#[derive(Debug, Deserialize)]
struct Step {
    name: String,
    path: String,
    /// With `{notes}` to be put in.
    body: Value,
    /// Notes to take from the answer: name, and a JSON pointer or `@` and the name of another note.
    #[serde(default)]
    keep: BTreeMap<String, String>,
    wait: Option<Wait>,
    /// The code of the error it is to end in.
    error: Option<String>,
}

/// What an answer must say before the tour goes on.
#[derive(Debug, Deserialize)]
struct Wait {
    pointer: String,
    r#for: String,
}

/// What one step saw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observation {
    /// The step's name.
    pub step: String,
    /// The path called.
    pub path: String,
    /// The answer's HTTP status.
    pub status: u16,
    /// Type and code of Plaid's error, if it was one.
    pub error: Option<String>,
    /// Whether it ended as the tour says it should.
    pub expected: bool,
    /// Each field that was seen, with the JSON types it had.
    pub shape: BTreeMap<String, BTreeSet<&'static str>>,
}

/// Why a tour ended early.
#[derive(Debug, thiserror::Error)]
pub enum TourError {
    /// Nobody answered.
    #[error("no answer to {path}")]
    Call {
        /// The path called.
        path: String,
        /// What went wrong.
        source: reqwest::Error,
    },
}

/// Walks the tour.
pub async fn walk(
    http: &reqwest::Client,
    base_url: &str,
    (client_id, secret): (&str, &str),
    today: Date,
    mut each: impl FnMut(&Observation),
) -> Result<Vec<Observation>, TourError> {
    let mut notes = BTreeMap::from([
        ("today".to_owned(), today.to_string()),
        ("days_ago_60".to_owned(), today.saturating_sub(60.days()).to_string()),
        ("webhook".to_owned(), WEBHOOK.to_owned()),
    ]);
    let mut seen = Vec::new();
    for step in STEPS.iter() {
        let mut body = filled(&step.body, &notes);
        body["client_id"] = json!(client_id);
        body["secret"] = json!(secret);
        let url = format!("{}{}", base_url.trim_end_matches('/'), step.path);
        let mut waits = 0;
        let (status, answer) = loop {
            let failed = |source| TourError::Call { path: step.path.clone(), source };
            let call = http.post(&url).header("plaid-version", "2020-09-14").json(&body);
            let answer = call.send().await.map_err(failed)?;
            let status = answer.status().as_u16();
            let bytes = answer.bytes().await.map_err(failed)?;
            // A statement is a file.
            let answer = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
            if step.is_ready(&answer) || waits == WAITS {
                break (status, answer);
            }
            waits += 1;
            tokio::time::sleep(PAUSE).await;
        };
        let before = notes.clone();
        for (name, place) in &step.keep {
            let value = match place.strip_prefix('@') {
                Some(other) => before.get(other).cloned(),
                None => answer.pointer(place).and_then(Value::as_str).map(str::to_owned),
            };
            notes.insert(name.clone(), value.unwrap_or_default());
        }
        let observation = Observation::of(step, status, &answer);
        each(&observation);
        seen.push(observation);
    }
    Ok(seen)
}

impl Step {
    fn is_ready(&self, answer: &Value) -> bool {
        let not_ready = answer["error_code"] == "PRODUCT_NOT_READY";
        let waiting = self.wait.as_ref().is_some_and(|wait| {
            answer.pointer(&wait.pointer).and_then(Value::as_str) != Some(wait.r#for.as_str())
        });
        !not_ready && (!waiting || answer.get("error_code").is_some())
    }
}

impl Observation {
    fn of(step: &Step, status: u16, answer: &Value) -> Self {
        let mut shape = BTreeMap::new();
        describe(answer, String::new(), &mut shape);
        let error = answer["error_code"]
            .as_str()
            .map(|code| format!("{} / {code}", answer["error_type"].as_str().unwrap_or("no type")));
        let code = answer["error_code"].as_str();
        Self {
            step: step.name.clone(),
            path: step.path.clone(),
            status,
            error,
            expected: code == step.error.as_deref(),
            shape,
        }
    }
}

/// Puts notes in place of `{name}`.
fn filled(template: &Value, notes: &BTreeMap<String, String>) -> Value {
    match template {
        Value::String(text) => {
            let mut text = text.clone();
            for (name, value) in notes {
                text = text.replace(&format!("{{{name}}}"), value);
            }
            Value::String(text)
        }
        Value::Array(entries) => entries.iter().map(|entry| filled(entry, notes)).collect(),
        Value::Object(fields) => {
            let fields = fields.iter().map(|(name, value)| (name.clone(), filled(value, notes)));
            Value::Object(fields.collect::<Map<String, Value>>())
        }
        other => other.clone(),
    }
}

/// Notes the type of every field; elements of a list count as one.
fn describe(value: &Value, at: String, shape: &mut BTreeMap<String, BTreeSet<&'static str>>) {
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    match value {
        Value::Object(fields) => {
            for (name, field) in fields {
                describe(field, format!("{at}/{name}"), shape);
            }
        }
        Value::Array(entries) => {
            for entry in entries {
                describe(entry, format!("{at}/*"), shape);
            }
        }
        _ => {}
    }
    shape.entry(at).or_default().insert(kind);
}

/// What one tour saw and the other did not, in words, a line each; empty if they agree.
pub fn differences(emulator: &[Observation], other: &[Observation]) -> Vec<String> {
    let mut found = Vec::new();
    for (ours, theirs) in emulator.iter().zip(other) {
        let mut tell = |what: String| found.push(format!("{} ({}): {what}", ours.step, ours.path));
        if ours.status != theirs.status {
            tell(format!("status {} here, {} there", ours.status, theirs.status));
        }
        if ours.error != theirs.error {
            let word = |error: &Option<String>| error.clone().unwrap_or("no error".to_owned());
            tell(format!("{} here, {} there", word(&ours.error), word(&theirs.error)));
            continue;
        }
        for (field, types) in &ours.shape {
            match theirs.shape.get(field) {
                None if covered(&theirs.shape, field) => tell(format!("{field} only here")),
                Some(others) if !alike(types, others) => {
                    tell(format!("{field} is {types:?} here, {others:?} there"));
                }
                _ => {}
            }
        }
        for field in theirs.shape.keys().filter(|field| !ours.shape.contains_key(*field)) {
            if covered(&ours.shape, field) {
                tell(format!("{field} only there"));
            }
        }
    }
    found
}

/// Whether the object a field belongs to was seen at all; an empty list tells nothing of elements.
fn covered(shape: &BTreeMap<String, BTreeSet<&'static str>>, field: &str) -> bool {
    let parent = field.rsplit_once('/').map_or("", |(parent, _)| parent);
    !field.ends_with("/*") && shape.get(parent).is_some_and(|types| types.contains("object"))
}

/// Whether two sets of types can be of one field: null goes with anything.
fn alike(ours: &BTreeSet<&'static str>, theirs: &BTreeSet<&'static str>) -> bool {
    let solid = |types: &BTreeSet<&'static str>| -> BTreeSet<&'static str> {
        types.iter().copied().filter(|kind| *kind != "null").collect()
    };
    let (ours, theirs) = (solid(ours), solid(theirs));
    ours.is_empty() || theirs.is_empty() || ours == theirs
}
