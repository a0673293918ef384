//! Institutions: the sandbox's test banks.

use std::sync::LazyLock;

use serde::Deserialize;
use serde_json::{Value, json};

use super::request::Request;
use crate::error::PlaidError;

static INSTITUTIONS: LazyLock<Vec<Institution>> = LazyLock::new(|| {
    serde_json::from_str(include_str!("../../data/institutions.json"))
        .expect("the embedded file is checked by a test")
});

#[derive(Debug, Deserialize)]
pub(super) struct Institution {
    institution_id: String,
    pub(super) name: String,
    country_codes: Vec<String>,
    oauth: bool,
    routing_numbers: Vec<String>,
}

/// The institution of this id.
pub(super) fn find(institution_id: &str) -> Result<&'static Institution, PlaidError> {
    let found = INSTITUTIONS.iter().find(|bank| bank.institution_id == institution_id);
    found.ok_or_else(|| {
        PlaidError::invalid_input("INVALID_INSTITUTION", "invalid institution_id provided")
    })
}

pub(super) fn get_by_id(request: &Request<'_>) -> Result<Value, PlaidError> {
    let institution = find(request.required_text("institution_id")?)?;
    request.required_list("country_codes")?;
    let options = request.options()?;
    let wants = |name: &str| options.get(name).and_then(Value::as_bool).unwrap_or(false);
    let mut json = json!({
        "connection_availability": "SUPPORTED",
        "country_codes": institution.country_codes,
        "institution_id": institution.institution_id,
        "name": institution.name,
        "oauth": institution.oauth,
        "products": ["assets", "auth", "balance", "identity", "investments", "liabilities", "transactions"],
        "routing_numbers": institution.routing_numbers,
    });
    if wants("include_optional_metadata") {
        json["url"] = json!("https://www.plaid.com/");
        json["primary_color"] = json!("#174e7c");
        json["logo"] = Value::Null;
    }
    if wants("include_status") {
        json["status"] = Value::Null;
    }
    Ok(json!({ "institution": json }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bank_of_the_set_up_guides_is_there() {
        assert_eq!(find("ins_43").expect("a bank").name, "Tartan-Dominion Bank of Canada");
        assert_eq!(find("ins_0").expect_err("no bank").error_code, "INVALID_INSTITUTION");
    }
}
