//! What the model learns from: rows that people labelled, names of known merchants, descriptions of
//! merchant category codes, and the examples of the rules. Used while building and by the evaluation.

use std::collections::{BTreeMap, HashMap};

use classifier::{Example, Model};
use serde::Deserialize;

/// The same model from the same data, wherever it is built.
const SEED: u64 = 20_261_122;
/// What a source counts, in hundredths of a row that was seen.
const ROW: u32 = 100;
const NAME: u32 = 100;
const DESCRIPTION: u32 = 150;

/// A labelled row of a council's purchase cards.
#[derive(Debug, Deserialize)]
pub struct CardRow {
    /// Number of the row at the publisher.
    pub row: String,
    /// In pounds; positive is money out.
    pub amount: String,
    /// What the bank printed.
    pub merchant: String,
    /// The category that the spender's own label names.
    pub leaf: String,
    /// Rows of one merchant share a fold.
    pub fold: u8,
}

#[derive(Deserialize)]
struct Category {
    leaf: String,
    pfc_v2: String,
}

#[derive(Deserialize)]
struct Named {
    #[serde(alias = "names", alias = "aliases", alias = "description")]
    text: String,
    leaf: String,
}

#[derive(Deserialize)]
struct Rules {
    rule: Vec<Rule>,
}

#[derive(Deserialize)]
struct Rule {
    any: Vec<String>,
    category: String,
    fits: String,
}

/// The labelled rows.
pub fn card_rows() -> Vec<CardRow> {
    read(include_str!("../data/council_cards.csv"))
}

/// Trains on everything but the card rows whose fold is not wanted.
pub fn train(wanted: impl Fn(u8) -> bool) -> Model {
    let categories: Vec<Category> = read(include_str!("../data/categories.csv"));
    let mut names: Vec<&str> = Vec::new();
    let mut classes: HashMap<&str, usize> = HashMap::new();
    for category in &categories {
        let name = primary(&category.pfc_v2);
        let class = names.iter().position(|known| *known == name).unwrap_or_else(|| {
            names.push(name);
            names.len() - 1
        });
        classes.insert(&category.leaf, class);
    }

    let mut seen: BTreeMap<(String, usize), u32> = BTreeMap::new();
    let mut add = |text: &str, leaf: &str, hundredths: u32| {
        if let Some(class) = classes.get(leaf) {
            *seen.entry((text.to_lowercase(), *class)).or_default() += hundredths;
        }
    };
    let mut named: Vec<Named> = read(include_str!("../data/brands.csv"));
    named.extend(read::<Named>(include_str!("../data/merchants.csv")));
    for named in &named {
        for name in named.text.split('|') {
            add(name, &named.leaf, NAME);
        }
    }
    for code in read::<Named>(include_str!("../data/merchant_category_codes.csv")) {
        add(&code.text, &code.leaf, DESCRIPTION);
    }
    for text in [include_str!("../data/rules.toml"), include_str!("../data/words.toml")] {
        let rules: Rules = toml::from_str(text).expect("a test reads the embedded file");
        for rule in rules.rule {
            add(&rule.fits, &rule.category, DESCRIPTION);
            for phrase in rule.any {
                let phrase = phrase.trim_matches(['^', '*']);
                add(phrase, &rule.category, DESCRIPTION);
            }
        }
    }
    for row in card_rows().iter().filter(|row| wanted(row.fold)) {
        add(&row.merchant, &row.leaf, ROW);
    }
    let examples: Vec<Example<'_>> = seen
        .iter()
        .map(|((text, class), hundredths)| Example { text, class: *class, hundredths: *hundredths })
        .collect();
    classifier::train(names.len(), &examples, SEED)
}

/// The primary category that a detailed one belongs to, by the taxonomy's own naming.
pub fn primary(detailed: &str) -> &str {
    const OF_MANY_WORDS: [&str; 12] = [
        "LOAN_DISBURSEMENTS",
        "LOAN_PAYMENTS",
        "TRANSFER_IN",
        "TRANSFER_OUT",
        "BANK_FEES",
        "FOOD_AND_DRINK",
        "GENERAL_MERCHANDISE",
        "HOME_IMPROVEMENT",
        "PERSONAL_CARE",
        "GENERAL_SERVICES",
        "GOVERNMENT_AND_NON_PROFIT",
        "RENT_AND_UTILITIES",
    ];
    let long = OF_MANY_WORDS.into_iter().find(|name| {
        detailed.strip_prefix(name).is_some_and(|rest| rest.starts_with('_') || rest.is_empty())
    });
    long.unwrap_or_else(|| detailed.split('_').next().unwrap_or(detailed))
}

fn read<T: for<'a> Deserialize<'a>>(text: &str) -> Vec<T> {
    let rows = csv::Reader::from_reader(text.as_bytes()).into_deserialize();
    rows.collect::<Result<_, _>>().expect("a test reads the embedded file")
}
