//! Drives brains: feeds them the log, carries their plans out through the door, and hands
//! outcomes back. The only place where a decision meets waiting.
//!
//! Knows no kind by name except Events, which it records for everyone. Upstream counterpart:
//! controller-runtime's manager, client-go's workqueue and event recorder.

mod carry_out;
mod events;
mod run;
mod workqueue;

pub use carry_out::Actor;
pub use events::Recorder;
pub use run::*;
pub use workqueue::*;
