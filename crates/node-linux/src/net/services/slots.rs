//! How the endpoints of a frontend are spread over its slots.
//!
//! Pure: must not know netlink. Upstream counterpart: the endpoint maps of kube-proxy's nftables mode.

use env::{Backend, ServiceEntry};

/// Slot counts for connections spread at random. Up to 16 endpoints have one slot each; beyond,
/// every endpoint has at least four, so that shares differ by a quarter at most.
const RANDOM_SIZES: [u32; 20] = [
    0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 256, 1024, 4096,
];
/// Slot counts for clients that stick to an endpoint: few steps, since a new count moves clients.
const STICKY_SIZES: [u32; 4] = [64, 256, 1024, 4096];
/// Slots per endpoint a shared slot count must allow.
const SLOTS_PER_ENDPOINT: usize = 4;
/// Endpoints of one frontend beyond this are not used.
pub(super) const MAX_ENDPOINTS: usize = 4096;

/// Which of the constant rules serves a frontend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Class {
    /// Number of slots; none rejects.
    pub slots: u32,
    /// Chosen by client address instead of at random.
    pub sticky: bool,
    /// Rewrite the source.
    pub masquerade: bool,
}

impl Class {
    /// The number rules and maps know the class by.
    pub fn number(self) -> u32 {
        self.slots | u32::from(self.sticky) << 16
    }

    /// All classes there are rules for.
    pub fn all() -> impl Iterator<Item = Self> {
        let class = |sticky| {
            move |slots| Self {
                slots,
                sticky,
                masquerade: false,
            }
        };
        let random = RANDOM_SIZES.into_iter().map(class(false));
        random.chain(STICKY_SIZES.into_iter().map(class(true)))
    }
}

/// The class of a frontend; `None` if there is no frontend.
pub(super) fn class(entry: Option<&ServiceEntry>) -> Option<Class> {
    let entry = entry?;
    let count = entry.backends.len();
    let sticky = entry.affinity.is_some() && count > 0;
    let slots = if count <= 16 && !sticky {
        count as u32
    } else {
        let fits = |size: &u32| count * SLOTS_PER_ENDPOINT <= *size as usize;
        let smallest = if sticky { 0 } else { 1 };
        STICKY_SIZES[smallest..]
            .iter()
            .copied()
            .find(fits)
            .unwrap_or(4096)
    };
    Some(Class {
        slots,
        sticky,
        masquerade: entry.masquerade,
    })
}

/// The endpoint of each slot, in order.
pub(super) fn slots(entry: Option<&ServiceEntry>) -> Vec<Backend> {
    let (Some(entry), Some(class)) = (entry, class(entry)) else {
        return Vec::new();
    };
    let backends = &entry.backends[..entry.backends.len().min(MAX_ENDPOINTS)];
    if class.sticky {
        (0..class.slots)
            .filter_map(|slot| heaviest(backends, slot))
            .collect()
    } else {
        backends
            .iter()
            .copied()
            .cycle()
            .take(class.slots as usize)
            .collect()
    }
}

/// Rendezvous hashing: a slot changes hands only if its endpoint goes or a heavier one comes.
fn heaviest(backends: &[Backend], slot: u32) -> Option<Backend> {
    backends.iter().copied().max_by_key(|b| {
        let endpoint = u64::from(u32::from(b.address)) << 16 | u64::from(b.port);
        mix(endpoint ^ mix(u64::from(slot)))
    })
}

/// The finalizer of splitmix64: every input bit reaches every output bit.
fn mix(value: u64) -> u64 {
    let value = (value ^ value >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ value >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ value >> 31
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{collections::BTreeMap, net::Ipv4Addr, time::Duration};

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
    fn sticky_slots_move_only_when_they_must() {
        let (before, after) = (slots(Some(&entry(8, true))), slots(Some(&entry(7, true))));
        let gone = before[0].address.octets()[3].max(7);
        let moved = before.iter().zip(&after).filter(|(b, a)| b != a);
        assert!(
            moved
                .clone()
                .all(|(b, _)| b.address.octets()[3] == gone || b.address.octets()[3] == 7)
        );
        assert_eq!(before.len(), 64);
    }

    #[test]
    fn every_class_has_rules() {
        let known: Vec<u32> = Class::all().map(Class::number).collect();
        for count in (0..20).chain([63, 64, 65, 256, 257, 1024, 1025, 5000]) {
            for sticky in [false, true] {
                let class = class(Some(&entry(count, sticky))).expect("has one");
                assert!(known.contains(&class.number()), "{class:?}");
            }
        }
    }
}
