//! The contract of stores, held against each of them, and what only a file can do.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::sync::Arc;

use sekisho::store::{CachedStore, Durability, MemoryStore, SqliteStore, Store, TableLimits};
use tempfile::TempDir;

#[expect(clippy::unused_async, reason = "every store opens by one signature")]
async fn memory(limits: TableLimits) -> (Arc<dyn Store>, ()) {
    (Arc::new(MemoryStore::new(limits)), ())
}

async fn sqlite(limits: TableLimits) -> (Arc<dyn Store>, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sekisho.db");
    let store = SqliteStore::open(&path, limits, Durability::Normal).await.unwrap();
    (Arc::new(store), folder)
}

async fn cached_memory(limits: TableLimits) -> (Arc<dyn Store>, ()) {
    let (behind, ()) = memory(limits).await;
    (Arc::new(CachedStore::new(behind)), ())
}

async fn cached_sqlite(limits: TableLimits) -> (Arc<dyn Store>, TempDir) {
    let (behind, folder) = sqlite(limits).await;
    (Arc::new(CachedStore::new(behind)), folder)
}

testkit::store_contract!(the_memory_store, memory);
testkit::store_contract!(the_sqlite_store, sqlite);
testkit::store_contract!(the_cached_memory_store, cached_memory);
testkit::store_contract!(the_cached_sqlite_store, cached_sqlite);
