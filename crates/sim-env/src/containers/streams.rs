//! Streams of simulated containers: answers to commands, and logs.
//!
//! Upstream counterpart: the kubelet's fake streaming runtime.

use super::SimContainers;
use env::*;
use std::{
    collections::VecDeque,
    future::pending,
    sync::{Mutex, Weak},
};

/// A command that has ended, whose output is still to be read.
pub(super) struct Answer(Mutex<VecDeque<Output>>);

impl Answer {
    pub fn new(output: ExecOutput) -> Self {
        let mut parts = VecDeque::new();
        if !output.stdout.is_empty() {
            parts.push_back(Output::Stdout(output.stdout));
        }
        if !output.stderr.is_empty() {
            parts.push_back(Output::Stderr(output.stderr));
        }
        parts.push_back(Output::Exit(output.exit_code));
        Self(Mutex::new(parts))
    }
}

impl Session for Answer {
    fn write<'a>(&'a self, _input: &'a [u8]) -> BoxFuture<'a, RuntimeResult<()>> {
        Box::pin(async { Ok(()) })
    }

    fn read(&self) -> BoxFuture<'_, Output> {
        let next = self.0.lock().expect("answers are sound").pop_front();
        Box::pin(async move {
            match next {
                Some(output) => output,
                None => pending().await,
            }
        })
    }

    fn resize(&self, _size: TerminalSize) {}
}

/// A reader of one container's log.
pub(super) struct Log {
    node: Weak<SimContainers>,
    id: String,
    options: LogOptions,
    /// Lines handed out, and bytes.
    read: Mutex<(usize, u64)>,
}

impl Log {
    pub fn new(node: Weak<SimContainers>, id: &str, options: &LogOptions, lines: usize) -> Self {
        let tail = options
            .tail_lines
            .map_or(lines, |tail| (tail as usize).min(lines));
        Self {
            node,
            id: id.to_owned(),
            options: options.clone(),
            read: Mutex::new((lines - tail, 0)),
        }
    }

    fn format(&self, (time, text): &(Time, String)) -> String {
        let wanted = self.options.since.is_none_or(|since| *time >= since);
        match (wanted, self.options.timestamps) {
            (false, _) => String::new(),
            (true, false) => format!("{text}\n"),
            (true, true) => format!("{} {text}\n", rfc3339(*time)),
        }
    }

    /// Formats the lines not handed out yet, within the limit.
    fn take(&self, lines: &[(Time, String)]) -> Vec<u8> {
        let mut read = self.read.lock().expect("logs are sound");
        let new = lines.get(read.0..).unwrap_or_default();
        let mut bytes = new
            .iter()
            .map(|line| self.format(line))
            .collect::<String>()
            .into_bytes();
        let left = self
            .options
            .limit_bytes
            .map_or(u64::MAX, |limit| limit - read.1);
        bytes.truncate(usize::try_from(left).unwrap_or(usize::MAX));
        *read = (lines.len(), read.1 + bytes.len() as u64);
        bytes
    }
}

impl LogReader for Log {
    fn read(&self) -> BoxFuture<'_, RuntimeResult<Option<Vec<u8>>>> {
        Box::pin(async {
            loop {
                let Some(node) = self.node.upgrade() else {
                    return Ok(None);
                };
                let (lines, running, version) = node.log_lines(&self.id)?;
                let bytes = self.take(&lines);
                if !bytes.is_empty() {
                    return Ok(Some(bytes));
                }
                if !(running && self.options.follow) {
                    return Ok(None);
                }
                node.changed_since(version).await;
            }
        })
    }
}

/// A time as log lines show it: whole seconds since the epoch suffice to order lines, the
/// calendar is worked out from the count of days (Howard Hinnant's `civil_from_days`).
fn rfc3339(time: Time) -> String {
    let (days, second) = (time.unix_seconds() / 86_400, time.unix_seconds() % 86_400);
    let shifted = days + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = (shifted_month + 2) % 12 + 1;
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute) = (second / 3_600, second / 60 % 60);
    let (second, micros) = (second % 60, time.0 % 1_000_000);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micros:06}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calendar() {
        for (micros, wanted) in [
            (0, "1970-01-01T00:00:00.000000Z"),
            (951_782_400_000_001, "2000-02-29T00:00:00.000001Z"),
            (1_767_225_599_000_000, "2025-12-31T23:59:59.000000Z"),
        ] {
            assert_eq!(rfc3339(Time(micros)), wanted);
        }
    }
}
