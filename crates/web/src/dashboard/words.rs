//! Facts in plain words: ages, states, amounts.

use jiff::Timestamp;
use model::{History, Item, ItemStatus};
use plaid::CheckState;
use store::{Run, RunState};

/// An instant as a person reads it, with the exact one for hovering.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Age {
    pub(super) words: String,
    pub(super) exact: String,
}

impl Age {
    pub(super) fn of(at: Timestamp, now: Timestamp) -> Self {
        Self { words: ago(now.duration_since(at).as_secs()), exact: at.to_string() }
    }

    pub(super) fn or_never(at: Option<Timestamp>, now: Timestamp) -> Self {
        let never = || Self { words: "never".to_owned(), exact: String::new() };
        at.map_or_else(never, |at| Self::of(at, now))
    }
}

fn ago(seconds: i64) -> String {
    match seconds {
        ..5 => "just now".to_owned(),
        5..60 => format!("{seconds} s ago"),
        60..3_600 => format!("{} min ago", seconds / 60),
        3_600..172_800 => format!("{} h ago", seconds / 3_600),
        _ => format!("{} days ago", seconds / 86_400),
    }
}

/// A state as colour, word and shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Badge {
    pub(super) class: &'static str,
    pub(super) shape: &'static str,
    pub(super) word: &'static str,
}

const HEALTHY: (&str, &str) = ("healthy", "●");
const WAITING: (&str, &str) = ("waiting", "◐");
const NEEDS_YOU: (&str, &str) = ("needs-you", "▲");
const FAILED: (&str, &str) = ("failed", "✕");
const OFF: (&str, &str) = ("off", "○");

fn badge((class, shape): (&'static str, &'static str), word: &'static str) -> Badge {
    Badge { class, shape, word }
}

pub(super) fn item_badge(item: &Item) -> Badge {
    match item.status() {
        ItemStatus::Waiting => badge(WAITING, "Waiting for the first sync"),
        ItemStatus::CatchingUp => badge(WAITING, "Catching up"),
        ItemStatus::Healthy if item.history != History::Complete => {
            badge(WAITING, "Loading history")
        }
        ItemStatus::Healthy => badge(HEALTHY, "Healthy"),
        ItemStatus::NewAccountsAvailable => badge(HEALTHY, "Healthy, new accounts at the bank"),
        ItemStatus::AccountRevoked => badge(NEEDS_YOU, "An account was withdrawn"),
        ItemStatus::Expiring => badge(NEEDS_YOU, "Consent ends soon"),
        ItemStatus::PendingDisconnect => badge(NEEDS_YOU, "Will be disconnected"),
        ItemStatus::LoginRequired => badge(NEEDS_YOU, "Needs a new login"),
        ItemStatus::Erroring => badge(FAILED, "Failing"),
        ItemStatus::Revoked => badge(FAILED, "Ended by the end user"),
        ItemStatus::Disabled => badge(OFF, "Switched off"),
        ItemStatus::Removing => badge(WAITING, "Being removed"),
        ItemStatus::Removed => badge(OFF, "Removed"),
    }
}

/// How a connection stands by its last run.
pub(super) fn run_badge(run: Option<&Run>, is_paused: bool) -> Badge {
    match run.map(|run| run.state) {
        _ if is_paused => badge(NEEDS_YOU, "Paused"),
        None => badge(OFF, "Not run yet"),
        Some(RunState::Waiting) => badge(WAITING, "Waiting"),
        Some(RunState::Running) => badge(WAITING, "Running"),
        Some(RunState::Succeeded) => badge(HEALTHY, "Succeeded"),
        Some(RunState::Failed) => badge(FAILED, "Failed"),
        Some(RunState::Cancelled) => badge(OFF, "Cancelled"),
    }
}

pub(super) fn check_badge(state: CheckState) -> Badge {
    match state {
        CheckState::Passed => badge(HEALTHY, "Passed"),
        CheckState::Notice => badge(NEEDS_YOU, "Note"),
        CheckState::Failed => badge(FAILED, "Failed"),
    }
}

/// The state of a stream of an Item; one that comes with every sync has none of its own.
pub(super) fn stream_badge(state: Option<&str>, was_read: bool) -> Badge {
    match state {
        Some("failing") => badge(FAILED, "Failing"),
        Some("waiting") => badge(WAITING, "Preparing"),
        Some("lacking") => badge(OFF, "Not offered"),
        _ if was_read => badge(HEALTHY, "Read"),
        _ => badge(WAITING, "Waiting"),
    }
}

/// How complete an Item's history is.
pub(super) fn history(item: &Item) -> String {
    match (item.history, item.history_since) {
        (History::Complete, Some(since)) => format!("complete since {since}"),
        (History::Complete, None) => "complete, no transactions".to_owned(),
        (History::Initial, _) => "30 days so far".to_owned(),
        (History::NotReady, _) => "not here yet".to_owned(),
    }
}

/// A decimal with groups of three digits and no sign.
pub(super) fn grouped(decimal: &str) -> String {
    let digits = decimal.trim_start_matches('-');
    let (whole, places) = digits.split_once('.').unwrap_or((digits, ""));
    let mut grouped = String::new();
    for (index, digit) in whole.chars().enumerate() {
        if index > 0 && (whole.len() - index) % 3 == 0 {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    if places.is_empty() { grouped } else { format!("{grouped}.{places}") }
}

/// A decimal with groups and its sign.
pub(super) fn signed(decimal: &str) -> String {
    let sign = if decimal.starts_with('-') { "−" } else { "" };
    format!("{sign}{}", grouped(decimal))
}

/// A count with groups.
pub(super) fn count(number: i64) -> String {
    grouped(&number.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_grouped() {
        assert_eq!(grouped("1234567.80"), "1,234,567.80");
        assert_eq!(signed("-123.00"), "−123.00");
        assert_eq!(count(999), "999");
    }

    #[test]
    fn ages_are_short() {
        assert_eq!(
            [ago(0), ago(59), ago(3_599), ago(7_200)],
            ["just now", "59 s ago", "59 min ago", "2 h ago"]
        );
    }
}
