//! Categories: one set of leaves of our own, and the views of it: Plaid's taxonomies, a lender's, a
//! household's. Every view is a total table, `data/categories.csv`.

use std::collections::HashMap;
use std::fmt;
use std::sync::LazyLock;

use serde::Deserialize;

use crate::training::primary;

/// The finest category there is; its views are coarser.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Leaf(u8);

/// One of the primaries of Plaid's taxonomy, version 2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Primary(u8);

#[derive(Deserialize)]
struct Row {
    leaf: String,
    pfc_v2: String,
    pfc_v1: String,
    lender: String,
    consumer: String,
}

struct Table {
    rows: Vec<Row>,
    primaries: Vec<String>,
    primary_of: Vec<Primary>,
    by_name: HashMap<String, Leaf>,
    by_detailed: HashMap<String, Leaf>,
}

static TABLE: LazyLock<Table> = LazyLock::new(|| {
    let text = include_str!("../data/categories.csv");
    let rows = csv::Reader::from_reader(text.as_bytes()).into_deserialize();
    let rows: Vec<Row> = rows.collect::<Result<_, _>>().expect("a test reads the embedded file");
    let mut table = Table {
        rows: Vec::new(),
        primaries: Vec::new(),
        primary_of: Vec::new(),
        by_name: HashMap::new(),
        by_detailed: HashMap::new(),
    };
    for (index, row) in rows.iter().enumerate() {
        let leaf = Leaf(u8::try_from(index).expect("there are fewer than 256 leaves"));
        let name = primary(&row.pfc_v2);
        if !table.primaries.iter().any(|known| known == name) {
            table.primaries.push(name.to_owned());
        }
        let found = table.primaries.iter().position(|known| known == name).unwrap_or_default();
        table.primary_of.push(Primary(u8::try_from(found).unwrap_or_default()));
        table.by_name.insert(row.leaf.clone(), leaf);
        // The first leaf of a detailed category is the one that says no more than it.
        table.by_detailed.entry(row.pfc_v2.clone()).or_insert(leaf);
    }
    table.rows = rows;
    table
});

impl Leaf {
    /// The leaf of this name.
    pub fn named(name: &str) -> Option<Self> {
        TABLE.by_name.get(name).copied()
    }

    /// The leaf that says as much as a detailed category of Plaid's, version 2, and no more.
    pub fn of_plaid(detailed: &str) -> Option<Self> {
        TABLE.by_detailed.get(detailed).copied()
    }

    /// Every leaf.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..=u8::MAX).take(TABLE.rows.len()).map(Self)
    }

    /// Its name, such as `payroll_tax`.
    pub fn name(self) -> &'static str {
        &self.row().leaf
    }

    /// Plaid's detailed category, version 2.
    pub fn plaid(self) -> &'static str {
        &self.row().pfc_v2
    }

    /// Plaid's detailed category, version 1.
    pub fn plaid_first(self) -> &'static str {
        &self.row().pfc_v1
    }

    /// What a lender to a business calls it.
    pub fn lender(self) -> &'static str {
        &self.row().lender
    }

    /// What a household calls it.
    pub fn consumer(self) -> &'static str {
        &self.row().consumer
    }

    /// Plaid's primary category.
    pub fn primary(self) -> Primary {
        TABLE.primary_of[usize::from(self.0)]
    }

    fn row(self) -> &'static Row {
        &TABLE.rows[usize::from(self.0)]
    }
}

impl Primary {
    /// How many there are.
    pub fn count() -> usize {
        TABLE.primaries.len()
    }

    /// The primary of this name.
    pub fn named(name: &str) -> Option<Self> {
        let found = TABLE.primaries.iter().position(|known| known == name)?;
        u8::try_from(found).ok().map(Self)
    }

    /// The primary with this number.
    pub(crate) fn numbered(number: usize) -> Self {
        Self(u8::try_from(number).unwrap_or_default())
    }

    /// Its number, below `count`.
    pub(crate) fn number(self) -> usize {
        usize::from(self.0)
    }

    /// Its name, such as `FOOD_AND_DRINK`.
    pub fn name(self) -> &'static str {
        &TABLE.primaries[usize::from(self.0)]
    }
}

impl fmt::Display for Leaf {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

impl fmt::Display for Primary {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_view_is_total_and_plaids_taxonomies_are_whole() {
        assert!(Leaf::all().count() > 160);
        assert_eq!(Primary::count(), 18);
        let details: std::collections::BTreeSet<_> = Leaf::all().map(Leaf::plaid).collect();
        assert_eq!(details.len(), 127);
        for leaf in Leaf::all() {
            assert_eq!(Leaf::named(leaf.name()), Some(leaf));
            let views = [leaf.plaid(), leaf.plaid_first(), leaf.lender(), leaf.consumer()];
            assert!(views.iter().all(|view| !view.is_empty()), "{leaf}");
            let same = Leaf::of_plaid(leaf.plaid()).unwrap();
            assert_eq!(same.primary(), leaf.primary());
        }
    }
}
