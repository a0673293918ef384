//! The judgement of a transaction as records have it.

use model::{Confidence, EnrichedCategory, RunnerUp};

use crate::category::{Leaf, Primary};
use crate::enrichment::{Counterparty, Enrichment, Merchant, Role};
use crate::judge::Judge;
use crate::tables::{Tables, VERSION};
use crate::transaction::{AccountKind, Transaction};

/// Judges a record of a transaction, with its account if that is known.
pub fn judge_record(
    judge: &mut Judge<'_>,
    record: &model::Transaction,
    account: Option<&model::Account>,
) -> model::Enrichment {
    let description = record.original_description.as_ref().unwrap_or(&record.name);
    let plaid = record.category.as_ref();
    let enrichment = judge.judge(&Transaction {
        description,
        amount: if record.direction == model::Direction::In { -1 } else { 1 },
        account: account
            .map_or_else(AccountKind::default, |it| AccountKind::of_plaid(&it.account_type)),
        is_business: account.is_some_and(|it| it.holder_category.as_deref() == Some("business")),
        country: country("", &record.currency),
        merchant_name: record.merchant_name.as_deref().unwrap_or_default(),
        plaid_primary: plaid.map_or("", |plaid| &plaid.primary),
        plaid_detailed: plaid.map_or("", |plaid| &plaid.detailed),
        plaid_confidence: plaid.and_then(|it| it.confidence.as_deref()).unwrap_or_default(),
        ..Transaction::default()
    });
    recorded(&enrichment, description)
}

/// The version of this build's tables.
pub fn tables_version() -> &'static str {
    VERSION
}

/// The tables of this build, made when they are first asked for.
pub fn tables() -> &'static Tables {
    static TABLES: std::sync::LazyLock<Tables> = std::sync::LazyLock::new(Tables::new);
    &TABLES
}

/// A judgement as records have it.
pub fn recorded(enrichment: &Enrichment, description: &str) -> model::Enrichment {
    let category = &enrichment.category;
    let leaf = |view: fn(Leaf) -> &'static str| category.leaf.map(|leaf| view(leaf).to_owned());
    let runners_up = category.runners_up.iter().flatten();
    let span = enrichment.description.start as usize..enrichment.description.end as usize;
    let named = description.get(span).map(str::trim).filter(|named| !named.is_empty());
    model::Enrichment {
        category: EnrichedCategory {
            leaf: leaf(Leaf::name),
            primary: category.primary.map(|primary| primary.name().to_owned()),
            detailed: leaf(Leaf::plaid),
            detailed_v1: leaf(Leaf::plaid_first),
            lender: leaf(Leaf::lender),
            consumer: leaf(Leaf::consumer),
            confidence: Confidence(category.confidence.0),
            source: category.source.name().to_owned(),
            reason: category.reason(description).to_string(),
            runners_up: runners_up
                .map(|(primary, percent)| RunnerUp {
                    primary: Primary::name(*primary).to_owned(),
                    confidence: Confidence(percent.0),
                })
                .collect(),
        },
        merchant: enrichment.merchant.as_ref().map(|merchant| merchant_of(merchant, description)),
        counterparties: enrichment.counterparties.iter().map(counterparty_of).collect(),
        flags: enrichment.flags.names().map(str::to_owned).collect(),
        channel: Some(enrichment.channel.to_owned()).filter(|channel| !channel.is_empty()),
        description: named.map(str::to_owned),
        transfer: None,
        refund: None,
        duplicate: None,
        recurring: None,
        tables: VERSION.to_owned(),
    }
}

fn merchant_of(merchant: &Merchant, description: &str) -> model::Merchant {
    model::Merchant {
        name: merchant.name.to_string(),
        website: merchant.website.map(str::to_owned),
        key: merchant.key.to_string(),
        confidence: Confidence(merchant.confidence.0),
        reason: merchant.reason(description).to_string(),
    }
}

fn counterparty_of(counterparty: &Counterparty) -> model::Counterparty {
    let role = match counterparty.role {
        Role::Processor => "processor",
        Role::Person => "person",
    };
    model::Counterparty { name: counterparty.name.to_string(), role: role.to_owned() }
}

/// Where a bank is: the country that is given, else that of the currency if it is of one country.
pub fn country<'a>(given: &'a str, currency: &str) -> &'a str {
    match currency {
        _ if !given.is_empty() => given,
        "GBP" => "GB",
        "USD" => "US",
        "CAD" => "CA",
        "ZAR" => "ZA",
        "AUD" => "AU",
        "NZD" => "NZ",
        _ => "",
    }
}
