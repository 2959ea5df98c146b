//! How often the watches of one place are written to.
//!
//! A change costs a system call, a record of TLS and a wake-up for every watch, so a burst of
//! changes under many watches would leave no time for the requests behind it. A watch's first
//! event after a rest goes out at once; what follows sooner than its pace is gathered and goes out
//! together. Nothing is dropped and the order stays. Knows no kind by name. Upstream counterpart:
//! the dispatch budget of `storage/cacher`.

use env::Time;
use machinery::SmolStr;
use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

/// So many watches of a resource are written to as events come.
const UNPACED: usize = 32;
/// Each watch makes all rest so much longer: some times what writing to it costs, so that a burst
/// leaves most of the time to requests.
const REST_EACH: Duration = Duration::from_micros(100);
/// No watch waits for longer.
const REST_MAX: Duration = Duration::from_millis(100);

/// A resource, and the namespace of it that is watched (empty for all).
type Place = (SmolStr, SmolStr);

/// How many watches are told of everything in each place. Those that choose by name, labels or
/// fields are told of little, whatever their number, and keep no pace.
#[derive(Clone, Default)]
pub(crate) struct Paces(Arc<Mutex<BTreeMap<Place, Arc<AtomicUsize>>>>);

impl Paces {
    /// A new watch of everything in a place.
    pub(crate) fn join(&self, resource: &SmolStr, namespace: &str) -> Pace {
        let place = (resource.clone(), namespace.into());
        let mut known = self.lock();
        let watches = known.entry(place.clone()).or_default().clone();
        watches.fetch_add(1, Relaxed);
        Pace {
            paces: self.clone(),
            place,
            watches,
            written: None,
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Place, Arc<AtomicUsize>>> {
        self.0.lock().expect("counting does not panic")
    }
}

/// One watch's pace.
pub(crate) struct Pace {
    paces: Paces,
    place: Place,
    watches: Arc<AtomicUsize>,
    written: Option<Time>,
}

impl Pace {
    /// Notes that events have been written; `more` if there was more than went out at once, for
    /// which nobody rests.
    pub(crate) fn wrote(&mut self, now: Time, more: bool) {
        self.written = (!more).then_some(now);
    }

    /// How long to gather before the next events are written.
    pub(crate) fn rest(&self, now: Time) -> Option<Duration> {
        let rest = rest_of(self.watches.load(Relaxed));
        let left = rest.checked_sub(now.since(self.written?))?;
        (!left.is_zero()).then_some(left)
    }
}

impl Drop for Pace {
    fn drop(&mut self) {
        let mut known = self.paces.lock();
        if self.watches.fetch_sub(1, Relaxed) == 1 {
            known.remove(&self.place);
        }
    }
}

/// What so many watches rest between two writes.
fn rest_of(watches: usize) -> Duration {
    if watches <= UNPACED {
        return Duration::ZERO;
    }
    let each = u32::try_from(watches).unwrap_or(u32::MAX);
    REST_EACH.saturating_mul(each).min(REST_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_watches_rest_longer_and_never_too_long() {
        for (watches, millis) in [(0, 0), (1, 0), (32, 0), (50, 5), (500, 50), (50_000, 100)] {
            assert_eq!(rest_of(watches).as_millis(), millis, "{watches}");
        }
    }

    #[test]
    fn only_what_follows_soon_is_gathered() {
        let paces = Paces::default();
        let resource = SmolStr::from("pods");
        let mut pace = paces.join(&resource, "");
        let others: Vec<_> = (0..49).map(|_| paces.join(&resource, "")).collect();
        let at = |millis: u64| Time(millis * 1_000);
        assert_eq!(pace.rest(at(1_000)), None);
        pace.wrote(at(1_000), false);
        assert_eq!(pace.rest(at(1_002)), Some(Duration::from_millis(3)));
        assert_eq!(pace.rest(at(1_005)), None);
        // A backlog goes out as fast as it is read.
        pace.wrote(at(1_000), true);
        assert_eq!(pace.rest(at(1_001)), None);
        pace.wrote(at(1_000), false);
        drop(others);
        assert_eq!(pace.rest(at(1_001)), None);
        let elsewhere = paces.join(&resource, "there");
        assert_eq!(paces.lock().len(), 2);
        drop((pace, elsewhere));
        assert_eq!(paces.lock().len(), 0);
    }
}
