//! Decides: banks' own words first, then the merchant, then everything that speaks for a category, which
//! `hearing` hears.

mod hearing;

use std::borrow::Cow;
use std::ops::Range;

use classifier::{Line, Verdict};

use crate::category::{Leaf, Primary};
use crate::enrichment::{
    Category, Counterparty, Direction, Enrichment, Evidence, Flag, Flags, Layer, Merchant, Percent,
    Role,
};
use crate::names::{Name, ends_name, key_of, tidy_name};
use crate::phrases::Hit;
use crate::rules::{Findings, Rule};
use crate::structure::Structure;
use crate::tables::{Meaning, Tables};
use crate::transaction::{AccountKind, Transaction};
use crate::vote::Witness;

/// A merchant at least this certain is not doubted by the model.
const CERTAIN: Percent = Percent(95);
/// A merchant at least this certain is not overruled by a single word behind its name.
const LIKELY: Percent = Percent(80);
/// A word so long is hardly the beginning of a name that means something else.
const LONG_WORD: usize = 6;
/// Flags of rules about what banks themselves print, also on lines of cards.
const BANKS_OWN: [Flag; 4] = [Flag::Cash, Flag::Transfer, Flag::Check, Flag::Chargeback];
/// A name read off the line, and Plaid's name of a merchant that is not in our tables.
const READ_NAME: u8 = 60;
/// See `READ_NAME`.
const PLAIDS_NAME: u8 = 85;
/// Words that say money comes back from a merchant.
const REFUND_WORDS: [&str; 9] = [
    " refund ",
    " refunded ",
    " return ",
    " returns ",
    " reversal ",
    " credit voucher ",
    " purchase return ",
    " rfnd ",
    " merchandise return ",
];

/// Judges rows, one after another; its memory is used again for the next.
pub struct Judge<'t> {
    tables: &'t Tables,
    line: Line,
    name: Line,
    hits: Vec<Hit<Meaning>>,
    rules: Findings,
    words: Findings,
    parts: Vec<Range<usize>>,
    witnesses: Vec<Witness>,
    verdict: Verdict,
}

/// A merchant of the tables that was found in a line.
struct Known<'t> {
    name: &'t Name,
    percent: Percent,
    evidence: Evidence,
}

impl<'t> Judge<'t> {
    /// A judge by these tables.
    pub fn new(tables: &'t Tables) -> Self {
        Self {
            tables,
            line: Line::default(),
            name: Line::default(),
            hits: Vec::new(),
            rules: Findings::default(),
            words: Findings::default(),
            parts: Vec::new(),
            witnesses: Vec::new(),
            verdict: Verdict::default(),
        }
    }

    /// What a transaction means.
    pub fn judge(&mut self, transaction: &Transaction<'_>) -> Enrichment {
        let direction = if transaction.amount < 0 { Direction::In } else { Direction::Out };
        let tables = self.tables;
        self.line.read(transaction.description);
        tables.phrases.find(&self.line, &mut self.hits);
        let labels = self.hits.iter().filter_map(|hit| match hit.meaning {
            Meaning::Field(field) => Some((hit.start..hit.end, field)),
            _ => None,
        });
        let structure = Structure::read(
            &self.line,
            transaction.description,
            labels,
            &tables.prefixes,
            &mut self.parts,
        );
        self.sort_hits(&structure);
        let known = self.merchant(transaction, &structure);
        let rule = self.rule(transaction, direction, &structure, known.as_ref());
        let mut flags = rule.as_ref().map_or_else(Flags::default, |(rule, _)| rule.flags);
        let category = match rule {
            Some((rule, span)) => self.by_rule(rule, span),
            None if direction == Direction::Out => {
                self.by_vote(transaction, direction, &structure, known.as_ref())
            }
            None if self.is_refund(transaction, &structure, known.as_ref()) => {
                flags.set(Flag::Refund);
                self.by_vote(transaction, direction, &structure, known.as_ref())
            }
            None => self.by_hearsay(transaction, direction),
        };
        if category.leaf.is_some_and(|leaf| leaf.plaid().ends_with("CASINOS_AND_GAMBLING")) {
            flags.set(Flag::Gambling);
        }
        let counterparties = self.counterparties(&structure, &category);
        Enrichment {
            direction,
            merchant: self.named(transaction, &structure, &category, known),
            counterparties,
            flags,
            channel: structure.channel,
            description: self.span(&structure.party),
            location: self.span(&structure.place),
            category,
        }
    }

    /// Hands every phrase to the rules it belongs to. Nothing is read out of the holder's name.
    fn sort_hits(&mut self, structure: &Structure) {
        self.rules.clear(self.tables.rules.all.len());
        self.words.clear(self.tables.words.all.len());
        let person = structure.person.clone().unwrap_or(0..0);
        for hit in &self.hits {
            if hit.start >= person.start && hit.end <= person.end {
                continue;
            }
            match hit.meaning {
                Meaning::Rule(number, part) => self.rules.add(number, part, hit),
                Meaning::Word(number, part) => self.words.add(number, part, hit),
                Meaning::Name(_) | Meaning::Field(_) => {}
            }
        }
    }

    /// The merchant of the tables that the other side's name begins with, or that Plaid names.
    fn merchant(
        &mut self,
        transaction: &Transaction<'_>,
        structure: &Structure,
    ) -> Option<Known<'t>> {
        let names = &self.tables.names;
        let country = transaction.country;
        let of_names = |hit: &Hit<Meaning>| match hit.meaning {
            Meaning::Name(number) => Some(Hit { meaning: number, start: hit.start, end: hit.end }),
            _ => None,
        };
        let hits = self.hits.iter().filter_map(of_names);
        if let Some((name, percent, span)) =
            names.resolve(&self.line, hits, &structure.party, country)
        {
            let evidence =
                Evidence { layer: Layer::Merchant, what: name.name, span: self.span(&span) };
            return Some(Known { name, percent, evidence });
        }
        if transaction.merchant_name.is_empty() {
            return None;
        }
        self.name.read(transaction.merchant_name);
        let mut hits = Vec::new();
        self.tables.phrases.find(&self.name, &mut hits);
        let whole = 1..self.name.text().len().saturating_sub(1);
        let hits = hits.iter().filter(|hit| hit.end == whole.end).filter_map(of_names);
        let (name, percent, _) = names.resolve(&self.name, hits, &whole, country)?;
        let evidence = Evidence { layer: Layer::Plaid, what: name.name, span: 0..0 };
        Some(Known { name, percent, evidence })
    }

    /// The first rule that holds and may decide.
    fn rule(
        &self,
        transaction: &Transaction<'_>,
        direction: Direction,
        structure: &Structure,
        known: Option<&Known<'_>>,
    ) -> Option<(&'t Rule, Range<usize>)> {
        let by_card = structure.channel == "card" || transaction.account == AccountKind::Credit;
        let mut holding = self.rules.holding(&self.tables.rules, transaction, direction);
        holding.find(|(rule, span)| {
            let is_fee = rule.flags.has(Flag::Fee);
            let of_bank = is_fee || BANKS_OWN.iter().any(|flag| rule.flags.has(*flag));
            let behind = span.start > structure.party.start;
            // On a card, what stands behind a name belongs to the name: streets, towns, goods.
            let begins = rule.flags.has(Flag::Transfer) || rule.leaf.name() == "account_fee";
            if by_card && (begins || !of_bank) {
                return !behind && (of_bank || self.is_name(span));
            }
            // A single word behind a merchant's name is part of where it is or what it sells; a merchant
            // that asks a fee is no bank.
            let one_word = !self.line.text()[span.clone()].contains(' ');
            let percent = known.map_or(Percent(0), |known| known.percent);
            let of_merchant = behind
                && ((one_word && !of_bank && percent >= LIKELY)
                    || (percent >= CERTAIN && rule.leaf.name() == "account_fee"));
            !(of_merchant && direction == Direction::Out)
        })
    }

    /// Whether a phrase can be somebody's name: two words, a long one, or one that the name ends with.
    fn is_name(&self, span: &Range<usize>) -> bool {
        let text = self.line.text();
        let phrase = &text[span.clone()];
        phrase.contains(' ') || phrase.len() >= LONG_WORD || ends_name(&text[span.end..])
    }

    fn by_rule(&self, rule: &'t Rule, span: Range<usize>) -> Category {
        let evidence = Evidence { layer: Layer::Rule, what: rule.id, span: self.span(&span) };
        Category {
            primary: Some(rule.leaf.primary()),
            leaf: Some(rule.leaf),
            confidence: rule.percent,
            source: Layer::Rule,
            evidence: vec![evidence],
            runners_up: [None, None],
        }
    }

    fn is_refund(
        &self,
        transaction: &Transaction<'_>,
        structure: &Structure,
        known: Option<&Known<'_>>,
    ) -> bool {
        let is_certain = known.is_some_and(|known| known.percent >= CERTAIN);
        let is_money_in =
            ["INCOME", "TRANSFER_IN", "LOAN_DISBURSEMENTS"].contains(&transaction.plaid_primary);
        structure.channel == "card"
            || transaction.account == AccountKind::Credit
            || REFUND_WORDS.iter().any(|word| self.line.text().contains(word))
            || (structure.channel.is_empty() && is_certain && !is_money_in)
    }

    /// The merchant's name: ours, Plaid's, or what the line says, cleaned.
    fn named(
        &self,
        transaction: &Transaction<'_>,
        structure: &Structure,
        category: &Category,
        known: Option<Known<'_>>,
    ) -> Option<Merchant> {
        let plaids = Some(transaction.website).filter(|website| !website.is_empty());
        let plaids = plaids.map(|website| Cow::Owned(website.to_owned()));
        // Who brings a check or cash to a bank is no merchant, though "mobile" be a name.
        let deposited = category.leaf.is_some_and(|leaf| leaf.plaid() == "TRANSFER_IN_DEPOSIT");
        if let Some(known) = known.filter(|_| !deposited) {
            return Some(Merchant {
                name: Cow::Borrowed(known.name.name),
                website: known.name.website.map(Cow::Borrowed).or(plaids),
                key: Cow::Borrowed(known.name.key),
                confidence: known.percent,
                evidence: known.evidence,
            });
        }
        let primary = category.primary.map_or("", Primary::name);
        let detailed = category.leaf.map_or("", Leaf::plaid);
        if ["BANK_FEES", "TRANSFER_IN", "TRANSFER_OUT"].contains(&primary)
            || detailed == "LOAN_PAYMENTS_CREDIT_CARD_PAYMENT"
        {
            return None;
        }
        let (name, layer, confidence) = match transaction.merchant_name {
            "" => (tidy_name(&self.line.text()[structure.party.clone()]), Layer::Words, READ_NAME),
            name => (name.to_owned(), Layer::Plaid, PLAIDS_NAME),
        };
        if name.is_empty() {
            return None;
        }
        // Plaid's id holds where the bank's text changes.
        let key = match transaction.merchant_entity_id {
            "" => key_of(&name),
            id => format!("plaid-{id}"),
        };
        let span = self.span(&structure.party);
        let evidence = Evidence { layer, what: "", span };
        Some(Merchant {
            name: Cow::Owned(name),
            website: plaids,
            key: Cow::Owned(key),
            confidence: Percent(confidence),
            evidence,
        })
    }

    fn counterparties(&self, structure: &Structure, category: &Category) -> Vec<Counterparty> {
        let mut others = Vec::new();
        if let Some(processor) = structure.processor {
            others.push(Counterparty { name: Cow::Borrowed(processor), role: Role::Processor });
        }
        let between_people =
            category.leaf.is_some_and(|leaf| leaf.name().starts_with("person_to_person"));
        if between_people && let Some(name) = self.person() {
            others.push(Counterparty { name: Cow::Owned(name), role: Role::Person });
        }
        others
    }

    /// Who stands behind "to" or "from".
    fn person(&self) -> Option<String> {
        let text = self.line.text();
        let at = [" to ", " from "].iter().find_map(|word| Some(text.find(word)? + word.len()))?;
        let words = text[at..].split(' ').take_while(|word| {
            !word.is_empty() && *word != "conf" && *word != "on" && *word != "for" && *word != "ref"
        });
        let name = words.take(3).collect::<Vec<_>>().join(" ");
        Some(tidy_name(&name)).filter(|name| !name.is_empty())
    }

    fn span(&self, range: &Range<usize>) -> Range<u32> {
        origin(&self.line, range)
    }
}

/// Where a range of the normal form stands in the bank's text.
fn origin(line: &Line, range: &Range<usize>) -> Range<u32> {
    let range = line.origin(range);
    let small = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
    small(range.start)..small(range.end)
}
