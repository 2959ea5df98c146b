//! Points in time and the clock that tells them.
//!
//! Knows nothing of calendars in use (that is `machinery`) nor of the wall clock (that is `real-env`).

use crate::BoxFuture;
use std::{
    ops::{Add, Sub},
    time::Duration,
};

/// A point in time: microseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(pub u64);

impl Time {
    /// The point `seconds` after the Unix epoch.
    pub const fn from_unix_seconds(seconds: u64) -> Self {
        Self(seconds * 1_000_000)
    }

    /// Whole seconds since the Unix epoch.
    pub const fn unix_seconds(self) -> u64 {
        self.0 / 1_000_000
    }

    /// Time passed since `earlier`, zero if `earlier` lies ahead.
    pub const fn since(self, earlier: Time) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Time {
    type Output = Time;
    fn add(self, duration: Duration) -> Time {
        Time(
            self.0
                .saturating_add(duration.as_micros().min(u64::MAX as u128) as u64),
        )
    }
}

impl Sub<Duration> for Time {
    type Output = Time;
    fn sub(self, duration: Duration) -> Time {
        Time(
            self.0
                .saturating_sub(duration.as_micros().min(u64::MAX as u128) as u64),
        )
    }
}

/// Reads and waits on time. All waiting in the platform goes through one of these.
pub trait Clock: Send + Sync {
    /// The current time; never runs backwards.
    fn now(&self) -> Time;
    /// Time since some moment, to measure with: finer and cheaper than `now()`.
    fn lapse(&self) -> Duration {
        Duration::from_micros(self.now().0)
    }
    /// Completes when `now()` has reached `deadline`. Resolution is one millisecond.
    fn sleep_until(&self, deadline: Time) -> BoxFuture<'static, ()>;
}
