//! Cron schedules: five fields, names and `@` short forms, read on the clocks of a time zone.
//!
//! Where clocks jump forward, times they skip do not come; where they are put back, times come
//! twice. Upstream counterpart: `github.com/robfig/cron/v3`.

use env::Time;
use jiff::{SignedDuration, Timestamp, civil::DateTime, tz::TimeZone};

const MINUTE: i64 = 60;
/// Years searched for the next time (upstream's number).
const HORIZON: i16 = 5;
const MONTHS: [&str; 12] = [
    "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
];
const DAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

/// A parsed schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Schedule {
    /// `@every 1h30m`: so many seconds after the last time.
    Every(u64),
    /// By the clock.
    Clock(Clock),
}

/// When clocks show what: one bit per value of each field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clock {
    minute: u64,
    hour: u64,
    day: u64,
    month: u64,
    weekday: u64,
    /// Day and weekday are alternatives only if both are restricted.
    any_day: bool,
    any_weekday: bool,
}

fn field(text: &str, low: u64, high: u64, names: &[&str]) -> Option<u64> {
    let value = |word: &str| -> Option<u64> {
        let named = names
            .iter()
            .position(|name| word.eq_ignore_ascii_case(name));
        match named {
            Some(at) => Some(at as u64 + low),
            None => word.parse().ok(),
        }
    };
    let mut bits = 0;
    for part in text.split(',') {
        let (range, step) = match part.split_once('/') {
            Some((range, step)) => (range, Some(step.parse::<u64>().ok().filter(|s| *s > 0)?)),
            None => (part, None),
        };
        let (start, end) = match range.split_once('-') {
            _ if range == "*" || range == "?" => (low, high),
            Some((start, end)) => (value(start)?, value(end)?),
            None if step.is_some() => (value(range)?, high),
            None => (value(range)?, value(range)?),
        };
        if start < low || end > high || start > end {
            return None;
        }
        for at in (start..=end).step_by(step.unwrap_or(1) as usize) {
            bits |= 1 << at;
        }
    }
    Some(bits)
}

impl Schedule {
    /// Parses a schedule; `None` if it is not one.
    pub fn parse(text: &str) -> Option<Self> {
        let text = match text.trim() {
            "@yearly" | "@annually" => "0 0 1 1 *",
            "@monthly" => "0 0 1 * *",
            "@weekly" => "0 0 * * 0",
            "@daily" | "@midnight" => "0 0 * * *",
            "@hourly" => "0 * * * *",
            other => match other.strip_prefix("@every ") {
                Some(pause) => return every(pause).map(Schedule::Every),
                None => other,
            },
        };
        let fields: Vec<&str> = text.split_whitespace().collect();
        let [minute, hour, day, month, weekday] = fields[..] else {
            return None;
        };
        let is_any = |field: &str| field.starts_with(['*', '?']);
        Some(Self::Clock(Clock {
            minute: field(minute, 0, 59, &[])?,
            hour: field(hour, 0, 23, &[])?,
            day: field(day, 1, 31, &[])?,
            month: field(month, 1, 12, &MONTHS)?,
            weekday: field(weekday, 0, 6, &DAYS)?,
            any_day: is_any(day),
            any_weekday: is_any(weekday),
        }))
    }

    /// The first scheduled time after `time` on the clocks of `zone`.
    pub fn next(&self, time: Time, zone: &TimeZone) -> Option<Time> {
        let seconds = time.unix_seconds();
        match self {
            Self::Every(pause) => Some(Time::from_unix_seconds(seconds + pause)),
            Self::Clock(clock) => {
                let from = Timestamp::from_second(i64::try_from(seconds).ok()?).ok()?;
                let found = clock.next(from, zone)?.as_second();
                Some(Time::from_unix_seconds(u64::try_from(found).ok()?))
            }
        }
    }
}

/// Seconds of a Go duration such as `1h30m`, at least one.
fn every(text: &str) -> Option<u64> {
    let mut rest = text.trim();
    let mut seconds = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|one: char| !(one.is_ascii_digit() || one == '.'))?;
        let (number, tail) = rest.split_at(digits);
        let unit = tail
            .find(|one: char| one.is_ascii_digit())
            .unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit);
        let factor = match unit {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" | "µs" => 1e-6,
            "ns" => 1e-9,
            _ => return None,
        };
        seconds += number.parse::<f64>().ok()? * factor;
        rest = tail;
    }
    (!text.trim().is_empty()).then(|| (seconds as u64).max(1))
}

impl Clock {
    fn next(&self, from: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        let minute = from.as_second().div_euclid(MINUTE) + 1;
        let mut at = Timestamp::from_second(minute * MINUTE).ok()?;
        let last = zone.to_datetime(at).year() + HORIZON;
        loop {
            let shown = zone.to_datetime(at);
            if shown.year() > last {
                return None;
            }
            let later = if !self.runs_on(shown) {
                tomorrow(shown, zone)?
            } else if self.hour >> shown.hour() & 1 == 0 {
                let left = 3600 - i64::from(shown.minute()) * MINUTE - i64::from(shown.second());
                at.checked_add(SignedDuration::from_secs(left)).ok()?
            } else if self.minute >> shown.minute() & 1 == 0 {
                at.checked_add(SignedDuration::from_secs(MINUTE)).ok()?
            } else {
                return Some(at);
            };
            assert!(later > at, "the search for the next time goes forward");
            at = later;
        }
    }

    fn runs_on(&self, shown: DateTime) -> bool {
        let date_fits = self.day >> shown.day() & 1 == 1;
        let weekday_fits = self.weekday >> shown.weekday().to_sunday_zero_offset() & 1 == 1;
        let fits = if self.any_day || self.any_weekday {
            date_fits && weekday_fits
        } else {
            date_fits || weekday_fits
        };
        self.month >> shown.month() & 1 == 1 && fits
    }
}

/// When the day after the one shown begins.
fn tomorrow(shown: DateTime, zone: &TimeZone) -> Option<Timestamp> {
    let date = shown.date().tomorrow().ok()?;
    let start = date.to_zoned(zone.clone()).ok()?.start_of_day().ok()?;
    Some(start.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;
    use machinery::format_time;

    fn next(schedule: &str, zone: &str, from: &str) -> String {
        let zone = jiff::tz::TimeZoneDatabase::bundled().get(zone).unwrap();
        let from = Time(machinery::parse_time(from).unwrap());
        let found = Schedule::parse(schedule).unwrap().next(from, &zone);
        found.map(|time| format_time(time.0)).unwrap_or_default()
    }

    #[test]
    fn finds_the_next_time() {
        for (schedule, wanted) in [
            ("* * * * *", "2026-01-01T10:08:00Z"),
            ("*/15 * * * *", "2026-01-01T10:15:00Z"),
            ("0 3 * * mon-fri", "2026-01-02T03:00:00Z"),
            ("30 9 1 * *", "2026-02-01T09:30:00Z"),
            ("0 0 29 2 *", "2028-02-29T00:00:00Z"),
            ("0 0 13 * 5", "2026-01-02T00:00:00Z"),
            ("@hourly", "2026-01-01T11:00:00Z"),
            ("@every 1h30m", "2026-01-01T11:37:30Z"),
            ("@every 10ms", "2026-01-01T10:07:31Z"),
            ("0 0 30 2 *", ""),
        ] {
            assert_eq!(
                next(schedule, "UTC", "2026-01-01T10:07:30Z"),
                wanted,
                "{schedule}"
            );
        }
        for bad in [
            "",
            "* * * *",
            "60 * * * *",
            "*/0 * * * *",
            "a * * * *",
            "@every ",
            "@every 1x",
        ] {
            assert_eq!(Schedule::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn clocks_of_zones_are_put_forward_and_back() {
        for (schedule, zone, from, wanted) in [
            (
                "0 9 * * *",
                "Asia/Tokyo",
                "2026-01-01T00:00:00Z",
                "2026-01-02T00:00:00Z",
            ),
            (
                "0 9 * * *",
                "Asia/Tokyo",
                "2025-12-31T23:59:59Z",
                "2026-01-01T00:00:00Z",
            ),
            (
                "30 5 * * *",
                "Asia/Kolkata",
                "2026-01-01T00:00:00Z",
                "2026-01-02T00:00:00Z",
            ),
            // On 8 March 2026 New York has no 02:30.
            (
                "30 2 * * *",
                "America/New_York",
                "2026-03-07T08:00:00Z",
                "2026-03-09T06:30:00Z",
            ),
            // On 1 November 2026 it has 01:30 twice.
            (
                "30 1 * * *",
                "America/New_York",
                "2026-11-01T00:00:00Z",
                "2026-11-01T05:30:00Z",
            ),
            (
                "30 1 * * *",
                "America/New_York",
                "2026-11-01T05:30:00Z",
                "2026-11-01T06:30:00Z",
            ),
            (
                "30 1 * * *",
                "America/New_York",
                "2026-11-01T06:30:00Z",
                "2026-11-02T06:30:00Z",
            ),
            // Half an hour is put back at 02:00 on Lord Howe.
            (
                "0 2 * * *",
                "Australia/Lord_Howe",
                "2026-04-04T14:00:00Z",
                "2026-04-04T15:30:00Z",
            ),
            // Cairo's 24 April 2026 begins at 01:00.
            (
                "0 0 * * *",
                "Africa/Cairo",
                "2026-04-23T00:00:00Z",
                "2026-04-24T21:00:00Z",
            ),
            (
                "0 1 * * *",
                "Africa/Cairo",
                "2026-04-23T12:00:00Z",
                "2026-04-23T22:00:00Z",
            ),
        ] {
            assert_eq!(
                next(schedule, zone, from),
                wanted,
                "{schedule} {zone} {from}"
            );
        }
    }
}
