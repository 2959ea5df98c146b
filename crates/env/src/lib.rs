//! The world as an argument: every effect the platform can have on time, chance,
//! tasks, disks, containers and kernel networking is a trait here.
//!
//! This room holds traits and plain values only. It must not know which world it is
//! in, nor any Kubernetes kind. `real-env` and `node-linux` implement it over the
//! operating system, `sim-env` over virtual time. Upstream counterpart: `k8s.io/utils/clock`,
//! the CRI and CNI interfaces, taken together.

mod callout;
mod containers;
#[cfg(feature = "contract")]
pub mod contract;
mod disk;
mod kernel_net;
mod time;

pub use callout::*;
pub use containers::*;
pub use disk::*;
pub use kernel_net::*;
pub use time::*;

use std::{future::Future, pin::Pin, sync::Arc};

/// A boxed future that may move between threads: what every asynchronous seam returns.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Source of randomness. Everything random (UIDs, name suffixes, jitter) draws from it,
/// so that a simulated run is a function of its seed.
pub trait Entropy: Send + Sync {
    /// The next 64 random bits.
    fn next_u64(&self) -> u64;
}

/// Starts concurrent activities.
pub trait Tasks: Send + Sync {
    /// Runs `future` to completion in the background. `name` appears in diagnostics.
    fn spawn(&self, name: &'static str, future: BoxFuture<'static, ()>);
}

/// The ambient world: time, chance and tasks, cheap to clone and handed to everyone.
#[derive(Clone)]
pub struct World {
    /// Reads and waits on time.
    pub clock: Arc<dyn Clock>,
    /// Draws random bits.
    pub entropy: Arc<dyn Entropy>,
    /// Starts tasks.
    pub tasks: Arc<dyn Tasks>,
}

impl World {
    /// The current time.
    pub fn now(&self) -> Time {
        self.clock.now()
    }

    /// Time since some moment, see [`Clock::lapse`].
    pub fn lapse(&self) -> std::time::Duration {
        self.clock.lapse()
    }

    /// Completes once `duration` has passed.
    pub fn sleep(&self, duration: std::time::Duration) -> BoxFuture<'static, ()> {
        self.clock.sleep_until(self.clock.now() + duration)
    }

    /// Spawns a task, see [`Tasks::spawn`].
    pub fn spawn(&self, name: &'static str, future: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(name, Box::pin(future));
    }

    /// `length` random characters of the alphabet Kubernetes uses for generated names
    /// (`k8s.io/apimachinery/pkg/util/rand`: no vowels, no look-alikes).
    pub fn name_suffix(&self, length: usize) -> String {
        const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
        let pick = |_| ALPHABET[(self.entropy.next_u64() % ALPHABET.len() as u64) as usize] as char;
        (0..length).map(pick).collect()
    }

    /// A random (version 4) UUID in its canonical text form.
    pub fn uuid(&self) -> String {
        let high = self.entropy.next_u64() & !0xf000 | 0x4000;
        let low = self.entropy.next_u64() & !(0b11 << 62) | 1 << 63;
        let (time_low, time_mid, version) = (high >> 32, high >> 16 & 0xffff, high & 0xffff);
        format!(
            "{time_low:08x}-{time_mid:04x}-{version:04x}-{:04x}-{:012x}",
            low >> 48,
            low & 0xffff_ffff_ffff
        )
    }
}
