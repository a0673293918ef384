//! What people decided: about one transaction by hand, or by rule about many. It stands above every
//! judgement: a person's word first, then the newest rule that fits.

use classifier::Line;
use model::{
    Confidence, Direction, EnrichedCategory, Enrichment, EnrichmentRule, Merchant, RuleCondition,
    Transaction,
};

use crate::category::{Leaf, Primary};
use crate::names::key_of;
use crate::series::is_own;
use crate::sheet::hundredths;

/// What a person says is right; nothing is ever told as wholly sure.
pub(crate) const CERTAIN: Confidence = Confidence(99);
/// Flags that say how a line was paid, whatever it is about.
const OF_THE_LINE: [&str; 6] = ["wire", "check", "cash", "refund", "returned", "chargeback"];
/// Flags that a primary category brings along.
const IMPLIED: [(&str, &str); 3] =
    [("INCOME", "income"), ("BANK_FEES", "fee"), ("LOAN_PAYMENTS", "loan")];
/// So many words make lines alike.
const WORDS_ALIKE: usize = 6;
/// Stands in a reason before what was judged.
const WITHOUT_IT: &str = "; without it, ";
const A_PERSON: &str = "a person said so";
/// Sources of what people decided.
pub(crate) const PERSON: &str = "person";
pub(crate) const INTEGRATION_RULE: &str = "integration_rule";

/// A category as people name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Named {
    /// The leaf; none when only the primary was named.
    pub leaf: Option<Leaf>,
    /// Plaid's primary category.
    pub primary: Primary,
}

impl Named {
    /// The category of this name: a leaf of ours, or a detailed or primary code of Plaid's, version 2.
    pub fn parse(name: &str) -> Option<Self> {
        let leaf = Leaf::named(name).or_else(|| Leaf::of_plaid(name));
        let primary = leaf.map(Leaf::primary).or_else(|| Primary::named(name))?;
        Some(Self { leaf, primary })
    }

    /// Puts this category in place of another, which is told as what was likely without it.
    pub(crate) fn decide(
        self,
        category: &mut EnrichedCategory,
        source: &str,
        reason: &str,
        confidence: Confidence,
    ) {
        // A word that is said again stands above the same judgement as the first.
        let judged = match category.reason.split_once(WITHOUT_IT) {
            Some((_, judged)) if category.source == source => judged,
            _ => category.reason.as_str(),
        };
        let reason = format!("{reason}{WITHOUT_IT}{judged}");
        let view = |of: fn(Leaf) -> &'static str| self.leaf.map(|leaf| of(leaf).to_owned());
        *category = EnrichedCategory {
            leaf: view(Leaf::name),
            primary: Some(self.primary.name().to_owned()),
            detailed: view(Leaf::plaid),
            detailed_v1: view(Leaf::plaid_first),
            lender: view(Leaf::lender),
            consumer: view(Leaf::consumer),
            confidence,
            source: source.to_owned(),
            reason,
            runners_up: std::mem::take(&mut category.runners_up),
        };
    }

    /// Takes away the flags that an overruled category brought along, and sets those of this one.
    fn reflag(self, flags: &mut Vec<String>) {
        flags.retain(|flag| OF_THE_LINE.contains(&flag.as_str()));
        let implied = self.leaf.filter(|leaf| is_own(*leaf)).map(|_| "transfer").or_else(|| {
            let primary = IMPLIED.iter().find(|(primary, _)| *primary == self.primary.name());
            primary.map(|(_, flag)| *flag)
        });
        flags.extend(implied.map(str::to_owned));
    }
}

/// The rules of an integration, ready to be asked. The newest come first.
#[derive(Debug, Default)]
pub struct Memory {
    rules: Vec<Rule>,
}

#[derive(Debug)]
struct Rule {
    rule: EnrichmentRule,
    /// The words to look for, in normal form with a space before and behind.
    words: Option<String>,
    /// The size of the amount, in hundredths.
    sizes: std::ops::RangeInclusive<i64>,
}

impl Memory {
    /// Of rules in any order.
    pub fn new(rules: impl IntoIterator<Item = EnrichmentRule>) -> Self {
        let mut line = Line::default();
        let mut rules: Vec<Rule> = rules
            .into_iter()
            .map(|rule| {
                let bound = |text: &Option<String>| text.as_deref().and_then(hundredths);
                let least = bound(&rule.when.amount_min).unwrap_or(0);
                let most = bound(&rule.when.amount_max).unwrap_or(i64::MAX);
                let words = rule.when.text.as_ref().map(|text| line.read(text).text().to_owned());
                Rule { words, sizes: least..=most, rule }
            })
            .collect();
        rules.sort_by(|a, b| b.rule.id.cmp(&a.rule.id));
        Self { rules }
    }

    /// Puts what people decided about a record in place of what was judged.
    pub fn remember(&self, record: &Transaction, enrichment: &mut Enrichment) {
        self.apply(record, &mut Line::default(), enrichment);
    }

    /// The same, with memory that is used again for the next.
    pub(crate) fn apply(&self, record: &Transaction, line: &mut Line, enrichment: &mut Enrichment) {
        let annotation = record.annotation.as_ref();
        let own = annotation.and_then(|it| Named::parse(it.category.as_deref()?));
        let own_merchant = annotation.and_then(|it| it.merchant.clone());
        let judged_key = judged_key(enrichment).map(str::to_owned);
        if own.is_none() || own_merchant.is_none() {
            self.rule(record, line, enrichment, own.is_none(), own_merchant.is_none());
        }
        if let Some(named) = own {
            named.decide(&mut enrichment.category, PERSON, A_PERSON, CERTAIN);
            named.reflag(&mut enrichment.flags);
        }
        if let Some(name) = own_merchant {
            enrichment.merchant = Some(merchant(name, judged_key, A_PERSON.to_owned()));
        }
    }

    /// The newest rules that fit: one for the category, one for the merchant.
    fn rule(
        &self,
        record: &Transaction,
        line: &mut Line,
        enrichment: &mut Enrichment,
        mut category: bool,
        mut name: bool,
    ) {
        if self.rules.is_empty() {
            return;
        }
        // Rules are asked of what was judged, not of what an earlier rule made of it.
        let key = judged_key(enrichment).map(str::to_owned);
        line.read(record.original_description.as_ref().unwrap_or(&record.name));
        for rule in &self.rules {
            if !rule.fits(record, line.text(), key.as_deref()) {
                continue;
            }
            let reason = format!("rule {}", rule.rule.id);
            let named = rule.rule.then.category.as_deref().and_then(Named::parse);
            if let Some(named) = named.filter(|_| std::mem::take(&mut category)) {
                named.decide(&mut enrichment.category, INTEGRATION_RULE, &reason, CERTAIN);
                named.reflag(&mut enrichment.flags);
            }
            if let Some(text) =
                rule.rule.then.merchant.clone().filter(|_| std::mem::take(&mut name))
            {
                enrichment.merchant = Some(merchant(text, key.clone(), reason));
            }
        }
    }
}

/// The condition that holds for transactions like this one: the same merchant, else the same words, and
/// the same direction.
pub fn like(record: &Transaction) -> Option<RuleCondition> {
    let direction = Some(record.direction);
    if let Some(key) = record.enrichment.as_ref().and_then(judged_key).filter(|key| !key.is_empty())
    {
        let merchant_key = Some(key.to_owned());
        return Some(RuleCondition { merchant_key, direction, ..RuleCondition::default() });
    }
    let mut line = Line::default();
    let text = line.read(record.original_description.as_ref().unwrap_or(&record.name)).text();
    let text = Some(text_without_numbers(text.trim())).filter(|text| !text.is_empty())?;
    Some(RuleCondition { text: Some(text), direction, ..RuleCondition::default() })
}

/// The first words that stand together without a number: what the next line like it has, too.
fn text_without_numbers(text: &str) -> String {
    let numbered = |word: &&str| word.bytes().any(|byte| byte.is_ascii_digit());
    let words = text.split(' ').skip_while(numbered).take_while(|word| !numbered(word));
    words.take(WORDS_ALIKE).collect::<Vec<_>>().join(" ")
}

fn merchant(name: String, judged_key: Option<String>, reason: String) -> Merchant {
    let (key, judged_key) = (key_of(&name), Some(judged_key.unwrap_or_default()));
    Merchant { key, judged_key, name, website: None, confidence: CERTAIN, reason }
}

/// The key that the bank's text has, whatever people call the merchant.
fn judged_key(enrichment: &Enrichment) -> Option<&str> {
    let merchant = enrichment.merchant.as_ref()?;
    Some(merchant.judged_key.as_ref().unwrap_or(&merchant.key))
}

impl Rule {
    fn fits(&self, record: &Transaction, text: &str, key: Option<&str>) -> bool {
        let when = &self.rule.when;
        let is = |wanted: &Option<String>, there: &str| {
            wanted.as_ref().is_none_or(|wanted| wanted == there)
        };
        let size = hundredths(&record.amount).unwrap_or(0).abs();
        let direction = |wanted: Direction| wanted == record.direction;
        when.merchant_key.as_ref().is_none_or(|wanted| Some(wanted.as_str()) == key)
            && is(&when.end_user_id, &record.end_user_id)
            && is(&when.account_id, &record.account_id)
            && when.direction.is_none_or(direction)
            && self.words.as_ref().is_none_or(|words| text.contains(words.as_str()))
            && self.sizes.contains(&size)
    }
}
