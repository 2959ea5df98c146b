//! Container logs: one line per record in the CRI format, `time stream tag content`.
//!
//! Must not know containers, only files. Upstream counterpart: containerd's CRI logger and the
//! kubelet's `kuberuntime/logs`.

mod reader;
mod writer;

pub use reader::Reader;
pub use writer::{LogWriter, Stream};

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    path::Path,
};

/// A log file is rotated when it has grown to this many bytes (kubelet's `containerLogMaxSize`).
pub const MAX_FILE_SIZE: u64 = 10 << 20;
/// Log files kept per container, the current one included (kubelet's `containerLogMaxFiles`).
pub const MAX_FILES: usize = 5;

/// Most bytes of a log that become a termination message.
const LAST_WORDS: usize = 2048;
/// Most lines of a log that become a termination message.
const LAST_LINES: usize = 80;
/// So much of a log's end is read for them, with room for the records' heads.
const LAST_BYTES: u64 = 64 << 10;

/// The end of a log, as the termination message of a container that left none. A log that cannot
/// be read says nothing.
pub fn last_words(path: &Path) -> String {
    let read = || -> io::Result<Vec<u8>> {
        let mut file = File::open(path)?;
        let end = file.seek(SeekFrom::End(0))?;
        file.seek(SeekFrom::Start(end.saturating_sub(LAST_BYTES)))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    last_lines(&String::from_utf8_lossy(&read().unwrap_or_default()))
}

fn last_lines(records: &str) -> String {
    let records: Vec<&str> = records.lines().collect();
    let first = records.len().saturating_sub(LAST_LINES);
    let mut text = String::new();
    for record in &records[first..] {
        let mut parts = record.splitn(4, ' ').skip(2);
        let (Some(tag), Some(content)) = (parts.next(), parts.next()) else {
            continue;
        };
        text.push_str(content);
        if tag == "F" {
            text.push('\n');
        }
    }
    let mut start = text.len().saturating_sub(LAST_WORDS);
    while !text.is_char_boundary(start) {
        start += 1;
    }
    text.split_off(start)
}

/// An instant in RFC 3339 with nine fractional digits, so that texts sort like times.
pub fn timestamp(unix_nanos: u128) -> String {
    const NANOS: u128 = 1_000_000_000;
    const DAY: u64 = 86_400;
    let (seconds, nanos) = ((unix_nanos / NANOS) as u64, unix_nanos % NANOS);
    let (year, month, day) = civil(seconds / DAY);
    let (hour, minute, second) = (seconds % DAY / 3600, seconds % 3600 / 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{nanos:09}Z")
}

/// Year, month and day of a day counted from 1970-01-01 (Gregorian calendar, years from March).
fn civil(days: u64) -> (u64, u64, u64) {
    const DAYS_BEFORE_1970: u64 = 719_468;
    const DAYS_PER_ERA: u64 = 146_097;
    let days = days + DAYS_BEFORE_1970;
    let (era, of_era) = (days / DAYS_PER_ERA, days % DAYS_PER_ERA);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 {
        from_march + 3
    } else {
        from_march - 9
    };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_ends_in_last_words() {
        let record = |tag: &str, text: &str| format!("2026-01-01T00:00:00Z stderr {tag} {text}\n");
        let many = record("F", "x").repeat(100);
        let long = record("F", &"é".repeat(2000));
        for (log, words) in [
            (record("P", "DONE"), "DONE".to_owned()),
            (record("F", "a b") + &record("F", ""), "a b\n\n".to_owned()),
            (many, "x\n".repeat(80)),
            (long, "é".repeat(1023) + "\n"),
            (String::new(), String::new()),
        ] {
            assert_eq!(last_lines(&log), words);
        }
    }

    #[test]
    fn timestamps() {
        let cases = [
            (0, "1970-01-01T00:00:00.000000000Z"),
            (951_782_400_000_000_007, "2000-02-29T00:00:00.000000007Z"),
            (1_767_225_599_123_456_789, "2025-12-31T23:59:59.123456789Z"),
        ];
        for (nanos, text) in cases {
            assert_eq!(timestamp(nanos), text);
        }
    }
}
