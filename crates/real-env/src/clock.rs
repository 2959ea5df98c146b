//! The time of day that never runs backwards.
//!
//! It advances with the monotonic clock and follows the wall clock forwards (after a suspend
//! or a correction), never back. Upstream counterpart: `clock.RealClock`.

use env::{BoxFuture, Clock, Time};
use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// Longest single wait: a wall clock set forward while waiting is noticed after this.
const WAIT_AT_MOST: Duration = Duration::from_secs(60);

/// The operating system's clock.
#[derive(Clone)]
pub struct RealClock {
    /// A moment of the monotonic clock and the time it was.
    anchor: Arc<Mutex<(Instant, Time)>>,
    born: Instant,
}

fn wall() -> Time {
    // A wall clock before 1970 is taken as 1970.
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Time::default() + since
}

/// The time now and the anchor to keep, given both clocks.
fn follow(anchor: (Instant, Time), instant: Instant, wall: Time) -> (Instant, Time) {
    let steady = anchor.1 + instant.saturating_duration_since(anchor.0);
    (instant, steady.max(wall))
}

impl RealClock {
    /// A clock that starts at the wall clock's time.
    pub fn new() -> Self {
        Self {
            anchor: Arc::new(Mutex::new((Instant::now(), wall()))),
            born: Instant::now(),
        }
    }
}

impl Default for RealClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for RealClock {
    fn now(&self) -> Time {
        let mut anchor = self.anchor.lock().expect("the clock is sound");
        let (steady, wall) = (Instant::now(), wall());
        let now = follow(*anchor, steady, wall);
        if now.1 == wall {
            *anchor = now;
        }
        now.1
    }

    fn lapse(&self) -> Duration {
        self.born.elapsed()
    }

    fn sleep_until(&self, deadline: Time) -> BoxFuture<'static, ()> {
        let clock = self.clone();
        Box::pin(async move {
            loop {
                let left = deadline.since(clock.now());
                if left.is_zero() {
                    return;
                }
                tokio::time::sleep(left.min(WAIT_AT_MOST)).await;
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn follows_the_wall_forwards_and_never_back() {
        let start = Instant::now();
        let second = Duration::from_secs(1);
        let anchor = (start, Time::from_unix_seconds(100));
        let at = |seconds: u64| Time::from_unix_seconds(seconds);
        for (wall, expected) in [(101, 101), (50, 101), (4_000, 4_000)] {
            assert_eq!(
                follow(anchor, start + second, at(wall)).1,
                at(expected),
                "wall {wall}"
            );
        }
        assert_eq!(follow(anchor, start - second, at(99)).1, at(100));
    }
}
