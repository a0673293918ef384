//! Rules as data: phrases that must be in a line, phrases that must not, and what it means then.

use std::ops::Range;

use serde::Deserialize;

use crate::category::Leaf;
use crate::enrichment::{Direction, Flag, Flags, Percent};
use crate::phrases::Hit;
use crate::transaction::{AccountKind, Transaction};

/// A list of rules in the order of their precedence.
#[derive(Debug)]
pub(crate) struct Rules {
    pub(crate) all: Vec<Rule>,
}

/// A rule, ready to be asked.
#[derive(Debug)]
pub(crate) struct Rule {
    pub(crate) id: &'static str,
    pub(crate) leaf: Leaf,
    pub(crate) flags: Flags,
    pub(crate) percent: Percent,
    pub(crate) fits: String,
    pub(crate) misfits: String,
    pub(crate) direction: Option<Direction>,
    pub(crate) account: Option<AccountKind>,
    needs_with: bool,
}

/// What a phrase is to a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    Any,
    With,
    Without,
}

/// Rules that a list can have: one bit of `Findings::touched` each.
const MOST_RULES: usize = 256;

/// The phrases of rules that were found in a line.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    found: Vec<Found>,
    touched: [u64; MOST_RULES / 64],
}

#[derive(Debug, Clone, Copy, Default)]
struct Found {
    any: Option<(usize, usize)>,
    with: bool,
    without: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    rule: Vec<Written>,
}

/// A rule as it is written; `data/rules.toml` says what each field means.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    id: String,
    any: Vec<String>,
    #[serde(default)]
    with: Vec<String>,
    #[serde(default)]
    without: Vec<String>,
    direction: Option<String>,
    account: Option<String>,
    category: String,
    #[serde(default)]
    flags: Vec<String>,
    percent: u8,
    fits: String,
    misfits: String,
}

impl Rules {
    /// Reads a file and hands out its phrases: the phrase, the rule's number, and its part.
    pub(crate) fn read(text: &str, mut phrase: impl FnMut(&str, u16, Part)) -> Self {
        let file: File = toml::from_str(text).expect("a test reads the embedded file");
        let all = file.rule.into_iter().enumerate().map(|(number, written)| {
            let number = u16::try_from(number).expect("there are fewer than 65,536 rules");
            let parts = [
                (&written.any, Part::Any),
                (&written.with, Part::With),
                (&written.without, Part::Without),
            ];
            for (phrases, part) in parts {
                phrases.iter().for_each(|text| phrase(text, number, part));
            }
            written.ready()
        });
        let all: Vec<Rule> = all.collect();
        assert!(all.len() <= MOST_RULES, "raise MOST_RULES");
        Self { all }
    }
}

impl Written {
    fn ready(self) -> Rule {
        let flag = |name: &String| {
            Flag::named(name).unwrap_or_else(|| panic!("{}: no flag {name}", self.id))
        };
        let flags = self.flags.iter().map(flag).collect();
        let leaf = Leaf::named(&self.category);
        let direction = match self.direction.as_deref() {
            None => None,
            Some("in") => Some(Direction::In),
            Some("out") => Some(Direction::Out),
            Some(other) => panic!("{}: no direction {other}", self.id),
        };
        Rule {
            leaf: leaf.unwrap_or_else(|| panic!("{}: no category {}", self.id, self.category)),
            flags,
            direction,
            account: self.account.as_deref().map(AccountKind::of_plaid),
            needs_with: !self.with.is_empty(),
            percent: Percent(self.percent),
            fits: self.fits,
            misfits: self.misfits,
            // Rules live as long as the program; their names are in every reason.
            id: self.id.leak(),
        }
    }
}

impl Rule {
    fn admits(&self, transaction: &Transaction<'_>, direction: Direction) -> bool {
        self.direction.is_none_or(|wanted| wanted == direction)
            && self.account.is_none_or(|wanted| wanted == transaction.account)
    }
}

impl Findings {
    pub(crate) fn clear(&mut self, rules: usize) {
        self.found.resize(rules, Found::default());
        for number in bits(std::mem::take(&mut self.touched)) {
            self.found[number] = Found::default();
        }
    }

    pub(crate) fn add(&mut self, rule: u16, part: Part, hit: &Hit<impl Copy>) {
        let found = &mut self.found[usize::from(rule)];
        self.touched[usize::from(rule) / 64] |= 1 << (rule % 64);
        match part {
            // The longest says most.
            Part::Any => {
                let longer = found.any.is_none_or(|(start, end)| hit.end - hit.start > end - start);
                if longer {
                    found.any = Some((hit.start, hit.end));
                }
            }
            Part::With => found.with = true,
            Part::Without => found.without = true,
        }
    }

    /// The rules that hold, in their order, with the phrase that was found.
    pub(crate) fn holding<'r, 'f>(
        &'f self,
        rules: &'r Rules,
        transaction: &'f Transaction<'f>,
        direction: Direction,
    ) -> impl Iterator<Item = (&'r Rule, Range<usize>)> + use<'r, 'f> {
        bits(self.touched).filter_map(move |number| {
            let rule = &rules.all[number];
            let found = self.found[number];
            let (start, end) = found.any?;
            let holds = !found.without && (found.with || !rule.needs_with);
            (holds && rule.admits(transaction, direction)).then_some((rule, start..end))
        })
    }
}

/// The numbers of the bits that are set, in their order.
fn bits(set: [u64; MOST_RULES / 64]) -> impl Iterator<Item = usize> {
    set.into_iter().enumerate().flat_map(|(word, mut bits)| {
        std::iter::from_fn(move || {
            let bit = bits.trailing_zeros() as usize;
            bits &= bits.checked_sub(1)?;
            Some(word * 64 + bit)
        })
    })
}
