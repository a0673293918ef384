//! Institutions: a list, one by its id, a search.

use serde_json::{Map, Value, json};

use super::Answer;
use super::request::{Request, texts};
use crate::error::PlaidError;
use crate::institutions::{self, INSTITUTIONS, Institution, PRODUCTS, Wanted};

/// Most answers of a search.
const SEARCH_LIMIT: usize = 10;

pub(super) fn get(request: &Request<'_>) -> Result<Answer, PlaidError> {
    let count = usize::try_from(request.number("count", (1, 500), 1)?).unwrap_or(1);
    let offset = usize::try_from(request.number("offset", (0, i64::MAX), 0)?).unwrap_or_default();
    let options = request.options()?;
    let numbers = texts(options.get("routing_numbers"));
    let valid: Vec<&String> = numbers.iter().filter(|number| is_routing_number(number)).collect();
    if valid.is_empty() && !numbers.is_empty() {
        return Err(PlaidError::invalid_field("routing_numbers has no valid routing number"));
    }
    let found: Vec<&Institution> = fitting(request, &options, texts(options.get("products")))
        .filter(|bank| valid.iter().all(|number| bank.routing_numbers.contains(number)))
        .collect();
    let page = found.iter().skip(offset).take(count).map(|bank| bank.json(wanted(&options)));
    Ok(json!({ "institutions": page.collect::<Vec<_>>(), "total": found.len() }).into())
}

pub(super) fn get_by_id(request: &Request<'_>) -> Result<Answer, PlaidError> {
    let institution = institutions::find(request.required_text("institution_id")?)?;
    if !institution.is_in(&request.list("country_codes")) {
        let why = "invalid institution_id provided";
        return Err(PlaidError::invalid_input("INVALID_INSTITUTION", why));
    }
    Ok(json!({ "institution": institution.json(wanted(&request.options()?)) }).into())
}

pub(super) fn search(request: &Request<'_>) -> Result<Answer, PlaidError> {
    let query = request.required_text("query")?.to_lowercase();
    let options = request.options()?;
    let named = |bank: &&Institution| {
        bank.name.to_lowercase().contains(&query) || bank.institution_id == query
    };
    let found = fitting(request, &options, request.list("products")).filter(named);
    let found: Vec<Value> =
        found.take(SEARCH_LIMIT).map(|bank| bank.json(wanted(&options))).collect();
    Ok(json!({ "institutions": found }).into())
}

/// Institutions in the countries asked for, with the products and the kind of login asked for.
fn fitting(
    request: &Request<'_>,
    options: &Map<String, Value>,
    products: Vec<String>,
) -> impl Iterator<Item = &'static Institution> {
    let countries = request.list("country_codes");
    let oauth = options.get("oauth").and_then(Value::as_bool);
    INSTITUTIONS
        .iter()
        .filter(move |bank| bank.is_in(&countries))
        .filter(move |bank| oauth.is_none_or(|oauth| bank.oauth == oauth))
        .filter(move |_| products.iter().all(|product| PRODUCTS.contains(&product.as_str())))
}

fn wanted(options: &Map<String, Value>) -> Wanted {
    let wants = |name: &str| options.get(name).and_then(Value::as_bool).unwrap_or(false);
    Wanted {
        optional_metadata: wants("include_optional_metadata"),
        status: wants("include_status"),
        auth_metadata: wants("include_auth_metadata"),
        payment_initiation_metadata: wants("include_payment_initiation_metadata"),
    }
}

/// Nine digits of which the weighted sum is a multiple of ten.
fn is_routing_number(text: &str) -> bool {
    let digits: Vec<u32> = text.chars().filter_map(|digit| digit.to_digit(10)).collect();
    let sum: u32 =
        digits.iter().zip([3, 7, 1].iter().cycle()).map(|(digit, weight)| digit * weight).sum();
    digits.len() == 9 && text.len() == 9 && sum.is_multiple_of(10)
}
