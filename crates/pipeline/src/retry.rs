//! When a failure is worth another try.

use jiff::{SignedDuration, Timestamp};
use model::Ambient;
use plaid::Reaction;

/// First and longest pause for each kind of failure.
const SOON: (SignedDuration, SignedDuration) =
    (SignedDuration::from_secs(5), SignedDuration::from_mins(15));
const LATER: (SignedDuration, SignedDuration) =
    (SignedDuration::from_mins(10), SignedDuration::from_hours(6));
/// A person has to act first; until then a look now and then notices if they did elsewhere.
const PERSON: (SignedDuration, SignedDuration) =
    (SignedDuration::from_hours(1), SignedDuration::from_hours(6));
/// Doublings after which the pause no longer matters.
const MOST_DOUBLINGS: u32 = 16;

/// When a failure of Plaid's is worth another try, after a number of failures in a row.
pub(crate) fn pause_after(reaction: Reaction, attempts: i64, ambient: &Ambient) -> Timestamp {
    let pauses = match reaction {
        Reaction::Retry | Reaction::RestartUpdate | Reaction::Rewalk => SOON,
        Reaction::Later | Reaction::UseCached | Reaction::Lacking => LATER,
        Reaction::Repair | Reaction::Relink | Reaction::Fix => PERSON,
    };
    pause(pauses, attempts, ambient)
}

/// A failure of our own, such as a database that is busy.
pub(crate) fn soon(attempts: i64, ambient: &Ambient) -> Timestamp {
    pause(SOON, attempts, ambient)
}

/// Doubles with every failure; the last tenth is chance, so that Items do not return together.
fn pause(
    (first, longest): (SignedDuration, SignedDuration),
    attempts: i64,
    ambient: &Ambient,
) -> Timestamp {
    let doublings = u32::try_from(attempts).unwrap_or(0).min(MOST_DOUBLINGS);
    let pause = first.checked_mul(1 << doublings).unwrap_or(longest).min(longest);
    let [chance] = ambient.random::<1>();
    let jitter = pause / 10 * i32::from(chance) / 255;
    let now = ambient.now();
    now.saturating_add(pause - jitter).unwrap_or(now)
}
