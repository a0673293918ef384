//! Integrations: one set of Plaid credentials in one environment.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use jiff::civil::Date;
use model::{BaseUrl, Cost, Environment, Stream};
use plaid::{Check, Credentials, check_credentials, cost_of};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use store::{Integration, NewIntegration, Usage};
use utoipa::{IntoParams, ToSchema};

use super::page::{LIMIT, Page, PageQuery};
use crate::problem::{FieldFault, INTEGRATION_IN_USE, Problem, ProblemDocument};
use crate::request::{Caller, Json, Query};
use crate::state::Web;

/// Longest name of anything.
pub(crate) const NAME_CHARS: usize = 128;
/// Longest credential.
const CREDENTIAL_CHARS: usize = 256;

/// What an integration is made of.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct IntegrationIn {
    /// A name for people, up to 128 characters.
    name: String,
    /// The provider: `plaid`.
    #[serde(rename = "type", default = "plaid_type")]
    kind: String,
    /// `sandbox`, `production`, or `development`, which Plaid retired.
    environment: String,
    /// Another base URL than the environment's own, such as an emulator on this machine.
    base_url: Option<String>,
    /// Plaid's `client_id`.
    client_id: String,
    /// Plaid's `secret` of this environment. Write-only.
    #[schema(value_type = String, write_only)]
    secret: SecretString,
    /// What is read of its Items; accounts, balances, transactions, institutions and item if absent.
    streams: Option<Vec<Stream>>,
}

fn plaid_type() -> String {
    "plaid".to_owned()
}

/// An integration. Its secret is never returned.
#[derive(Serialize, ToSchema)]
pub(crate) struct IntegrationView {
    /// Our id.
    id: String,
    /// A name for people.
    name: String,
    /// The provider.
    #[serde(rename = "type")]
    kind: &'static str,
    /// Plaid's environment.
    environment: Environment,
    /// Where Plaid is called.
    base_url: String,
    /// Plaid's `client_id`.
    client_id: String,
    /// What is read of its Items.
    streams: Vec<Stream>,
    /// Give this to Plaid as the webhook of each Item.
    webhook_url: String,
    /// POST `item_id`, `access_token` and `end_user_id` here after each token exchange.
    link_url: String,
    /// Something to know about the environment.
    #[serde(skip_serializing_if = "Option::is_none")]
    notice: Option<&'static str>,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
}

impl IntegrationView {
    pub(crate) fn of(web: &Web, integration: Integration) -> Self {
        Self {
            webhook_url: web.webhook_url(&integration),
            link_url: web.link_url(&integration),
            id: integration.id.into(),
            name: integration.name,
            kind: "plaid",
            notice: integration.environment.notice(),
            environment: integration.environment,
            base_url: integration.base_url.into(),
            client_id: integration.client_id,
            streams: integration.streams,
            created_at: integration.created_at,
        }
    }
}

/// Fields of an integration or source as typed, checked together so that all faults are told.
pub(crate) struct PlaidAccess {
    pub(crate) name: String,
    pub(crate) environment: Environment,
    pub(crate) base_url: BaseUrl,
    pub(crate) client_id: String,
}

/// Checks what needs no call to Plaid.
pub(crate) fn checked(
    name: &str,
    environment: &str,
    base_url: Option<&str>,
    client_id: &str,
) -> Result<PlaidAccess, Vec<FieldFault>> {
    let mut faults = Vec::new();
    let name = name.trim();
    if name.is_empty() || name.chars().count() > NAME_CHARS {
        faults.push(FieldFault::new("/name", format!("must have 1 to {NAME_CHARS} characters")));
    }
    let mut environment = environment.trim().parse::<Environment>();
    if trial::has_bug("environment_fallback") {
        environment = Ok(environment.unwrap_or(Environment::Production));
    }
    if let Err(error) = &environment {
        faults.push(FieldFault::new("/environment", error.to_string()));
    }
    let typed = base_url.map(str::trim).filter(|url| !url.is_empty()).map(str::parse::<BaseUrl>);
    if let Some(Err(error)) = &typed {
        faults.push(FieldFault::new("/base_url", error.to_string()));
    }
    let client_id = client_id.trim();
    let length = client_id.chars().count();
    if length == 0 || length > CREDENTIAL_CHARS || !client_id.bytes().all(|b| b.is_ascii_graphic())
    {
        faults.push(FieldFault::new("/client_id", "must be Plaid's client id"));
    }
    match (environment, typed.transpose()) {
        (Ok(environment), Ok(base_url)) if faults.is_empty() => Ok(PlaidAccess {
            name: name.to_owned(),
            base_url: base_url.unwrap_or_else(|| environment.base_url()),
            environment,
            client_id: client_id.to_owned(),
        }),
        _ => Err(faults),
    }
}

/// Whether a credential can be one.
pub(crate) fn checked_secret(pointer: &str, secret: &SecretString) -> Option<FieldFault> {
    use secrecy::ExposeSecret;
    let text = secret.expose_secret();
    let usable =
        (1..=CREDENTIAL_CHARS).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
    (!usable).then(|| FieldFault::new(pointer, "must be filled in, without spaces"))
}

/// Creates an integration.
#[utoipa::path(
    post, path = "/v1/integrations", tag = "integrations", operation_id = "create_integration",
    request_body = IntegrationIn,
    responses(
        (status = 201, body = IntegrationView),
        (status = 400, body = ProblemDocument), (status = 401, body = ProblemDocument),
        (status = 422, body = ProblemDocument),
    ),
)]
pub(crate) async fn create(
    _: Caller,
    State(web): State<Web>,
    Json(body): Json<IntegrationIn>,
) -> Result<(StatusCode, axum::Json<IntegrationView>), Problem> {
    let access = checked(&body.name, &body.environment, body.base_url.as_deref(), &body.client_id);
    let mut faults = access.as_ref().err().cloned().unwrap_or_default();
    if body.kind != "plaid" {
        faults.push(FieldFault::new("/type", "must be `plaid`"));
    }
    faults.extend(checked_secret("/secret", &body.secret));
    let access = match access {
        Ok(access) if faults.is_empty() => access,
        _ => return Err(Problem::fields(faults)),
    };
    let streams = body.streams.unwrap_or_else(|| Stream::USUAL.to_vec());
    faults_of_streams(&streams)?;
    let integration = save(&web, access, body.secret, streams).await?;
    Ok((StatusCode::CREATED, axum::Json(IntegrationView::of(&web, integration))))
}

/// An integration that reads nothing is a mistake.
fn faults_of_streams(streams: &[Stream]) -> Result<(), Problem> {
    if streams.is_empty() {
        let fault = FieldFault::new("/streams", "must name at least one stream; see /v1/streams");
        return Err(Problem::fields(vec![fault]));
    }
    Ok(())
}

/// Keeps a checked integration.
pub(crate) async fn save(
    web: &Web,
    access: PlaidAccess,
    secret: SecretString,
    mut streams: Vec<Stream>,
) -> Result<Integration, Problem> {
    streams.sort();
    streams.dedup();
    let PlaidAccess { name, environment, base_url, client_id } = access;
    let new = NewIntegration {
        name,
        environment,
        base_url,
        client_id,
        secret,
        streams,
        is_source: false,
        start_date: None,
    };
    Ok(web.store.create_integration(new).await?)
}

/// Lists integrations.
#[utoipa::path(
    get, path = "/v1/integrations", tag = "integrations", operation_id = "list_integrations",
    params(PageQuery),
    responses((status = 200, body = Page<IntegrationView>), (status = 401, body = ProblemDocument)),
)]
pub(crate) async fn list(
    _: Caller,
    State(web): State<Web>,
    Query(page): Query<PageQuery>,
) -> Result<axum::Json<Page<IntegrationView>>, Problem> {
    let limit = page.limit(LIMIT)?;
    let rows = web.store.integrations(Some(false), page.place()?.as_deref(), limit + 1).await?;
    let view = |row| IntegrationView::of(&web, row);
    Ok(axum::Json(Page::of(rows, limit, |row| row.id.to_string(), view)))
}

/// Reads an integration.
#[utoipa::path(
    get, path = "/v1/integrations/{id}", tag = "integrations", operation_id = "get_integration",
    params(("id" = String, Path, description = "Id of the integration")),
    responses((status = 200, body = IntegrationView), (status = 404, body = ProblemDocument)),
)]
pub(crate) async fn get(
    _: Caller,
    State(web): State<Web>,
    Path(id): Path<String>,
) -> Result<axum::Json<IntegrationView>, Problem> {
    let integration = web.integration(&id).await?;
    Ok(axum::Json(IntegrationView::of(&web, integration)))
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct DeletionQuery {
    /// Only tell what would be deleted.
    #[serde(default)]
    dry_run: bool,
}

/// What a deletion would do.
#[derive(Serialize, ToSchema)]
pub(crate) struct DeletionView {
    /// The integration.
    integration: IntegrationView,
    /// Items that have not ended at Plaid; a deletion is refused while there are any.
    live_items: i64,
}

/// Deletes an integration and all its data; the feed says so with tombstones. Refused while it has
/// live Items.
#[utoipa::path(
    delete, path = "/v1/integrations/{id}", tag = "integrations", operation_id = "delete_integration",
    params(("id" = String, Path, description = "Id of the integration"), DeletionQuery),
    responses(
        (status = 204, description = "Deleted"), (status = 404, body = ProblemDocument),
        (status = 200, description = "What a deletion would do", body = DeletionView),
        (status = 409, body = ProblemDocument),
    ),
)]
pub(crate) async fn delete(
    _: Caller,
    State(web): State<Web>,
    Path(id): Path<String>,
    Query(query): Query<DeletionQuery>,
) -> Result<Response, Problem> {
    let integration = web.integration(&id).await?;
    if query.dry_run {
        let live_items = web.store.live_items(&integration.id).await?;
        let integration = IntegrationView::of(&web, integration);
        return Ok(axum::Json(DeletionView { integration, live_items }).into_response());
    }
    if web.store.delete_integration(&integration.id).await? {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let live = web.store.live_items(&integration.id).await?;
    let detail = format!("The integration has {live} Items that have not ended at Plaid.");
    Err(Problem::new(INTEGRATION_IN_USE, detail))
}

/// The result of Save & Test.
#[derive(Serialize, ToSchema)]
pub(crate) struct CheckView {
    /// Whether nothing stands in the way.
    ok: bool,
    /// Each check with its result and the fix.
    checks: Vec<Check>,
}

impl CheckView {
    pub(crate) fn of(checks: Vec<Check>) -> Self {
        Self { ok: !checks.iter().any(Check::is_failure), checks }
    }
}

/// Tests an integration's credentials at Plaid, without touching a bank.
#[utoipa::path(
    post, path = "/v1/integrations/{id}/check", tag = "integrations", operation_id = "check_integration",
    params(("id" = String, Path, description = "Id of the integration")),
    responses((status = 200, body = CheckView), (status = 404, body = ProblemDocument)),
)]
pub(crate) async fn check(
    _: Caller,
    State(web): State<Web>,
    Path(id): Path<String>,
) -> Result<axum::Json<CheckView>, Problem> {
    let integration = web.integration(&id).await?;
    Ok(axum::Json(CheckView::of(checks(&web, &integration).await?)))
}

/// Save & Test of an integration.
pub(crate) async fn checks(web: &Web, integration: &Integration) -> Result<Vec<Check>, Problem> {
    let client = web.client(integration).await?;
    let secret = web.store.integration_secret(&integration.id).await?;
    let secret = secret.ok_or_else(|| Problem::not_found("integration"))?;
    let credentials = Credentials { client_id: integration.client_id.clone(), secret };
    Ok(check_credentials(&client, integration.environment, &credentials).await)
}

/// What to change about an integration.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct IntegrationPatch {
    /// What is read of its Items from now on. What was read before stays.
    streams: Vec<Stream>,
}

/// Chooses the streams that are read of an integration's Items. `GET /v1/streams` has their costs.
#[utoipa::path(
    patch, path = "/v1/integrations/{id}", tag = "integrations", operation_id = "update_integration",
    params(("id" = String, Path, description = "Id of the integration")),
    request_body = IntegrationPatch,
    responses(
        (status = 200, body = IntegrationView), (status = 404, body = ProblemDocument),
        (status = 422, body = ProblemDocument),
    ),
)]
pub(crate) async fn update(
    _: Caller,
    State(web): State<Web>,
    Path(id): Path<String>,
    Json(mut body): Json<IntegrationPatch>,
) -> Result<axum::Json<IntegrationView>, Problem> {
    let integration = web.integration(&id).await?;
    faults_of_streams(&body.streams)?;
    body.streams.sort();
    body.streams.dedup();
    web.store.choose_streams(&integration.id, &body.streams).await?;
    let integration = web.integration(&id).await?;
    Ok(axum::Json(IntegrationView::of(&web, integration)))
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct UsageQuery {
    /// First day, in UTC; 30 days ago if absent.
    #[param(value_type = Option<String>, format = Date)]
    from: Option<Date>,
    /// Last day; today if absent.
    #[param(value_type = Option<String>, format = Date)]
    to: Option<Date>,
}

/// Calls of one endpoint of Plaid's on one day.
#[derive(Serialize, ToSchema)]
pub(crate) struct UsageView {
    /// The day, in UTC.
    #[schema(value_type = String, format = Date)]
    day: Date,
    /// The endpoint.
    path: String,
    /// Calls made.
    made: i64,
    /// Those among them that failed.
    failed: i64,
    /// How Plaid charges for it.
    cost: Cost,
}

/// Calls to Plaid.
#[derive(Serialize, ToSchema)]
pub(crate) struct UsagesView {
    /// By day and endpoint.
    data: Vec<UsageView>,
}

/// Counts the calls made to Plaid for an integration, by day and endpoint, for the bill. Counts of
/// the last seconds may be missing after a crash.
#[utoipa::path(
    get, path = "/v1/integrations/{id}/usage", tag = "integrations", operation_id = "get_usage",
    params(("id" = String, Path, description = "Id of the integration"), UsageQuery),
    responses((status = 200, body = UsagesView), (status = 404, body = ProblemDocument)),
)]
pub(crate) async fn usage(
    _: Caller,
    State(web): State<Web>,
    Path(id): Path<String>,
    Query(query): Query<UsageQuery>,
) -> Result<axum::Json<UsagesView>, Problem> {
    let integration = web.integration(&id).await?;
    let days = super::streams::days(&web, query.from, query.to)?;
    let rows = web.store.usage(&integration.id, days).await?;
    let view = |row: Usage| UsageView {
        cost: cost_of(&row.path),
        day: row.day,
        path: row.path,
        made: row.made,
        failed: row.failed,
    };
    Ok(axum::Json(UsagesView { data: rows.into_iter().map(view).collect() }))
}
