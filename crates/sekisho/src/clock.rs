//! The only module that reads time, so that tests can let it stand still.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// A moment in whole seconds since 1970, as stores and OAuth count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(i64);

impl Timestamp {
    /// A moment read back from a store or the wire.
    pub const fn from_unix_seconds(seconds: i64) -> Self {
        Self(seconds)
    }

    /// Seconds since 1970.
    pub const fn unix_seconds(self) -> i64 {
        self.0
    }

    /// This moment and `duration` more; stays at the end of time instead of wrapping.
    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)))
    }

    /// This moment and `duration` less.
    #[must_use]
    pub fn minus(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)))
    }

    /// Whether something that ends at this moment has ended by `now`.
    pub const fn is_over(self, now: Self) -> bool {
        now.0 >= self.0
    }

    /// How long from `now` until this moment; zero if it is over.
    pub fn left(self, now: Self) -> Duration {
        Duration::from_secs(u64::try_from(self.0.saturating_sub(now.0)).unwrap_or(0))
    }
}

/// In UTC, as RFC 3339 writes it.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (days, seconds) = (self.0.div_euclid(86_400), self.0.rem_euclid(86_400));
        let (year, month, day) = civil(days);
        let (hour, minute, second) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
    }
}

/// Year, month and day of a day counted from 1970, by counting years that begin in March, so that
/// the leap day comes last.
const fn civil(days: i64) -> (i64, i64, i64) {
    let days = days.saturating_add(719_468);
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + if month <= 2 { 1 } else { 0 };
    (year, month, day)
}

/// Where time comes from.
pub trait Clock: fmt::Debug + Send + Sync {
    /// This moment.
    fn now(&self) -> Timestamp;
}

/// How long it is since 1970, to the nanosecond, for what only people look at.
#[expect(clippy::disallowed_methods, reason = "this is the one place that reads time")]
pub fn since_1970() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// The machine's own clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp(i64::try_from(since_1970().as_secs()).unwrap_or(i64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_written_as_rfc_3339_does() {
        let rows = [
            (0, "1970-01-01T00:00:00Z", "the beginning"),
            (951_782_400, "2000-02-29T00:00:00Z", "a leap day"),
            (1_795_305_600, "2026-11-22T00:00:00Z", "a day of ours"),
            (4_107_542_399, "2100-02-28T23:59:59Z", "no leap year"),
            (-1, "1969-12-31T23:59:59Z", "before the beginning"),
        ];
        for (seconds, expected, reason) in rows {
            assert_eq!(Timestamp(seconds).to_string(), expected, "{reason}");
        }
    }
}
