//! One transaction as Plaid answers it.

use jiff::civil::Date;
use rust_decimal::Decimal;
use serde::{Serialize, Serializer};

use crate::item::{Item, iso_code, number, unofficial_code};
use crate::ledger::{Description, Event};

/// Codes of taxonomy version 2 and what version 1 called them.
const RENAMED: [(&str, &str); 18] = [
    ("INCOME_SALARY", "INCOME_WAGES"),
    ("INCOME_OTHER", "INCOME_OTHER_INCOME"),
    ("INCOME_CHILD_SUPPORT", "INCOME_OTHER_INCOME"),
    ("INCOME_GIG_ECONOMY", "INCOME_OTHER_INCOME"),
    ("INCOME_MILITARY", "INCOME_OTHER_INCOME"),
    ("INCOME_RENTAL", "INCOME_OTHER_INCOME"),
    ("LOAN_DISBURSEMENTS_CASH_ADVANCES", "TRANSFER_IN_CASH_ADVANCES_AND_LOANS"),
    ("LOAN_DISBURSEMENTS_EWA", "TRANSFER_IN_CASH_ADVANCES_AND_LOANS"),
    ("LOAN_DISBURSEMENTS_PERSONAL", "TRANSFER_IN_CASH_ADVANCES_AND_LOANS"),
    ("LOAN_DISBURSEMENTS_OTHER_DISBURSEMENT", "TRANSFER_IN_CASH_ADVANCES_AND_LOANS"),
    ("LOAN_PAYMENTS_CASH_ADVANCES", "LOAN_PAYMENTS_OTHER_PAYMENT"),
    ("LOAN_PAYMENTS_EWA", "LOAN_PAYMENTS_OTHER_PAYMENT"),
    ("TRANSFER_IN_WIRE", "TRANSFER_IN_OTHER_TRANSFER_IN"),
    ("TRANSFER_OUT_WIRE", "TRANSFER_OUT_OTHER_TRANSFER_OUT"),
    ("BANK_FEES_LATE_FEES", "BANK_FEES_OTHER_BANK_FEES"),
    ("BANK_FEES_CASH_ADVANCE", "BANK_FEES_OTHER_BANK_FEES"),
    ("OTHER_OTHER", "GENERAL_SERVICES_OTHER_GENERAL_SERVICES"),
    ("OTHER", "GENERAL_SERVICES_OTHER_GENERAL_SERVICES"),
];

/// Primary codes, the longer ones of a common beginning first.
const PRIMARY: [&str; 18] = [
    "LOAN_DISBURSEMENTS",
    "LOAN_PAYMENTS",
    "INCOME",
    "TRANSFER_IN",
    "TRANSFER_OUT",
    "BANK_FEES",
    "ENTERTAINMENT",
    "FOOD_AND_DRINK",
    "GENERAL_MERCHANDISE",
    "HOME_IMPROVEMENT",
    "MEDICAL",
    "PERSONAL_CARE",
    "GENERAL_SERVICES",
    "GOVERNMENT_AND_NON_PROFIT",
    "TRANSPORTATION",
    "TRAVEL",
    "RENT_AND_UTILITIES",
    "OTHER",
];

/// What the caller wants of each row.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wishes<'a> {
    pub(super) original_description: bool,
    /// Version of the taxonomy.
    pub(super) version: &'a str,
}

/// A category as Plaid answers it.
#[derive(Serialize)]
pub(super) struct Category<'a> {
    confidence_level: &'a str,
    detailed: &'a str,
    primary: &'static str,
    version: &'a str,
}

impl<'a> Category<'a> {
    /// The category of a detailed code of version 2, in the version asked for.
    pub(super) fn of(detailed: &'a str, confidence_level: &'a str, version: &'a str) -> Self {
        let renamed = RENAMED.iter().find(|(new, _)| *new == detailed && version == "v1");
        let detailed = renamed.map_or(detailed, |(_, old)| old);
        let primary = PRIMARY.iter().find(|primary| detailed.starts_with(**primary));
        Self { confidence_level, detailed, primary: primary.unwrap_or(&"OTHER"), version }
    }

    pub(super) fn icon_url(&self) -> String {
        format!("https://plaid-category-icons.plaid.com/PFC_{}.png", self.primary)
    }
}

/// A decimal written as a JSON number.
pub(super) struct Number(pub(super) Decimal);

impl Serialize for Number {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        number(self.0).serialize(serializer)
    }
}

/// One transaction; the keys stand in alphabetical order.
#[derive(Serialize)]
pub(super) struct Row<'a> {
    account_id: &'a str,
    account_owner: Option<&'a str>,
    amount: Number,
    authorized_date: Date,
    authorized_datetime: Option<&'a str>,
    category: Option<[&'a str; 0]>,
    category_id: Option<&'a str>,
    check_number: Option<&'a str>,
    counterparties: Vec<Counterparty<'a>>,
    date: Date,
    datetime: Option<&'a str>,
    iso_currency_code: Option<&'a str>,
    location: Location<'a>,
    logo_url: Option<&'a str>,
    merchant_entity_id: Option<&'a str>,
    merchant_name: Option<&'a str>,
    name: &'a str,
    original_description: Option<&'a str>,
    payment_channel: &'a str,
    payment_meta: PaymentMeta<'a>,
    pending: bool,
    pending_transaction_id: Option<&'a str>,
    personal_finance_category: Category<'a>,
    personal_finance_category_icon_url: String,
    transaction_code: Option<&'a str>,
    transaction_id: &'a str,
    transaction_type: &'a str,
    unofficial_currency_code: Option<&'a str>,
    website: Option<&'a str>,
}

#[derive(Serialize)]
struct Counterparty<'a> {
    confidence_level: &'a str,
    entity_id: Option<&'a str>,
    logo_url: Option<&'a str>,
    name: &'a str,
    r#type: &'a str,
    website: Option<&'a str>,
}

#[derive(Default, Serialize)]
struct Location<'a> {
    address: Option<&'a str>,
    city: Option<&'a str>,
    country: Option<&'a str>,
    lat: Option<Number>,
    lon: Option<Number>,
    postal_code: Option<&'a str>,
    region: Option<&'a str>,
    store_number: Option<&'a str>,
}

#[derive(Default, Serialize)]
struct PaymentMeta<'a> {
    by_order_of: Option<&'a str>,
    payee: Option<&'a str>,
    payer: Option<&'a str>,
    payment_method: Option<&'a str>,
    payment_processor: Option<&'a str>,
    ppd_id: Option<&'a str>,
    reason: Option<&'a str>,
    reference_number: Option<&'a str>,
}

impl<'a> Row<'a> {
    pub(super) fn of(item: &'a Item, event: &'a Event, wishes: Wishes<'a>) -> Self {
        let plan = &event.plan;
        let about = &plan.description;
        let category = Category::of(&about.category, &about.confidence, wishes.version);
        Self {
            account_id: &item.accounts[plan.account].account_id,
            account_owner: None,
            amount: Number(event.amount()),
            authorized_date: plan.occurs_on,
            authorized_datetime: None,
            category: None,
            category_id: None,
            check_number: check_number(&about.name),
            counterparties: about
                .merchant
                .as_deref()
                .map(|name| counterparty(about, name))
                .into_iter()
                .collect(),
            date: event.date(),
            datetime: None,
            iso_currency_code: iso_code(&plan.currency),
            location: Location {
                store_number: about.store_number.as_deref(),
                ..Location::default()
            },
            logo_url: None,
            merchant_entity_id: about.entity_id.as_deref(),
            merchant_name: about.merchant.as_deref(),
            name: &about.name,
            original_description: wishes.original_description.then_some(&about.name),
            payment_channel: &about.channel,
            payment_meta: payment_meta(&about.name),
            pending: event.is_pending(),
            pending_transaction_id: event.pending_transaction_id.as_deref(),
            personal_finance_category_icon_url: category.icon_url(),
            personal_finance_category: category,
            transaction_code: None,
            transaction_id: &event.transaction_id,
            transaction_type: &about.transaction_type,
            unofficial_currency_code: unofficial_code(&plan.currency),
            website: about.website.as_deref(),
        }
    }
}

fn counterparty<'a>(about: &'a Description, name: &'a str) -> Counterparty<'a> {
    Counterparty {
        confidence_level: &about.confidence,
        entity_id: about.entity_id.as_deref(),
        logo_url: None,
        name,
        r#type: if about.category.starts_with("INCOME") { "income_source" } else { "merchant" },
        website: about.website.as_deref(),
    }
}

/// What a bank's line says of an ACH entry or a wire.
fn payment_meta(line: &str) -> PaymentMeta<'_> {
    let after = |mark: &str| {
        let (_, rest) = line.split_once(mark)?;
        rest.split(' ').next().filter(|word| !word.is_empty())
    };
    let is_ach = line.contains(" DES:");
    PaymentMeta {
        by_order_of: line
            .split_once("ORIG:")
            .map(|(_, rest)| rest.split(" SEQ").next().unwrap_or(rest)),
        payment_method: is_ach.then_some("ACH"),
        payment_processor: is_ach.then(|| line.split(" DES:").next().unwrap_or(line)),
        ppd_id: after("CO ID:"),
        reference_number: after(" ID:").filter(|_| is_ach),
        ..PaymentMeta::default()
    }
}

fn check_number(line: &str) -> Option<&str> {
    let number = line.strip_prefix("CHECK ")?;
    number.bytes().all(|byte| byte.is_ascii_digit()).then_some(number)
}
