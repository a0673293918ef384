//! The columns of the two streams of Airbyte's connector for Plaid, in its order, so that tables can
//! stay as they were. Facts: the connector's manifest; where it disagrees with what Plaid sends, Plaid
//! is right.

use crate::FieldKind;

/// `balance`.
pub const AIRBYTE_BALANCE: &[(&str, FieldKind)] = &[
    ("account_id", FieldKind::Text),
    ("available", FieldKind::Decimal),
    ("current", FieldKind::Decimal),
    ("iso_currency_code", FieldKind::Text),
    ("limit", FieldKind::Decimal),
    ("unofficial_currency_code", FieldKind::Text),
];

/// `transaction`.
pub const AIRBYTE_TRANSACTION: &[(&str, FieldKind)] = &[
    ("account_id", FieldKind::Text),
    ("account_owner", FieldKind::Text),
    ("amount", FieldKind::Decimal),
    ("authorized_date", FieldKind::Date),
    ("authorized_datetime", FieldKind::Instant),
    ("category", FieldKind::List),
    ("category_id", FieldKind::Text),
    ("check_number", FieldKind::Text),
    ("date", FieldKind::Date),
    ("datetime", FieldKind::Instant),
    ("iso_currency_code", FieldKind::Text),
    ("location", FieldKind::Object),
    ("merchant_name", FieldKind::Text),
    ("name", FieldKind::Text),
    ("payment_channel", FieldKind::Text),
    ("payment_meta", FieldKind::Object),
    ("pending", FieldKind::Boolean),
    ("pending_transaction_id", FieldKind::Text),
    ("personal_finance_category", FieldKind::Object),
    ("transaction_code", FieldKind::Text),
    ("transaction_id", FieldKind::Text),
    ("transaction_type", FieldKind::Text),
    ("unofficial_currency_code", FieldKind::Text),
];
