//! End users and what belongs to them.

use axum::extract::{Path, State};
use jiff::Timestamp;
use model::{Account, Balance, EndUser, Transaction};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::page::{LIMIT, Page, PageQuery};
use super::transactions::{TransactionQuery, list_transactions};
use crate::problem::{AMBIGUOUS_END_USER, Problem, ProblemDocument};
use crate::request::{Caller, Query, parameter};
use crate::state::Web;

/// An end user.
#[derive(Serialize, ToSchema)]
pub(crate) struct EndUserView {
    /// Our id.
    id: String,
    /// Your own id; works wherever ours does.
    end_user_id: String,
    /// The integration it belongs to.
    integration_id: String,
    /// A name for people.
    name: Option<String>,
    /// When it was first named.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
}

impl EndUserView {
    fn of(end_user: EndUser) -> Self {
        Self {
            id: end_user.id.into(),
            end_user_id: end_user.end_user_id,
            integration_id: end_user.integration_id.into(),
            name: end_user.name,
            created_at: end_user.created_at,
        }
    }
}

impl Web {
    /// The end user of this id, ours or the caller's.
    pub(crate) async fn end_user(&self, id: &str) -> Result<EndUser, Problem> {
        self.end_user_of(id, None).await
    }

    /// The same within an integration, if one is named.
    pub(crate) async fn end_user_of(
        &self,
        id: &str,
        integration: Option<&str>,
    ) -> Result<EndUser, Problem> {
        let mut found = self.store.find_end_users(id).await?;
        found.retain(|user| integration.is_none_or(|id| user.integration_id.as_str() == id));
        if found.len() > 1 {
            let detail = "Several integrations have an end user with this id; use our id.";
            return Err(Problem::new(AMBIGUOUS_END_USER, detail));
        }
        found.pop().ok_or_else(|| Problem::not_found("end user"))
    }
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct EndUserQuery {
    /// Of one integration.
    integration_id: Option<String>,
    /// Rows wanted: 1 to 1,000, 100 if absent.
    limit: Option<i64>,
    /// `next_cursor` of the page before.
    after: Option<String>,
}

/// Lists end users.
#[utoipa::path(
    get, path = "/v1/end_users", tag = "end users", operation_id = "list_end_users",
    params(EndUserQuery),
    responses((status = 200, body = Page<EndUserView>), (status = 400, body = ProblemDocument)),
)]
pub(crate) async fn list(
    _: Caller,
    State(web): State<Web>,
    Query(query): Query<EndUserQuery>,
) -> Result<axum::Json<Page<EndUserView>>, Problem> {
    let integration = query.integration_id.map(|id| id.parse()).transpose();
    let integration =
        integration.map_err(|_| parameter("integration_id", "must start with `itg_`."))?;
    let page = PageQuery { limit: query.limit, after: query.after };
    let limit = page.limit(LIMIT)?;
    let after = page.place()?;
    let rows = web.store.end_users(integration.as_ref(), after.as_deref(), limit + 1).await?;
    Ok(axum::Json(Page::of(rows, limit, |row| row.id.to_string(), EndUserView::of)))
}

/// Reads an end user.
#[utoipa::path(
    get, path = "/v1/end_users/{id}", tag = "end users", operation_id = "get_end_user",
    params(("id" = String, Path, description = "Your end_user_id, or our id")),
    responses((status = 200, body = EndUserView), (status = 404, body = ProblemDocument)),
)]
pub(crate) async fn get(
    _: Caller,
    State(web): State<Web>,
    Path(id): Path<String>,
) -> Result<axum::Json<EndUserView>, Problem> {
    Ok(axum::Json(EndUserView::of(web.end_user(&id).await?)))
}

/// Lists an end user's accounts.
#[utoipa::path(
    get, path = "/v1/end_users/{id}/accounts", tag = "end users", operation_id = "list_accounts",
    params(("id" = String, Path, description = "Your end_user_id, or our id"), PageQuery),
    responses((status = 200, body = Page<Account>), (status = 404, body = ProblemDocument)),
)]
pub(crate) async fn accounts(
    _: Caller,
    State(web): State<Web>,
    Path(id): Path<String>,
    Query(page): Query<PageQuery>,
) -> Result<axum::Json<Page<Account>>, Problem> {
    let end_user = web.end_user(&id).await?;
    let limit = page.limit(LIMIT)?;
    let rows = web.store.accounts(&end_user.id, page.place()?.as_deref(), limit + 1).await?;
    Ok(axum::Json(Page::of(rows, limit, |row| row.account_id.clone(), |row| row)))
}

/// Lists the latest balances of an end user's accounts.
#[utoipa::path(
    get, path = "/v1/end_users/{id}/balances", tag = "end users", operation_id = "list_balances",
    params(("id" = String, Path, description = "Your end_user_id, or our id"), PageQuery),
    responses((status = 200, body = Page<Balance>), (status = 404, body = ProblemDocument)),
)]
pub(crate) async fn balances(
    _: Caller,
    State(web): State<Web>,
    Path(id): Path<String>,
    Query(page): Query<PageQuery>,
) -> Result<axum::Json<Page<Balance>>, Problem> {
    let end_user = web.end_user(&id).await?;
    let limit = page.limit(LIMIT)?;
    let rows = web.store.balances(&end_user.id, page.place()?.as_deref(), limit + 1).await?;
    Ok(axum::Json(Page::of(rows, limit, |row| row.account_id.clone(), |row| row)))
}

/// Lists an end user's live transactions, newest first.
#[utoipa::path(
    get, path = "/v1/end_users/{id}/transactions", tag = "end users",
    operation_id = "list_end_user_transactions",
    params(("id" = String, Path, description = "Your end_user_id, or our id"), TransactionQuery),
    responses((status = 200, body = Page<Transaction>), (status = 404, body = ProblemDocument)),
)]
pub(crate) async fn transactions(
    _: Caller,
    State(web): State<Web>,
    Path(id): Path<String>,
    Query(mut query): Query<TransactionQuery>,
) -> Result<axum::Json<Page<Transaction>>, Problem> {
    query.end_user_id = Some(web.end_user(&id).await?.id.to_string());
    list_transactions(&web, query).await
}
