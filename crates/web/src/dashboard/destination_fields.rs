//! What the form asks for each type of destination: a table, from which the page and the settings are
//! made.

use serde_json::{Map, Value, json};

/// A type of destination.
pub(super) struct DestinationFields {
    /// As in settings.
    pub(super) kind: &'static str,
    /// For people.
    pub(super) label: &'static str,
    /// What is asked.
    pub(super) fields: &'static [FieldOf],
}

/// A field of a destination's settings.
pub(super) struct FieldOf {
    /// As in settings.
    pub(super) name: &'static str,
    /// For people.
    pub(super) label: &'static str,
    /// What to write into it.
    pub(super) help: &'static str,
    /// Whether it is never shown again.
    pub(super) is_secret: bool,
    /// Whether it may be empty.
    pub(super) is_optional: bool,
    form: Form,
}

/// How what was typed becomes a setting.
#[derive(Clone, Copy)]
enum Form {
    Text,
    /// Lines of `name = value`.
    Pairs,
    /// Words of a command line.
    Words,
}

const fn field(
    name: &'static str,
    label: &'static str,
    help: &'static str,
    is_secret: bool,
    is_optional: bool,
    form: Form,
) -> FieldOf {
    FieldOf { name, label, help, is_secret, is_optional, form }
}

const FILE: &[FieldOf] = &[field(
    "path",
    "File",
    "Inside the server's folder for destinations.",
    false,
    false,
    Form::Text,
)];

const FILES: &[FieldOf] = &[
    field(
        "path",
        "Folder or bucket",
        "A folder inside the server's folder for destinations, or s3://…, gs://…, az://….",
        false,
        false,
        Form::Text,
    ),
    field(
        "options",
        "Access to the bucket",
        "Lines such as aws_access_key_id = … and aws_secret_access_key = …. Sealed, never shown again.",
        true,
        true,
        Form::Pairs,
    ),
];

/// Every type, in the order of the page.
pub(super) const DESTINATIONS: &[DestinationFields] = &[
    DestinationFields {
        kind: "postgres",
        label: "PostgreSQL",
        fields: &[
            field(
                "url",
                "URL",
                "postgres://user:password@host:5432/database. Sealed, never shown again.",
                true,
                false,
                Form::Text,
            ),
            field("schema", "Schema", "public, if left empty.", false, true, Form::Text),
        ],
    },
    DestinationFields { kind: "sqlite", label: "SQLite", fields: FILE },
    DestinationFields { kind: "duckdb", label: "DuckDB", fields: FILE },
    DestinationFields { kind: "parquet", label: "Parquet files", fields: FILES },
    DestinationFields { kind: "csv", label: "CSV files", fields: FILES },
    DestinationFields { kind: "jsonl", label: "JSON Lines files", fields: FILES },
    DestinationFields { kind: "delta", label: "Delta Lake", fields: FILES },
    DestinationFields {
        kind: "nats",
        label: "NATS JetStream",
        fields: &[
            field(
                "url",
                "URL",
                "nats://host:4222. Sealed, never shown again.",
                true,
                false,
                Form::Text,
            ),
            field(
                "stream",
                "Stream",
                "selvedge, if left empty; made if missing.",
                false,
                true,
                Form::Text,
            ),
        ],
    },
    DestinationFields {
        kind: "kafka",
        label: "Kafka",
        fields: &[
            field(
                "brokers",
                "Brokers",
                "host:9092, several with commas.",
                false,
                false,
                Form::Text,
            ),
            field(
                "topic_prefix",
                "Beginning of topics' names",
                "selvedge, if left empty.",
                false,
                true,
                Form::Text,
            ),
            field(
                "options",
                "Client settings",
                "Lines such as sasl.password = …. Sealed, never shown again.",
                true,
                true,
                Form::Pairs,
            ),
        ],
    },
    DestinationFields {
        kind: "http",
        label: "HTTP",
        fields: &[
            field(
                "url",
                "URL",
                "Batches are posted there as JSON Lines. Sealed, never shown again.",
                true,
                false,
                Form::Text,
            ),
            field(
                "headers",
                "Headers",
                "Lines of name = value. Sealed, never shown again.",
                true,
                true,
                Form::Pairs,
            ),
        ],
    },
    DestinationFields {
        kind: "process",
        label: "Another program",
        fields: &[
            field(
                "command",
                "Command",
                "The program and its arguments, on the server.",
                false,
                false,
                Form::Words,
            ),
            field("protocol", "Protocol", "airbyte or singer.", false, false, Form::Text),
            field(
                "config",
                "Its settings",
                "JSON, as the program wants it. Sealed, never shown again.",
                true,
                true,
                Form::Text,
            ),
        ],
    },
];

impl DestinationFields {
    /// The type of this name, or the first.
    pub(super) fn named(name: &str) -> &'static Self {
        DESTINATIONS.iter().find(|of| of.kind == name).unwrap_or(&DESTINATIONS[0])
    }
}

impl FieldOf {
    /// Whether it takes several lines.
    pub(super) fn has_lines(&self) -> bool {
        matches!(self.form, Form::Pairs) || self.name == "config"
    }

    /// What was typed as a setting; nothing where it may be and is empty.
    pub(super) fn value(&self, text: &str) -> Result<Option<Value>, String> {
        if text.is_empty() {
            return if self.is_optional { Ok(None) } else { Err("must be filled in".to_owned()) };
        }
        Ok(Some(match self.form {
            Form::Text => json!(text),
            Form::Words => json!(text.split_whitespace().collect::<Vec<_>>()),
            Form::Pairs => {
                let mut pairs = Map::new();
                for line in text.lines().filter(|line| !line.trim().is_empty()) {
                    let pair = line.split_once('=').ok_or("must have lines of name = value")?;
                    pairs.insert(pair.0.trim().to_owned(), json!(pair.1.trim()));
                }
                Value::Object(pairs)
            }
        }))
    }
}
