//! The contract of stores, held against each of them.

use std::sync::Arc;

use sekisho::store::{MemoryStore, Store, TableLimits};

#[expect(clippy::unused_async, reason = "every store opens by one signature")]
async fn memory(limits: TableLimits) -> (Arc<dyn Store>, ()) {
    (Arc::new(MemoryStore::new(limits)), ())
}

testkit::store_contract!(the_memory_store, memory);
