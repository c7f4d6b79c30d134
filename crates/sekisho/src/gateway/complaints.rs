//! What the log is told of trouble that others can provoke: once in a while, and how often it was.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// How often the log hears of one kind of trouble.
const COMPLAIN_EVERY: Duration = Duration::from_mins(1);

/// What the log is told once in a while: whoever provokes it fills no log.
#[derive(Debug, Default)]
pub(super) struct Complaints(Mutex<(Option<Instant>, u64)>);

impl Complaints {
    /// Counts one; how many there were since the log was last told, if it is time.
    pub(super) fn is_due(&self) -> Option<u64> {
        let mut since = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        since.1 += 1;
        let now = Instant::now();
        if since.0.is_some_and(|told_at| now.duration_since(told_at) < COMPLAIN_EVERY) {
            return None;
        }
        let (_, times) = std::mem::replace(&mut *since, (Some(now), 0));
        Some(times)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_log_hears_of_one_kind_of_trouble_once_a_minute() {
        let complaints = Complaints::default();
        let told: Vec<_> = (0..5).map(|_| complaints.is_due()).collect();
        assert_eq!(told, [Some(1), None, None, None, None]);
        tokio::time::advance(COMPLAIN_EVERY).await;
        assert_eq!((complaints.is_due(), complaints.is_due()), (Some(5), None));
    }
}
