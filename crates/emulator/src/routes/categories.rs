//! The legacy categories, of a table.

use serde_json::{Value, json};

use super::Answer;
use super::request::Request;
use crate::error::PlaidError;

/// Id, group and hierarchy, a line each.
const CATEGORIES: &str = include_str!("../../data/legacy_categories.csv");

pub(super) fn get(_request: &Request<'_>) -> Result<Answer, PlaidError> {
    let categories: Vec<Value> = CATEGORIES.lines().skip(1).filter_map(category).collect();
    Ok(json!({ "categories": categories }).into())
}

fn category(line: &str) -> Option<Value> {
    let mut fields = line.split(',');
    let (id, group) = (fields.next()?, fields.next()?);
    let hierarchy: Vec<&str> = fields.collect();
    Some(json!({ "category_id": id, "group": group, "hierarchy": hierarchy }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_category_stands_below_its_top_level() {
        let all: Vec<Value> = CATEGORIES.lines().skip(1).filter_map(category).collect();
        let tops = all
            .iter()
            .filter(|entry| entry["category_id"].as_str().unwrap_or("").ends_with("000000"));
        assert_eq!(tops.clone().count(), 13);
        for entry in &all {
            let id = entry["category_id"].as_str().expect("an id");
            let top = format!("{}000000", &id[..2]);
            let top = tops
                .clone()
                .find(|entry| entry["category_id"] == top.as_str())
                .expect("a top level");
            assert_eq!(entry["hierarchy"][0], top["hierarchy"][0], "{entry}");
            assert_eq!(id.len(), 8);
        }
    }
}
