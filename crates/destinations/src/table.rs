//! What is written: a table with typed columns, its rows as text. Decimals stay text on their way,
//! so that no digit is lost.

use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

/// What a column holds. Every column may be empty but those of the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColumnKind {
    /// Text.
    Text,
    /// A decimal number, digit for digit.
    Decimal,
    /// An instant, RFC 3339 in UTC.
    Instant,
}

/// A column of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Column {
    /// Its name.
    pub name: &'static str,
    /// What it holds.
    pub kind: ColumnKind,
    /// What it means.
    pub meaning: &'static str,
}

/// A stream as a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Table {
    /// Its name.
    pub name: &'static str,
    /// Its columns.
    pub columns: &'static [Column],
    /// The columns that name a row.
    pub key: &'static [&'static str],
}

/// One row: a value for each column, in their order.
pub type Row = Vec<Option<String>>;

impl Table {
    /// The table as a JSON Schema of its records.
    pub fn json_schema(&self) -> Value {
        let property = |column: &Column| {
            let kind = match column.kind {
                ColumnKind::Text | ColumnKind::Instant => "string",
                ColumnKind::Decimal => "number",
            };
            let mut schema = if self.key.contains(&column.name) {
                json!({ "type": kind })
            } else {
                json!({ "type": ["null", kind] })
            };
            if column.kind == ColumnKind::Instant {
                schema["format"] = json!("date-time");
                schema["airbyte_type"] = json!("timestamp_with_timezone");
            }
            schema["description"] = json!(column.meaning);
            (column.name.to_owned(), schema)
        };
        let properties: Map<String, Value> = self.columns.iter().map(property).collect();
        json!({
            "$schema": "http://json-schema.org/draft-07/schema#",
            "type": "object",
            "additionalProperties": true,
            "properties": properties,
            "required": self.key,
        })
    }

    /// A row as a JSON object whose decimals are numbers with exactly their digits.
    pub fn json_record(&self, row: &Row) -> Box<RawValue> {
        let member = |(column, value): (&Column, &Option<String>)| {
            let value = match (column.kind, value) {
                (_, None) => "null".to_owned(),
                (ColumnKind::Decimal, Some(digits)) => digits.clone(),
                (_, Some(text)) => Value::String(text.clone()).to_string(),
            };
            format!("\"{}\":{value}", column.name)
        };
        let members: Vec<String> = self.columns.iter().zip(row).map(member).collect();
        RawValue::from_string(format!("{{{}}}", members.join(",")))
            .unwrap_or_else(|_| RawValue::NULL.to_owned())
    }
}
