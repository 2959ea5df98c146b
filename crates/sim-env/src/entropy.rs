//! Seeded randomness (splitmix64): equal seeds draw equal numbers on every machine.

use env::Entropy;
use std::sync::atomic::{AtomicU64, Ordering};

const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// A stream of random numbers.
pub struct SimEntropy {
    state: AtomicU64,
}

fn mix(state: u64) -> u64 {
    let state = (state ^ state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let state = (state ^ state >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    state ^ state >> 31
}

impl SimEntropy {
    /// The stream of a seed.
    pub fn new(seed: u64) -> Self {
        Self {
            state: AtomicU64::new(mix(seed.wrapping_add(STEP))),
        }
    }

    /// A stream of its own for `label`: it depends on the seed and the label only, so a new
    /// consumer does not shift what the others draw.
    pub fn labelled(seed: u64, label: &str) -> Self {
        Self::new(label.bytes().fold(seed, |state, byte| {
            mix(state ^ u64::from(byte)).wrapping_add(STEP)
        }))
    }

    /// A number below `bound` (which is positive).
    pub fn below(&self, bound: u64) -> u64 {
        self.next_u64() % bound
    }
}

impl Entropy for SimEntropy {
    fn next_u64(&self) -> u64 {
        mix(self
            .state
            .fetch_add(STEP, Ordering::Relaxed)
            .wrapping_add(STEP))
    }
}
