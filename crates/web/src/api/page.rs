//! Lists: a limit and an opaque cursor in; rows, the next cursor and whether there is more out.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::problem::Problem;
use crate::request::parameter;

const DEFAULT_LIMIT: i64 = 100;
/// Most rows in a page of an ordinary list.
pub(crate) const LIMIT: i64 = 1_000;
/// Most rows in a page of a large list.
pub(crate) const LARGE_LIMIT: i64 = 5_000;

/// Where in a list, and how much of it.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct PageQuery {
    /// Rows wanted: 1 to 1,000 (5,000 on large lists), 100 if absent.
    pub(crate) limit: Option<i64>,
    /// `next_cursor` of the page before.
    pub(crate) after: Option<String>,
}

/// One page of a list.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Page<T> {
    /// The rows.
    data: Vec<T>,
    /// Where the next page starts; null at the end.
    next_cursor: Option<String>,
    /// Whether there is a next page.
    has_more: bool,
}

impl<T> Page<T> {
    /// Makes a page of up to `limit` of the rows, of which one more was asked for.
    pub(crate) fn of<R>(
        mut rows: Vec<R>,
        limit: i64,
        place: impl FnOnce(&R) -> String,
        view: impl FnMut(R) -> T,
    ) -> Self {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let has_more = rows.len() > limit;
        rows.truncate(limit);
        let last = rows.last().filter(|_| has_more);
        let next_cursor = last.map(|row| BASE64URL.encode(place(row)));
        Self { next_cursor, has_more, data: rows.into_iter().map(view).collect() }
    }
}

impl PageQuery {
    pub(crate) fn limit(&self, most: i64) -> Result<i64, Problem> {
        let limit = self.limit.unwrap_or(DEFAULT_LIMIT);
        if (1..=most).contains(&limit) {
            Ok(limit)
        } else {
            Err(parameter("limit", &format!("must be between 1 and {most}.")))
        }
    }

    /// The place that the cursor names.
    pub(crate) fn place(&self) -> Result<Option<String>, Problem> {
        let decode = |text: &String| {
            let bytes = BASE64URL.decode(text).ok();
            let place = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
            place.ok_or_else(|| parameter("after", "must be the `next_cursor` of an earlier page."))
        };
        self.after.as_ref().map(decode).transpose()
    }
}
