//! Cron schedules: five fields in UTC, names and `@` short forms.
//!
//! Upstream counterpart: `github.com/robfig/cron/v3`.

use env::Time;
use machinery::format_time;

const MINUTE: u64 = 60;
const DAY: u64 = 86_400;
/// Days searched for the next time; 29 February may be eight years away.
const HORIZON: u64 = 366 * 9;
const MONTHS: [&str; 12] = [
    "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
];
const DAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

/// A parsed schedule: one bit per value of each field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schedule {
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
            other => other,
        };
        let fields: Vec<&str> = text.split_whitespace().collect();
        let [minute, hour, day, month, weekday] = fields[..] else {
            return None;
        };
        let is_any = |field: &str| field.starts_with(['*', '?']);
        Some(Self {
            minute: field(minute, 0, 59, &[])?,
            hour: field(hour, 0, 23, &[])?,
            day: field(day, 1, 31, &[])?,
            month: field(month, 1, 12, &MONTHS)?,
            weekday: field(weekday, 0, 6, &DAYS)?,
            any_day: is_any(day),
            any_weekday: is_any(weekday),
        })
    }

    /// The first scheduled time after `time`.
    pub fn next(&self, time: Time) -> Option<Time> {
        let from = (time.unix_seconds() / MINUTE + 1) * MINUTE;
        let first = from / DAY;
        for day in first..first + HORIZON {
            if !self.runs_on(day) {
                continue;
            }
            let start = if day == first { from % DAY / MINUTE } else { 0 };
            let found = (start..24 * 60)
                .find(|at| self.hour >> (at / 60) & 1 == 1 && self.minute >> (at % 60) & 1 == 1);
            if let Some(at) = found {
                return Some(Time::from_unix_seconds(day * DAY + at * MINUTE));
            }
        }
        None
    }

    fn runs_on(&self, day: u64) -> bool {
        let text = format_time(Time::from_unix_seconds(day * DAY).0);
        let number = |from: usize| text[from..from + 2].parse::<u64>().unwrap_or_default();
        let (month, date, weekday) = (number(5), number(8), (day + 4) % 7);
        let date_fits = self.day >> date & 1 == 1;
        let weekday_fits = self.weekday >> weekday & 1 == 1;
        let fits = if self.any_day || self.any_weekday {
            date_fits && weekday_fits
        } else {
            date_fits || weekday_fits
        };
        self.month >> month & 1 == 1 && fits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_next_time() {
        let from = Time(machinery::parse_time("2026-01-01T10:07:30Z").unwrap());
        for (schedule, next) in [
            ("* * * * *", "2026-01-01T10:08:00Z"),
            ("*/15 * * * *", "2026-01-01T10:15:00Z"),
            ("0 3 * * mon-fri", "2026-01-02T03:00:00Z"),
            ("30 9 1 * *", "2026-02-01T09:30:00Z"),
            ("0 0 29 2 *", "2028-02-29T00:00:00Z"),
            ("0 0 13 * 5", "2026-01-02T00:00:00Z"),
            ("@hourly", "2026-01-01T11:00:00Z"),
        ] {
            let found = Schedule::parse(schedule).unwrap().next(from).unwrap();
            assert_eq!(format_time(found.0), next, "{schedule}");
        }
        for bad in ["", "* * * *", "60 * * * *", "*/0 * * * *", "a * * * *"] {
            assert_eq!(Schedule::parse(bad), None, "{bad}");
        }
    }
}
