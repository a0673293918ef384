//! Integrations: list, add with Save & Test, view with everything the customer has to copy.

use askama::Template;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use model::Stream;
use plaid::{Check, Credentials, check_credentials};
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::json;
use store::{Integration, ItemFilter};

use super::overview::ItemRow;
use super::render::{Faults, Frame, page, page_with};
use super::session::{NoFields, Operator, Signed};
use super::words::{Age, Badge, check_badge, count};
use crate::api::integrations::{PlaidAccess, checked, checked_secret, checks, save};
use crate::problem::{FieldFault, Problem};
use crate::state::Web;

/// Integrations and Items shown on a page.
const SHOWN: i64 = 500;
const SECTION: &str = "integrations";

pub(super) struct IntegrationRow {
    id: String,
    name: String,
    environment: &'static str,
    base_url: String,
    items: String,
    created: Age,
}

#[derive(Template)]
#[template(path = "integrations.html")]
struct ListPage {
    frame: Frame,
    integrations: Vec<IntegrationRow>,
}

pub(super) async fn list(operator: Operator, State(web): State<Web>) -> Result<Response, Problem> {
    let now = web.ambient().now();
    let mut rows = Vec::new();
    for integration in web.store.integrations(Some(false), None, SHOWN).await? {
        rows.push(IntegrationRow {
            items: count(web.store.live_items(&integration.id).await?),
            id: integration.id.into(),
            name: integration.name,
            environment: integration.environment.as_str(),
            base_url: integration.base_url.into(),
            created: Age::of(integration.created_at, now),
        });
    }
    let frame = Frame::new(&operator, SECTION, "Integrations");
    Ok(page(&ListPage { frame, integrations: rows }))
}

/// A check as shown.
pub(super) struct CheckRow {
    pub(super) badge: Badge,
    pub(super) name: &'static str,
    pub(super) detail: String,
    pub(super) fix: Option<String>,
}

impl From<Check> for CheckRow {
    fn from(check: Check) -> Self {
        Self {
            badge: check_badge(check.state),
            name: check.name,
            detail: check.detail,
            fix: check.fix,
        }
    }
}

/// The fields of the form; what was typed is never lost, but for secrets.
#[derive(Deserialize, Default, Clone)]
pub(super) struct IntegrationForm {
    name: String,
    environment: String,
    #[serde(default)]
    base_url: String,
    client_id: String,
    #[serde(default)]
    secret: Option<SecretString>,
    #[serde(default)]
    save_anyway: Option<String>,
}

#[derive(Template)]
#[template(path = "integration_form.html")]
struct FormPage {
    frame: Frame,
    form: IntegrationForm,
    faults: Faults,
    checks: Vec<CheckRow>,
}

pub(super) async fn form(operator: Operator) -> Response {
    let frame = Frame::new(&operator, SECTION, "Add an integration");
    let form = IntegrationForm { environment: "sandbox".to_owned(), ..Default::default() };
    page(&FormPage { frame, form, faults: Faults(Vec::new()), checks: Vec::new() })
}

/// Save & Test: tested first, kept if it works or if the person insists.
pub(super) async fn create(
    State(web): State<Web>,
    Signed(operator, form): Signed<IntegrationForm>,
) -> Result<Response, Problem> {
    let secret = form.secret.clone().unwrap_or_else(|| SecretString::from(""));
    let access = checked(&form.name, &form.environment, Some(&form.base_url), &form.client_id);
    let mut faults = access.as_ref().err().cloned().unwrap_or_default();
    faults.extend(checked_secret("/secret", &secret));
    let again = |faults, checks: Vec<Check>| FormPage {
        frame: Frame::new(&operator, SECTION, "Add an integration"),
        form: form.clone(),
        faults: Faults(faults),
        checks: checks.into_iter().map(CheckRow::from).collect(),
    };
    let access = match access {
        Ok(access) if faults.is_empty() => access,
        _ => return Ok(page_with(StatusCode::UNPROCESSABLE_ENTITY, &again(faults, Vec::new()))),
    };
    let checks = test(&web, &access, &secret).await;
    if form.save_anyway.is_none() && checks.iter().any(Check::is_failure) {
        let faults = field_faults(&checks);
        return Ok(page_with(StatusCode::UNPROCESSABLE_ENTITY, &again(faults, checks)));
    }
    let integration = save(&web, access, secret, Stream::USUAL.to_vec()).await?;
    Ok(Redirect::to(&format!("/integrations/{}", integration.id)).into_response())
}

async fn test(web: &Web, access: &PlaidAccess, secret: &SecretString) -> Vec<Check> {
    let credentials = Credentials { client_id: access.client_id.clone(), secret: secret.clone() };
    let (environment, base_url) = (access.environment, access.base_url.clone());
    let client = web.connector.client(environment, base_url, credentials.clone());
    check_credentials(&client, environment, &credentials).await
}

/// Failed checks beside the fields they concern.
pub(super) fn field_faults(checks: &[Check]) -> Vec<FieldFault> {
    let failed = checks.iter().filter(|check| check.is_failure());
    failed
        .flat_map(|check| {
            check.fields.iter().map(|field| {
                FieldFault::new(&format!("/{field}"), check.fix.clone().unwrap_or_default())
            })
        })
        .collect()
}

#[derive(Template)]
#[template(path = "integration.html")]
struct ShowPage {
    frame: Frame,
    id: String,
    environment: &'static str,
    notice: Option<&'static str>,
    base_url: String,
    client_id: String,
    created: Age,
    webhook_url: String,
    link_url: String,
    link_token_body: String,
    link_command: String,
    items: Vec<ItemRow>,
    checks: Vec<CheckRow>,
}

pub(super) async fn show(
    operator: Operator,
    State(web): State<Web>,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let integration = web.integration(&id).await?;
    show_with(&operator, &web, integration, Vec::new()).await
}

pub(super) async fn check(
    State(web): State<Web>,
    Path(id): Path<String>,
    Signed(operator, NoFields {}): Signed<NoFields>,
) -> Result<Response, Problem> {
    let integration = web.integration(&id).await?;
    let checks = checks(&web, &integration).await?;
    show_with(&operator, &web, integration, checks).await
}

async fn show_with(
    operator: &Operator,
    web: &Web,
    integration: Integration,
    checks: Vec<Check>,
) -> Result<Response, Problem> {
    let now = web.ambient().now();
    let filter = ItemFilter { integration: Some(integration.id.clone()), ..ItemFilter::default() };
    let items = web.store.items(&filter, None, SHOWN).await?;
    let webhook_url = web.webhook_url(&integration);
    let link_url = web.link_url(&integration);
    let template = ShowPage {
        frame: Frame::new(operator, SECTION, integration.name),
        environment: integration.environment.as_str(),
        notice: integration.environment.notice(),
        link_token_body: link_token_body(&webhook_url),
        link_command: link_command(&link_url),
        id: integration.id.into(),
        base_url: integration.base_url.into(),
        client_id: integration.client_id,
        created: Age::of(integration.created_at, now),
        webhook_url,
        link_url,
        items: items.into_iter().map(|item| ItemRow::of(item, now)).collect(),
        checks: checks.into_iter().map(CheckRow::from).collect(),
    };
    Ok(page(&template))
}

/// What to send to Plaid's `/link/token/create` so that Items report here with all their history.
fn link_token_body(webhook_url: &str) -> String {
    let body = json!({
        "client_name": "Your app",
        "language": "en",
        "country_codes": ["US"],
        "user": { "client_user_id": "YOUR_END_USER_ID" },
        "products": ["transactions"],
        "transactions": { "days_requested": 730 },
        "webhook": webhook_url,
    });
    format!("{body:#}")
}

fn link_command(link_url: &str) -> String {
    format!(
        "curl {link_url} \\\n  -H 'authorization: Bearer YOUR_API_KEY' \\\n  \
         -H 'content-type: application/json' \\\n  -d '{{\"item_id\": \"…\", \
         \"access_token\": \"access-…\", \"end_user_id\": \"…\"}}'"
    )
}

/// Asking for the object's name makes a deletion hard to do by mistake.
#[derive(Deserialize)]
pub(super) struct DeleteForm {
    name: String,
}

pub(super) async fn delete(
    State(web): State<Web>,
    Path(id): Path<String>,
    Signed(operator, form): Signed<DeleteForm>,
) -> Result<Response, Problem> {
    let integration = web.integration(&id).await?;
    let confirmed = form.name.trim() == integration.name;
    if !confirmed || !web.store.delete_integration(&integration.id).await? {
        return show_with(&operator, &web, integration, Vec::new()).await;
    }
    Ok(Redirect::to("/integrations").into_response())
}
