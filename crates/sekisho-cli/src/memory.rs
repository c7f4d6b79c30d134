//! The allocator.

/// Requests are many small pieces, on threads that come and go: over hours `jemalloc` holds what it
/// held after minutes (decision 46). A thread of its own gives back what nobody has needed for a
/// while, also when nothing is going on; with musl there is none, and it is given back when the next
/// piece is asked for.
#[cfg(unix)]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;
