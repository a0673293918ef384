//! Merchants that are known by name: our own list, and the brands of OpenStreetMap's
//! name-suggestion-index.

use classifier::Line;
use serde::Deserialize;

use crate::category::Leaf;
use crate::enrichment::Percent;
use crate::phrases::Hit;

/// A brand's one short word needs a second sign: the line ends with it, or a number follows.
const SHORT: usize = 5;
/// Words behind a name that are no other merchant's name.
const TAILS: [&str; 38] = [
    "store",
    "stores",
    "shop",
    "ltd",
    "limited",
    "plc",
    "inc",
    "llc",
    "co",
    "corp",
    "com",
    "net",
    "org",
    "uk",
    "usa",
    "us",
    "ca",
    "gb",
    "online",
    "direct",
    "website",
    "www",
    "pay",
    "payment",
    "bill",
    "des",
    "retail",
    "express",
    "superstore",
    "supercenter",
    "market",
    "restaurant",
    "hotel",
    "local",
    "metro",
    "extra",
    "internet",
    "app",
];

/// Everybody known.
#[derive(Debug)]
pub(crate) struct Names {
    all: Vec<Name>,
}

/// A merchant.
#[derive(Debug)]
pub(crate) struct Name {
    pub(crate) name: &'static str,
    pub(crate) website: Option<&'static str>,
    pub(crate) key: &'static str,
    pub(crate) leaf: Leaf,
    /// Codes of countries where it is; empty means everywhere.
    regions: Vec<String>,
    /// It was looked at by hand: its name means the merchant even where the word has a meaning.
    is_chosen: bool,
}

#[derive(Deserialize)]
struct Chosen {
    name: String,
    aliases: String,
    website: String,
    leaf: String,
}

#[derive(Deserialize)]
struct Brand {
    brand: String,
    names: String,
    wikidata: String,
    regions: String,
    leaf: String,
}

impl Names {
    /// Reads both lists and hands out their names: the name and the merchant's number.
    pub(crate) fn read(mut phrase: impl FnMut(&str, u16)) -> Self {
        let mut all = Vec::new();
        let chosen = csv::Reader::from_reader(&include_bytes!("../data/merchants.csv")[..]);
        for row in chosen.into_deserialize() {
            let row: Chosen = row.expect("a test reads the embedded file");
            let number = u16::try_from(all.len()).expect("fewer than 65,536 merchants");
            row.aliases.split('|').for_each(|alias| phrase(alias, number));
            all.push(Name {
                key: key_of(&row.name).leak(),
                name: row.name.leak(),
                website: Some(&*row.website.leak()).filter(|website| !website.is_empty()),
                leaf: Leaf::named(&row.leaf).expect("a test reads the embedded file"),
                regions: Vec::new(),
                is_chosen: true,
            });
        }
        let brands = csv::Reader::from_reader(&include_bytes!("../data/brands.csv")[..]);
        for row in brands.into_deserialize() {
            let row: Brand = row.expect("a test reads the embedded file");
            let number = u16::try_from(all.len()).expect("fewer than 65,536 merchants");
            row.names.split('|').for_each(|name| phrase(name, number));
            // "Travelodge (Europe)" is known as Travelodge.
            let name = row.brand.split(" (").next().unwrap_or(&row.brand).to_owned();
            let key = if row.wikidata.is_empty() { key_of(&name) } else { row.wikidata };
            all.push(Name {
                key: key.leak(),
                name: name.leak(),
                website: None,
                leaf: Leaf::named(&row.leaf).expect("a test reads the embedded file"),
                regions: regions(&row.regions),
                is_chosen: false,
            });
        }
        Self { all }
    }

    /// The merchant that a line's merchant span begins with, and how sure that is.
    pub(crate) fn resolve(
        &self,
        line: &Line,
        hits: impl Iterator<Item = Hit<u16>>,
        span: &std::ops::Range<usize>,
        country: &str,
    ) -> Option<(&Name, Percent, std::ops::Range<usize>)> {
        let begins = hits.filter(|hit| hit.start == span.start);
        let here = begins.filter(|hit| self.all[usize::from(hit.meaning)].is_in(country));
        let rank = |hit: &Hit<u16>| {
            let name = &self.all[usize::from(hit.meaning)];
            (hit.end, name.is_chosen, std::cmp::Reverse(hit.meaning))
        };
        let hit = here.max_by_key(rank)?;
        let name = &self.all[usize::from(hit.meaning)];
        let percent = name.certainty(&line.text()[hit.start..hit.end], &line.text()[hit.end..]);
        Some((name, percent, hit.start..hit.end))
    }
}

impl Name {
    fn is_in(&self, country: &str) -> bool {
        country.is_empty()
            || self.regions.is_empty()
            || self.regions.iter().any(|region| region.eq_ignore_ascii_case(country))
    }

    /// How often a line that begins with this name is of this merchant.
    fn certainty(&self, found: &str, rest: &str) -> Percent {
        let many_words = found.contains(' ');
        let ends = ends_name(rest);
        Percent(match (self.is_chosen, many_words, ends, found.len() < SHORT) {
            (_, true, true, _) => 97,
            (true, true, false, _) | (true, false, true, _) => 95,
            (true, false, false, false) | (false, false, true, false) => 90,
            (true, false, false, true) => 80,
            (false, true, false, _) => 88,
            (false, false, true, true) => 75,
            (false, false, false, false) => 60,
            (false, false, false, true) => 35,
        })
    }
}

/// Whether a name ends here: nothing follows, or a number, or a word that is part of no name.
pub(crate) fn ends_name(rest: &str) -> bool {
    let next = rest.split(' ').find(|word| !word.is_empty());
    next.is_none_or(|next| next.bytes().any(|byte| byte.is_ascii_digit()) || TAILS.contains(&next))
}

/// Countries of a brand; none when it is known all over the world.
fn regions(written: &str) -> Vec<String> {
    let codes = written.split(',').map(|code| code.split(['-', '.']).next().unwrap_or(code));
    let codes: Vec<String> = codes.map(str::to_owned).filter(|code| !code.is_empty()).collect();
    if codes.iter().any(|code| code == "001") { Vec::new() } else { codes }
}

/// A key made of a name: its normal form, joined.
pub(crate) fn key_of(name: &str) -> String {
    let mut line = Line::default();
    line.read(name);
    line.text().trim().replace(' ', "-")
}

/// A name in the way people write it.
pub(crate) fn tidy_name(normal: &str) -> String {
    let mut name = String::with_capacity(normal.len());
    for word in normal.split(' ').filter(|word| !word.is_empty()) {
        if !name.is_empty() {
            name.push(' ');
        }
        let mut letters = word.chars();
        if let Some(first) = letters.next() {
            name.extend(first.to_uppercase());
            name.push_str(letters.as_str());
        }
    }
    name
}
