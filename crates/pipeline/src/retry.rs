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
/// Jitter is at most this part of a pause: enough to spread a crowd, too little to be felt.
const JITTER_PART: i32 = 10;

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

/// Doubles with every failure, less some jitter.
fn pause(
    (first, longest): (SignedDuration, SignedDuration),
    attempts: i64,
    ambient: &Ambient,
) -> Timestamp {
    let doublings = u32::try_from(attempts).unwrap_or(0).min(MOST_DOUBLINGS);
    let pause = first.checked_mul(1 << doublings).unwrap_or(longest).min(longest);
    let now = ambient.now();
    now.saturating_add(pause - jitter(pause, ambient)).unwrap_or(now)
}

/// By chance up to a tenth of a pause, so that what waits together does not return together.
pub(crate) fn jitter(pause: SignedDuration, ambient: &Ambient) -> SignedDuration {
    let [chance] = ambient.random::<1>();
    pause / JITTER_PART * i32::from(chance) / i32::from(u8::MAX)
}
