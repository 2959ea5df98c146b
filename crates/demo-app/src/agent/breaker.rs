//! A circuit breaker: after some failures in a row nothing is tried for a while, then one request is.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// A circuit breaker.
pub struct Breaker {
    threshold: u32,
    reset: Duration,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    failures: u32,
    opened: Option<Instant>,
}

impl Breaker {
    /// Opens after `threshold` failures in a row, never if that is 0.
    pub fn new(threshold: u32, reset: Duration) -> Self {
        Self {
            threshold,
            reset,
            state: Mutex::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a request may try. When the time is over one may, and the wait begins anew.
    pub fn allows(&self, now: Instant) -> bool {
        let mut state = self.lock();
        match state.opened {
            None => true,
            Some(opened) if now.duration_since(opened) >= self.reset => {
                state.opened = Some(now);
                true
            }
            Some(_) => false,
        }
    }

    /// Learns how a request went.
    pub fn record(&self, success: bool, now: Instant) {
        let mut state = self.lock();
        if success {
            *state = State::default();
            return;
        }
        state.failures = state.failures.saturating_add(1);
        if self.threshold > 0 && state.failures >= self.threshold {
            state.opened = Some(now);
        }
    }

    /// `closed`, `open` or `half-open`.
    pub fn state(&self, now: Instant) -> &'static str {
        match self.lock().opened {
            None => "closed",
            Some(opened) if now.duration_since(opened) >= self.reset => "half-open",
            Some(_) => "open",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opens_waits_and_closes() {
        let start = Instant::now();
        let later = start + Duration::from_secs(10);
        let breaker = Breaker::new(2, Duration::from_secs(10));
        breaker.record(false, start);
        breaker.record(true, start);
        breaker.record(false, start);
        assert!(breaker.allows(start));
        breaker.record(false, start);
        assert_eq!(
            (
                breaker.allows(start),
                breaker.state(start),
                breaker.state(later)
            ),
            (false, "open", "half-open")
        );
        assert_eq!(
            (breaker.allows(later), breaker.allows(later)),
            (true, false)
        );
        breaker.record(true, later);
        assert_eq!(breaker.state(later), "closed");
    }
}
