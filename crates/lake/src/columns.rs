//! Rows of text as Arrow's columns, and back. Decimals have 38 digits, 18 of them behind the point;
//! what does not fit is nothing, and counted in the log.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BooleanBuilder, Date32Builder, Decimal128Builder, Int64Builder, RecordBatch,
    StringBuilder, TimestampMicrosecondBuilder,
};
use arrow::array::{
    BooleanArray, Date32Array, Decimal128Array, Int64Array, StringArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use arrow::error::ArrowError;
use destinations::{Cell, Column, Row, Table};
use jiff::Timestamp;
use jiff::civil::{Date, date};
use model::FieldKind;

/// Digits of a decimal, and those behind its point: enough for an amount of any currency and a
/// quantity of any security.
const DIGITS: u8 = 38;
const PLACES: i8 = 18;
const UTC: &str = "UTC";

/// The type of a kind's column.
pub(crate) fn data_type(kind: FieldKind) -> DataType {
    match kind {
        FieldKind::Text | FieldKind::Currency | FieldKind::Object | FieldKind::List => {
            DataType::Utf8
        }
        FieldKind::Decimal => DataType::Decimal128(DIGITS, PLACES),
        FieldKind::Integer => DataType::Int64,
        FieldKind::Boolean => DataType::Boolean,
        FieldKind::Date => DataType::Date32,
        FieldKind::Instant => DataType::Timestamp(TimeUnit::Microsecond, Some(UTC.into())),
    }
}

/// The columns as a schema; those of the key cannot be empty.
pub(crate) fn schema(columns: &[Column], key: &[usize]) -> SchemaRef {
    let field = |(place, column): (usize, &Column)| {
        Field::new(&column.name, data_type(column.kind), !key.contains(&place))
    };
    Arc::new(Schema::new(columns.iter().enumerate().map(field).collect::<Vec<Field>>()))
}

/// The schema of a table.
pub(crate) fn schema_of(table: &Table) -> SchemaRef {
    schema(&table.columns, &table.key)
}

/// Rows as columns.
pub(crate) fn batch(
    schema: &SchemaRef,
    columns: &[Column],
    rows: &[Row],
) -> Result<RecordBatch, ArrowError> {
    let arrays = columns.iter().enumerate().map(|(place, column)| {
        array(column, rows.iter().map(|row| row[place].as_deref()), rows.len())
    });
    RecordBatch::try_new(Arc::clone(schema), arrays.collect())
}

fn array<'a>(
    column: &Column,
    cells: impl Iterator<Item = Option<&'a str>>,
    count: usize,
) -> ArrayRef {
    let unfit = |cell: &str| {
        tracing::warn!(column = column.name, length = cell.len(), "a value has no form here");
    };
    // Says so where a value is lost.
    fn fit<'a, T>(
        cell: Option<&'a str>,
        parsed: impl Fn(&'a str) -> Option<T>,
        unfit: impl Fn(&str),
    ) -> Option<T> {
        let cell = cell?;
        let value = parsed(cell);
        if value.is_none() {
            unfit(cell);
        }
        value
    }
    match column.kind {
        FieldKind::Text | FieldKind::Currency | FieldKind::Object | FieldKind::List => {
            let mut builder = StringBuilder::with_capacity(count, count * 16);
            cells.for_each(|cell| builder.append_option(cell));
            Arc::new(builder.finish())
        }
        FieldKind::Decimal => {
            let builder = Decimal128Builder::with_capacity(count);
            let mut builder = builder.with_data_type(data_type(FieldKind::Decimal));
            cells.for_each(|cell| builder.append_option(fit(cell, scaled, unfit)));
            Arc::new(builder.finish())
        }
        FieldKind::Integer => {
            let mut builder = Int64Builder::with_capacity(count);
            cells.for_each(|cell| builder.append_option(fit(cell, |c| c.parse().ok(), unfit)));
            Arc::new(builder.finish())
        }
        FieldKind::Boolean => {
            let mut builder = BooleanBuilder::with_capacity(count);
            cells.for_each(|cell| builder.append_option(fit(cell, |c| c.parse().ok(), unfit)));
            Arc::new(builder.finish())
        }
        FieldKind::Date => {
            let mut builder = Date32Builder::with_capacity(count);
            cells.for_each(|cell| builder.append_option(fit(cell, days, unfit)));
            Arc::new(builder.finish())
        }
        FieldKind::Instant => {
            let mut builder = TimestampMicrosecondBuilder::with_capacity(count).with_timezone(UTC);
            let micros = |text: &str| text.parse().ok().map(Timestamp::as_microsecond);
            cells.for_each(|cell| builder.append_option(fit(cell, micros, unfit)));
            Arc::new(builder.finish())
        }
    }
}

/// A decimal as a whole number of its smallest place; nothing where digits would be lost.
fn scaled(text: &str) -> Option<i128> {
    let places = usize::try_from(PLACES).ok()?;
    let digits = text.strip_prefix('-').unwrap_or(text);
    let (whole, part) = digits.split_once('.').unwrap_or((digits, ""));
    let part = part.trim_end_matches('0');
    if part.len() > places || whole.len() + places > usize::from(DIGITS) {
        return None;
    }
    let number: i128 = format!("{whole}{part:0<places$}").parse().ok()?;
    Some(if text.starts_with('-') { -number } else { number })
}

const fn epoch() -> Date {
    date(1970, 1, 1)
}

fn days(text: &str) -> Option<i32> {
    let date: Date = text.parse().ok()?;
    (date - epoch()).get_days().into()
}

/// Columns as rows, in the order of the table's columns; one that is not there is nothing.
pub(crate) fn rows(
    columns: &[Column],
    batch: &RecordBatch,
    mut each: impl FnMut(Row),
) -> Result<(), ArrowError> {
    let arrays: Vec<Option<ArrayRef>> = columns
        .iter()
        .map(|column| {
            let found = batch.column_by_name(&column.name);
            // Readers differ in how they name the same type.
            found.map(|array| arrow::compute::cast(array, &data_type(column.kind))).transpose()
        })
        .collect::<Result<_, _>>()?;
    for place in 0..batch.num_rows() {
        let cells = arrays.iter().map(|array| array.as_deref().and_then(|a| cell(a, place)));
        each(cells.collect());
    }
    Ok(())
}

fn cell(array: &dyn Array, place: usize) -> Cell {
    if array.is_null(place) {
        return None;
    }
    let any = array.as_any();
    if let Some(texts) = any.downcast_ref::<StringArray>() {
        return Some(texts.value(place).to_owned());
    }
    if let Some(decimals) = any.downcast_ref::<Decimal128Array>() {
        return Some(trimmed(&decimals.value_as_string(place)));
    }
    if let Some(numbers) = any.downcast_ref::<Int64Array>() {
        return Some(numbers.value(place).to_string());
    }
    if let Some(truths) = any.downcast_ref::<BooleanArray>() {
        return Some(truths.value(place).to_string());
    }
    if let Some(dates) = any.downcast_ref::<Date32Array>() {
        let days = jiff::Span::new().try_days(dates.value(place)).ok()?;
        return Some(epoch().checked_add(days).ok()?.to_string());
    }
    let instants = any.downcast_ref::<TimestampMicrosecondArray>()?;
    Some(Timestamp::from_microsecond(instants.value(place)).ok()?.to_string())
}

/// Without the places that only the type has; two stay, as amounts usually have them.
fn trimmed(text: &str) -> String {
    let Some((whole, part)) = text.split_once('.') else { return text.to_owned() };
    let part = part.trim_end_matches('0');
    format!("{whole}.{part:0<2}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_decimal_keeps_every_digit_or_is_nothing() {
        assert_eq!(scaled("-12.50"), Some(-12_500_000_000_000_000_000));
        assert_eq!(scaled("0.000000000000000001"), Some(1));
        assert_eq!(scaled("0.0000000000000000001"), None);
        assert_eq!(scaled("123456789012345678901"), None);
        assert_eq!(trimmed("-12.500000000000000000"), "-12.50");
    }

    #[test]
    fn rows_come_back_as_they_went() {
        let kinds = [
            FieldKind::Text,
            FieldKind::Decimal,
            FieldKind::Integer,
            FieldKind::Boolean,
            FieldKind::Date,
            FieldKind::Instant,
            FieldKind::Object,
        ];
        let columns: Vec<Column> = kinds
            .iter()
            .map(|kind| Column { name: format!("{kind:?}"), kind: *kind, meaning: String::new() })
            .collect();
        let texts =
            ["Größe", "-12.50", "7", "true", "1969-12-31", "2026-01-31T00:02:03.5Z", "{\"a\":1}"];
        let full: Row = texts.iter().map(|text| Some((*text).to_owned())).collect();
        let empty: Row = vec![None; kinds.len()];
        let given = vec![full, empty];
        let batch = batch(&schema(&columns, &[]), &columns, &given).unwrap();
        let mut back = Vec::new();
        rows(&columns, &batch, |row| back.push(row)).unwrap();
        assert_eq!(back, given);
    }
}
