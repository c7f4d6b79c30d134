//! Measures what each verb takes, in front of another store. Nothing else: what it answers is the other's.

use std::time::Instant;

use super::StoreError;
use super::around::{Around, StoreWithin};
use crate::measure::STORE_SECONDS;

/// A store whose verbs are measured, each under its name.
pub type MeasuredStore = StoreWithin<Measured>;

/// The measuring.
#[derive(Debug, Clone, Copy)]
pub struct Measured;

impl Around for Measured {
    async fn around<T: Send>(
        &self,
        verb: &'static str,
        asked: impl Future<Output = Result<T, StoreError>> + Send,
    ) -> Result<T, StoreError> {
        let asked_at = Instant::now();
        let answer = asked.await;
        let outcome = if answer.is_ok() { "done" } else { "failed" };
        STORE_SECONDS.histogram([verb.into(), outcome.into()]).record(asked_at.elapsed());
        answer
    }
}
