//! What is written: tables with typed columns, their rows as text. Decimals stay text on their way,
//! so that no digit is lost; each destination has its own type for a kind.

use jiff::Timestamp;
use model::FieldKind;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

/// A column of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// What it holds.
    pub kind: FieldKind,
    /// What it means.
    pub meaning: String,
}

/// A table at a destination. Every column may be empty but those of the key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// Schema or folder it stands in; the destination's own where absent.
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
    /// Its columns.
    pub columns: Vec<Column>,
    /// Which columns name a row; none where rows are only appended.
    pub key: Vec<usize>,
}

/// A value as text: digits of a decimal, `true` or `false`, RFC 3339, JSON.
pub type Cell = Option<String>;

/// One row: a cell for each column, in their order.
pub type Row = Vec<Cell>;

/// The places of a namespace and a name, for messages.
impl std::fmt::Display for Table {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(formatter, "{namespace}.{}", self.name),
            None => formatter.write_str(&self.name),
        }
    }
}

impl Table {
    /// Names of the key's columns.
    pub fn key_names(&self) -> Vec<&str> {
        self.key.iter().map(|place| self.columns[*place].name.as_str()).collect()
    }

    /// The table as a JSON Schema of its records.
    pub fn json_schema(&self) -> Value {
        let property = |(place, column): (usize, &Column)| {
            let mut schema = match column.kind {
                FieldKind::Text | FieldKind::Currency => json!({ "type": "string" }),
                FieldKind::Decimal => json!({ "type": "number" }),
                FieldKind::Integer => json!({ "type": "integer" }),
                FieldKind::Boolean => json!({ "type": "boolean" }),
                FieldKind::Date => json!({ "type": "string", "format": "date" }),
                FieldKind::Instant => json!({
                    "type": "string", "format": "date-time",
                    "airbyte_type": "timestamp_with_timezone",
                }),
                FieldKind::Object => json!({ "type": "object" }),
                FieldKind::List => json!({ "type": "array" }),
            };
            if !self.key.contains(&place) {
                schema["type"] = json!(["null", schema["type"]]);
            }
            schema["description"] = json!(column.meaning);
            (column.name.clone(), schema)
        };
        let properties: Map<String, Value> =
            self.columns.iter().enumerate().map(property).collect();
        json!({
            "$schema": "http://json-schema.org/draft-07/schema#",
            "type": "object",
            "additionalProperties": true,
            "properties": properties,
            "required": self.key_names(),
        })
    }

    /// A row as a JSON object whose decimals are numbers with exactly their digits.
    pub fn json_record(&self, row: &Row) -> Box<RawValue> {
        self.json_of(self.columns.iter().zip(row))
    }

    /// The key of a row as a JSON object.
    pub fn json_key(&self, row: &Row) -> Box<RawValue> {
        self.json_of(self.key.iter().map(|place| (&self.columns[*place], &row[*place])))
    }

    fn json_of<'a>(&self, cells: impl Iterator<Item = (&'a Column, &'a Cell)>) -> Box<RawValue> {
        let mut text = String::from("{");
        for (column, cell) in cells {
            if text.len() > 1 {
                text.push(',');
            }
            text.push_str(&Value::String(column.name.clone()).to_string());
            text.push(':');
            text.push_str(&json_value(column.kind, cell.as_deref()));
        }
        text.push('}');
        RawValue::from_string(text).unwrap_or_else(|_| RawValue::NULL.to_owned())
    }
}

/// A cell as JSON text.
fn json_value(kind: FieldKind, cell: Option<&str>) -> String {
    match (kind, cell) {
        (_, None) => "null".to_owned(),
        (
            FieldKind::Decimal
            | FieldKind::Integer
            | FieldKind::Boolean
            | FieldKind::Object
            | FieldKind::List,
            Some(text),
        ) => text.to_owned(),
        (_, Some(text)) => Value::String(text.to_owned()).to_string(),
    }
}

/// A cell from JSON text, for what was written as JSON before. Nothing for `null` and for what has not
/// the kind's form.
pub fn cell(kind: FieldKind, json: &str) -> Cell {
    if json == "null" {
        return None;
    }
    match kind {
        FieldKind::Object | FieldKind::List | FieldKind::Integer | FieldKind::Boolean => {
            Some(json.to_owned())
        }
        // Decimals are strings in our records and numbers in what destinations hold.
        _ if json.starts_with('"') => serde_json::from_str(json).ok(),
        _ => Some(json.to_owned()),
    }
}

/// The one form of a cell that two stores can be compared by.
pub fn canonical(kind: FieldKind, text: &str) -> String {
    match kind {
        FieldKind::Decimal => canonical_decimal(text),
        FieldKind::Boolean => matches!(text, "t" | "true" | "1").to_string(),
        FieldKind::Date => text.chars().take(10).collect(),
        FieldKind::Instant => text.parse::<Timestamp>().map_or_else(
            |_| text.to_owned(),
            // Databases keep microseconds.
            |at| at.as_microsecond().to_string(),
        ),
        FieldKind::Object | FieldKind::List => serde_json::from_str::<Value>(text)
            .map_or_else(|_| text.to_owned(), |value| value.to_string()),
        FieldKind::Text | FieldKind::Currency | FieldKind::Integer => text.to_owned(),
    }
}

fn canonical_decimal(text: &str) -> String {
    let plain = model::plain_decimal(text).unwrap_or_else(|_| text.to_owned());
    let trimmed = match plain.contains('.') {
        true => plain.trim_end_matches('0').trim_end_matches('.'),
        false => plain.as_str(),
    };
    if matches!(trimmed, "-0" | "") { "0".to_owned() } else { trimmed.to_owned() }
}

/// A name that fits into `limit` bytes: a longer one ends in a number made of all of it, so that two
/// long names stay two.
pub fn bounded_name(name: &str, limit: usize) -> String {
    if name.len() <= limit {
        return name.to_owned();
    }
    let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    let tail = format!("_{hash:016x}");
    let mut end = limit - tail.len();
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}{tail}", &name[..end])
}

/// A name of lower-case letters, digits and underscores, as every destination takes it.
pub fn plain_name(text: &str) -> String {
    let plain = |letter: char| match letter.to_ascii_lowercase() {
        letter if letter.is_ascii_alphanumeric() || letter == '_' => letter,
        _ => '_',
    };
    let name: String = text.chars().map(plain).collect();
    match name.chars().next() {
        Some(first) if !first.is_ascii_digit() => name,
        _ => format!("_{name}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_forms_of_one_value_are_one() {
        assert_eq!(canonical(FieldKind::Decimal, "110.00"), canonical(FieldKind::Decimal, "110"));
        assert_eq!(canonical(FieldKind::Decimal, "-0.00"), "0");
        assert_eq!(
            canonical(FieldKind::Instant, "2026-01-31 00:02:03.5+00"),
            canonical(FieldKind::Instant, "2026-01-31T01:02:03.5+01:00")
        );
        assert_eq!(canonical(FieldKind::Boolean, "t"), canonical(FieldKind::Boolean, "true"));
    }

    #[test]
    fn a_long_name_is_cut_and_stays_its_own() {
        let long = "a".repeat(80);
        let (one, two) = (bounded_name(&format!("{long}1"), 63), bounded_name(&long, 63));
        assert!(one.len() == 63 && two.len() == 63 && one != two);
        assert_eq!(plain_name("Größe-1"), "gr__e_1");
        assert_eq!(plain_name("1st"), "_1st");
    }
}
