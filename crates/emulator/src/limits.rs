//! Plaid's rate limits for the sandbox, as a switch: calls a minute for each Item and for the whole
//! client. Figures: Plaid's documentation, March 2026.

use std::collections::{HashMap, VecDeque};

use jiff::Timestamp;

use crate::error::PlaidError;

/// Limits are counted over this long.
const WINDOW_SECONDS: i64 = 60;

/// Path, calls of an Item, calls of the client, code of the error.
const LIMITS: [(&str, Option<usize>, usize, &str); 21] = [
    ("/accounts/balance/get", Some(25), 100, "BALANCE_LIMIT"),
    ("/accounts/get", Some(100), 5_000, "ACCOUNTS_LIMIT"),
    ("/auth/get", Some(100), 500, "AUTH_LIMIT"),
    ("/identity/get", Some(100), 1_000, "IDENTITY_LIMIT"),
    ("/institutions/get", None, 10, "INSTITUTIONS_GET_LIMIT"),
    ("/institutions/get_by_id", None, 400, "INSTITUTIONS_GET_BY_ID_LIMIT"),
    ("/investments/holdings/get", Some(100), 1_000, "INVESTMENT_HOLDINGS_GET_LIMIT"),
    ("/investments/transactions/get", Some(100), 1_000, "INVESTMENT_TRANSACTIONS_LIMIT"),
    ("/investments/refresh", Some(1), 100, "RATE_LIMIT"),
    ("/item/get", Some(40), 5_000, "ITEM_GET_LIMIT"),
    ("/item/remove", Some(100), 500, "RATE_LIMIT"),
    ("/liabilities/get", Some(10), 1_000, "RATE_LIMIT"),
    ("/transactions/enrich", None, 100, "RATE_LIMIT"),
    ("/transactions/get", Some(80), 1_000, "TRANSACTIONS_LIMIT"),
    ("/transactions/recurring/get", Some(20), 1_000, "RATE_LIMIT"),
    ("/transactions/refresh", Some(2), 100, "TRANSACTIONS_REFRESH_LIMIT"),
    ("/transactions/sync", Some(50), 1_000, "TRANSACTIONS_SYNC_LIMIT"),
    ("/statements/list", None, 100, "RATE_LIMIT"),
    ("/statements/download", None, 50, "RATE_LIMIT"),
    ("/statements/refresh", None, 50, "RATE_LIMIT"),
    ("/sandbox/transactions/create", Some(2), 50, "RATE_LIMIT"),
];

/// The calls of the last minute.
#[derive(Debug, Default)]
pub(crate) struct Limits {
    calls: HashMap<(&'static str, Option<u64>), VecDeque<Timestamp>>,
}

impl Limits {
    /// Counts a call, or refuses it as Plaid does.
    pub(crate) fn count(
        &mut self,
        path: &str,
        item: Option<u64>,
        now: Timestamp,
    ) -> Result<(), PlaidError> {
        let Some((path, of_item, of_client, code)) = LIMITS.iter().find(|limit| limit.0 == path)
        else {
            return Ok(());
        };
        let item = item.filter(|_| of_item.is_some());
        let most_of_item = item.and(*of_item);
        if most_of_item.is_some_and(|most| self.recent((path, item), now).len() >= most) {
            return Err(exceeded(code, "this item"));
        }
        if self.recent((path, None), now).len() >= *of_client {
            let code =
                if *path == "/accounts/balance/get" { "ACCOUNTS_BALANCE_GET_LIMIT" } else { code };
            return Err(exceeded(code, path));
        }
        for key in [Some((*path, None)), item.map(|item| (*path, Some(item)))].into_iter().flatten()
        {
            self.recent(key, now).push_back(now);
        }
        Ok(())
    }

    fn recent(
        &mut self,
        key: (&'static str, Option<u64>),
        now: Timestamp,
    ) -> &mut VecDeque<Timestamp> {
        let calls = self.calls.entry(key).or_default();
        let old = |call: &Timestamp| now.duration_since(*call).as_secs() >= WINDOW_SECONDS;
        while calls.front().is_some_and(old) {
            calls.pop_front();
        }
        calls
    }
}

/// The code that a path's own limit answers with.
pub(crate) fn code_of(path: &str) -> &'static str {
    LIMITS.iter().find(|limit| limit.0 == path).map_or("RATE_LIMIT", |limit| limit.3)
}

/// Plaid's answer to one call too many.
pub(crate) fn exceeded(code: &str, what: &str) -> PlaidError {
    PlaidError {
        status: 429,
        ..PlaidError::new(
            "RATE_LIMIT_EXCEEDED",
            code,
            format!("rate limit exceeded for attempts to access {what}. please try again later"),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minute_holds_so_many_calls_of_an_item_and_of_the_client() {
        let at = |second: i64| Timestamp::from_second(second).expect("an instant");
        let mut limits = Limits::default();
        for _ in 0..2 {
            assert!(limits.count("/transactions/refresh", Some(1), at(0)).is_ok());
        }
        let error = limits.count("/transactions/refresh", Some(1), at(59)).expect_err("too many");
        assert_eq!((error.status, error.error_code.as_str()), (429, "TRANSACTIONS_REFRESH_LIMIT"));
        assert!(limits.count("/transactions/refresh", Some(2), at(59)).is_ok(), "another Item");
        assert!(limits.count("/transactions/refresh", Some(1), at(60)).is_ok(), "a minute later");
        for _ in 0..10 {
            assert!(limits.count("/institutions/get", None, at(0)).is_ok());
        }
        assert!(limits.count("/institutions/get", None, at(1)).is_err());
        assert!(limits.count("/item/public_token/exchange", None, at(1)).is_ok(), "no limit");
    }
}
