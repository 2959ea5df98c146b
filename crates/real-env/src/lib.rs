//! The real world: the operating system's clock, randomness, files, and tokio's tasks.
//!
//! Knows no Kubernetes. Upstream counterpart: `k8s.io/utils/clock.RealClock`, etcd's `fileutil`.

mod callout;
mod clock;
mod disk;
mod files;

pub use callout::RealCallout;
pub use clock::RealClock;
pub use disk::RealDisk;

use env::{BoxFuture, Entropy, Tasks, World};
use std::sync::{Arc, Mutex};
use tokio::runtime::Handle;

/// Bytes drawn from the operating system at once: a system call for each number would cost a
/// create a tenth of its time.
const DRAWN_AT_ONCE: usize = 512;

/// The operating system's random source.
#[derive(Default)]
pub struct RealEntropy(Mutex<Vec<u8>>);

impl Entropy for RealEntropy {
    fn next_u64(&self) -> u64 {
        let mut drawn = self.0.lock().expect("drawing does not panic twice");
        if drawn.is_empty() {
            drawn.resize(DRAWN_AT_ONCE, 0);
            getrandom::fill(&mut drawn).expect("the operating system provides random numbers");
        }
        let bytes = *drawn.last_chunk().expect("whole numbers were drawn");
        // No number is given twice.
        let rest = drawn.len() - bytes.len();
        drawn.truncate(rest);
        u64::from_ne_bytes(bytes)
    }
}

/// Tasks of a tokio runtime. A panic ends its task only; the panic hook reports it.
pub struct RealTasks(Handle);

impl Tasks for RealTasks {
    fn spawn(&self, _name: &'static str, future: BoxFuture<'static, ()>) {
        // Ends by itself; nobody joins it.
        drop(self.0.spawn(future));
    }
}

/// The world of a running process, with tasks on the runtime of `handle`.
pub fn real_world(handle: Handle) -> World {
    World {
        clock: Arc::new(RealClock::new()),
        entropy: Arc::<RealEntropy>::default(),
        tasks: Arc::new(RealTasks(handle)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn no_number_comes_twice() {
        const DRAWS: usize = 3 * DRAWN_AT_ONCE;
        let entropy = RealEntropy::default();
        let drawn: BTreeSet<u64> = (0..DRAWS).map(|_| entropy.next_u64()).collect();
        assert_eq!(drawn.len(), DRAWS);
    }
}
