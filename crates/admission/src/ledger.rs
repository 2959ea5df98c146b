//! What has been given out: durable takings seen in the log, and reservations of writes that
//! have passed but are not yet in the log.
//!
//! A reservation ends when its object appears in the log, when its write is rolled back, or
//! when it is so old that its write cannot be under way any more (a client that went away).
//! Knows neither addresses nor ports. Upstream counterpart:
//! `pkg/registry/core/service/{ip,port}allocator` and their repair loops.

use env::Time;
use machinery::SmolStr;
use std::{collections::BTreeMap, time::Duration};

/// A write is committed or refused long before this.
pub(crate) const RESERVED_FOR: Duration = Duration::from_secs(60);
/// Automatic choices remembered, so that requests in flight together choose differently. More
/// than requests can be between choosing and reserving at one time.
const RECENT: usize = 256;

/// Identity of one pass of a review through the chain.
pub(crate) type Token = usize;

/// The token of a review: its address, which is its own while it lives and which it keeps
/// between passing validation and being rolled back.
pub(crate) fn token(review: &registry::Review<'_>) -> Token {
    std::ptr::from_ref(review).addr()
}

struct Reservation {
    token: Token,
    owner: SmolStr,
    at: Time,
}

/// Who holds which number of a range. Owners are UIDs.
#[derive(Default)]
pub(crate) struct Ledger {
    held: BTreeMap<u32, SmolStr>,
    reserved: BTreeMap<u32, Vec<Reservation>>,
    recent: std::collections::VecDeque<u32>,
}

impl Ledger {
    /// The log says that `owner` holds `number`; its reservation has served.
    pub fn hold(&mut self, number: u32, owner: &str) {
        self.held.insert(number, owner.into());
        self.forget(number, |reservation| reservation.owner == owner);
    }

    /// The log says that `owner` holds `number` no more.
    pub fn release(&mut self, number: u32, owner: &str) {
        if self.held.get(&number).is_some_and(|holder| holder == owner) {
            self.held.remove(&number);
        }
    }

    /// Forgets what the log said, keeping reservations.
    pub fn forget_held(&mut self) {
        self.held.clear();
    }

    /// Whether someone other than `owner` holds or has reserved `number`.
    pub fn taken(&self, number: u32, owner: &str, now: Time) -> bool {
        let fresh = |one: &Reservation| one.owner != owner && now.since(one.at) < RESERVED_FOR;
        self.held.get(&number).is_some_and(|holder| holder != owner)
            || self
                .reserved
                .get(&number)
                .is_some_and(|all| all.iter().any(fresh))
    }

    /// Reserves `number`; false if it is taken.
    pub fn reserve(&mut self, number: u32, owner: &str, (token, now): (Token, Time)) -> bool {
        if self.taken(number, owner, now) {
            return false;
        }
        self.forget(number, |one| now.since(one.at) >= RESERVED_FOR);
        if !self.held.contains_key(&number) {
            let reservation = Reservation {
                token,
                owner: owner.into(),
                at: now,
            };
            self.reserved.entry(number).or_default().push(reservation);
        }
        true
    }

    /// Takes back all reservations made under `token`.
    pub fn roll_back(&mut self, token: Token) {
        self.reserved.retain(|_, all| {
            all.retain(|one| one.token != token);
            !all.is_empty()
        });
    }

    /// A number of `range` nobody has, found by walking from `start` (which wraps).
    pub fn choose(&mut self, range: std::ops::Range<u32>, start: u64, now: Time) -> Option<u32> {
        let length = u64::from(range.end.saturating_sub(range.start));
        let start = start.checked_rem(length)?;
        let walk = |ledger: &Ledger, avoid: bool| {
            (0..length)
                .map(|step| range.start + ((start + step) % length) as u32)
                .find(|number| {
                    !(ledger.taken(*number, "", now) || avoid && ledger.recent.contains(number))
                })
        };
        let chosen = walk(self, true).or_else(|| walk(self, false))?;
        if self.recent.len() == RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back(chosen);
        Some(chosen)
    }

    fn forget(&mut self, number: u32, which: impl Fn(&Reservation) -> bool) {
        if let Some(all) = self.reserved.get_mut(&number) {
            all.retain(|one| !which(one));
            if all.is_empty() {
                self.reserved.remove(&number);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Time = Time::from_unix_seconds(1_000);

    #[test]
    fn one_owner_at_a_time() {
        let mut ledger = Ledger::default();
        assert!(ledger.reserve(5, "a", (1, NOW)));
        assert!(!ledger.reserve(5, "b", (2, NOW)));
        assert!(ledger.reserve(5, "a", (3, NOW)));
        ledger.roll_back(1);
        assert!(
            ledger.taken(5, "b", NOW),
            "the other pass of the same object still holds it"
        );
        ledger.roll_back(3);
        assert!(!ledger.taken(5, "b", NOW));
        ledger.hold(5, "a");
        assert!(!ledger.reserve(5, "b", (4, NOW)));
        ledger.release(5, "b");
        assert!(ledger.taken(5, "b", NOW), "only the holder releases");
        ledger.release(5, "a");
        assert!(ledger.reserve(5, "b", (4, NOW)));
        assert!(
            ledger.reserve(5, "c", (5, NOW + RESERVED_FOR)),
            "an abandoned reservation ends"
        );
    }

    #[test]
    fn choices_differ_until_nothing_is_left() {
        let mut ledger = Ledger::default();
        let chosen: Vec<_> = (0..4).map(|_| ledger.choose(10..14, 3, NOW)).collect();
        assert_eq!(chosen, [Some(13), Some(10), Some(11), Some(12)]);
        ledger.hold(11, "a");
        assert_eq!(
            ledger.choose(10..12, 1, NOW),
            Some(10),
            "chosen before but never reserved"
        );
        ledger.hold(10, "b");
        assert_eq!(ledger.choose(10..12, 1, NOW), None);
        assert_eq!(ledger.choose(10..10, 1, NOW), None);
    }
}
