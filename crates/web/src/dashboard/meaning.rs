//! What a transaction means, in plain words: category, merchant, marks, and why.

use model::{Enrichment, Transaction};

/// How sure a category is, and what speaks for it.
pub(super) struct Reason {
    pub(super) sure: String,
    pub(super) words: String,
}

impl Reason {
    pub(super) fn of(enrichment: &Enrichment) -> Self {
        let category = &enrichment.category;
        let by = match category.source.as_str() {
            "plaid" => "Plaid".to_owned(),
            "person" => "a person".to_owned(),
            "integration_rule" => "your rule".to_owned(),
            source => source.replace('_', " "),
        };
        let sure = format!("{} % sure, by {by}", category.confidence.0);
        Self { sure, words: category.reason.clone() }
    }
}

/// Who it was with: as processing says, else as Plaid does.
pub(super) fn merchant(row: &Transaction) -> Option<String> {
    let ours = row.enrichment.as_ref().and_then(|it| it.merchant.as_ref());
    ours.map(|merchant| merchant.name.clone()).or_else(|| row.merchant_name.clone())
}

/// What it is about: as processing says, else as Plaid does.
pub(super) fn category(row: &Transaction) -> String {
    let ours = row.enrichment.as_ref().map(|it| &it.category);
    let ours =
        ours.and_then(|it| it.leaf.as_deref().or(it.primary.as_deref()).zip(it.primary.as_deref()));
    match (ours, &row.category) {
        (Some((leaf, primary)), _) => plain(leaf, primary),
        (None, Some(plaid)) => plain(&plaid.detailed, &plaid.primary),
        (None, None) => String::new(),
    }
}

/// Plaid's category, where it is another than ours.
pub(super) fn plaid_differs(row: &Transaction) -> Option<String> {
    let plaid = row.category.as_ref()?;
    let ours = &row.enrichment.as_ref()?.category;
    let same = ours.detailed.as_deref() == Some(plaid.detailed.as_str())
        || ours.detailed_v1.as_deref() == Some(plaid.detailed.as_str())
        || (ours.detailed.is_none() && ours.primary.as_deref() == Some(plaid.primary.as_str()));
    (!same).then(|| plain(&plaid.detailed, &plaid.primary))
}

/// A code such as `FOOD_AND_DRINK_COFFEE` as a word or two, without what its primary code says.
pub(super) fn plain(detailed: &str, primary: &str) -> String {
    let (detailed, primary) = (detailed.to_lowercase(), primary.to_lowercase());
    let own = detailed.strip_prefix(&primary).filter(|own| !own.is_empty()).unwrap_or(&detailed);
    let words = own.trim_start_matches('_').replace('_', " ");
    let mut letters = words.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

/// Marks worth showing beside a row: what ties it to others.
const SHOWN_FLAGS: [(&str, &str); 4] = [
    ("transfer", "own transfer"),
    ("refund", "refund"),
    ("recurring", "recurring"),
    ("possible_duplicate", "possible duplicate"),
];

/// What ties a row to others, in words.
pub(super) fn marks(row: &Transaction) -> Vec<&'static str> {
    let flags = row.enrichment.as_ref().map_or(&[][..], |it| &it.flags);
    let is_set = |name: &str| flags.iter().any(|flag| flag == name);
    SHOWN_FLAGS.into_iter().filter(|(name, _)| is_set(name)).map(|(_, words)| words).collect()
}
