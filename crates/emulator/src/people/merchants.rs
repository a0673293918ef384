//! Merchants: how banks print them, and how a printed line is recognised.

use std::collections::HashMap;
use std::sync::LazyLock;

use crate::draw::plaid_id;
use crate::ledger::Description;

pub(super) static MERCHANTS: LazyLock<Vec<Merchant>> = LazyLock::new(|| {
    include_str!("../../data/merchants.csv").lines().skip(1).filter_map(Merchant::read).collect()
});

static GROUPS: LazyLock<HashMap<&'static str, Vec<&'static Merchant>>> = LazyLock::new(|| {
    let mut groups: HashMap<&str, Vec<&Merchant>> = HashMap::new();
    for merchant in MERCHANTS.iter() {
        groups.entry(&merchant.group).or_default().push(merchant);
    }
    groups
});

/// One merchant of the embedded table.
#[derive(Debug)]
pub(crate) struct Merchant {
    group: String,
    pub(crate) name: String,
    /// The bank's text with `{placeholders}`.
    pub(super) descriptor: String,
    pub(crate) website: Option<String>,
    pub(crate) category: String,
    pub(crate) channel: String,
    pub(super) cents: [i64; 2],
    /// The fixed beginning of the descriptor, in capitals.
    beginning: String,
}

impl Merchant {
    fn read(line: &str) -> Option<Self> {
        let fields: Vec<&str> = line.split(',').collect();
        let [group, name, descriptor, website, category, channel, low, high] = fields[..] else {
            return None;
        };
        let beginning = descriptor.split('{').next().unwrap_or_default();
        Some(Self {
            group: group.to_owned(),
            name: name.to_owned(),
            descriptor: descriptor.to_owned(),
            website: Some(website.to_owned()).filter(|website| !website.is_empty()),
            category: category.to_owned(),
            channel: channel.to_owned(),
            cents: [low.parse().ok()?, high.parse().ok()?],
            beginning: beginning.trim_end_matches([' ', '#', '*']).to_uppercase(),
        })
    }

    /// Plaid's id of the chain, the same everywhere.
    pub(crate) fn entity_id(&self) -> String {
        plaid_id(0, &format!("merchant/{}", self.name))
    }

    /// What a line of this merchant with this text is about.
    pub(super) fn description(&self, name: String) -> Description {
        Description {
            name,
            merchant: Some(self.name.clone()),
            website: self.website.clone(),
            category: self.category.clone(),
            confidence: "VERY_HIGH".to_owned(),
            channel: self.channel.clone(),
            transaction_type: "place".to_owned(),
            entity_id: Some(self.entity_id()),
            ..Description::default()
        }
    }
}

/// The merchants of a group.
pub(super) fn group(name: &str) -> &'static [&'static Merchant] {
    GROUPS.get(name).map_or(&[], Vec::as_slice)
}

/// The merchant that a bank's line names: by the beginning of its descriptor or by its own name.
pub(crate) fn recognise(text: &str) -> Option<&'static Merchant> {
    let text = text.to_uppercase();
    let named = |merchant: &&Merchant| {
        let name = merchant.name.to_uppercase();
        text.starts_with(&merchant.beginning) || text.contains(&name)
    };
    MERCHANTS.iter().filter(named).max_by_key(|merchant| merchant.beginning.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_recognised_by_descriptor_and_by_name() {
        let name = |text: &str| recognise(text).map(|merchant| merchant.name.as_str());
        assert_eq!(name("WHOLEFDS MKT #10203 AUSTIN TX"), Some("Whole Foods"));
        assert_eq!(name("payment to netflix"), None, "Netflix is a stream, not a shop");
        assert_eq!(name("AMZN Mktp US*2K3"), Some("Amazon"));
        assert_eq!(name("CHECK 1021"), None);
        assert!(MERCHANTS.len() > 30);
    }
}
