//! When leased objects expire: the published leases in time order.
//!
//! Upstream counterpart: etcd's lessor, as used for Events.

use crate::Key;
use env::Time;
use machinery::SmolStr;
use std::collections::{BTreeMap, BTreeSet};

/// A leased object's place.
pub(crate) type Place = (SmolStr, Key);

/// Leases of published objects.
#[derive(Clone, Default)]
pub(crate) struct Leases {
    by_place: BTreeMap<Place, Time>,
    by_time: BTreeSet<(Time, Place)>,
}

impl Leases {
    /// Sets or lifts the lease of one object.
    pub(crate) fn set(&mut self, resource: &SmolStr, key: &Key, expiry: Option<Time>) {
        if self.by_place.is_empty() && expiry.is_none() {
            return;
        }
        let place = (resource.clone(), key.clone());
        if let Some(old) = self.by_place.remove(&place) {
            self.by_time.remove(&(old, place.clone()));
        }
        if let Some(expiry) = expiry {
            self.by_time.insert((expiry, place.clone()));
            self.by_place.insert(place, expiry);
        }
    }

    /// The lease of one object.
    pub(crate) fn get(&self, resource: &SmolStr, key: &Key) -> Option<Time> {
        if self.by_place.is_empty() {
            return None;
        }
        self.by_place.get(&(resource.clone(), key.clone())).copied()
    }

    /// The earliest expiry.
    pub(crate) fn next(&self) -> Option<Time> {
        self.by_time.first().map(|(time, _)| *time)
    }

    /// Objects whose lease has ended by `now`, earliest first.
    pub(crate) fn due(&self, now: Time) -> impl Iterator<Item = &Place> {
        self.by_time
            .iter()
            .take_while(move |(time, _)| *time <= now)
            .map(|(_, place)| place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn follows_the_latest_lease() {
        let (resource, a, b) = (SmolStr::new("events"), Key::new("", "a"), Key::new("", "b"));
        let mut leases = Leases::default();
        leases.set(&resource, &a, Some(Time(5)));
        leases.set(&resource, &b, Some(Time(3)));
        leases.set(&resource, &b, Some(Time(9)));
        assert_eq!(leases.next(), Some(Time(5)));
        assert_eq!(leases.due(Time(8)).count(), 1);
        leases.set(&resource, &a, None);
        assert_eq!(
            (leases.next(), leases.get(&resource, &a)),
            (Some(Time(9)), None)
        );
    }
}
