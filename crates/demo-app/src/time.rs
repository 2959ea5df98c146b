//! Wall-clock time and its texts, in UTC.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

const SECONDS_A_DAY: u64 = 86_400;
const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];
const WEEKDAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];

/// Time since 1970. A clock before that counts as 1970.
pub fn now() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
}

/// Milliseconds since 1970.
pub fn now_millis() -> u64 {
    u64::try_from(now().as_millis()).unwrap_or(u64::MAX)
}

/// Year, month (1..) and day of the month (1..) of a number of days since 1970.
///
/// Counts in eras of 400 years that begin in March, so that the leap day is the last of a year.
fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let leaps = day_of_era / 1_460 + day_of_era / 146_096;
    let year_of_era = (day_of_era + day_of_era / 36_524 - leaps) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 {
        from_march + 3
    } else {
        from_march - 9
    };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

/// Formats as `date +FORMAT` does: the letters `Y m d H M S s F T e b a N Z n t %`.
pub fn format(time: Duration, pattern: &str) -> String {
    let mut text = String::new();
    let mut chars = pattern.chars();
    while let Some(next) = chars.next() {
        if next != '%' {
            text.push(next);
            continue;
        }
        match chars.next() {
            Some(letter) => text.push_str(&field(time, letter)),
            None => text.push('%'),
        }
    }
    text
}

fn field(time: Duration, letter: char) -> String {
    let (days, second) = (
        time.as_secs() / SECONDS_A_DAY,
        time.as_secs() % SECONDS_A_DAY,
    );
    let (year, month, day) = civil(days);
    match letter {
        'Y' => year.to_string(),
        'm' => format!("{month:02}"),
        'd' => format!("{day:02}"),
        'e' => format!("{day:2}"),
        'H' => format!("{:02}", second / 3600),
        'M' => format!("{:02}", second / 60 % 60),
        'S' => format!("{:02}", second % 60),
        's' => time.as_secs().to_string(),
        'N' => format!("{:09}", time.subsec_nanos()),
        'F' => format(time, "%Y-%m-%d"),
        'T' => format(time, "%H:%M:%S"),
        'b' => MONTHS[usize::try_from(month - 1).unwrap_or(0) % MONTHS.len()].to_owned(),
        'a' => WEEKDAYS[usize::try_from(days % 7).unwrap_or(0)].to_owned(),
        'Z' => "UTC".to_owned(),
        'n' => "\n".to_owned(),
        't' => "\t".to_owned(),
        '%' => "%".to_owned(),
        other => format!("%{other}"),
    }
}

/// RFC 3339 with milliseconds, for logs.
pub fn stamp() -> String {
    let time = now();
    format!("{}.{:03}Z", format(time, "%FT%T"), time.subsec_millis())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats() {
        let cases = [
            (0, "%a %b %e %T %Z %Y", "Thu Jan  1 00:00:00 UTC 1970"),
            (951_782_400, "%F", "2000-02-29"),
            (1_795_275_091, "%Y%m%d-%H%M%S", "20261121-153131"),
            (1, "%s%%%q", "1%%q"),
        ];
        for (seconds, pattern, expected) in cases {
            assert_eq!(format(Duration::from_secs(seconds), pattern), expected);
        }
    }
}
