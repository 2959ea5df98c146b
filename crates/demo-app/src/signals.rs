//! Turns SIGTERM and SIGINT into a call.

use signal_hook::consts::{SIGINT, SIGTERM};
use std::{io, thread};

/// Calls `stop` once, on a thread of its own, when the process is asked to end.
pub fn on_stop(stop: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let mut signals = signal_hook::iterator::Signals::new([SIGTERM, SIGINT])?;
    thread::Builder::new()
        .name("signals".into())
        .spawn(move || {
            if signals.forever().next().is_some() {
                stop();
            }
        })?;
    Ok(())
}
