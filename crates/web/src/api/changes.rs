//! The feed: everything that changed, in order, each record as it was then. A caller that keeps
//! `next_cursor` and applies every page has exactly what this installation has.

use std::time::Duration;

use axum::extract::State;
use model::{Change, Stream};
use serde::{Deserialize, Serialize};
use store::ChangeFilter;
use utoipa::{IntoParams, ToSchema};

use super::page::{LARGE_LIMIT, PageQuery};
use crate::problem::{Problem, ProblemDocument};
use crate::request::{Caller, Query, parameter};
use crate::state::Web;

/// Longest wait for something new, in seconds.
const LONGEST_WAIT: u64 = 60;

/// Which part of the feed.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct ChangeQuery {
    /// `next_cursor` of the page before; absent or `0` for the beginning.
    after: Option<String>,
    /// Entries wanted: 1 to 5,000, 100 if absent.
    limit: Option<i64>,
    /// Seconds to wait for something new: 0 to 60, 0 if absent.
    wait: Option<u64>,
    /// Of one integration.
    integration_id: Option<String>,
    /// Of one end user, by your id or ours.
    end_user_id: Option<String>,
    /// Of one stream.
    stream: Option<Stream>,
}

/// A page of the feed.
#[derive(Serialize, ToSchema)]
pub(crate) struct ChangesView {
    /// Entries in order of `seq`.
    changes: Vec<Change>,
    /// Where to go on, never null: keep it.
    next_cursor: String,
    /// Whether there is more now.
    has_more: bool,
}

/// Reads the feed behind a cursor, and with `wait` waits for something to come.
#[utoipa::path(
    get, path = "/v1/changes", tag = "changes", operation_id = "list_changes",
    params(ChangeQuery),
    responses((status = 200, body = ChangesView), (status = 400, body = ProblemDocument)),
)]
pub(crate) async fn list(
    _: Caller,
    State(web): State<Web>,
    Query(query): Query<ChangeQuery>,
) -> Result<axum::Json<ChangesView>, Problem> {
    let after = query.after.as_deref().unwrap_or("0").parse::<i64>().ok().filter(|seq| *seq >= 0);
    let after = after
        .ok_or_else(|| parameter("after", "must be the `next_cursor` of an earlier page, or 0."))?;
    let limit = PageQuery { limit: query.limit, after: None }.limit(LARGE_LIMIT)?;
    let wait = query.wait.unwrap_or(0);
    if wait > LONGEST_WAIT {
        return Err(parameter("wait", &format!("must be between 0 and {LONGEST_WAIT}.")));
    }
    let filter = filter(&web, &query).await?;
    let deadline = tokio::time::Instant::now() + Duration::from_secs(wait);
    // Subscribed before reading, so that nothing slips in between.
    let mut head = web.store.news().head();
    loop {
        head.borrow_and_update();
        // Read before the changes: all up to it are among them, or not for this reader.
        let newest = web.store.feed_head().await?.max(after);
        let changes = web.store.changes(after, &filter, limit + 1).await?;
        let timed_out = tokio::time::Instant::now() >= deadline;
        if !changes.is_empty() || timed_out {
            return Ok(axum::Json(page(changes, newest, limit)));
        }
        let _news = tokio::time::timeout_at(deadline, head.changed()).await;
    }
}

/// The last page goes on behind the newest entry, so that a filtered reader never scans the same
/// part of the feed twice.
fn page(mut changes: Vec<Change>, newest: i64, limit: i64) -> ChangesView {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let has_more = changes.len() > limit;
    changes.truncate(limit);
    let last = changes.last().map(|change| change.seq);
    let next = if has_more { last.unwrap_or(newest) } else { last.unwrap_or(newest).max(newest) };
    ChangesView { changes, next_cursor: next.to_string(), has_more }
}

async fn filter(web: &Web, query: &ChangeQuery) -> Result<ChangeFilter, Problem> {
    let integration = query.integration_id.as_ref().map(|id| id.parse()).transpose();
    let end_user = match &query.end_user_id {
        Some(id) => Some(web.end_user_of(id, query.integration_id.as_deref()).await?.id),
        None => None,
    };
    Ok(ChangeFilter {
        integration: integration
            .map_err(|_| parameter("integration_id", "must start with `itg_`."))?,
        end_user,
        stream: query.stream,
    })
}
