//! The judgement of a transaction as records have it.

use model::{Confidence, EnrichedCategory, PlaidCounterparty, RunnerUp};

use crate::category::{Leaf, Primary};
use crate::enrichment::{Counterparty, Enrichment, Merchant, Role};
use crate::judge::Judge;
use crate::tables::{Tables, VERSION};
use crate::transaction::{AccountKind, Transaction};

/// What Plaid's kinds of counterparties do in a transaction.
const PLAIDS_ROLES: [(&str, Role); 6] = [
    ("merchant", Role::Merchant),
    ("income_source", Role::Merchant),
    ("marketplace", Role::Marketplace),
    ("payment_app", Role::Processor),
    ("payment_terminal", Role::Processor),
    ("financial_institution", Role::Bank),
];

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
        merchant_entity_id: record.merchant_entity_id.as_deref().unwrap_or_default(),
        website: record.website.as_deref().unwrap_or_default(),
        plaid_primary: plaid.map_or("", |plaid| &plaid.primary),
        plaid_detailed: plaid.map_or("", |plaid| &plaid.detailed),
        plaid_confidence: plaid.and_then(|it| it.confidence.as_deref()).unwrap_or_default(),
        ..Transaction::default()
    });
    let mut recorded = recorded(&enrichment, description);
    introduce(&mut recorded, &record.counterparties);
    recorded
}

/// Adds those whom only Plaid sees, each with what it does.
pub fn introduce(enrichment: &mut model::Enrichment, plaids: &[PlaidCounterparty]) {
    for other in plaids {
        let role = PLAIDS_ROLES.iter().find(|(kind, _)| *kind == other.kind);
        let Some((_, role)) = role else { continue };
        let merchant = enrichment.merchant.iter().map(|merchant| &merchant.name);
        let known = merchant.chain(enrichment.counterparties.iter().map(|it| &it.name));
        if !known.into_iter().any(|name| name.eq_ignore_ascii_case(&other.name)) {
            let role = role_name(*role).to_owned();
            enrichment.counterparties.push(model::Counterparty { name: other.name.clone(), role });
        }
    }
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
    let words = |span: &std::ops::Range<u32>| {
        let words = description.get(span.start as usize..span.end as usize).map(str::trim);
        words.filter(|words| !words.is_empty()).map(str::to_owned)
    };
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
        description: words(&enrichment.description),
        location: words(&enrichment.location),
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
        website: merchant.website.as_deref().map(str::to_owned),
        key: merchant.key.to_string(),
        judged_key: None,
        confidence: Confidence(merchant.confidence.0),
        reason: merchant.reason(description).to_string(),
    }
}

fn counterparty_of(counterparty: &Counterparty) -> model::Counterparty {
    let role = role_name(counterparty.role).to_owned();
    model::Counterparty { name: counterparty.name.to_string(), role }
}

fn role_name(role: Role) -> &'static str {
    match role {
        Role::Merchant => "merchant",
        Role::Processor => "processor",
        Role::Marketplace => "marketplace",
        Role::Bank => "bank",
        Role::Person => "person",
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whom_only_plaid_sees_is_told_once_with_a_role() {
        let tables = tables();
        let said = Judge::new(tables).judge(&Transaction {
            description: "SQ *CORNER ROASTERS",
            amount: 450,
            account: AccountKind::Credit,
            merchant_name: "Corner Roasters",
            merchant_entity_id: "EntityOfPlaid",
            website: "cornerroasters.example",
            ..Transaction::default()
        });
        let mut recorded = recorded(&said, "SQ *CORNER ROASTERS");
        let plaid = |name: &str, kind: &str| PlaidCounterparty {
            name: name.to_owned(),
            kind: kind.to_owned(),
            entity_id: None,
        };
        introduce(
            &mut recorded,
            &[
                plaid("CORNER ROASTERS", "merchant"),
                plaid("Square", "payment_terminal"),
                plaid("Chase", "financial_institution"),
                plaid("Etsy", "marketplace"),
                plaid("Somebody", "of a kind to come"),
            ],
        );
        let merchant = recorded.merchant.unwrap();
        assert_eq!(merchant.key, "plaid-EntityOfPlaid");
        assert_eq!(merchant.website.as_deref(), Some("cornerroasters.example"));
        let others: Vec<(&str, &str)> =
            recorded.counterparties.iter().map(|it| (&*it.name, &*it.role)).collect();
        assert_eq!(others, [("Square", "processor"), ("Chase", "bank"), ("Etsy", "marketplace")]);
    }
}
