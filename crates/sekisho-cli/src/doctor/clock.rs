//! Whether another server's clock and ours agree, by the `Date` of its answer (RFC 9110 §6.6.1).

use std::time::{Duration, UNIX_EPOCH};

use axum::http::HeaderMap;
use sekisho::clock::{Clock as _, SystemClock, Timestamp};

use super::finding::Finding;
use super::outside::values;

/// What tokens are allowed too.
const SKEW_MAX: Duration = Duration::from_secs(30);

/// A finding if they differ too much; nothing where the answer has no date.
pub(super) fn compare(about: &str, headers: &HeaderMap) -> Option<Finding> {
    let date = values(headers, "date").first().copied()?;
    let date = httpdate::parse_http_date(date).ok()?.duration_since(UNIX_EPOCH).ok()?;
    let theirs = Timestamp::from_unix_seconds(i64::try_from(date.as_secs()).ok()?);
    let ours = SystemClock.now();
    let (ahead, behind) = (theirs.left(ours), ours.left(theirs));
    let (apart, which) = if ahead > behind { (ahead, "ahead of") } else { (behind, "behind") };
    (apart > SKEW_MAX).then(|| {
        Finding::warning(
            about,
            format!(
                "its clock is {} s {which} ours: tokens will be refused for their times",
                apart.as_secs()
            ),
            "set both machines by NTP",
        )
    })
}
