//! The time of a world: real, stepped ahead, or frozen.

use jiff::{SignedDuration, Timestamp};

/// How a world's time relates to real time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Clock {
    /// How far it runs ahead while it runs.
    ahead: SignedDuration,
    /// Where it stands while it does not run.
    frozen: Option<Timestamp>,
}

impl Clock {
    /// This world's time at an instant of real time, in whole seconds as Plaid tells it.
    pub(crate) fn now(&self, real: Timestamp) -> Timestamp {
        let exact = self.frozen.unwrap_or_else(|| real.saturating_add(self.ahead).unwrap_or(real));
        Timestamp::from_second(exact.as_second()).unwrap_or(exact)
    }

    pub(crate) fn is_frozen(&self) -> bool {
        self.frozen.is_some()
    }

    /// Steps forward.
    pub(crate) fn step(&mut self, by: SignedDuration) {
        match &mut self.frozen {
            Some(instant) => *instant = instant.saturating_add(by).unwrap_or(*instant),
            None => self.ahead = self.ahead.saturating_add(by),
        }
    }

    /// Stands still from this instant on.
    pub(crate) fn freeze(&mut self, at: Timestamp) {
        self.frozen = Some(at);
    }

    /// Runs again from where it stands.
    pub(crate) fn run(&mut self, real: Timestamp) {
        if let Some(instant) = self.frozen.take() {
            self.ahead = instant.duration_since(real);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_runs_steps_stands_still_and_runs_on_without_going_back() {
        let at = |second: i64| Timestamp::from_second(second).expect("an instant");
        let mut clock = Clock::default();
        assert_eq!(clock.now(at(100)), at(100));
        clock.step(SignedDuration::from_secs(50));
        assert_eq!(clock.now(at(100)), at(150));
        clock.freeze(clock.now(at(100)));
        assert_eq!(clock.now(at(400)), at(150));
        clock.step(SignedDuration::from_secs(5));
        assert_eq!(clock.now(at(400)), at(155));
        clock.run(at(400));
        assert_eq!((clock.now(at(400)), clock.now(at(401))), (at(155), at(156)));
    }
}
