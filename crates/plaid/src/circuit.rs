//! A circuit breaker for each Plaid that is called: after many failures in a row nobody asks for a
//! moment, then one call tries for all.

use std::sync::Mutex;
use std::time::Duration;

use tokio::time::Instant;

/// Failures in a row after which Plaid is left alone.
const FAILURES: u32 = 15;
/// First and longest rest; it doubles while the calls that try fail.
const FIRST_REST: Duration = Duration::from_secs(1);
const LONGEST_REST: Duration = Duration::from_secs(30);

/// The circuit to one Plaid.
#[derive(Debug, Default)]
pub(crate) struct Circuit(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    failures: u32,
    /// Until when nobody asks; after it one call may try.
    rests_until: Option<Instant>,
    rest: Duration,
    /// Whether a call is out that tries for all.
    trying: bool,
}

impl Circuit {
    /// Whether a call may be made now. If not, gives the failures in a row.
    pub(crate) fn permit(&self) -> Result<(), u32> {
        let Ok(mut state) = self.0.lock() else { return Ok(()) };
        match state.rests_until {
            Some(until) if Instant::now() < until => Err(state.failures),
            Some(_) => {
                // This caller tries; the others go on waiting until it is known how that went.
                state.rests_until = Some(Instant::now() + state.rest);
                state.trying = true;
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// Notes how a call went.
    pub(crate) fn note(&self, failed: bool) {
        let Ok(mut state) = self.0.lock() else { return };
        if !failed {
            *state = State::default();
            return;
        }
        state.failures = state.failures.saturating_add(1);
        // Calls that were out when it opened say nothing new.
        let is_news = state.rests_until.is_none() || state.trying;
        if state.failures >= FAILURES && is_news {
            state.trying = false;
            state.rest = (state.rest * 2).clamp(FIRST_REST, LONGEST_REST);
            state.rests_until = Some(Instant::now() + state.rest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn opens_after_failures_in_a_row_and_closes_by_one_try() {
        let circuit = Circuit::default();
        for _ in 1..FAILURES {
            circuit.note(true);
        }
        assert_eq!(circuit.permit(), Ok(()));
        circuit.note(true);
        assert_eq!(circuit.permit(), Err(FAILURES), "open");
        tokio::time::advance(FIRST_REST).await;
        assert_eq!(circuit.permit(), Ok(()), "one may try");
        assert_eq!(circuit.permit(), Err(FAILURES), "the others wait");
        circuit.note(true);
        tokio::time::advance(FIRST_REST).await;
        assert_eq!(circuit.permit(), Err(FAILURES + 1), "the rest has doubled");
        tokio::time::advance(FIRST_REST).await;
        assert_eq!(circuit.permit(), Ok(()));
        circuit.note(false);
        assert_eq!((circuit.permit(), circuit.permit()), (Ok(()), Ok(())), "closed");
    }
}
