//! How the endpoints of a frontend are spread over its slots.
//!
//! Pure: must not know netlink. Upstream counterpart: the endpoint maps of kube-proxy's nftables mode.

use env::{Backend, ServiceEntry};
use std::time::Duration;

/// Slot counts. Up to 16 endpoints have one slot each; beyond, every endpoint has at least four,
/// so that shares differ by a quarter at most.
const SIZES: [u32; 20] = [
    0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 256, 1024, 4096,
];
/// Endpoints that have one slot each.
const SINGLE_MAX: usize = 16;
/// Slots per endpoint a shared slot count must allow.
const SLOTS_PER_ENDPOINT: usize = 4;
/// Endpoints of one frontend beyond this are not used.
pub(super) const MAX_ENDPOINTS: usize = 4096;
/// Clients are remembered for this many seconds at most, a day, as the API allows.
const REMEMBERED_MAX: u64 = 86_400;
/// Where the seconds begin in a class's number: above the largest slot count.
const SECONDS_SHIFT: u32 = 13;

/// Which rules serve a frontend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Class {
    /// Number of slots; none rejects.
    pub slots: u32,
    /// For how many seconds a client stays with its endpoint; none chooses anew each time.
    pub seconds: u32,
    /// Rewrite the source.
    pub masquerade: bool,
}

impl Class {
    /// The number rules and maps know the class by.
    pub fn number(self) -> u32 {
        self.slots | self.seconds << SECONDS_SHIFT
    }

    /// The classes that every node has rules for. Those that remember clients have theirs made
    /// when first needed, for there may be as many as there are lengths of time.
    pub fn forgetful() -> impl Iterator<Item = Self> {
        SIZES.into_iter().map(|slots| Self {
            slots,
            seconds: 0,
            masquerade: false,
        })
    }
}

/// The class of a frontend; `None` if there is no frontend.
pub(super) fn class(entry: Option<&ServiceEntry>) -> Option<Class> {
    let entry = entry?;
    let count = entry.backends.len();
    let slots = if count <= SINGLE_MAX {
        count as u32
    } else {
        let fits = |size: &u32| count * SLOTS_PER_ENDPOINT <= *size as usize;
        SIZES.iter().copied().find(fits).unwrap_or(4096)
    };
    let remembered = entry.affinity.filter(|_| count > 0);
    let seconds = |time: Duration| time.as_secs().clamp(1, REMEMBERED_MAX) as u32;
    Some(Class {
        slots,
        seconds: remembered.map_or(0, seconds),
        masquerade: entry.masquerade,
    })
}

/// The endpoint of each slot, in order.
pub(super) fn slots(entry: Option<&ServiceEntry>) -> Vec<Backend> {
    let (Some(entry), Some(class)) = (entry, class(entry)) else {
        return Vec::new();
    };
    let backends = &entry.backends[..entry.backends.len().min(MAX_ENDPOINTS)];
    let around = backends.iter().copied().cycle();
    around.take(class.slots as usize).collect()
}

/// The endpoints that clients of a frontend may be remembered with.
pub(super) fn remembered(entry: Option<&ServiceEntry>) -> &[Backend] {
    let sticky = entry.filter(|entry| entry.affinity.is_some());
    sticky.map_or(&[], |entry| {
        &entry.backends[..entry.backends.len().min(MAX_ENDPOINTS)]
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{collections::BTreeMap, net::Ipv4Addr};

    fn entry(count: u32, sticky: bool) -> ServiceEntry {
        let backend = |n| Backend {
            address: Ipv4Addr::from(0x0a00_0100 + n),
            port: 80,
        };
        ServiceEntry {
            backends: (0..count).map(backend).collect(),
            affinity: sticky.then_some(Duration::from_secs(10800)),
            masquerade: false,
        }
    }

    #[test]
    fn shares_are_even() {
        for count in [1, 3, 10, 16, 17, 64, 65, 1000, 4096] {
            let mut shares = BTreeMap::new();
            for backend in slots(Some(&entry(count, false))) {
                *shares.entry(backend).or_insert(0u32) += 1;
            }
            let (least, most) = (shares.values().min(), shares.values().max());
            let (least, most) = (*least.expect("some"), *most.expect("some"));
            assert_eq!(shares.len(), count as usize);
            assert!(
                most == least || most * 4 <= least * 5 || count > 1024,
                "{count}"
            );
        }
        assert!(slots(Some(&entry(0, true))).is_empty());
    }

    #[test]
    fn every_class_has_a_number_of_its_own() {
        let known: Vec<u32> = Class::forgetful().map(Class::number).collect();
        for count in (0..20).chain([63, 64, 65, 256, 257, 1024, 1025, 5000]) {
            let plain = class(Some(&entry(count, false))).expect("has one");
            assert!(known.contains(&plain.number()), "{plain:?}");
            let sticky = class(Some(&entry(count, true))).expect("has one");
            assert_eq!(known.contains(&sticky.number()), count == 0, "{sticky:?}");
        }
        let mut long = entry(4096, true);
        long.affinity = Some(Duration::from_secs(10 * REMEMBERED_MAX));
        let longest = class(Some(&long)).expect("has one");
        assert_eq!(longest.number() >> SECONDS_SHIFT, 86_400);
    }
}
