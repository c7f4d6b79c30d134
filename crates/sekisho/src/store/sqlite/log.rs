//! Folds the write-ahead log into the file, beside those who write.
//!
//! `SQLite` does so within a commit, whose caller then waits for the disk twice. Here it is a task of
//! its own: most of the log is folded while others write on, and they wait for the rest alone.

use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::Relaxed;

use rusqlite::Connection;
use tokio::sync::{Mutex, watch};

use super::open::{File, PAGE_BYTES};
use super::writer::{Pen, commit_all};

/// Pages of the write-ahead log before it is folded into the file: 16 MiB of them. Folding waits for the disk,
/// and a page that was written often is folded once. As much may be written meanwhile; then those who
/// write wait. The log is longer only where a reader of another process holds on to it.
pub(super) const PAGES_MAX: u32 = (16 << 20) / PAGE_BYTES;

/// How long the log is, and whether it is being folded.
pub(super) struct Log {
    file: File,
    pages: Arc<AtomicU32>,
    fold_at: u32,
    is_folding: watch::Sender<bool>,
}

impl Log {
    /// The log of what `writer` commits.
    pub(super) fn new(writer: &mut Connection, file: File) -> Self {
        let pages = Arc::new(AtomicU32::new(0));
        let seen = Arc::clone(&pages);
        let hook = move |_: &mut rusqlite::hooks::Wal, length: i32| {
            seen.store(length.unsigned_abs(), Relaxed);
            Ok(())
        };
        if let Err(error) = writer.wal_hook(Some(hook)) {
            tracing::warn!(error = &error as &dyn std::error::Error, "the log will not be folded");
        }
        Self { file, pages, fold_at: PAGES_MAX, is_folding: watch::Sender::new(false) }
    }

    pub(super) fn is_long(&self) -> bool {
        !*self.is_folding.borrow() && self.pages.load(Relaxed) >= self.fold_at
    }

    /// What to wait for before more is written, if it grows faster than it is folded.
    pub(super) fn is_full(&self) -> Option<watch::Receiver<bool>> {
        let is_full = self.pages.load(Relaxed) >= self.fold_at.saturating_add(PAGES_MAX);
        (is_full && *self.is_folding.borrow()).then(|| self.is_folding.subscribe())
    }

    /// Begins to fold it.
    pub(super) fn fold(&mut self, turns: Arc<Mutex<Pen>>) {
        self.is_folding.send_replace(true);
        tokio::spawn(fold(self.file.clone(), turns));
    }

    /// What could not be folded now is tried again when as much has come again.
    fn is_folded(&mut self, folded: rusqlite::Result<()>) {
        self.fold_at = match folded {
            Ok(()) => PAGES_MAX,
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(error, "the write-ahead log could not be folded: it grows");
                self.pages.load(Relaxed).saturating_add(PAGES_MAX)
            }
        };
        self.is_folding.send_replace(false);
    }
}

async fn fold(file: File, turns: Arc<Mutex<Pen>>) {
    let beside = tokio::task::spawn_blocking(move || {
        let connection = file.connect()?;
        fold_what_is_there(&connection)?;
        Ok(connection)
    });
    let beside = beside.await.unwrap_or(Err(rusqlite::Error::InvalidQuery));
    let mut pen = turns.lock_owned().await;
    // What was written meanwhile.
    commit_all(&mut pen);
    let rest = tokio::task::spawn_blocking(move || {
        let folded = beside.and_then(|connection| {
            fold_what_is_there(&connection)?;
            begin_anew(&connection)
        });
        pen.log.is_folded(folded);
    });
    drop(rest.await);
}

fn fold_what_is_there(connection: &Connection) -> rusqlite::Result<()> {
    connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))
}

/// The first to write into a log that was folded waits for the disk: let it be us.
fn begin_anew(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute("UPDATE instance SET id = id", [])?;
    Ok(())
}
