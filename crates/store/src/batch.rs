//! Many rows with few statements: inserts of several rows at once and look-ups of several keys at
//! once, each with one fixed text so that the database prepares it once.

use sqlx::any::AnyRow;

use crate::db::{Connected, Query};
use crate::error::Error;

/// Rows in one insert. Multi-row VALUES is the only path: on PostgreSQL it costs the server what COPY and
/// a merge do (docs/scaling.md).
const ROWS: usize = 100;
/// Keys in one look-up.
const KEYS: usize = 50;

/// A value of a row.
pub(crate) enum Value {
    Text(String),
    MaybeText(Option<String>),
    Integer(i64),
    MaybeInteger(Option<i64>),
    MaybeBytes(Option<Vec<u8>>),
}

impl Value {
    /// Appends what tells it from every other value.
    pub(crate) fn write_to(&self, text: &mut Vec<u8>) {
        let mut write = |kind: u8, bytes: Option<&[u8]>| {
            text.push(if bytes.is_some() { kind } else { b'0' });
            let bytes = bytes.unwrap_or_default();
            text.extend(bytes.len().to_be_bytes());
            text.extend(bytes);
        };
        match self {
            Self::Text(value) => write(b't', Some(value.as_bytes())),
            Self::MaybeText(value) => write(b't', value.as_deref().map(str::as_bytes)),
            Self::Integer(value) => write(b'i', Some(&value.to_be_bytes())),
            Self::MaybeInteger(value) => {
                write(b'i', value.map(i64::to_be_bytes).as_ref().map(|bytes| &bytes[..]));
            }
            Self::MaybeBytes(value) => write(b'b', value.as_deref()),
        }
    }
}

/// An insert of rows with a fixed number of columns.
pub(crate) struct Insert {
    one: String,
    many: String,
}

impl Insert {
    /// `head` ends before VALUES.
    pub(crate) fn new(head: &str, columns: usize) -> Self {
        let text = |rows| format!("{head} VALUES {}", tuples(rows, columns));
        Self { one: text(1), many: text(ROWS) }
    }

    pub(crate) fn texts(&self) -> [&str; 2] {
        [&self.one, &self.many]
    }

    /// Inserts all rows.
    pub(crate) async fn run(
        &'static self,
        connection: &mut Connected,
        rows: Vec<Vec<Value>>,
    ) -> Result<(), Error> {
        let mut rows = rows.into_iter().peekable();
        while rows.peek().is_some() {
            let chunk: Vec<Vec<Value>> = rows.by_ref().take(ROWS).collect();
            if chunk.len() == ROWS {
                bound(&self.many, chunk.into_iter().flatten()).execute(&mut *connection).await?;
            } else {
                for row in chunk {
                    bound(&self.one, row).execute(&mut *connection).await?;
                }
            }
        }
        Ok(())
    }
}

/// A query for one item with a list of keys in an IN clause.
pub(crate) struct LookUp(String);

impl LookUp {
    /// `head` uses `$1` for the item and ends before the list.
    pub(crate) fn new(head: &str) -> Self {
        let places: Vec<String> = (2..KEYS + 2).map(|place| format!("${place}")).collect();
        Self(format!("{head} IN ({})", places.join(", ")))
    }

    pub(crate) fn text(&self) -> &str {
        &self.0
    }

    /// Rows of all keys; keys that are not there give none.
    pub(crate) async fn run(
        &'static self,
        connection: &mut Connected,
        item: &str,
        keys: &[&str],
    ) -> Result<Vec<AnyRow>, Error> {
        let mut found = Vec::new();
        for chunk in keys.chunks(KEYS) {
            // A short list is filled up with its last key, so that the text stays the same.
            let padded = chunk.iter().chain(std::iter::repeat(&chunk[chunk.len() - 1])).take(KEYS);
            let texts = padded.map(|key| Value::Text((*key).to_owned()));
            let values = std::iter::once(Value::Text(item.to_owned())).chain(texts);
            found.extend(bound(&self.0, values).fetch_all(&mut *connection).await?);
        }
        Ok(found)
    }
}

/// Places for the values of rows.
pub(crate) fn tuples(rows: usize, columns: usize) -> String {
    let tuple = |row: usize| {
        let places: Vec<String> =
            (1..=columns).map(|column| format!("${}", row * columns + column)).collect();
        format!("({})", places.join(", "))
    };
    (0..rows).map(tuple).collect::<Vec<_>>().join(", ")
}

fn bound(sql: &'static str, values: impl IntoIterator<Item = Value>) -> Query {
    bind_all(sqlx::query(sql), values)
}

/// Gives a statement its values.
pub(crate) fn bind_all(query: Query, values: impl IntoIterator<Item = Value>) -> Query {
    values.into_iter().fold(query, |query, value| match value {
        Value::Text(text) => query.bind(text),
        Value::MaybeText(text) => query.bind(text),
        Value::Integer(number) => query.bind(number),
        Value::MaybeInteger(number) => query.bind(number),
        Value::MaybeBytes(bytes) => query.bind(bytes),
    })
}
