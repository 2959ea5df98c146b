//! Points in time and durations: reading, writing, calendar fields.
//!
//! Knows no clock. Upstream counterpart: Go's `time` as cel-go uses it.

use std::fmt;

const SECONDS_PER_DAY: i64 = 86_400;
/// First and last second of the years that CEL knows: 1 and 9999.
const RANGE: std::ops::RangeInclusive<i64> = -62_135_596_800..=253_402_300_799;
pub(crate) const NANOS: i64 = 1_000_000_000;

/// A point in time, to the nanosecond.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp {
    /// Seconds since 1970.
    pub seconds: i64,
    /// Nanoseconds within the second.
    pub nanos: u32,
}

/// Calendar fields.
pub struct Civil {
    pub year: i64,
    /// From 1.
    pub month: i64,
    /// From 1.
    pub day: i64,
    /// From 0.
    pub day_of_year: i64,
    /// From Sunday, 0.
    pub weekday: i64,
    pub hour: i64,
    pub minute: i64,
    pub second: i64,
}

/// Days since 1970 of a date.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year - era * 400;
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

fn leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn month_length(year: i64, month: i64) -> i64 {
    match month {
        2 if leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

impl Timestamp {
    /// From seconds and nanoseconds that may be beyond a second.
    pub fn new(seconds: i64, nanos: i64) -> Option<Self> {
        let seconds = seconds.checked_add(nanos.div_euclid(NANOS))?;
        RANGE.contains(&seconds).then(|| Self {
            seconds,
            nanos: nanos.rem_euclid(NANOS) as u32,
        })
    }

    /// Moved by a duration.
    pub fn plus(self, nanos: i64) -> Option<Self> {
        let whole = self.seconds.checked_add(nanos.div_euclid(NANOS))?;
        Self::new(whole, i64::from(self.nanos) + nanos.rem_euclid(NANOS))
    }

    /// Nanoseconds since another.
    pub fn since(self, other: Self) -> Option<i64> {
        let nanos = i128::from(self.seconds - other.seconds) * i128::from(NANOS)
            + i128::from(self.nanos)
            - i128::from(other.nanos);
        i64::try_from(nanos).ok()
    }

    /// Calendar fields at an offset from UTC in seconds.
    pub fn civil(self, offset: i64) -> Civil {
        let local = self.seconds + offset;
        let (day, time) = (
            local.div_euclid(SECONDS_PER_DAY),
            local.rem_euclid(SECONDS_PER_DAY),
        );
        let shifted = day + 719_468;
        let era = shifted.div_euclid(146_097);
        let of_era = shifted.rem_euclid(146_097);
        let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_from_march = (5 * of_year + 2) / 153;
        let month = (month_from_march + 2) % 12 + 1;
        let year = year_of_era + era * 400 + i64::from(month <= 2);
        Civil {
            year,
            month,
            day: of_year - (153 * month_from_march + 2) / 5 + 1,
            day_of_year: day - days(year, 1, 1),
            weekday: (day + 4).rem_euclid(7),
            hour: time / 3600,
            minute: time / 60 % 60,
            second: time % 60,
        }
    }

    /// RFC 3339.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = text.as_bytes();
        if bytes.len() < 20 || !text.is_ascii() || bytes[10] != b'T' {
            return None;
        }
        let midnight = date(&text[..10])?;
        let (clock, rest) = text[11..].split_at(8);
        let parts = numbers(clock, ':', &[2, 2, 2])?;
        if parts[0] > 23 || parts[1] > 59 || parts[2] > 59 {
            return None;
        }
        let (nanos, rest) = fraction(rest)?;
        let seconds = midnight + parts[0] * 3600 + parts[1] * 60 + parts[2] - zone(rest)?;
        Self::new(seconds, nanos)
    }

    /// RFC 3339, or one of the other forms that the `date` and `date-time` formats allow.
    pub fn parse_loosely(text: &str) -> Option<Self> {
        Self::parse(text).or_else(|| {
            if text.len() == 10 {
                return Self::new(date(text)?, 0);
            }
            let fixed = text.replacen(['t', ' '], "T", 1).replace('z', "Z");
            Self::parse(&fixed).or_else(|| Self::parse(&format!("{fixed}Z")))
        })
    }
}

fn numbers(text: &str, between: char, widths: &[usize]) -> Option<Vec<i64>> {
    let parts: Vec<&str> = text.split(between).collect();
    if parts.len() != widths.len() {
        return None;
    }
    std::iter::zip(parts, widths)
        .map(|(part, width)| {
            let digits = part.len() == *width && part.bytes().all(|byte| byte.is_ascii_digit());
            digits.then(|| part.parse().ok())?
        })
        .collect()
}

fn date(text: &str) -> Option<i64> {
    let parts = numbers(text, '-', &[4, 2, 2])?;
    let (year, month, day) = (parts[0], parts[1], parts[2]);
    let known = (1..=12).contains(&month) && (1..=month_length(year, month)).contains(&day);
    known.then(|| days(year, month, day) * SECONDS_PER_DAY)
}

fn fraction(rest: &str) -> Option<(i64, &str)> {
    let Some(digits) = rest.strip_prefix('.') else {
        return Some((0, rest));
    };
    let length = digits
        .bytes()
        .take_while(|byte| byte.is_ascii_digit())
        .count();
    if length == 0 {
        return None;
    }
    let padded = format!("{:0<9}", &digits[..length.min(9)]);
    Some((padded.parse().ok()?, &digits[length..]))
}

/// Seconds east of UTC.
fn zone(text: &str) -> Option<i64> {
    if text == "Z" {
        return Some(0);
    }
    let sign = match text.as_bytes().first()? {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let parts = numbers(&text[1..], ':', &[2, 2])?;
    (parts[0] < 24 && parts[1] < 60).then(|| sign * (parts[0] * 3600 + parts[1] * 60))
}

/// The offset that `+01:30`, `01:30` or `UTC` names, in seconds.
pub fn fixed_offset(name: &str) -> Option<i64> {
    if name.is_empty() || name == "UTC" || name == "Z" {
        return Some(0);
    }
    let (sign, rest) = match name.as_bytes()[0] {
        b'-' => (-1, &name[1..]),
        b'+' => (1, &name[1..]),
        _ => (1, name),
    };
    let (hours, minutes) = rest.split_once(':')?;
    let (hours, minutes): (i64, i64) = (hours.parse().ok()?, minutes.parse().ok()?);
    Some(sign * (hours * 3600 + minutes * 60))
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = self.civil(0);
        let (year, month, day) = (at.year, at.month, at.day);
        write!(f, "{year:04}-{month:02}-{day:02}T")?;
        write!(f, "{:02}:{:02}:{:02}", at.hour, at.minute, at.second)?;
        if self.nanos > 0 {
            let text = format!("{:09}", self.nanos);
            write!(f, ".{}", text.trim_end_matches('0'))?;
        }
        f.write_str("Z")
    }
}

pub use machinery::parse_duration;

/// A duration as `string()` writes it: seconds with fraction.
pub fn show_duration(nanos: i64) -> String {
    let sign = if nanos < 0 { "-" } else { "" };
    let (seconds, rest) = (
        nanos.unsigned_abs() / NANOS as u64,
        nanos.unsigned_abs() % NANOS as u64,
    );
    if rest == 0 {
        return format!("{sign}{seconds}s");
    }
    let fraction = format!("{rest:09}");
    format!("{sign}{seconds}.{}s", fraction.trim_end_matches('0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_and_written() {
        for (text, wanted) in [
            ("2009-02-13T23:31:30Z", Some("2009-02-13T23:31:30Z")),
            (
                "2009-02-13T23:31:30.5+01:00",
                Some("2009-02-13T22:31:30.5Z"),
            ),
            ("0001-01-01T00:00:00Z", Some("0001-01-01T00:00:00Z")),
            ("2021-02-29T00:00:00Z", None),
            ("2021-02-28 00:00:00Z", None),
            ("2021-02-28", None),
        ] {
            let found = Timestamp::parse(text).map(|time| time.to_string());
            assert_eq!(found.as_deref(), wanted, "{text}");
        }
        let at = Timestamp::parse("2024-12-31T12:00:00Z").map(|time| time.civil(0));
        let at = at.expect("a time");
        assert_eq!((at.day_of_year, at.weekday, at.day), (365, 2, 31));
    }

    #[test]
    fn durations_are_read_and_written() {
        for (text, wanted) in [
            ("1h30m", Some("5400s")),
            ("-1.5s", Some("-1.5s")),
            ("10ms", Some("0.01s")),
            ("1", None),
            ("s", None),
            ("", None),
        ] {
            let found = parse_duration(text).map(show_duration);
            assert_eq!(found.as_deref(), wanted, "{text}");
        }
    }
}
