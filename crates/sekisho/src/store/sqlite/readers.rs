//! Those who read: beside each other and beside the writer, each on a connection of its own for the
//! moment that a statement takes.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rusqlite::Connection;
use tokio::time::Instant;

use super::BUSY_RETRY_EVERY;
use super::open::File;
use super::statements::{is_busy, unavailable};
use crate::store::StoreError;

/// Connections that are kept when nobody reads. There are never more than threads that read.
const IDLE_MAX: usize = 4;

pub(super) struct Readers {
    file: File,
    wait_max: Duration,
    /// `None` once they are closed.
    idle: Mutex<Option<Vec<Connection>>>,
}

impl Readers {
    pub(super) fn new(file: File, wait_max: Duration) -> Self {
        Self { file, wait_max, idle: Mutex::new(Some(Vec::new())) }
    }

    /// Reads, and once more for as long as the file is held against reading, as it is for moments
    /// when another process opens it after a crash.
    pub(super) async fn ask<T>(
        &self,
        mut work: impl FnMut(&Connection) -> Result<T, StoreError> + Send,
    ) -> Result<T, StoreError> {
        let mut give_up_at = None;
        loop {
            let answer = self.ask_once(&mut work);
            let Err(error) = &answer else { return answer };
            let until = *give_up_at.get_or_insert_with(|| Instant::now() + self.wait_max);
            if !is_busy(error) || Instant::now() >= until {
                return answer;
            }
            tokio::time::sleep(BUSY_RETRY_EVERY).await;
        }
    }

    fn ask_once<T>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let connection = match self.take()? {
            Some(idle) => idle,
            None => self.open().map_err(unavailable)?,
        };
        let answer = work(&connection);
        self.give_back(connection);
        answer
    }

    fn open(&self) -> rusqlite::Result<Connection> {
        let connection = self.file.connect()?;
        connection.pragma_update(None, "query_only", true)?;
        Ok(connection)
    }

    fn take(&self) -> Result<Option<Connection>, StoreError> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        match idle.as_mut() {
            Some(idle) => Ok(idle.pop()),
            None => Err(StoreError::Unavailable("the store is closed".into())),
        }
    }

    fn give_back(&self, connection: Connection) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(idle) = idle.as_mut().filter(|idle| idle.len() < IDLE_MAX) {
            idle.push(connection);
        }
    }

    pub(super) fn close(&self) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}
