//! Everything that is known, ready to be asked: rules, words, names, codes and the model.

use std::collections::HashMap;

use classifier::Model;
use serde::Deserialize;

use crate::category::Leaf;
use crate::names::Names;
use crate::phrases::{PhraseBook, Phrases};
use crate::rules::{Part, Rule, Rules};
use crate::structure::{self, Field, Prefix};

/// Version of the tables; it changes whenever a decision may.
pub(crate) const VERSION: &str = "2026-11-22";

/// What is known. Made once; shared by all threads.
pub struct Tables {
    pub(crate) rules: Rules,
    pub(crate) words: Rules,
    pub(crate) names: Names,
    pub(crate) phrases: Phrases<Meaning>,
    pub(crate) prefixes: HashMap<String, Vec<Prefix>>,
    pub(crate) codes: HashMap<String, Leaf>,
    pub(crate) model: Option<Model>,
}

/// What a phrase means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// A part of a rule about banks' words.
    Rule(u16, Part),
    /// A part of a rule about merchants' words.
    Word(u16, Part),
    /// A merchant's name.
    Name(u16),
    /// The label of a field of an ACH entry.
    Field(Field),
}

/// A rule's own examples.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleExample<'a> {
    /// Its name.
    pub id: &'a str,
    /// What it says a line is about.
    pub leaf: Leaf,
    /// Money out, money in, either.
    pub direction: Option<crate::Direction>,
    /// The kind of account it is for.
    pub account: Option<crate::AccountKind>,
    /// A line that it must decide.
    pub fits: &'a str,
    /// A line that it must not.
    pub misfits: &'a str,
}

#[derive(Deserialize)]
struct Code {
    mcc: String,
    leaf: String,
}

impl Default for Tables {
    fn default() -> Self {
        Self::new()
    }
}

impl Tables {
    /// The tables of this build, with its model if it has one.
    pub fn new() -> Self {
        #[cfg(feature = "model")]
        let model = Model::read(include_bytes!(concat!(env!("OUT_DIR"), "/model.bin")));
        #[cfg(feature = "model")]
        let model = Some(model.expect("the build script wrote it with the same code"));
        #[cfg(not(feature = "model"))]
        let model = None;
        Self::with_model(model)
    }

    /// The tables with another model, or none.
    pub fn with_model(model: Option<Model>) -> Self {
        let mut book = PhraseBook::new();
        let rules = Rules::read(include_str!("../data/rules.toml"), |phrase, number, part| {
            book.add(phrase, Meaning::Rule(number, part));
        });
        let words = Rules::read(include_str!("../data/words.toml"), |phrase, number, part| {
            book.add(phrase, Meaning::Word(number, part));
        });
        structure::labels().for_each(|(label, field)| book.add(label, Meaning::Field(field)));
        let names = Names::read(|name, number| book.add(name, Meaning::Name(number)));
        Self {
            rules,
            words,
            names,
            phrases: book.ready(),
            prefixes: structure::prefixes(),
            codes: codes(),
            model,
        }
    }

    /// Which tables these are; every decision is made by some version.
    pub fn version(&self) -> &'static str {
        VERSION
    }

    /// The examples of all rules about banks' words.
    pub fn rule_examples(&self) -> impl Iterator<Item = RuleExample<'_>> {
        self.rules.all.iter().map(Rule::example)
    }

    /// The examples of all rules about merchants' words.
    pub fn word_examples(&self) -> impl Iterator<Item = RuleExample<'_>> {
        self.words.all.iter().map(Rule::example)
    }
}

impl Rule {
    fn example(&self) -> RuleExample<'_> {
        RuleExample {
            id: self.id,
            leaf: self.leaf,
            direction: self.direction,
            account: self.account,
            fits: &self.fits,
            misfits: &self.misfits,
        }
    }
}

/// Merchant category codes that say what was bought.
fn codes() -> HashMap<String, Leaf> {
    let rows = csv::Reader::from_reader(&include_bytes!("../data/merchant_category_codes.csv")[..]);
    let rows = rows.into_deserialize();
    let known = |code: Result<Code, csv::Error>| {
        let code = code.expect("a test reads the embedded file");
        Some((code.mcc, Leaf::named(&code.leaf)?))
    };
    rows.filter_map(known).collect()
}

#[cfg(all(test, feature = "model"))]
mod tests {
    /// The model of this data. Where data or training changed on purpose, so does this number.
    const MODEL: u64 = 0x6e66c3048c801882;

    #[test]
    fn the_same_data_gives_the_same_model_on_every_machine() {
        let bytes = include_bytes!(concat!(env!("OUT_DIR"), "/model.bin"));
        let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        assert_eq!(hash, MODEL, "write {hash:#x} here when the change is meant");
    }
}
