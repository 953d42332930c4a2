//! Windows of time in which a limit is counted anew, in UTC.

use chrono::{DateTime, Datelike, Days, Months, NaiveDate, SecondsFormat, Utc};
use serde::{Deserialize, Serialize};

use super::words::words;

const HOUR: i64 = 3_600_000;
const DAY: i64 = 24 * HOUR;
/// As far from 1970 as dates go in JavaScript.
const FARTHEST: i64 = 100_000_000 * DAY;

/// How often a limit is counted anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Period {
    /// Every full hour.
    Hour,
    /// At midnight.
    Day,
    /// At midnight before Monday (ISO 8601).
    Week,
    /// At midnight before the first of a month.
    Month,
}

/// One window, in milliseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// When it begins.
    pub begins: i64,
    /// When the next begins.
    pub ends: i64,
}

words!(Period { Hour = "hour", Day = "day", Week = "week", Month = "month" });

impl Period {
    /// The window in which a moment lies, given in milliseconds since 1970.
    pub fn window(self, at: i64) -> Window {
        // 1970-01-01 was a Thursday.
        const FIRST_MONDAY: i64 = 4 * DAY;
        // Beyond the years that calendars count, a clock is wrong, and all of it is one window.
        let at = at.clamp(-FARTHEST, FARTHEST);
        let even = |length: i64, from: i64| {
            let begins = (at - from).div_euclid(length) * length + from;
            Window { begins, ends: begins + length }
        };
        match self {
            Self::Hour => even(HOUR, 0),
            Self::Day => even(DAY, 0),
            Self::Week => even(7 * DAY, FIRST_MONDAY),
            Self::Month => month(at).unwrap_or_else(|| even(30 * DAY, 0)),
        }
    }
}

/// A moment in milliseconds since 1970 as text: UTC, RFC 3339, to the millisecond.
pub fn timestamp(at: i64) -> String {
    let at = DateTime::from_timestamp_millis(at).unwrap_or_default();
    at.to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// The moment that a text names, in milliseconds since 1970: as RFC 3339 has it, or the beginning of
/// a day (UTC).
pub fn moment(text: &str) -> Option<i64> {
    let time = DateTime::parse_from_rfc3339(text).ok().map(|time| time.timestamp_millis());
    time.or_else(|| midnight(NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?))
}

/// None outside the years that the calendar knows, which are more than 200,000.
fn month(at: i64) -> Option<Window> {
    let day = DateTime::<Utc>::from_timestamp_millis(at)?.date_naive();
    let begins = day.checked_sub_days(Days::new(u64::from(day.day0())))?;
    let ends = begins.checked_add_months(Months::new(1))?;
    Some(Window { begins: midnight(begins)?, ends: midnight(ends)? })
}

fn midnight(day: NaiveDate) -> Option<i64> {
    Some(day.and_hms_opt(0, 0, 0)?.and_utc().timestamp_millis())
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;

    use super::Period;

    #[test]
    fn windows_follow_the_calendar_in_utc() {
        let at = |text: &str| DateTime::parse_from_rfc3339(text).unwrap().timestamp_millis();
        for (period, moment, begins, ends) in [
            (Period::Hour, "2026-11-20T21:59:59Z", "2026-11-20T21:00:00Z", "2026-11-20T22:00:00Z"),
            (Period::Day, "2026-11-20T23:59:59Z", "2026-11-20T00:00:00Z", "2026-11-21T00:00:00Z"),
            // A Friday, a Monday, a Sunday.
            (Period::Week, "2026-11-20T10:00:00Z", "2026-11-16T00:00:00Z", "2026-11-23T00:00:00Z"),
            (Period::Week, "2026-11-16T00:00:00Z", "2026-11-16T00:00:00Z", "2026-11-23T00:00:00Z"),
            (Period::Week, "2026-11-15T23:59:59Z", "2026-11-09T00:00:00Z", "2026-11-16T00:00:00Z"),
            (Period::Month, "2028-02-29T12:00:00Z", "2028-02-01T00:00:00Z", "2028-03-01T00:00:00Z"),
            (Period::Month, "2026-12-31T12:00:00Z", "2026-12-01T00:00:00Z", "2027-01-01T00:00:00Z"),
        ] {
            let window = period.window(at(moment));
            assert_eq!((window.begins, window.ends), (at(begins), at(ends)), "{moment}");
        }
    }
}
