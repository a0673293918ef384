//! The streams: each kind of record declared once, with its fields, key, modes, product and cost.
//! API, feed, OpenAPI and conversion all read these tables.

use jiff::SignedDuration;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::stream_fields as fields;

/// A kind of record. An open set: values are only ever added.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Stream {
    /// Accounts behind Items.
    Accounts,
    /// Latest reading of each account.
    Balances,
    /// Transactions.
    Transactions,
    /// Payments that come again and again.
    Recurring,
    /// Debts: credit cards, mortgages, student and other loans.
    Liabilities,
    /// Positions in securities.
    Holdings,
    /// What is held.
    Securities,
    /// Trades, dividends, fees.
    InvestmentTransactions,
    /// Owners of accounts, as the bank knows them.
    Identity,
    /// Account and routing numbers.
    Auth,
    /// The banks.
    Institutions,
    /// The Item as Plaid describes it.
    Item,
}

/// What Plaid charges for a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Cost {
    /// Nothing.
    Free,
    /// A fee for each Item and month while the product is on.
    PerItemAndMonth,
    /// A fee once for each Item.
    PerItem,
    /// A fee for every call.
    PerCall,
}

/// What a field holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FieldKind {
    /// Text.
    Text,
    /// A decimal number as text, digit for digit.
    Decimal,
    /// A whole number.
    Integer,
    /// True or false.
    Boolean,
    /// A calendar date.
    Date,
    /// An instant.
    Instant,
    /// An object, as Plaid wrote it.
    Object,
    /// A list, as Plaid wrote it.
    List,
    /// A currency code: ISO 4217, or the unofficial one Plaid gives.
    Currency,
}

/// A field of a stream's records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field {
    /// Its name in records.
    pub name: &'static str,
    /// What it holds.
    pub kind: FieldKind,
    /// Where Plaid has it; empty where it is not Plaid's or has the same name.
    pub path: &'static [&'static str],
    /// What it means.
    pub meaning: &'static str,
}

/// Everything there is to say about a stream.
#[derive(Debug, Clone, Copy)]
pub struct Declaration {
    /// Which one.
    pub stream: Stream,
    /// Its name.
    pub name: &'static str,
    /// What its records are.
    pub meaning: &'static str,
    /// The fields that name a record.
    pub key: &'static [&'static str],
    /// The field that an incremental reader goes by, where Plaid allows one.
    pub cursor_field: Option<&'static str>,
    /// Plaid's product that an Item needs; none where every Item has it.
    pub product: Option<&'static str>,
    /// What Plaid charges for it in an integration.
    pub cost: Cost,
    /// Whether its records are sealed at rest like tokens.
    pub sealed: bool,
    /// How often it is read again without news of it.
    pub every: SignedDuration,
    /// Its fields.
    pub fields: &'static [Field],
}

const EVERY_SYNC: SignedDuration = SignedDuration::ZERO;
const HOURLY: SignedDuration = SignedDuration::from_hours(1);
const DAILY: SignedDuration = SignedDuration::from_hours(24);
const WEEKLY: SignedDuration = SignedDuration::from_hours(24 * 7);
const MONTHLY: SignedDuration = SignedDuration::from_hours(24 * 30);

/// Every stream, in the order of [`Stream`].
pub const STREAMS: [Declaration; 12] = [
    Declaration {
        stream: Stream::Accounts,
        name: "accounts",
        meaning: "Accounts behind Items, with their state",
        key: &["item_id", "account_id"],
        cursor_field: None,
        product: None,
        cost: Cost::Free,
        sealed: false,
        every: EVERY_SYNC,
        fields: fields::ACCOUNTS,
    },
    Declaration {
        stream: Stream::Balances,
        name: "balances",
        meaning: "Balance readings: cached ones with every sync; asked of the bank only on request",
        key: &["item_id", "account_id"],
        cursor_field: None,
        product: None,
        cost: Cost::Free,
        sealed: false,
        every: EVERY_SYNC,
        fields: fields::BALANCES,
    },
    Declaration {
        stream: Stream::Transactions,
        name: "transactions",
        meaning: "Transactions, pending and posted",
        key: &["id"],
        cursor_field: Some("date"),
        product: Some("transactions"),
        cost: Cost::PerItemAndMonth,
        sealed: false,
        every: EVERY_SYNC,
        fields: fields::TRANSACTIONS,
    },
    Declaration {
        stream: Stream::Recurring,
        name: "recurring",
        meaning: "Inflows and outflows that come again and again, as Plaid finds them",
        key: &["item_id", "stream_id"],
        cursor_field: None,
        product: Some("recurring_transactions"),
        cost: Cost::PerItemAndMonth,
        sealed: false,
        every: DAILY,
        fields: fields::RECURRING,
    },
    Declaration {
        stream: Stream::Liabilities,
        name: "liabilities",
        meaning: "Debts: credit cards, mortgages, student and other loans",
        key: &["item_id", "account_id", "kind"],
        cursor_field: None,
        product: Some("liabilities"),
        cost: Cost::PerItemAndMonth,
        sealed: false,
        every: DAILY,
        fields: fields::LIABILITIES,
    },
    Declaration {
        stream: Stream::Holdings,
        name: "holdings",
        meaning: "Positions in securities",
        key: &["item_id", "account_id", "security_id"],
        cursor_field: None,
        product: Some("investments"),
        cost: Cost::PerItemAndMonth,
        sealed: false,
        every: DAILY,
        fields: fields::HOLDINGS,
    },
    Declaration {
        stream: Stream::Securities,
        name: "securities",
        meaning: "The securities that are held",
        key: &["item_id", "security_id"],
        cursor_field: None,
        product: Some("investments"),
        cost: Cost::PerItemAndMonth,
        sealed: false,
        every: DAILY,
        fields: fields::SECURITIES,
    },
    Declaration {
        stream: Stream::InvestmentTransactions,
        name: "investment_transactions",
        meaning: "Trades, dividends and fees of the last 24 months",
        key: &["item_id", "investment_transaction_id"],
        cursor_field: Some("date"),
        product: Some("investments"),
        cost: Cost::PerItemAndMonth,
        sealed: false,
        every: DAILY,
        fields: fields::INVESTMENT_TRANSACTIONS,
    },
    Declaration {
        stream: Stream::Identity,
        name: "identity",
        meaning: "Owners of accounts as the bank knows them; sealed at rest",
        key: &["item_id", "account_id"],
        cursor_field: None,
        product: Some("identity"),
        cost: Cost::PerItem,
        sealed: true,
        every: MONTHLY,
        fields: fields::IDENTITY,
    },
    Declaration {
        stream: Stream::Auth,
        name: "auth",
        meaning: "Account and routing numbers; sealed at rest",
        key: &["item_id", "account_id", "kind"],
        cursor_field: None,
        product: Some("auth"),
        cost: Cost::PerItem,
        sealed: true,
        every: MONTHLY,
        fields: fields::AUTH,
    },
    Declaration {
        stream: Stream::Institutions,
        name: "institutions",
        meaning: "The banks of linked Items",
        key: &["item_id", "institution_id"],
        cursor_field: None,
        product: None,
        cost: Cost::Free,
        sealed: false,
        every: WEEKLY,
        fields: fields::INSTITUTIONS,
    },
    Declaration {
        stream: Stream::Item,
        name: "item",
        meaning: "The Item as Plaid describes it: products, consent, and when the bank was last read",
        key: &["item_id"],
        cursor_field: None,
        product: None,
        cost: Cost::Free,
        sealed: false,
        every: HOURLY,
        fields: fields::ITEM,
    },
];

impl Stream {
    /// Every stream.
    pub fn all() -> impl Iterator<Item = Self> {
        STREAMS.iter().map(|declaration| declaration.stream)
    }

    /// What an integration reads unless it asks for more: everything that adds no cost to
    /// transactions.
    pub const USUAL: [Self; 5] =
        [Self::Accounts, Self::Balances, Self::Transactions, Self::Institutions, Self::Item];

    /// All there is to say about it.
    pub fn declaration(self) -> &'static Declaration {
        &STREAMS[self as usize]
    }

    /// The name as stored and served.
    pub fn as_str(self) -> &'static str {
        self.declaration().name
    }

    /// The stream of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::all().find(|stream| stream.as_str() == name)
    }

    /// Whether it comes with every sync of transactions; the others are read on their own.
    pub fn comes_with_sync(self) -> bool {
        matches!(self, Self::Accounts | Self::Balances | Self::Transactions)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_stands_in_the_order_of_the_enum_and_keys_are_fields() {
        for (place, declaration) in STREAMS.iter().enumerate() {
            assert_eq!(declaration.stream as usize, place);
            assert_eq!(Stream::from_name(declaration.name), Some(declaration.stream));
            let named = |name: &str| declaration.fields.iter().filter(|f| f.name == name).count();
            for key in declaration.key {
                assert_eq!(named(key), 1, "{}: {key}", declaration.name);
            }
            for field in declaration.fields {
                assert_eq!(named(field.name), 1, "{}: {}", declaration.name, field.name);
            }
        }
    }
}
