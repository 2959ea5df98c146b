//! Calendar fields of points in time, and parts of durations.
//!
//! Upstream counterpart: cel-go's `common/types/timestamp.go` and `duration.go`.

use super::{Row, text, wrong};
use crate::{
    EvalError, Outcome, Val,
    time::{Civil, Timestamp, fixed_offset},
};
use jiff::tz::{TimeZone, TimeZoneDatabase};
use std::sync::LazyLock;

pub(crate) const TABLE: &[Row] = &[
    (
        "getFullYear",
        "timestamp_to_year",
        "timestamp.() -> int",
        year,
    ),
    (
        "getFullYear",
        "timestamp_to_year_with_tz",
        "timestamp.(string) -> int",
        year,
    ),
    (
        "getMonth",
        "timestamp_to_month",
        "timestamp.() -> int",
        month,
    ),
    (
        "getMonth",
        "timestamp_to_month_with_tz",
        "timestamp.(string) -> int",
        month,
    ),
    (
        "getDayOfYear",
        "timestamp_to_day_of_year",
        "timestamp.() -> int",
        day_of_year,
    ),
    (
        "getDayOfYear",
        "timestamp_to_day_of_year_with_tz",
        "timestamp.(string) -> int",
        day_of_year,
    ),
    (
        "getDayOfMonth",
        "timestamp_to_day_of_month",
        "timestamp.() -> int",
        day_of_month,
    ),
    (
        "getDayOfMonth",
        "timestamp_to_day_of_month_with_tz",
        "timestamp.(string) -> int",
        day_of_month,
    ),
    (
        "getDate",
        "timestamp_to_day_of_month_1_based",
        "timestamp.() -> int",
        date,
    ),
    (
        "getDate",
        "timestamp_to_day_of_month_1_based_with_tz",
        "timestamp.(string) -> int",
        date,
    ),
    (
        "getDayOfWeek",
        "timestamp_to_day_of_week",
        "timestamp.() -> int",
        weekday,
    ),
    (
        "getDayOfWeek",
        "timestamp_to_day_of_week_with_tz",
        "timestamp.(string) -> int",
        weekday,
    ),
    (
        "getHours",
        "timestamp_to_hours",
        "timestamp.() -> int",
        hours,
    ),
    (
        "getHours",
        "timestamp_to_hours_with_tz",
        "timestamp.(string) -> int",
        hours,
    ),
    ("getHours", "duration_to_hours", "duration.() -> int", hours),
    (
        "getMinutes",
        "timestamp_to_minutes",
        "timestamp.() -> int",
        minutes,
    ),
    (
        "getMinutes",
        "timestamp_to_minutes_with_tz",
        "timestamp.(string) -> int",
        minutes,
    ),
    (
        "getMinutes",
        "duration_to_minutes",
        "duration.() -> int",
        minutes,
    ),
    (
        "getSeconds",
        "timestamp_to_seconds",
        "timestamp.() -> int",
        seconds,
    ),
    (
        "getSeconds",
        "timestamp_to_seconds_tz",
        "timestamp.(string) -> int",
        seconds,
    ),
    (
        "getSeconds",
        "duration_to_seconds",
        "duration.() -> int",
        seconds,
    ),
    (
        "getMilliseconds",
        "timestamp_to_milliseconds",
        "timestamp.() -> int",
        milliseconds,
    ),
    (
        "getMilliseconds",
        "timestamp_to_milliseconds_with_tz",
        "timestamp.(string) -> int",
        milliseconds,
    ),
    (
        "getMilliseconds",
        "duration_to_milliseconds",
        "duration.() -> int",
        milliseconds,
    ),
];

static ZONES: LazyLock<TimeZoneDatabase> = LazyLock::new(TimeZoneDatabase::bundled);

fn offset(time: Timestamp, zone: &str) -> Result<i64, EvalError> {
    if let Some(offset) = fixed_offset(zone) {
        return Ok(offset);
    }
    let zone: TimeZone = ZONES
        .get(zone)
        .map_err(|_| EvalError::new(format!("unknown time zone {zone}")))?;
    let at = jiff::Timestamp::from_second(time.seconds)
        .map_err(|_| EvalError::new("timestamp overflow"))?;
    Ok(zone.to_offset(at).seconds().into())
}

fn field<'a>(args: &[Val], pick: fn(&Civil) -> i64) -> Outcome<'a> {
    let Val::Timestamp(time) = args[0] else {
        return Err(wrong());
    };
    let zone = args.get(1).map(text).transpose()?.unwrap_or_default();
    Ok(Val::Int(pick(&time.civil(offset(time, zone)?))))
}

fn year<'a>(args: &[Val<'a>]) -> Outcome<'a> {
    field(args, |at| at.year)
}

fn month<'a>(args: &[Val<'a>]) -> Outcome<'a> {
    field(args, |at| at.month - 1)
}

fn day_of_year<'a>(args: &[Val<'a>]) -> Outcome<'a> {
    field(args, |at| at.day_of_year)
}

fn day_of_month<'a>(args: &[Val<'a>]) -> Outcome<'a> {
    field(args, |at| at.day - 1)
}

fn date<'a>(args: &[Val<'a>]) -> Outcome<'a> {
    field(args, |at| at.day)
}

fn weekday<'a>(args: &[Val<'a>]) -> Outcome<'a> {
    field(args, |at| at.weekday)
}

fn part<'a>(args: &[Val], unit: i64, pick: fn(&Civil) -> i64) -> Outcome<'a> {
    match args[0] {
        Val::Duration(nanos) => Ok(Val::Int(nanos / unit)),
        _ => field(args, pick),
    }
}

fn hours<'a>(args: &[Val<'a>]) -> Outcome<'a> {
    part(args, 3_600_000_000_000, |at| at.hour)
}

fn minutes<'a>(args: &[Val<'a>]) -> Outcome<'a> {
    part(args, 60_000_000_000, |at| at.minute)
}

fn seconds<'a>(args: &[Val<'a>]) -> Outcome<'a> {
    part(args, 1_000_000_000, |at| at.second)
}

fn milliseconds<'a>(args: &[Val<'a>]) -> Outcome<'a> {
    match args[0] {
        Val::Duration(nanos) => Ok(Val::Int(nanos / 1_000_000)),
        Val::Timestamp(time) => Ok(Val::Int(i64::from(time.nanos) / 1_000_000)),
        _ => Err(wrong()),
    }
}
