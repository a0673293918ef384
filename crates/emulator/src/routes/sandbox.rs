//! Endpoints that only Plaid's sandbox has.

use jiff::ToSpan;
use jiff::civil::Date;
use rust_decimal::Decimal;
use serde_json::{Value, json};

use super::request::{Request, bounded};
use super::{Answer, done};
use crate::book::{Insertion, Stage};
use crate::error::PlaidError;
use crate::institutions;
use crate::item::{Item, MAXIMUM_DAYS, NewItem, day, iso_code};
use crate::people::is_amount;
use crate::world::{Command, pending_disconnect, sync_flags};

/// Products that an Item can be initialised with.
const PRODUCTS: [&str; 12] = [
    "assets",
    "auth",
    "balance",
    "identity",
    "income_verification",
    "investments",
    "liabilities",
    "recurring_transactions",
    "signal",
    "statements",
    "transactions",
    "transfer",
];
/// Most rows that can be put in at once.
const INSERTION_LIMIT: usize = 10;
/// How far ahead of a disconnect its warning is fired.
const DISCONNECT_DAYS: i64 = 7;

pub(super) fn create_public_token(request: &Request<'_>) -> Result<Answer, PlaidError> {
    let institution = institutions::find(request.required_text("institution_id")?)?;
    if !institution.supported {
        return Err(PlaidError::new(
            "INSTITUTION_ERROR",
            "INSTITUTION_NO_LONGER_SUPPORTED",
            "this institution is no longer supported",
        ));
    }
    let products = checked_products(request.list("initial_products"))?;
    let options = request.options()?;
    let text = |name: &str| options.get(name).and_then(Value::as_str).map(str::to_owned);
    let days = options.get("transactions").and_then(|t| t.get("days_requested"));
    let days = days.filter(|days| !days.is_null());
    let statements = statement_span(options.get("statements"))?;
    if products.iter().any(|product| product == "statements") && statements.is_none() {
        return Err(PlaidError::invalid_field(
            "options.statements with start_date and end_date is required for statements",
        ));
    }
    let user = ["user_id", "user_token"].iter().find_map(|name| request.text(name).ok().flatten());
    let user_id = request.engine.read(|world| Some(world.user(user?)?.user_id.clone()));
    let new = NewItem {
        institution_id: institution.institution_id.clone(),
        products,
        webhook: text("webhook").map(|url| checked_url(&url)).transpose()?,
        username: text("override_username").unwrap_or_else(|| "user_good".to_owned()),
        password: password(options.get("override_password")),
        days_requested: days
            .map(|days| bounded("days_requested", days, (1, MAXIMUM_DAYS)))
            .transpose()?,
        accounts: None,
        statements,
        user_id,
        consented: None,
    };
    let outcome = request.engine.run(&Command::CreateItem(new))?;
    Ok(json!({ "public_token": outcome.token }).into())
}

/// Products that an Item can begin with; balance is there on every Item and is not listed.
pub(super) fn checked_products(products: Vec<String>) -> Result<Vec<String>, PlaidError> {
    if let Some(unknown) = products.iter().find(|product| !PRODUCTS.contains(&product.as_str())) {
        let why =
            format!("client is not authorized to access the following products: [\"{unknown}\"]");
        return Err(PlaidError::invalid_input("INVALID_PRODUCT", why));
    }
    Ok(products.into_iter().filter(|product| product != "balance").collect())
}

/// The months of statements asked for.
pub(super) fn statement_span(options: Option<&Value>) -> Result<Option<(Date, Date)>, PlaidError> {
    let Some(options) = options.filter(|options| !options.is_null()) else { return Ok(None) };
    let date = |name: &str| options[name].as_str().and_then(|text| text.parse::<Date>().ok());
    match (date("start_date"), date("end_date")) {
        (Some(from), Some(to)) if from <= to => Ok(Some((from, to))),
        _ => Err(PlaidError::invalid_field("options.statements needs start_date before end_date")),
    }
}

/// Some callers send a custom user's configuration as an object instead of as a string.
fn password(value: Option<&Value>) -> String {
    match value {
        Some(Value::String(text)) => text.clone(),
        Some(config @ Value::Object(_)) => config.to_string(),
        _ => "pass_good".to_owned(),
    }
}

/// A URL that webhooks can be sent to.
pub(super) fn checked_url(url: &str) -> Result<String, PlaidError> {
    let usable = reqwest::Url::parse(url)
        .is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.host_str().is_some());
    if usable || url.is_empty() {
        Ok(url.to_owned())
    } else {
        Err(PlaidError::invalid_field("webhook must be a valid URL"))
    }
}

pub(super) fn reset_login(request: &Request<'_>) -> Result<Answer, PlaidError> {
    let item = request.item()?;
    request.engine.run(&Command::ResetLogin { item })?;
    Ok(json!({ "reset_login": true }).into())
}

pub(super) fn reset_logins_of_user(request: &Request<'_>) -> Result<Answer, PlaidError> {
    let named = match request.text("user_id")? {
        Some(user_id) => Some(user_id),
        None => request.text("user_token")?,
    };
    let named = named.ok_or_else(|| PlaidError::missing(&["user_id"]))?;
    let wanted = request.list("item_ids");
    let items: Option<Vec<u64>> = request.engine.read(|world| {
        let user = world.user(named)?;
        let of_user = |item: &Item| {
            item.is_live()
                && item.user_id.as_deref() == Some(user.user_id.as_str())
                && (wanted.is_empty() || wanted.iter().any(|id| id == item.item_id()))
        };
        Some(world.items.iter().filter(|(_, item)| of_user(item)).map(|(n, _)| *n).collect())
    });
    let unknown = || PlaidError::new("USER_ERROR", "USER_NOT_FOUND", "the user was not found");
    for item in items.ok_or_else(unknown)? {
        request.engine.run(&Command::ResetLogin { item })?;
    }
    done()
}

pub(super) fn set_verification_status(request: &Request<'_>) -> Result<Answer, PlaidError> {
    let item = request.item()?;
    let account = request.account_index(item, request.required_text("account_id")?)?;
    let status = request.required_text("verification_status")?.to_owned();
    if !matches!(status.as_str(), "automatically_verified" | "verification_expired") {
        return Err(PlaidError::invalid_field(
            "verification_status must be automatically_verified or verification_expired",
        ));
    }
    request.engine.run(&Command::Verify { item, account, status })?;
    done()
}

pub(super) fn create_transactions(request: &Request<'_>) -> Result<Answer, PlaidError> {
    let item = request.healthy_item()?;
    let given = request.get("transactions").and_then(Value::as_array).cloned().unwrap_or_default();
    if given.is_empty() || given.len() > INSERTION_LIMIT {
        let why = format!("transactions must have 1 to {INSERTION_LIMIT} elements");
        return Err(PlaidError::invalid_field(why));
    }
    if request.engine.read(|world| world.items[&item].stage < Stage::Initial) {
        return Err(PlaidError::product_not_ready());
    }
    let today = day(request.engine.now());
    let rows = given.iter().map(|row| insertion(request, item, row, today));
    let rows = rows.collect::<Result<Vec<Insertion>, PlaidError>>()?;
    request.engine.run(&Command::Insert { item, rows })?;
    done()
}

fn insertion(
    request: &Request<'_>,
    item: u64,
    row: &Value,
    today: Date,
) -> Result<Insertion, PlaidError> {
    let date = |name: &str| {
        let date: Option<Date> = row[name].as_str().and_then(|text| text.parse().ok());
        let earliest = today.saturating_sub(MAXIMUM_DAYS.days());
        date.filter(|date| (earliest..=today).contains(date)).ok_or_else(|| {
            let why = format!("{name} must be between {MAXIMUM_DAYS} days ago and today");
            PlaidError::invalid_field(why)
        })
    };
    let amount = row["amount"].to_string();
    let amount = amount.parse().or_else(|_| Decimal::from_scientific(&amount));
    let amount = amount.ok().filter(|amount| is_amount(*amount));
    let currency = row["iso_currency_code"].as_str().unwrap_or("USD");
    if iso_code(currency).is_none() {
        return Err(PlaidError::invalid_field("iso_currency_code must be three capital letters"));
    }
    let account = match row["account_id"].as_str() {
        Some(account_id) => request.account_index(item, account_id)?,
        None => usual_account(request, item)?,
    };
    let student = request.engine.read(|world| {
        world.items[&item].accounts[account].plan.subtype.as_deref() == Some("student")
    });
    if student {
        let why = "transactions cannot be created on student loan accounts";
        return Err(PlaidError::invalid_input("INVALID_ACCOUNT_ID", why));
    }
    Ok(Insertion {
        account,
        transacted: date("date_transacted")?,
        posted: date("date_posted")?,
        amount: amount.ok_or_else(|| PlaidError::invalid_field("amount is out of range"))?,
        currency: currency.to_owned(),
        description: row["description"].as_str().unwrap_or_default().to_owned(),
    })
}

/// The first checking account, else the first deposit account, else the first.
fn usual_account(request: &Request<'_>, item: u64) -> Result<usize, PlaidError> {
    let found = request.engine.read(|world| {
        let item = &world.items[&item];
        let plan = |index: &usize| &item.accounts[*index].plan;
        let checking = item.shared().find(|i| plan(i).subtype.as_deref() == Some("checking"));
        let deposit = || item.shared().find(|i| plan(i).account_type == "depository");
        checking.or_else(deposit).or_else(|| item.shared().next())
    });
    found.ok_or_else(|| PlaidError::new("ITEM_ERROR", "NO_ACCOUNTS", "the item has no accounts"))
}

/// Webhook codes that can be fired, with the type they have when the caller names none.
const FIREABLE: [(&str, &str); 11] = [
    ("DEFAULT_UPDATE", "TRANSACTIONS"),
    ("SYNC_UPDATES_AVAILABLE", "TRANSACTIONS"),
    ("RECURRING_TRANSACTIONS_UPDATE", "TRANSACTIONS"),
    ("NEW_ACCOUNTS_AVAILABLE", "ITEM"),
    ("LOGIN_REPAIRED", "ITEM"),
    ("PENDING_DISCONNECT", "ITEM"),
    ("USER_PERMISSION_REVOKED", "ITEM"),
    ("USER_ACCOUNT_REVOKED", "ITEM"),
    ("SMS_MICRODEPOSITS_VERIFICATION", "AUTH"),
    ("PRODUCT_READY", "ASSETS"),
    ("ERROR", "ASSETS"),
];

/// Types of DEFAULT_UPDATE, and the product each needs.
const UPDATE_PRODUCTS: [(&str, &str); 6] = [
    ("AUTH", "auth"),
    ("HOLDINGS", "investments"),
    ("IDENTITY", "identity"),
    ("INVESTMENTS_TRANSACTIONS", "investments"),
    ("LIABILITIES", "liabilities"),
    ("TRANSACTIONS", "transactions"),
];

/// Sends a webhook and changes nothing else.
pub(super) fn fire_webhook(request: &Request<'_>) -> Result<Answer, PlaidError> {
    let item = request.item()?;
    let code = request.required_text("webhook_code")?;
    let usual = FIREABLE.iter().find(|(known, _)| *known == code).map(|(_, kind)| *kind);
    let usual = usual.ok_or_else(|| PlaidError::invalid_field("webhook_code is not supported"))?;
    let kind = match code {
        "DEFAULT_UPDATE" => request.text("webhook_type")?.unwrap_or(usual),
        _ => usual,
    };
    let new_transactions = request.options()?.get("new_transactions").cloned().unwrap_or(json!(0));
    let soon = jiff::SignedDuration::from_hours(24 * DISCONNECT_DAYS);
    let soon = request.engine.now().saturating_add(soon).unwrap_or_default();
    let notices = request.engine.read(|world| {
        let own = &world.items[&item];
        let needed = match kind {
            "ASSETS" => Some("assets"),
            kind => UPDATE_PRODUCTS.iter().find(|(known, _)| *known == kind).map(|(_, p)| *p),
        };
        if code == "DEFAULT_UPDATE" && needed.is_none() {
            return Err(PlaidError::invalid_field("webhook_type has no DEFAULT_UPDATE"));
        }
        let checked = kind != "AUTH" || code == "DEFAULT_UPDATE";
        if needed.is_some_and(|product| checked && !own.has(product)) {
            return Err(PlaidError::new(
                "SANDBOX_ERROR",
                "SANDBOX_PRODUCT_NOT_ENABLED",
                "the requested product is not enabled for this item",
            ));
        }
        let body = match code {
            "DEFAULT_UPDATE" => default_update(kind, own, &new_transactions),
            "PENDING_DISCONNECT" => pending_disconnect(soon),
            code => fired(code, own),
        };
        Ok(world.notify(item, kind, code, body))
    })?;
    if notices.is_empty() {
        return Err(PlaidError::new(
            "SANDBOX_ERROR",
            "SANDBOX_WEBHOOK_INVALID",
            "the item has no usable webhook",
        ));
    }
    for mut notice in notices {
        // Asset reports belong to no one Item.
        if kind == "ASSETS" {
            notice.body.as_object_mut().map(|body| body.remove("item_id"));
        }
        crate::webhook::send(request.engine, notice);
    }
    Ok(json!({ "webhook_fired": true }).into())
}

fn default_update(kind: &str, item: &Item, new_transactions: &Value) -> Value {
    let first = item.shared().next().map(|index| item.accounts[index].account_id.clone());
    let updated = |what: Value| match &first {
        Some(account_id) => json!({ account_id.as_str(): what }),
        None => json!({}),
    };
    match kind {
        "AUTH" => json!({
            "account_ids_with_new_auth": [],
            "account_ids_with_updated_auth": updated(json!(["ACCOUNT_NUMBER"])),
            "error": null,
        }),
        "HOLDINGS" => json!({ "error": null, "new_holdings": 0, "updated_holdings": 0 }),
        "IDENTITY" => json!({
            "account_ids_with_updated_identity": updated(json!(["PHONES"])),
            "error": null,
        }),
        "INVESTMENTS_TRANSACTIONS" => json!({
            "cancelled_investments_transactions": 0,
            "error": null,
            "new_investments_transactions": 0,
        }),
        "LIABILITIES" => json!({
            "account_ids_with_new_liabilities": [],
            "account_ids_with_updated_liabilities": updated(json!(["last_payment_amount"])),
            "error": null,
        }),
        _ => json!({ "error": null, "new_transactions": new_transactions }),
    }
}

fn fired(code: &str, item: &Item) -> Value {
    let ids: Vec<&str> = item.shared().map(|i| item.accounts[i].account_id.as_str()).collect();
    match code {
        "SYNC_UPDATES_AVAILABLE" => sync_flags(item),
        "RECURRING_TRANSACTIONS_UPDATE" => json!({ "account_ids": ids }),
        "USER_ACCOUNT_REVOKED" => json!({ "account_id": ids.first() }),
        "SMS_MICRODEPOSITS_VERIFICATION" => {
            json!({ "account_id": ids.first(), "status": "MANUALLY_VERIFIED" })
        }
        "PRODUCT_READY" => json!({
            "asset_report_id": crate::draw::label_uuid(item.item_id()), "report_type": "FULL",
        }),
        "ERROR" => json!({
            "asset_report_id": crate::draw::label_uuid(item.item_id()),
            "error": PlaidError::new(
                "ASSET_REPORT_ERROR", "ASSET_REPORT_GENERATION_FAILED", "the report failed",
            )
            .object(),
        }),
        "LOGIN_REPAIRED" => json!({}),
        _ => json!({ "error": null }),
    }
}
