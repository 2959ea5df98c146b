//! Times and durations between their text and number forms.
//!
//! Upstream counterparts: `metav1.Time`, `metav1.Duration` (Go's `time.Duration` text).

use machinery::{format_any_time, parse_any_time};

/// RFC 3339 to seconds and nanoseconds since 1970.
pub(super) fn parse_timestamp(text: &str) -> Option<(i64, u32)> {
    let micros = parse_any_time(text)?;
    let nanos = micros.rem_euclid(1_000_000) as u32 * 1_000;
    Some((micros.div_euclid(1_000_000), nanos))
}

/// Text of a time, to the second or the microsecond; `None` before the year 0.
pub(super) fn format_timestamp(seconds: i64, nanos: i64, micro: bool) -> Option<String> {
    let micros = seconds.checked_mul(1_000_000)?.checked_add(nanos / 1_000)?;
    format_any_time(micros, micro)
}

pub(super) use machinery::parse_duration;

/// Nanoseconds as Go prints a duration: `1h0m5s`, `1.5s`, `20ms`, `0s`.
pub(super) fn format_duration(nanos: i64) -> String {
    let sign = if nanos < 0 { "-" } else { "" };
    let total = nanos.unsigned_abs();
    if total < 1_000_000_000 {
        let (unit, size) = match total {
            0 => return "0s".into(),
            1..=999 => ("ns", 1),
            1_000..=999_999 => ("µs", 1_000),
            _ => ("ms", 1_000_000),
        };
        return format!("{sign}{}{unit}", decimal(total, size));
    }
    let (minutes, seconds) = (total / 60_000_000_000, total % 60_000_000_000);
    let seconds = decimal(seconds, 1_000_000_000);
    match (minutes / 60, minutes % 60) {
        (0, 0) => format!("{sign}{seconds}s"),
        (0, minutes) => format!("{sign}{minutes}m{seconds}s"),
        (hours, minutes) => format!("{sign}{hours}h{minutes}m{seconds}s"),
    }
}

/// `number / size` without trailing zeros; `size` is a power of ten.
fn decimal(number: u64, size: u64) -> String {
    let (whole, fraction) = (number / size, number % size);
    if fraction == 0 {
        return whole.to_string();
    }
    let width = size.ilog10() as usize;
    let digits = format!("{fraction:0width$}");
    format!("{whole}.{}", digits.trim_end_matches('0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_and_print_as_in_go() {
        for (text, nanos) in [
            ("0s", 0),
            ("1ns", 1),
            ("1.5µs", 1_500),
            ("20ms", 20_000_000),
            ("1.5s", 1_500_000_000),
            ("1m0s", 60_000_000_000),
            ("1h0m5s", 3_605_000_000_000),
            ("-2m3s", -123_000_000_000),
        ] {
            assert_eq!(parse_duration(text), Some(nanos), "{text}");
            assert_eq!(format_duration(nanos), text);
        }
        assert_eq!(parse_duration("90m"), Some(5_400_000_000_000));
        for bad in ["", "1", "s", "1x", "-"] {
            assert_eq!(parse_duration(bad), None, "{bad}");
        }
    }
}
