//! Everything there is to say of an end user's transactions: each by itself, then what people decided,
//! then what they say together. Which decision stands above which: a person's word, an integration's
//! rule, a matched transfer or refund, and then what `judge` decides.

use std::collections::HashMap;

use classifier::Line;
use model::{Account, Annotation, EndUserSeries, Enrichment, Transaction, minor_units};

use crate::category::Leaf;
use crate::enrichment::{Flag, Flags};
use crate::judge::Judge;
use crate::memory::{CERTAIN, INTEGRATION_RULE, Memory, Named, PERSON};
use crate::recorded::{judge_record, tables};
use crate::series::{Entry, Holding, Pairing, Ties, is_own, series};
use crate::transaction::AccountKind;

/// Sources of categories that series leave alone.
const PEOPLE: [&str; 2] = [PERSON, INTEGRATION_RULE];

/// What was made of records.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Processed {
    /// One for each record, in their order.
    pub enrichments: Vec<Enrichment>,
    /// What the records say together.
    pub series: EndUserSeries,
}

/// Judges all live records of one end user.
pub fn process(records: &[Transaction], accounts: &[Account], memory: &Memory) -> Processed {
    let places: HashMap<&str, usize> = accounts
        .iter()
        .enumerate()
        .map(|(at, account)| (account.account_id.as_str(), at))
        .collect();
    let account =
        |record: &Transaction| places.get(record.account_id.as_str()).map(|at| &accounts[*at]);
    let mut judge = Judge::new(tables());
    let mut line = Line::default();
    let judged = records
        .iter()
        .map(|record| {
            let mut enrichment = judge_record(&mut judge, record, account(record));
            memory.apply(record, &mut line, &mut enrichment);
            enrichment
        })
        .collect();
    together(records, accounts, judged)
}

/// Adds to judgements of single records what the records say together.
pub(crate) fn together(
    records: &[Transaction],
    accounts: &[Account],
    mut enrichments: Vec<Enrichment>,
) -> Processed {
    // What is pending may yet change or go; it ties itself to nothing.
    let posted: Vec<usize> = (0..records.len()).filter(|at| !records[*at].pending).collect();
    let holdings = Holdings::of(records, accounts);
    let entries: Vec<Entry<'_>> = posted
        .iter()
        .map(|at| entry(&records[*at], &enrichments[*at], holdings.place(&records[*at])))
        .collect();
    let found = series(&entries, &holdings.all);
    drop(entries);
    let by_id: HashMap<&str, usize> =
        posted.iter().map(|at| (records[*at].id.as_str(), *at)).collect();
    let judged: Vec<Option<Named>> = enrichments.iter().map(named).collect();
    for (at, ties) in posted.iter().zip(found.ties) {
        let refunded = ties.refund.as_ref().and_then(|tie| judged[*by_id.get(tie.of.as_str())?]);
        let pair = ties.transfer.as_ref().and_then(|half| by_id.get(half.other.as_deref()?));
        let by_card = pair.is_some_and(|other| {
            [*at, *other].iter().any(|at| holdings.kind(&records[*at]) == AccountKind::Credit)
        });
        tie(&mut enrichments[*at], ties, &records[*at], refunded, by_card);
    }
    Processed { enrichments, series: found.whole }
}

/// The accounts as series want them, also those that nothing is known of but their transactions.
struct Holdings<'a> {
    all: Vec<Holding<'a>>,
    places: HashMap<(&'a str, &'a str), usize>,
}

impl<'a> Holdings<'a> {
    fn of(records: &'a [Transaction], accounts: &'a [Account]) -> Self {
        let mut logins: Vec<&str> = Vec::new();
        let mut login = |item_id: &'a str| {
            logins.iter().position(|known| *known == item_id).unwrap_or_else(|| {
                logins.push(item_id);
                logins.len() - 1
            })
        };
        let mut found = Self { all: Vec::new(), places: HashMap::new() };
        for account in accounts {
            let text = |text: &'a Option<String>| text.as_deref().unwrap_or_default();
            let holding = Holding {
                kind: AccountKind::of_plaid(&account.account_type),
                mask: text(&account.mask),
                identity: text(&account.persistent_account_id),
                login: login(&account.item_id),
            };
            found.places.insert((&account.item_id, &account.account_id), found.all.len());
            found.all.push(holding);
        }
        for record in records {
            let key = (record.item_id.as_str(), record.account_id.as_str());
            if !found.places.contains_key(&key) {
                found.places.insert(key, found.all.len());
                found.all.push(Holding { login: login(&record.item_id), ..Holding::default() });
            }
        }
        found
    }

    fn place(&self, record: &Transaction) -> usize {
        self.places[&(record.item_id.as_str(), record.account_id.as_str())]
    }

    fn kind(&self, record: &Transaction) -> AccountKind {
        self.all[self.place(record)].kind
    }
}

fn entry<'a>(record: &'a Transaction, enrichment: &'a Enrichment, account: usize) -> Entry<'a> {
    let decided = record.annotation.as_ref().and_then(|it| it.transfer_with.as_deref());
    Entry {
        id: &record.id,
        account,
        date: record.date,
        amount: minor_units(&record.amount),
        currency: &record.currency,
        description: record.original_description.as_ref().unwrap_or(&record.name),
        merchant: enrichment.merchant.as_ref().map(|it| (it.key.as_str(), it.name.as_str())),
        leaf: enrichment.category.leaf.as_deref().and_then(Leaf::named),
        flags: flags(enrichment),
        decided: decided.map(|other| match other {
            Annotation::NO_TRANSFER => Pairing::Alone,
            other => Pairing::With(other),
        }),
    }
}

fn flags(enrichment: &Enrichment) -> Flags {
    enrichment.flags.iter().filter_map(|name| Flag::named(name)).collect()
}

fn named(enrichment: &Enrichment) -> Option<Named> {
    Named::parse(enrichment.category.name()?)
}

/// Adds to a judgement what ties its row to others.
fn tie(
    enrichment: &mut Enrichment,
    ties: Ties,
    record: &Transaction,
    refunded: Option<Named>,
    by_card: bool,
) {
    apart(enrichment, record);
    let mut flags = flags(enrichment);
    let open = !PEOPLE.contains(&enrichment.category.source.as_str());
    let pair = ties.transfer.as_ref().filter(|half| half.other.is_some());
    if let (Some(half), true) = (pair, open) {
        let leaf = match (by_card, record.direction) {
            (true, model::Direction::In) => "card_payment_received",
            (true, model::Direction::Out) => "card_payment_connected",
            (false, model::Direction::In) => "transfer_in_account_transfer",
            (false, model::Direction::Out) => "transfer_out_account_transfer",
        };
        let known = enrichment.category.leaf.as_deref().and_then(Leaf::named);
        let says_so =
            known.is_some_and(|known| known.name() == leaf || (!by_card && is_own(known)));
        if let Some(named) = Named::parse(leaf).filter(|_| !says_so) {
            named.decide(&mut enrichment.category, "transfer", &half.reason, half.confidence);
        }
    } else if let (Some(back), Some(named), true) = (&ties.refund, refunded, open) {
        // Money back is about what the payment was about.
        if named.leaf.map(Leaf::name) != enrichment.category.leaf.as_deref() {
            let reason = format!("{}: {}", back.of, back.reason);
            named.decide(&mut enrichment.category, "refund", &reason, back.confidence);
        }
    }
    let is_out = record.direction == model::Direction::Out;
    let set = [
        (ties.transfer.is_some(), Flag::Transfer),
        (ties.refund.is_some() && !is_out, Flag::Refund),
        (ties.refund.is_some() && is_out, Flag::Returned),
        (ties.duplicate.is_some(), Flag::PossibleDuplicate),
        (ties.recurring.is_some(), Flag::Recurring),
    ];
    set.into_iter().filter(|(is, _)| *is).for_each(|(_, flag)| flags.set(flag));
    enrichment.flags = flags.names().map(str::to_owned).collect();
    (enrichment.transfer, enrichment.refund) = (ties.transfer, ties.refund);
    (enrichment.duplicate, enrichment.recurring) = (ties.duplicate, ties.recurring);
}

/// What a person said is no transfer is about something else.
fn apart(enrichment: &mut Enrichment, record: &Transaction) {
    let decided = record.annotation.as_ref().and_then(|it| it.transfer_with.as_deref());
    let leaf = enrichment.category.leaf.as_deref().and_then(Leaf::named);
    let by_people = PEOPLE.contains(&enrichment.category.source.as_str());
    if decided != Some(Annotation::NO_TRANSFER) || by_people {
        return;
    }
    enrichment.flags.retain(|flag| flag != "transfer");
    let other = match record.direction {
        model::Direction::In => "transfer_in_other_transfer_in",
        model::Direction::Out => "transfer_out_other_transfer_out",
    };
    if let Some(named) = Named::parse(other).filter(|_| leaf.is_some_and(is_own)) {
        let reason = "a person said it is no own transfer";
        named.decide(&mut enrichment.category, PERSON, reason, CERTAIN);
    }
}
