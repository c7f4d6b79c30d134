//! Those who read: on the writer's connection while nobody writes, else each on a connection of its own for the
//! moment that a statement takes.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rusqlite::Connection;
use tokio::time::Instant;

use super::BUSY_RETRY_EVERY;
use super::open::File;
use super::statements::{Length, is_busy, unavailable};
use super::writer::{Pen, Writer};
use crate::store::StoreError;

/// Connections that are kept when nobody reads. There are never more than threads that read.
const IDLE_MAX: usize = 4;

pub(super) struct Readers {
    file: File,
    wait_max: Duration,
    /// Of the writer, who has at hand what was just written.
    pen: Arc<tokio::sync::Mutex<Pen>>,
    /// `None` once they are closed.
    idle: Mutex<Option<Vec<Connection>>>,
}

impl Readers {
    pub(super) fn new(file: File, wait_max: Duration, writer: &Writer) -> Self {
        Self { file, wait_max, pen: writer.pen(), idle: Mutex::new(Some(Vec::new())) }
    }

    /// Reads, and once more for as long as the file is held against reading, as it is for moments
    /// when another process opens it after a crash.
    pub(super) async fn ask<T>(
        &self,
        length: Length,
        mut work: impl FnMut(&Connection) -> Result<T, StoreError> + Send,
    ) -> Result<T, StoreError> {
        let mut give_up_at = None;
        loop {
            let answer = match self.pen_if_free(length) {
                Some(pen) => work(pen.connection()?),
                None => self.ask_once(&mut work),
            };
            let Err(error) = &answer else { return answer };
            let until = *give_up_at.get_or_insert_with(|| Instant::now() + self.wait_max);
            if !is_busy(error) || Instant::now() >= until {
                return answer;
            }
            tokio::time::sleep(BUSY_RETRY_EVERY).await;
        }
    }

    /// The writer's connection, if nobody writes: it need not read again what it wrote, as another one must
    /// after each commit. Not for what takes long.
    fn pen_if_free(&self, length: Length) -> Option<tokio::sync::MutexGuard<'_, Pen>> {
        match length {
            Length::Short => self.pen.try_lock().ok().filter(|pen| !pen.is_open()),
            Length::Long => None,
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
