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
use std::sync::Arc;
use tokio::runtime::Handle;

/// The operating system's random source.
pub struct RealEntropy;

impl Entropy for RealEntropy {
    fn next_u64(&self) -> u64 {
        getrandom::u64().expect("the operating system provides random numbers")
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
        entropy: Arc::new(RealEntropy),
        tasks: Arc::new(RealTasks(handle)),
    }
}
