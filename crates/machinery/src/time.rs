//! Text forms of time: `metav1.Time` (seconds) and `metav1.MicroTime`, both RFC 3339 in UTC.
//!
//! Times are microseconds since the Unix epoch. Knows no clock.

const MICROS: u64 = 1_000_000;
const DAY: u64 = 86_400;
/// Whole eras of 400 years that lie between year 0 and 1970.
const ERAS_BEFORE: i64 = 5;
const ERA_DAYS: u64 = 146_097;
/// Microseconds of those eras: with them added, no time of a four-digit year is negative.
const BEFORE: i64 = ERAS_BEFORE * (ERA_DAYS * DAY * MICROS) as i64;

/// Civil date of a day count since 1970-01-01 (proleptic Gregorian).
fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

/// Day count since 1970-01-01 of a civil date; `None` before it or for impossible dates.
fn days(year: u64, month: u64, day: u64) -> Option<u64> {
    let shifted_year = year.checked_sub(u64::from(month <= 2))?;
    let (era, year_of_era) = (shifted_year / 400, shifted_year % 400);
    let shifted_month = if month > 2 { month - 3 } else { month + 9 };
    let day_of_year = (153 * shifted_month + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    (era * 146_097 + day_of_era)
        .checked_sub(719_468)
        .filter(|&found| civil(found) == (year, month, day))
}

/// `2026-01-02T03:04:05Z`.
pub fn format_time(micros: u64) -> String {
    let seconds = micros / MICROS;
    let (year, month, day) = civil(seconds / DAY);
    let (hour, minute, second) = (seconds % DAY / 3_600, seconds % 3_600 / 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// `2026-01-02T03:04:05.000006Z`.
pub fn format_micro_time(micros: u64) -> String {
    let mut text = format_time(micros);
    text.truncate(text.len() - 1);
    format!("{text}.{:06}Z", micros % MICROS)
}

/// Any RFC 3339 time as the API prints it, to the second or the microsecond, of the years from
/// 0 on; microseconds since 1970 may be negative.
pub fn format_any_time(micros: i64, micro: bool) -> Option<String> {
    let print = |micros| match micro {
        true => format_micro_time(micros),
        false => format_time(micros),
    };
    if let Ok(after) = u64::try_from(micros) {
        return Some(print(after));
    }
    let text = print(u64::try_from(micros.checked_add(BEFORE)?).ok()?);
    let year = text.get(..4)?.parse::<i64>().ok()? - ERAS_BEFORE * 400;
    (year >= 0).then(|| format!("{year:04}{}", &text[4..]))
}

/// As [`parse_time`] for every year of four digits: microseconds since 1970, negative before it.
pub fn parse_any_time(text: &str) -> Option<i64> {
    let year = text
        .get(..4)
        .filter(|year| year.bytes().all(|byte| byte.is_ascii_digit()))?;
    let year = year.parse::<i64>().ok()? + ERAS_BEFORE * 400;
    match year {
        0..=9_999 => {
            let shifted = parse_time(&format!("{year:04}{}", &text[4..]))?;
            i64::try_from(shifted).ok()?.checked_sub(BEFORE)
        }
        _ => i64::try_from(parse_time(text)?).ok(),
    }
}

/// Parses RFC 3339 with any fraction and offset; `None` for anything else or before 1970.
pub fn parse_time(text: &str) -> Option<u64> {
    let bytes = text.as_bytes();
    let number = |from: usize, to: usize| -> Option<u64> {
        let digits = text.get(from..to)?;
        digits
            .bytes()
            .all(|byte| byte.is_ascii_digit())
            .then(|| digits.parse().ok())?
    };
    let punctuation = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')];
    if punctuation
        .iter()
        .any(|&(at, wanted)| bytes.get(at) != Some(&wanted))
    {
        return None;
    }
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let date = days(number(0, 4)?, number(5, 7)?, number(8, 10)?)?;
    let seconds = date * DAY + hour * 3_600 + minute * 60 + second;
    let (fraction, zone) = split_fraction(text.get(19..)?)?;
    Some(shift_zone(seconds, zone)? * MICROS + fraction)
}

/// Splits `.123456Z` into microseconds and the zone text.
fn split_fraction(rest: &str) -> Option<(u64, &str)> {
    let Some(digits) = rest.strip_prefix('.') else {
        return Some((0, rest));
    };
    let end = digits.find(|c: char| !c.is_ascii_digit())?;
    if end == 0 {
        return None;
    }
    let micros = digits[..end].bytes().chain(std::iter::repeat(b'0')).take(6);
    Some((
        micros.fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0')),
        &digits[end..],
    ))
}

fn shift_zone(seconds: u64, zone: &str) -> Option<u64> {
    if zone == "Z" || zone == "z" {
        return Some(seconds);
    }
    let (sign, offset) = zone.split_at_checked(1)?;
    let (hours, minutes) = offset.split_once(':')?;
    if hours.len() != 2 || minutes.len() != 2 {
        return None;
    }
    let offset = hours.parse::<u64>().ok()? * 3_600 + minutes.parse::<u64>().ok()? * 60;
    match sign {
        "+" => seconds.checked_sub(offset),
        "-" => Some(seconds + offset),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_and_parses() {
        for (micros, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400_000_000, "2000-02-29T00:00:00Z"),
            (1_785_000_000_000_000, "2026-07-25T17:20:00Z"),
        ] {
            assert_eq!(format_time(micros), text);
            assert_eq!(parse_time(text), Some(micros));
        }
        for (micros, text) in [
            (-62_135_596_798_000_000, "0001-01-01T00:00:02Z"),
            (-1_000_000, "1969-12-31T23:59:59Z"),
            (951_782_400_000_000, "2000-02-29T00:00:00Z"),
            (253_402_300_799_000_000, "9999-12-31T23:59:59Z"),
        ] {
            assert_eq!(parse_any_time(text), Some(micros));
            assert_eq!(parse_time(text).is_some(), micros >= 0);
            assert_eq!(format_any_time(micros, false).as_deref(), Some(text));
        }
        assert_eq!(
            format_any_time(-500_000, true).as_deref(),
            Some("1969-12-31T23:59:59.500000Z")
        );
        assert_eq!(format_micro_time(1_500_000), "1970-01-01T00:00:01.500000Z");
        assert_eq!(parse_time("1970-01-01T01:00:01.5+01:00"), Some(1_500_000));
        for bad in [
            "",
            "1970-01-01",
            "1970-02-30T00:00:00Z",
            "1970-01-01T00:00:00",
            "1970-01-01T24:00:00Z",
            "1970-01-01T00:00:00.Z",
        ] {
            assert_eq!(parse_time(bad), None, "{bad}");
        }
    }
}
